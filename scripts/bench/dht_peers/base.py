"""What every measured system offers, and how one process is measured: memory, traffic, silent deaths."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import random
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

VALUE_BYTES: Final = 150
BATCH: Final = 10
"""Nodes that start at the same time, each through one random node of the batches before."""
PATIENCE: Final = 30.0
"""Seconds after which a lookup is given up by the bench."""

CLONE_NEWNET: Final = 0x40000000
CLONE_NEWUSER: Final = 0x10000000
SIOCSIFFLAGS: Final = 0x8914
IFF_UP_RUNNING: Final = 0x41


@dataclass(frozen=True, slots=True)
class Got:
    """One lookup, in seconds from its begin; ``first`` is None when nothing was found."""

    first: float | None
    complete: float


class System(Protocol):
    """``count`` nodes of one implementation in this process, on loopback."""

    nodes: list[object]
    whole: bool
    """Whether a lookup can go on to a complete result after the first."""

    async def start(self, count: int) -> None:
        """Start all, in batches; returns when all are up."""

    async def put(self, node: int, key: int) -> bool:
        """Announce or set one key; whether anybody took it."""

    async def get(self, node: int, key: int, whole: bool) -> Got:
        """Look one key up; ``whole`` goes on after the first result."""

    async def kill(self, nodes: Iterable[int]) -> None:
        """They are gone without a word."""


class Inspected(Protocol):
    """What only Python systems tell as well."""

    def requests(self) -> float:
        """Requests that were answered or at least sent so far, all nodes together."""

    def id_of(self, node: int) -> bytes:
        """The 20 bytes of its id."""

    async def nearest(self, node: int, target: bytes) -> list[bytes]:
        """Ids of the nodes that a lookup finds nearest to a point."""

    async def ping(self, node: int, other: int) -> bool:
        """One request and its answer, between nodes that know each other."""

    k: int


Opener = Callable[[], System]


def batches(count: int, chance: random.Random) -> Iterable[list[tuple[int, int | None]]]:
    """Node numbers that start together, each with the number of its bootstrap node."""
    yield [(0, None)]
    for begin in range(1, count, BATCH):
        yield [(number, chance.randrange(begin)) for number in range(begin, min(begin + BATCH, count))]


def resident_kib() -> float:
    """Resident memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def isolate() -> bool:
    """Give this process a loopback interface of its own, so that the kernel counts its packets alone.

    Must come before any thread.  False where the system does not allow it; traffic is not counted then.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP_RUNNING, b""))
    except (OSError, AttributeError):
        return False
    return True


def traffic() -> tuple[int, int]:
    """Bytes (with IP and UDP headers) and packets that crossed this process's own loopback interface."""
    for line in Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            fields = [int(number) for number in numbers.split()]
            return fields[8], fields[9]
    return 0, 0


def silence(endpoints: Iterable[tuple[str, int]]) -> None:
    """Close the UDP sockets bound to these addresses, under the feet of whoever uses them.

    A local socket that nobody writes to takes each one's descriptor: the port is free at once, nothing is sent any
    more and nothing arrives.  For libraries that have no way to die silently.
    """
    wanted = {f"{_hex(ip)}:{port:04X}" for ip, port in endpoints}
    inodes = set()
    for line in Path("/proc/self/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] in wanted:
            inodes.add(f"socket:[{fields[9]}]")
    nothing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") in inodes:
                os.dup2(nothing.fileno(), int(name))
        except FileNotFoundError:
            continue
    nothing.close()


def _hex(ip: str) -> str:
    return f"{int.from_bytes(socket.inet_aton(ip), 'little'):08X}"
