"""The process between node and run: it prepares, forks the run, watches it, and reads its answer with suspicion.

Started as a fresh interpreter, it holds no secret.  It runs nothing of a stranger's; where the kernel has
namespaces, or the node is root, the run can neither signal nor trace it.  Its standard input is its lifeline: the
order comes through it, and when it closes (the node stopped the run, or died) everything ends.  It does not ask the
kernel to be killed with its parent: it has to live a moment longer, to end the run's processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import Final

from p2pgrid import wire
from p2pgrid.domain.runner import confine
from p2pgrid.domain.runner.check import Checker
from p2pgrid.domain.runner.family import Family, kill
from p2pgrid.domain.runner.order import REPORT_ROOM, Order, pack_report, read_order
from p2pgrid.domain.runner.spec import MEASURES, RunReport
from p2pgrid.domain.runner.worker import LOADED, MAX_ERROR, PARSING_ROOM, work
from p2pgrid.errors import P2PError

TICK_SECONDS: Final = 0.025
"""How often the run's whole family is weighed."""

LIFELINE: Final = 0


def main(report: int) -> None:
    """One order from the lifeline, one report to the descriptor ``report``."""
    folder = os.getcwd()
    try:
        order = read_order(_exactly(int.from_bytes(_exactly(4), "big")), _needed())
        left = memoryview(pack_report(_guard(order)))
        while left:
            left = left[os.write(report, left) :]
    except (EOFError, BrokenPipeError):
        pass  # the node died, or wants no answer any more
    finally:
        with contextlib.suppress(OSError):  # the node clears up as well, unless it died
            os.rmdir(folder)


def _needed() -> tuple[str, ...]:
    """The folders of interpreter, libraries and this package: of a checkout not what lies beside the package."""
    package = os.path.dirname(os.path.abspath(wire.__file__))
    root = os.path.dirname(package)
    library = os.path.basename(root) in ("site-packages", "dist-packages")
    places = dict.fromkeys((*sys.path, sys.prefix, sys.base_prefix))
    found = [
        package if os.path.realpath(place) == os.path.realpath(root) and not library else place for place in places
    ]
    return tuple(place for place in dict.fromkeys(found) if os.path.isdir(place))


