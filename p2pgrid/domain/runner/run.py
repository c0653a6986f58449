"""One run as the node sees it: a worker is born, gets its order, prints, answers, ends; then it is judged."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from p2pgrid.domain.runner.answer import read_answer, worker_ended
from p2pgrid.domain.runner.jail import PACKAGE
from p2pgrid.domain.runner.order import ANSWER_ROOM, HEAD, LOADED, MAX_ERROR, MAX_ORDER, PARSING_ROOM, READY, order_of
from p2pgrid.domain.runner.spec import RunReport, RunSpec, unavailable
from p2pgrid.domain.runner.text import printable, without_folders
from p2pgrid.domain.runner.zygotes import Child, End, Zygote
from p2pgrid.errors import LocalError, StorageError, TooLarge

CONFINE_SECONDS: Final = 30.0
"""For a worker to confine itself on a busy machine; its own time begins afterwards."""
LAST_CHUNKS: Final = 32
"""Pieces of output that are still read when a run has ended: what a pipe may hold, and more."""
PAUSE_SECONDS: Final = 0.005
"""Between two reads of what comes in drops, so that a run that writes byte by byte does not keep the node's loop."""
DROP: Final = 1 << 10
FLOOD_FACTOR: Final = 64
FLOOD_LEAST: Final = 1 << 20
"""Output over its limit is cut; over this many times its limit, the run ends: reading it costs the node time."""
CHUNK: Final = 64 << 10
TICK_SECONDS: Final = 0.05
"""How often a worker is weighed."""
BASE_ROOM: Final = 128 << 20
"""Bytes for the libraries' own data, which a worker shares with its zygote."""

Listener = Callable[[str], None]


@dataclass(slots=True)
class _Heard:
    """What came from a worker, and why it was stopped, if it was."""

    ready: bool = False
    loaded: bytes = b""
    answer: bytes | None = None
    stopped: str = ""
    began: float = 0.0
    ended: float = 0.0
    output: bytearray = field(default_factory=bytearray)
    printed: int = 0

    @property
    def started(self) -> bool:
        return self.loaded == LOADED


