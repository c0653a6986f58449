"""All processes that descend from the warden: what they weigh together, and their end.

The kernel's own limits count one process at a time (setrlimit(2)), and there is no cgroup for an ordinary user;
so the warden adds them up from ``/proc`` (proc(5), ``task/<tid>/children``).  Where that is absent the sums are 0.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Final

MAX_FAMILY: Final = 8192
SWEEP_SECONDS: Final = 2.0


class Family:
    """The descendants of this process, ``besides`` excepted."""

    def __init__(self, *, besides: int) -> None:
        self._besides = besides
        self._page = resource.getpagesize()
        self._ticks = os.sysconf("SC_CLK_TCK")

    def __iter__(self) -> Iterator[int]:
        """Process ids, parents before children."""
        waiting, seen = [os.getpid()], 0
        while waiting and seen < MAX_FAMILY:
            found = [pid for pid in _children(waiting.pop()) if pid != self._besides]
            seen += len(found)
            waiting += found
            yield from found

    def weigh(self) -> tuple[int, float, int]:
        """Bytes of memory (what each holds alone, and the largest share in common), processor seconds, threads."""
        shared, alone, cpu, tasks = 0, 0, 0.0, 0
        for pid in self:
            resident, common = self._resident(pid)
            shared, alone = max(shared, common), alone + resident - common
            seconds, threads = self._used(pid)
            cpu, tasks = cpu + seconds, tasks + threads
        return shared + alone, cpu, tasks

    def memory(self, pid: int) -> int:
        """Resident bytes of one process."""
        return self._resident(pid)[0]

    def sweep(self) -> float:
        """Kill and reap whatever is left; the processor seconds that those had used."""
        end, cpu = time.monotonic() + SWEEP_SECONDS, 0.0
        while (left := list(self)) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    used = os.wait4(pid, os.WNOHANG)[2]
                    cpu += used.ru_utime + used.ru_stime
            time.sleep(0.001)
        return cpu

    def _resident(self, pid: int) -> tuple[int, int]:
        words = _read(f"/proc/{pid}/statm").split()
        return (int(words[1]) * self._page, int(words[2]) * self._page) if len(words) > 2 else (0, 0)

    def _used(self, pid: int) -> tuple[float, int]:
        """Processor seconds with those of reaped children, and threads: fields 14-17 and 20 of ``stat``."""
        words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return (sum(map(int, words[11:15])) / self._ticks, int(words[17])) if len(words) > 17 else (0.0, 0)


def kill(pid: int, family: Family) -> None:
    """End the run: the first process of a PID namespace takes all others with it; elsewhere each one in turn."""
    for member in (pid, *family):
        with contextlib.suppress(OSError):
            os.kill(member, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for task in tasks for child in _read(f"/proc/{pid}/task/{task}/children").split()]


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
