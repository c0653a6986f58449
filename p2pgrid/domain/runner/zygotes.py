"""A zygote as the node sees it: start it, have it fork a worker for a run, hear how each one ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any, Final

from p2pgrid import wire
from p2pgrid.domain.runner import processes
from p2pgrid.domain.runner.jail import environment
from p2pgrid.domain.runner.order import MAX_ERROR, Setup
from p2pgrid.errors import LocalError

log = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
"""For an interpreter to start and import numpy and pandas on a busy machine."""
BIRTH_SECONDS: Final = 30.0
MAX_WORD: Final = 4096
MAX_NUMBER: Final = 2**32 - 1
CPUCLOCK_SCHED: Final = 2
"""With a process id, the number of that process's clock (Linux, ``MAKE_PROCESS_CPUCLOCK``)."""


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: its exit code (below zero: a signal), processor seconds, bytes at its largest."""

    code: int
    cpu: float
    rss: int


@dataclass(slots=True)
class Child:
    """A worker: the node's end of its channel, and its pidfd.

    ``ended`` is set once, whatever happens; ``None`` when nobody knows how.
    """

    pidfd: int
    channel: socket.socket
    ended: asyncio.Future[End | None] = field(repr=False)

    def kill(self) -> None:
        """End it; it may have ended already, and been let go of."""
        if self.pidfd < 0:
            return
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def weigh(self) -> tuple[int, int] | None:
        """How many threads it has, and bytes of memory that no file stands behind.

        Zeros when that cannot be told; None for one that is ending, or whose first thread has: nobody sees its others.
        """
        try:
            status = _status(self._pid())
            return status["Threads"], status["RssAnon"] << 10
        except KeyError:
            return None
        except (OSError, ValueError):
            return 0, 0

    @property
    def lives(self) -> bool:
        """Whether its process has not ended, also when nobody has heard of that yet."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def used(self) -> tuple[float, int] | None:
        """Processor seconds so far and bytes at its largest, of one that lives; None when that cannot be told."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = self._pid()
            return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED), _status(pid)["VmHWM"] << 10
        return None

    def leave(self) -> None:
        """Kill it and let go of it; its zygote buries it."""
        self.kill()
        self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd = -1

    def _pid(self) -> int:
        """Raises ``ValueError`` for one that is gone, or out of sight."""
        with open(f"/proc/self/fdinfo/{self.pidfd}") as file:
            pid = int(next((line.split()[1] for line in file if line.startswith("Pid:")), "0"))
        if pid <= 0:
            raise ValueError
        return pid


def _status(pid: int) -> dict[str, int]:
    """Numbers of ``/proc/PID/status``."""
    with open(f"/proc/{pid}/status") as file:
        pairs = (line.split(":", 1) for line in file)
        return {name: int(rest.split()[0]) for name, rest in pairs if name in ("Threads", "RssAnon", "VmHWM")}


class Zygote:
    """One process to fork from.  Belongs to one event loop.  ``held``: the layers that it says it has itself.

    Once it has nothing more to import, a worker always waits for the next run: it is born, and confined as far as
    that goes without an order.
    """

    def __init__(self) -> None:
        self.held: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._number = 0
        self._ready: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        self._births: dict[bytes, tuple[socket.socket, asyncio.Future[Child]]] = {}
        self._children: dict[bytes, Child] = {}
        self._loaded = False
        self._spare: Child | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._resting = False

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._socket is not None

    async def start(self, command: list[str], setup: Setup, theirs: socket.socket, ours: socket.socket) -> None:
        """Start ``command``, which finds ``theirs`` as an open descriptor.

        Raises ``LocalError`` with what it said when it did not get ready.
        """
        ours.setblocking(False)
        self._socket = ours
        # Not through a pipe: asyncio would wait for whoever holds its other end.
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            try:
                said = stack.enter_context(tempfile.TemporaryFile())
                with theirs:
                    self._process = await processes.start(
                        *command,
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=said,
                        env=environment(),
                        cwd="/",
                        pass_fds=(theirs.fileno(),),
                    )
            except OSError as error:
                self._lost()
                raise LocalError(f"The run's process cannot be started: {error.strerror}.") from error
            self._loop.add_reader(ours, self._hear)
            try:
                with contextlib.suppress(OSError):  # it ended at once: what it said tells more
                    ours.send(setup.pack())
                async with asyncio.timeout(START_SECONDS):
                    self.held = await self._ready
            except (TimeoutError, LocalError) as error:
                await self.close()
                why = _last_line(said) or "it said nothing"
                raise LocalError(f"The run's process did not get ready: {why}.") from error

    async def worker(self) -> Child:
        """A worker that waits for its order: the one that is there, or a new one.

        Raises ``LocalError`` when there is none to be had.
        """
        spare, self._spare = self._spare, None
        if spare is not None:
            if spare.lives:
                return spare
            spare.leave()
        return await self._fork()

    async def _fork(self) -> Child:
        self._number = self._number % MAX_NUMBER + 1
        number = self._number.to_bytes(4, "big")
        if self._socket is None:
            raise LocalError("The run's process has ended.")
        birth: asyncio.Future[Child] = self._loop.create_future()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise LocalError(f"The run cannot be started: {error.strerror}.") from error
        self._births[number] = (ours, birth)
        try:
            with theirs:
                ours.setblocking(False)
                socket.send_fds(self._socket, [number], [theirs.fileno()])
            async with asyncio.timeout(BIRTH_SECONDS):
                return await asyncio.shield(birth)
        except BaseException as error:
            ours.close()  # a worker whose channel closes before its order came ends by itself
            birth.add_done_callback(_unwanted)
            if isinstance(error, TimeoutError):
                self._lost()
                raise LocalError("The run's process does not answer.") from None
            if isinstance(error, OSError):
                del self._births[number]
                raise LocalError(f"The run's process takes no more: {error.strerror}.") from error
            raise

    async def buried(self, child: Child) -> End | None:
        """How a worker ended that was killed.  A zygote that does not tell is given up."""
        done, _ = await asyncio.wait([child.ended], timeout=BIRTH_SECONDS)
        if not done:
            self._lost()
        return child.ended.result()

    def _prepare(self) -> None:
        """Have a worker wait for the next run."""
        busy = self._preparing is not None and not self._preparing.done()
        if self.alive and self._loaded and not self._resting and self._spare is None and not busy:
            self._preparing = self._loop.create_task(self._make_spare())

    async def _make_spare(self) -> None:
        with contextlib.suppress(LocalError):  # the next run asks again, and is told
            child = await self._fork()
            if self.alive:
                self._spare = child
            else:
                child.leave()

    async def retire(self) -> None:
        """Let its runs end first."""
        self._resting = True
        if self._preparing is not None:
            await asyncio.wait([self._preparing])
        if self._spare is not None:
            self._spare.leave()
        while self._births or self._children:
            births, ends = (birth for _, birth in self._births.values()), (one.ended for one in self._children.values())
            await asyncio.wait([*births, *ends])  # type: ignore[type-var]
        await self.close()

    async def close(self) -> None:
        """End it and whatever it forked; returns when no process is left."""
        self._lost()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(processes.END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await processes.end(self._process)

    def _hear(self) -> None:
        """One word of the zygote."""
        if self._socket is None:
            return
        try:
            raw, descriptors, _, _ = socket.recv_fds(self._socket, MAX_WORD, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            raw, descriptors = b"", []
        if not raw:
            self._lost()
            return
        try:
            self._take(wire.unpack(raw, limit=MAX_WORD), descriptors)
        except Exception:
            # It forgot itself, or this process has no descriptor left for a worker's: no run may depend on it.
            log.exception("a zygote is given up")
            self._lost()

    def _take(self, word: dict[str, Any], descriptors: list[int]) -> None:
        if "ready" in word:
            if not self._ready.done():
                self._ready.set_result(tuple(word["ready"]))
            return
        if "loaded" in word:
            self._loaded = True
            self._prepare()
            return
        number = word["run"]
        if "born" in word:
            channel, birth = self._births[number]
            child = self._children[number] = Child(descriptors[0], channel, self._loop.create_future())
            del self._births[number]
            birth.set_result(child)
        elif "refused" in word:
            _, birth = self._births.pop(number)
            birth.set_exception(LocalError(f"The run cannot be started: {word['refused']}."))
        else:
            child = self._children.pop(number)
            if not child.ended.done():
                child.ended.set_result(End(int(word["ended"]), float(word["cpu"]), int(word["rss"])))
            if child is not self._spare:  # one that dies as it waits is found out by the next run
                self._prepare()

    def _lost(self) -> None:
        """Nothing more comes from it."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        gone = LocalError("The run's process has ended.")
        awaited: list[asyncio.Future[Any]] = [self._ready, *(birth for _, birth in self._births.values())]
        for waiting in awaited:
            if not waiting.done():
                waiting.set_exception(gone)
                waiting.exception()  # heard, also when nobody waits any more
        for child in tuple(self._children.values()):
            child.kill()
            if not child.ended.done():
                child.ended.set_result(None)
        if self._spare is not None:
            self._spare.leave()
            self._spare = None
        self._births.clear()
        self._children.clear()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read(MAX_ERROR).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _unwanted(birth: asyncio.Future[Child]) -> None:
    """A worker that was born after its run had been given up."""
    if not birth.cancelled() and birth.exception() is None:
        birth.result().leave()
