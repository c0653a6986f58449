"""What a process does to itself before it touches anything of a stranger's: identity, descriptors, limits, filter.

Sources: prctl(2), capset(2), setrlimit(2), seccomp(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from typing import Final

LINUX: Final = sys.platform.startswith("linux")

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SECCOMP_MODE_FILTER: Final = 2
CAPABILITY_VERSION_3: Final = 0x20080522
LAST_CAPABILITY: Final = 63
INSTRUCTION: Final = 8
"""Bytes of one step of a filter (``struct sock_filter``)."""

LIBRARY_ROOM: Final = 512 << 20
"""Address space for the code of libraries that a function imports; it is mapped, hardly ever resident."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int, more: object = 0) -> bool:
    return LINUX and _libc().prctl(option, ctypes.c_ulong(value), more, 0, 0) == 0


def die_with_parent() -> bool:
    """Be killed when the parent dies.  Cleared by every change of user, so call it after one."""
    return _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def close_memory() -> bool:
    """Keep other processes of the same user from reading or tracing this one."""
    return _prctl(PR_SET_DUMPABLE, 0)


def no_new_privileges() -> bool:
    """No set-uid program gives more than the process has."""
    return _prctl(PR_SET_NO_NEW_PRIVS, 1)


def become(user: int, readable: Iterable[str]) -> bool:
    """For root: turn into ``user`` for good, unless it could not read ``readable``."""
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    if not all(os.access(place, os.R_OK, effective_ids=True) for place in readable):
        os.seteuid(0)
        os.setegid(0)
        return False
    os.seteuid(0)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    return True


def drop_capabilities() -> None:
    """Give up every capability, also those that a program could bring back.  Raises ``OSError``."""
    for capability in range(LAST_CAPABILITY + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc().capset(ctypes.byref(header), ctypes.byref(nothing)):
        raise OSError(ctypes.get_errno(), "capset")


def only_descriptors(keep: Iterable[int]) -> None:
    """Close everything but ``keep`` and the three standard ones."""
    previous = 2
    for fd in sorted(keep):
        os.closerange(previous + 1, fd)
        previous = fd
    os.closerange(previous + 1, os.sysconf("SC_OPEN_MAX"))


def limit_basics(cpu_seconds: int, open_files: int, tasks: int | None) -> None:
    """CPU, descriptors, tasks (of the whole user); no file content, no core, nothing locked, queued or hastened."""
    for which, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, tasks),
    ):
        if value is not None:
            _lower(which, value)
    for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO"):
        if hasattr(resource, name):
            _lower(getattr(resource, name), 0)


def limit_memory(now: tuple[int, int], beyond: int) -> None:
    """At most ``beyond`` bytes more than ``now``, as ``Statm.read`` tells it.  May be called again, to tighten."""
    space, data = now
    if space:
        _lower(resource.RLIMIT_AS, space + beyond + LIBRARY_ROOM)
        _lower(resource.RLIMIT_DATA, data + beyond)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


class Statm:
    """This process's own ``/proc/self/statm``, opened before Landlock closes the way there."""

    def __init__(self) -> None:
        self._file = open("/proc/self/statm", "rb", buffering=0) if LINUX else None  # noqa: SIM115 - closed below

    @property
    def fd(self) -> tuple[int, ...]:
        """Its descriptor, if there is one."""
        return (self._file.fileno(),) if self._file else ()

    def read(self) -> tuple[int, int]:
        """Address space and private writable memory, in bytes; zeros where the system does not tell."""
        if self._file is None:
            return 0, 0
        self._file.seek(0)
        pages = self._file.read().split()
        return int(pages[0]) * resource.getpagesize(), int(pages[5]) * resource.getpagesize()

    def close(self) -> None:
        """Leave no way to it."""
        if self._file is not None:
            self._file.close()


def tasks_of_user(user: int) -> int:
    """How many threads ``user`` has now: the kernel's limit counts them all, not only the run's."""
    total = 0
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    total += len(os.listdir(f"/proc/{name}/task"))
    return total


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def filter_calls(steps: bytes) -> None:
    """Live under a system call filter from now on; needs no-new-privileges.  Raises ``OSError``."""
    program = _Program(len(steps) // INSTRUCTION, steps)
    if not _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