def _exactly(size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(LIFELINE, size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _guard(order: Order) -> RunReport:
    """Measures that processes inherit, heavy imports, the checker, the run; then watch."""
    user = confine.spare_user(order.needed)
    held = {"process"}
    # One thread until here: the kernel gives a user namespace to no other process.
    if user is None and confine.own_user_namespace():
        held.add("user-namespace")
    held |= confine.own_network()
    _import_heavy(order)
    confine.adopt_orphans()
    confine.close_memory()
    checker = Checker(user)
    try:
        return _Watch(order, *_start(order, held, user), checker).report()
    finally:
        checker.close()


def _start(order: Order, held: set[str], user: int | None) -> tuple[int, int, int, tuple[str, ...] | None]:
    """The run's process id, the pipes of its inputs' fate and of its answer, and the measures that it says hold.

    The last, before it runs anything.
    """
    held |= confine.own_processes()
    ready_in, ready_out = os.pipe()
    loaded_in, loaded_out = os.pipe()
    answer_in, answer_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(order, ready_out, loaded_out, answer_out, held, user)
    for fd in (ready_out, loaded_out, answer_out, *(fd for _, _, fd in order.inputs)):
        os.close(fd)
    with os.fdopen(ready_in, "rb") as pipe:
        word = pipe.read(4096)
    return pid, loaded_in, answer_in, _measures(word)


def _import_heavy(order: Order) -> None:
    """What nearly every run needs, before its limits count."""
    import numpy  # noqa: F401

    if any(kind == "frame" for _, kind, _ in order.inputs) or re.search(r"\bpandas\b", order.code):
        with contextlib.suppress(P2PError):
            wire.arrow()


def _measures(word: bytes) -> tuple[str, ...] | None:
    try:
        held = wire.unpack(word, limit=4096)
    except P2PError:
        return None
    return tuple(name for name in MEASURES if name in held)


@dataclass(slots=True)
class _Ended:
    """How the process ended."""

    status: int
    cpu: float
    rss: int


class _Watch:
    """Waits for one run to end by itself or at a limit."""

    def __init__(
        self, order: Order, pid: int, loaded: int, answer: int, held: tuple[str, ...] | None, checker: Checker
    ) -> None:
        self.order, self.pid, self.loaded, self.answer, self.held = order, pid, loaded, answer, held
        self.limits, self.checker = order.limits, checker
        self.family = Family(besides=checker.pid)
        self.room = self.family.memory(pid) + PARSING_ROOM * order.input_bytes + self.limits.memory_bytes
        self.came = bytearray()
        self.stopped = ""
        self.start = time.monotonic()

    def report(self) -> RunReport:
        ended = self._wait()
        wall = time.monotonic() - self.start
        missing = sorted(set(self.order.require) - set(self.held or ()))
        word = self._inputs_word()
        if self.held is None:
            report = _failed("unavailable", "The run could not be confined.")
        elif missing:
            report = _failed("unavailable", f"This machine does not give: {', '.join(missing)}.")
        elif word and word != LOADED:
            report = _failed("unavailable", word.decode("utf-8", "replace"))
        else:
            report = self._verdict(ended)
        return replace(
            report,
            wall_seconds=wall,
            cpu_seconds=ended.cpu,
            max_rss=ended.rss,
            started=word == LOADED,
            confinement=self.held or ("process",),
        )

    def _inputs_word(self) -> bytes:
        """What the run's process wrote of its inputs before it ended or began the code."""
        os.set_blocking(self.loaded, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(self.loaded, MAX_ERROR)
        return b""

    def _wait(self) -> _Ended:
        """Until the process has ended and nothing of it is left."""
        poll = select.poll()
        poll.register(LIFELINE, select.POLLIN)
        poll.register(self.answer, select.POLLIN)
        next_tick = self.start + TICK_SECONDS
        while True:
            for fd, _ in poll.poll(max(0.0, next_tick - time.monotonic()) * 1000):
                self._hear(fd, poll)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_SECONDS
                self._weigh()
            if self.stopped:
                kill(self.pid, self.family)
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._drain()
                others = self.family.sweep()
                cpu = used.ru_utime + used.ru_stime + others
                unit = 1 if sys.platform == "darwin" else 1024
                return _Ended(status, cpu, used.ru_maxrss * unit)

    def _hear(self, fd: int, poll: select.poll) -> None:
        if fd == LIFELINE:
            self.stopped = self.stopped or "stopped"
            poll.unregister(fd)
        elif part := os.read(fd, 1 << 20):
            self._take(part)
        else:
            poll.unregister(fd)

    def _take(self, part: bytes) -> None:
        if len(self.came) + len(part) > self.limits.result_bytes + REPORT_ROOM // 2:
            self.stopped = self.stopped or "result"
        else:
            self.came += part

    def _drain(self) -> None:
        """What is left in the pipe; never waits, since a process that got away may hold the other end."""
        os.set_blocking(self.answer, False)
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.answer, 1 << 20):
                self._take(part)

    def _weigh(self) -> None:
        """The kernel limits each process; here the whole family is held to the same limits."""
        limits = self.limits
        if time.monotonic() - self.start > limits.wall_seconds:
            self.stopped = self.stopped or "time"
        memory, cpu, tasks = self.family.weigh()
        if tasks > limits.threads + 1:
            self.stopped = self.stopped or "error"
        if memory > self.room:
            self.stopped = self.stopped or "memory"
        if cpu > limits.cpu_seconds:
            self.stopped = self.stopped or "cpu"

    def _verdict(self, ended: _Ended) -> RunReport:
        limits = self.limits
        told = {
            "time": f"The run took longer than its {limits.wall_seconds:g} s.",
            "cpu": f"The run used more than its {limits.cpu_seconds} s of processor time.",
            "memory": f"The run used more than its {limits.memory_bytes >> 20} MiB of memory.",
            "result": f"The result is over its limit of {limits.result_bytes} bytes.",
            "error": f"The run started more than its {limits.threads} threads and processes.",
        }
        if self.stopped == "stopped":
            return _failed("unavailable", "The run was stopped from outside.")
        if self.stopped:
            return _failed(self.stopped, told[self.stopped])
        code = os.waitstatus_to_exitcode(ended.status)
        if code in (-signal.SIGXCPU, -signal.SIGKILL) and ended.cpu >= limits.cpu_seconds - 0.2:
            return _failed("cpu", told["cpu"])
        if code < 0:
            return _failed("crash", f"The run was ended by signal {-code} ({signal.strsignal(-code)}).")
        if code or not self.came:
            return _failed("crash", f"The run ended without a result (exit code {code}).")
        return self._read(told)

    def _read(self, told: dict[str, str]) -> RunReport:
        """The answer: a stranger's bytes."""
        limits = self.limits
        try:
            raw = wire.unpack(bytes(self.came), limit=limits.result_bytes + REPORT_ROOM)
            failure, error, result = str(raw["failure"]), str(raw["error"])[:8000], raw["result"]
        except (P2PError, KeyError, TypeError):
            return _failed("result", "What the run answered is no result.")
        if failure == "unavailable":  # that is the node's to say; here the code says it
            failure = "error"
        if failure in ("error", "value", "result", "memory"):
            return _failed(failure, error or told.get(failure, ""))
        if failure or not isinstance(result, bytes):
            return _failed("result", "What the run answered is no result.")
        if len(result) > limits.result_bytes:
            return _failed("result", told["result"])
        shape = self.checker.shape(result)
        if shape is None:
            return _failed("result", "What the run answered is no value.")
        return RunReport(ok=True, result=result, result_shape=shape)


def _failed(failure: str, error: str) -> RunReport:
    return RunReport(ok=False, failure=failure, error=error)
