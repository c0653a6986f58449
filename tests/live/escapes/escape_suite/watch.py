"""The processes that descend from the driver: how many there are, what they hold, and their end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from dataclasses import dataclass
from typing import Final

TICK: Final = 0.025
PAGE: Final = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Process:
    """One line of ``/proc/PID/stat`` (proc(5))."""

    pid: int
    parent: int
    state: str
    threads: int


def descendants(apart: set[int]) -> list[Process]:
    """All processes below this one but those ``apart``; a zombie is none."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat") as file:
                words = file.read().rpartition(")")[2].split()
                found[int(name)] = Process(int(name), int(words[1]), words[0], int(words[17]))
    ours, below = {os.getpid()}, True
    while below:
        below = {pid for pid, one in found.items() if one.parent in ours} - ours
        ours |= below
    return [found[pid] for pid in ours - apart - {os.getpid()} if found[pid].state not in "ZX"]


def kill(processes: list[Process]) -> None:
    """End them, and reap what is ours to reap."""
    for one in processes:
        with contextlib.suppress(OSError):
            os.kill(one.pid, signal.SIGKILL)
    for one in processes:
        with contextlib.suppress(OSError):
            os.waitpid(one.pid, os.WNOHANG)


def reap(apart: set[int]) -> None:
    """Orphans come to the driver as it is the reaper of its descendants; take away those that ended."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in apart:
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat") as file:
                words = file.read().rpartition(")")[2].split()
                if int(words[1]) == os.getpid() and words[0] == "Z":
                    os.waitpid(int(name), os.WNOHANG)


def shared_memory() -> int:
    """Bytes in memfds, tmpfs files and shared mappings of the whole machine."""
    with open("/proc/meminfo") as file:
        line = next(line for line in file if line.startswith("Shmem:"))
    return int(line.split()[1]) * 1024


def own_memory() -> int:
    """Bytes that the driver itself holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def descriptors() -> int:
    """How many the driver has open."""
    return len(os.listdir("/proc/self/fd"))


class Sampler:
    """Looks at the driver and its descendants every 25 ms; the peaks, over what there was at the start."""

    def __init__(self, apart: set[int]) -> None:
        self._apart, self._stop = apart, threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self.memory = self.tasks = self.shared = self.own = 0
        self.looking = 0.0
        """Seconds of processor time that the looking took."""
        self.raised = False

    def __enter__(self) -> Sampler:
        self._from = self._look()
        self._shared_from, self._own_from = shared_memory(), own_memory()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _go(self) -> None:
        while not self._stop.wait(TICK):
            memory, tasks = self._look()
            self.memory = max(self.memory, memory - self._from[0])
            self.tasks = max(self.tasks, tasks - self._from[1])
            self.shared = max(self.shared, shared_memory() - self._shared_from)
            self.own = max(self.own, own_memory() - self._own_from)
            self.looking = time.thread_time()

    def _look(self) -> tuple[int, int]:
        """Bytes that each holds alone and the largest share in common; threads."""
        alone = common = tasks = 0
        for one in descendants(self._apart):
            tasks += one.threads
            with contextlib.suppress(OSError, IndexError, ValueError):
                with open(f"/proc/{one.pid}/statm") as file:
                    words = file.read().split()
                alone += (int(words[1]) - int(words[2])) * PAGE
                common = max(common, int(words[2]) * PAGE)
                with open(f"/proc/{one.pid}/status") as file:
                    users = next(line for line in file if line.startswith("Uid:")).split()
                self.raised |= users[1] != users[2]
        return alone + common, tasks


def settled(baseline: int, apart: set[int], seconds: float) -> int:
    """How many processes there are over ``baseline``, once that is none or ``seconds`` have passed."""
    end = time.monotonic() + seconds
    while True:
        reap(apart)
        over = len(descendants(apart)) - baseline
        if over <= 0 or time.monotonic() >= end:
            return max(0, over)
        time.sleep(0.02)
