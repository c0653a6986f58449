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
from typing import IO, Final

from p2pgrid.domain.runner.answer import read_answer, worker_ended
from p2pgrid.domain.runner.jail import PACKAGE
from p2pgrid.domain.runner.order import ANSWER_ROOM, HEAD, LOADED, MAX_ERROR, MAX_ORDER, PARSING_ROOM, READY, order_of
from p2pgrid.domain.runner.spec import RunReport, RunSpec, unavailable
from p2pgrid.domain.runner.text import printable, without_folders
from p2pgrid.domain.runner.zygotes import Child, End, Zygote
from p2pgrid.errors import StorageError, TooLarge

CONFINE_SECONDS: Final = 30.0
"""For a worker to confine itself on a busy machine; its own time begins afterwards."""
LAST_OUTPUT_SECONDS: Final = 1.0
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
        self._heard = _Heard()
        self._child: Child | None = None
        self._closing = False
        self._room = 0

    def stop(self, why: str = "stopped") -> None:
        """Kill the worker."""
        self._closing = True
        self._heard.stopped = self._heard.stopped or why
        if self._child is not None:
            self._child.kill()

    async def go(self, zygote: Zygote) -> RunReport:
        """The report.  Raises ``StorageError`` for an input that cannot be opened, ``LocalError`` without a worker."""
        with contextlib.ExitStack() as stack:
            inputs = [stack.enter_context(_opened(given.path)) for given in self._spec.inputs.values()]
            size = sum(os.fstat(fd).st_size for fd in inputs)
            self._room = BASE_ROOM + PARSING_ROOM * size + self._spec.limits.memory_bytes
            order = order_of(self._spec, size).pack()
            if len(order) > MAX_ORDER:
                raise TooLarge(f"The run's order is over {MAX_ORDER} bytes.")
            ours, theirs = socket.socketpair()
            output, output_end = os.pipe()
            try:
                with theirs:
                    child = self._child = await zygote.fork([theirs.fileno(), output_end, *inputs])
            except BaseException:
                ours.close()
                os.close(output)
                raise
            finally:
                os.close(output_end)
        return await self._attended(child, order, ours, output)

    async def _attended(self, child: Child, order: bytes, channel: socket.socket, output: int) -> RunReport:
        """See the worker through to its end, and nothing of it is left."""
        pipe = os.fdopen(output, "rb", buffering=0)
        ours: dict[str, Callable[[], None]] = {"channel": channel.close, "pipe": pipe.close}
        with contextlib.ExitStack() as open_ends:
            try:
                reader, writer = await asyncio.open_connection(sock=channel)
                open_ends.callback(writer.close)
                del ours["channel"]  # its transport's now: uvloop closes the descriptor itself, and later
                printed, transport = await _piped(pipe)
                open_ends.callback(transport.close)
                del ours["pipe"]
                drain = asyncio.create_task(self._drain(printed))
                open_ends.callback(drain.cancel)
                if self._closing:
                    child.kill()
                writer.write(order)
                await self._converse(reader, child)
                end = await child.ended
                self._heard.ended = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(drain), LAST_OUTPUT_SECONDS)
            finally:
                self._child = None
                child.kill()
                for close in ours.values():
                    close()
                await asyncio.shield(_buried(child))
        return await self._judged(end)

    async def _converse(self, reader: asyncio.StreamReader, child: Child) -> None:
        """Hear the worker until it answered, ended, or its time is over."""
        heard, limits = self._heard, self._spec.limits
        watch = asyncio.create_task(self._watch(child))
        try:
            async with asyncio.timeout(CONFINE_SECONDS) as deadline:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # how it ended, its end tells
                    heard.ready = await _frame(reader, len(READY)) == READY
                    heard.began = time.monotonic()
                    deadline.reschedule(asyncio.get_running_loop().time() + limits.wall_seconds)
                    heard.loaded = await _frame(reader, MAX_ERROR)
                    heard.answer = await _frame(reader, limits.result_bytes + ANSWER_ROOM)
                await asyncio.shield(child.ended)  # also of one that closed its channel and lives on
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
            threads, memory = child.weigh()
            if threads > self._spec.limits.threads + 1:
                self._end(child, "error")
            if memory > self._room:
                self._end(child, "memory")

    async def _drain(self, printed: asyncio.StreamReader) -> None:
        """Keep output up to its limit, count the rest, end the run when it floods."""
        heard, limit = self._heard, self._spec.limits.output_bytes
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while part := await printed.read(CHUNK):
            heard.printed += len(part)
            kept = part[: max(0, limit - len(heard.output))]
            heard.output += kept
            # A character whose bytes have not all come yet waits for them.
            if self._on_output is not None and (text := decoder.decode(kept)):
                self._on_output(_visible(text))
            if heard.printed > self._flood_limit() and self._child is not None:
                self._end(self._child, "output")

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
        if end is None:
            return unavailable("The run's process ended, and the run with it.")
        if heard.loaded and not heard.started:
            return unavailable(heard.loaded.decode("utf-8", "replace"))
        if end.code or heard.answer is None:
            return worker_ended(end, limits)
        return await read_answer(heard.answer, limits)


async def _buried(child: Child) -> None:
    """Until the zygote has told of its end."""
    await asyncio.wait([child.ended])
    child.close()


async def _frame(reader: asyncio.StreamReader, most: int) -> bytes:
    """The next frame.  Raises ``OverflowError`` for one over ``most`` bytes."""
    size = int.from_bytes(await reader.readexactly(HEAD), "big")
    if size > most:
        raise OverflowError
    return await reader.readexactly(size)


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


async def _piped(end: IO[bytes]) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader(limit=CHUNK)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end)
    return reader, transport