class Run:
    """One run.  ``go`` may be awaited once; ``stop`` ends it early, from the same loop."""

    def __init__(self, spec: RunSpec, on_output: Listener | None = None) -> None:
        self._spec, self._on_output = spec, on_output
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._heard = _Heard()
        self._child: Child | None = None
        self._listening = asyncio.get_running_loop().call_soon(int)
        self._room = 0

    def stop(self, why: str = "stopped") -> None:
        """Kill the worker."""
        self._heard.stopped = self._heard.stopped or why
        if self._child is not None:
            self._child.kill()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call this once no process of the run is left, which may be now."""
        if self._child is None or self._child.ended.done():
            call()
        else:
            self._child.ended.add_done_callback(lambda _: call())

    async def go(self, zygote: Zygote) -> RunReport:
        """The report, as soon as there is an answer: that ends the run, and the worker is killed.

        Raises ``StorageError`` for an input that cannot be opened, ``LocalError`` without a worker.
        """
        with contextlib.ExitStack() as stack:
            inputs = [stack.enter_context(_opened(given.path)) for given in self._spec.inputs.values()]
            size = sum(os.fstat(fd).st_size for fd in inputs)
            self._room = BASE_ROOM + PARSING_ROOM * size + self._spec.limits.memory_bytes
            order = order_of(self._spec, size).pack()
            if len(order) > MAX_ORDER:
                raise TooLarge(f"The run's order is over {MAX_ORDER} bytes.")
            output, output_end = _pipe()
            stack.callback(os.close, output)
            try:
                child = self._child = await zygote.worker()
                stack.callback(child.leave)
                _hand_over(child, order[:HEAD], [output_end, *inputs])
            finally:
                os.close(output_end)
            return await self._attended(zygote, child, order[HEAD:], output)

    async def _attended(self, zygote: Zygote, child: Child, order: bytes, output: int) -> RunReport:
        """See the worker through to its answer or its end."""
        self._listen(output)
        try:
            if self._heard.stopped:
                child.kill()
            await self._converse(child, order)
            used = child.used() if self._heard.answer is not None else None
            child.kill()  # whatever it says of itself: nothing of it lives on
            end = End(0, *used) if used else await zygote.buried(child)
            self._heard.ended = time.monotonic()
            self._drain(output, LAST_CHUNKS)
        except BaseException:
            child.kill()
            await asyncio.shield(zygote.buried(child))
            raise
        finally:
            self._listening.cancel()
            asyncio.get_running_loop().remove_reader(output)
        return await self._judged(end)

    async def _converse(self, child: Child, order: bytes) -> None:
        """Hear the worker until it answered, ended, or its time is over."""
        heard, limits = self._heard, self._spec.limits
        watch = asyncio.create_task(self._watch(child))
        try:
            async with asyncio.timeout(CONFINE_SECONDS) as deadline:
                try:
                    await asyncio.get_running_loop().sock_sendall(child.channel, order)
                    heard.ready = await _frame(child.channel, len(READY)) == READY
                    heard.began = time.monotonic()
                    deadline.reschedule(asyncio.get_running_loop().time() + limits.wall_seconds)
                    heard.loaded = await _frame(child.channel, MAX_ERROR)
                    heard.answer = await _frame(child.channel, limits.result_bytes + ANSWER_ROOM)
                except (EOFError, OSError):  # how it ended, its end tells; one that closed its channel may live on
                    await asyncio.shield(child.ended)
        except TimeoutError:
            self._end(child, "time" if heard.ready else "confine")
        except OverflowError:
            self._end(child, "result")
        finally:
            watch.cancel()

    def _end(self, child: Child, why: str) -> None:
        self._heard.stopped = self._heard.stopped or why
        child.kill()

    async def _watch(self, child: Child) -> None:
        """The kernel counts a user's threads, and not all that is memory; this counts the run's own."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            weighed = child.weigh()
            if weighed is None:
                child.kill()
                continue
            threads, memory = weighed
            if threads > self._spec.limits.threads + 1:
                self._end(child, "error")
            if memory > self._room:
                self._end(child, "memory")

    def _listen(self, output: int) -> None:
        """Read when there is something, at most once in ``PAUSE_SECONDS``."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.remove_reader(output)
            if self._drain(output):
                self._listening = loop.call_later(PAUSE_SECONDS, self._listen, output)

        loop.add_reader(output, hear)

    def _drain(self, output: int, chunks: int = 1) -> bool:
        """Keep output up to its limit, count the rest, end the run when it floods; whether more may come."""
        heard, limit = self._heard, self._spec.limits.output_bytes
        for _ in range(chunks):
            try:
                part = os.read(output, CHUNK)
            except BlockingIOError:
                return True
            if not part:
                return False
            heard.printed += len(part)
            kept = part[: max(0, limit - len(heard.output))]
            heard.output += kept
            # A character whose bytes have not all come yet waits for them.
            if self._on_output is not None and (text := self._decoder.decode(kept)):
                self._on_output(_visible(text))
            if heard.printed > self._flood_limit() and self._child is not None:
                self._end(self._child, "output")
        return True

    def _flood_limit(self) -> int:
        return max(FLOOD_LEAST, FLOOD_FACTOR * self._spec.limits.output_bytes)

    async def _judged(self, end: End | None) -> RunReport:
        heard = self._heard
        report = await self._verdict(end)
        text = _shown(bytes(heard.output))
        if heard.printed > len(heard.output):
            text += f"\n[cut: {heard.printed} bytes were printed, the limit is {self._spec.limits.output_bytes}]\n"
        return replace(
            report,
            output=text,
            error=printable(without_folders(report.error, _folders())),
            wall_seconds=max(0.0, heard.ended - heard.began) if heard.began else 0.0,
            cpu_seconds=end.cpu if end else 0.0,
            max_rss=end.rss if end else 0,
            started=heard.started,
        )

    async def _verdict(self, end: End | None) -> RunReport:
        heard, limits = self._heard, self._spec.limits
        told = {
            "time": f"The run took longer than its {limits.wall_seconds:g} s.",
            "output": f"The run printed more than {self._flood_limit()} bytes.",
            "result": f"The result is over its limit of {limits.result_bytes} bytes.",
            "memory": f"The run used more than its {limits.memory_bytes >> 20} MiB of memory.",
            "error": f"The run started more than its {limits.threads} threads.",
        }
        if heard.stopped in told:
            return RunReport(ok=False, failure=heard.stopped, error=told[heard.stopped])
        if heard.stopped == "stopped":
            return unavailable("The run was stopped: the node is closing.")
        if not heard.ready:
            return unavailable("The run could not be confined.")
        if heard.answer is not None:
            return await read_answer(heard.answer, limits)
        if end is None:
            return unavailable("The run's process ended, and the run with it.")
        if heard.loaded and not heard.started:
            return unavailable(heard.loaded.decode("utf-8", "replace"))
        return worker_ended(end, limits)


async def _frame(channel: socket.socket, most: int) -> bytes:
    """The next frame.  Raises ``OverflowError`` for one over ``most`` bytes, ``EOFError`` when it does not end."""
    size = int.from_bytes(await _exactly(channel, HEAD), "big")
    if size > most:
        raise OverflowError
    return bytes(await _exactly(channel, size))


async def _exactly(channel: socket.socket, size: int) -> bytearray:
    loop, body = asyncio.get_running_loop(), bytearray()
    while left := size - len(body):
        part = await loop.sock_recv(channel, min(left, CHUNK))
        if not part:
            raise EOFError
        body += part
        if len(part) < left:  # also when more is there already, others have their turn
            await asyncio.sleep(0 if len(part) >= DROP else PAUSE_SECONDS)
    return body


def _pipe() -> tuple[int, int]:
    """The node's end of a run's output, which does not block, and the run's.  Raises ``LocalError``."""
    try:
        output, end = os.pipe()
    except OSError as error:
        raise LocalError(f"The run cannot be started: {error.strerror}.") from error
    os.set_blocking(output, False)
    return output, end


def _hand_over(child: Child, head: bytes, descriptors: list[int]) -> None:
    """Send a worker what its order begins with.  Raises ``LocalError``."""
    try:
        socket.send_fds(child.channel, [head], descriptors)
    except ConnectionError:
        pass  # how it ended, its end tells
    except OSError as error:
        raise LocalError(f"The run cannot be started: {error.strerror}.") from error


def _shown(text: bytes) -> str:
    return _visible(text.decode("utf-8", "replace"))


def _visible(text: str) -> str:
    return printable(without_folders(text, _folders()))


def _folders() -> tuple[str, ...]:
    """Folders that say where on this machine things are."""
    return (os.path.dirname(PACKAGE), sys.prefix, sys.base_prefix, os.path.expanduser("~"))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise StorageError(f"An input of a run cannot be opened: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StorageError("An input of a run is no plain file.")
        os.set_blocking(fd, True)
        yield fd
    finally:
        os.close(fd)
