"""The measures themselves: kernel calls that a run makes on itself before it touches anything of a stranger's.

Linux only, through ctypes; on another system, or where the kernel says no, a measure is reported as not held.
Each function returns whether its measure holds and never raises for the kernel's refusal.
Sources: unshare(2), mount_setattr(2), capset(2), prctl(2), user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

LINUX: Final = sys.platform.startswith("linux")

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 1 << 14, 1 << 18
SYS_MOUNT_SETATTR: Final = 442  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1

CAPABILITY_VERSION_3: Final = 0x20080522
LAST_CAPABILITY: Final = 63

FIRST_SPARE_USER, SPARE_USERS = 61184, 4336
"""The range that systemd's DynamicUser= takes for users that own nothing."""

ALWAYS_HIDDEN: Final = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - where other programs keep their sockets

PRIVATE: Final = ("/root", "/home", "/srv", "/mnt", "/media")
"""Where people keep what is theirs."""
SYSTEM: Final = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
"""No run works without these; a service's home folder that holds one of them, or lies in one, is not covered."""

LIBRARY_ROOM: Final = 512 << 20
"""Address space for the code of libraries that a function imports; it is mapped, hardly ever resident."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> bool:
    return LINUX and _libc().prctl(option, value, 0, 0, 0) == 0


def die_with_parent() -> bool:
    """Be killed when the parent dies.  Cleared by every change of user, so call it after one."""
    return _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> bool:
    """Become the parent of descendants whose own parent ended, so that none of them gets away."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def close_memory() -> bool:
    """Keep other processes of the same user from reading or tracing this one."""
    return _prctl(PR_SET_DUMPABLE, 0)


def no_new_privileges() -> bool:
    """No set-uid program gives more than the run has."""
    return _prctl(PR_SET_NO_NEW_PRIVS, 1)


def own_user_namespace() -> bool:
    """As an ordinary user: be root over nothing but new namespaces.  The process must have one thread."""
    user, group = os.getuid(), os.getgid()
    if not LINUX or _libc().unshare(CLONE_NEWUSER) != 0:
        return False
    with contextlib.suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    return True


def own_network() -> set[str]:
    """A network without anything on it, and no System V memory or message queues of others."""
    libc = _libc() if LINUX else None
    if libc is None:
        return set()
    libc.unshare(CLONE_NEWIPC | CLONE_NEWUTS)
    return {"no-network"} if libc.unshare(CLONE_NEWNET) == 0 else set()


def own_processes() -> set[str]:
    """Whoever is forked next is the first of its own processes.  The caller can start no thread afterwards."""
    return {"own-processes"} if LINUX and _libc().unshare(CLONE_NEWPID) == 0 else set()


def own_files(hide: Sequence[str], private: Sequence[str], needed: Sequence[str]) -> set[str]:
    """See every file system read-only; ``hide``, ``private`` and the usual places of sockets as empty.

    ``needed``: folders of the program; they stay visible, also within a place that is covered, except in ``hide``.
    The file systems are this process's own view afterwards; nothing changes for anybody else.
    """
    libc, held = _libc() if LINUX else None, set[str]()
    if libc is None or libc.unshare(CLONE_NEWNS) != 0:
        return held
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return held
    libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    here, kept = os.getcwd(), _outermost(needed)
    links = {path: os.path.realpath(path) for path in needed}
    os.umask(0o022)  # the way to what stays visible must be open to the run's user
    usual = _outermost(place for place in (*ALWAYS_HIDDEN, *private) if os.path.isdir(place))
    covered = [_cover(libc, place, kept) for place in usual]
    _link_again(links)
    covered += [_cover(libc, place, ()) for place in hide if os.path.isdir(place)]
    if all(covered):
        held.add("hidden")
    with contextlib.suppress(OSError):  # the working folder may lie under one that is covered now
        os.makedirs(here, exist_ok=True)
        os.chdir(here)
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    if libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), 32) == 0:
        held.add("read-only")
    return held


def _cover(libc: ctypes.CDLL, place: str, kept: Iterable[str]) -> bool:
    """Lay an empty folder over ``place``; what of ``kept`` lies in it is seen through it."""
    inside = [path for path in kept if holds(place, [path])]
    if place in inside:
        return False  # the program is the place: covering it would hide nothing else
    ends = [os.open(path, os.O_PATH) for path in inside]
    try:
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        if libc.mount(b"none", os.fsencode(place), b"tmpfs", flags, b"size=64k,mode=755") != 0:
            return False
        for path, end in zip(inside, ends, strict=True):
            os.makedirs(path, exist_ok=True)
            if libc.mount(f"/proc/self/fd/{end}".encode(), os.fsencode(path), None, MS_BIND | MS_REC, None) != 0:
                return False
    finally:
        for end in ends:
            os.close(end)
    return True


def _link_again(links: Mapping[str, str]) -> None:
    """Make the symbolic links anew by which the program reaches its folders, where they were covered."""
    for path, real in sorted(links.items()):
        if not os.path.isdir(path):
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink(real, path)


def private_places(*homes: str) -> tuple[str, ...]:
    """``PRIVATE`` and those of ``homes`` that can be covered; which of them exist is seen when they are."""
    found = [os.path.realpath(home) for home in homes if os.path.isabs(home)]
    fit = [home for home in found if not holds(home, SYSTEM) and not any(holds(place, [home]) for place in SYSTEM)]
    return tuple(dict.fromkeys((*PRIVATE, *fit)))


def _outermost(places: Iterable[str]) -> list[str]:
    """The real paths of ``places``, without those that lie in another one."""
    found: list[str] = []
    for path in sorted({os.path.realpath(place) for place in places}):
        if not any(holds(one, [path]) for one in found):
            found.append(path)
    return found


def holds(folder: str, places: Iterable[str]) -> bool:
    """Whether any of ``places`` is ``folder`` or lies in it."""
    top = os.path.realpath(folder)
    return any(os.path.commonpath([top, os.path.realpath(place)]) == top for place in places)


def spare_user(needed: Iterable[str]) -> int | None:
    """For root: a user id that owns nothing and can still read ``needed``; ``None`` when there is none."""
    if os.geteuid() != 0:
        return None
    user = FIRST_SPARE_USER + os.getpid() % SPARE_USERS
    groups = os.getgroups()
    try:
        os.setgroups([])
        os.setegid(user)
        os.seteuid(user)
    except OSError:
        return None
    try:
        readable = all(os.access(place, os.R_OK | os.X_OK, effective_ids=True) for place in needed)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    return user if readable else None


def become(user: int | None) -> bool:
    """Turn into ``user`` for good, if one was found."""
    if user is None:
        return False
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    return True


def drop_capabilities() -> bool:
    """Give up every capability, also those that a program could bring back."""
    if not LINUX:
        return False
    for capability in range(LAST_CAPABILITY + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    return int(_libc().capset(ctypes.byref(header), ctypes.byref(nothing))) == 0


def only_descriptors(keep: set[int], *, quiet: bool = False) -> None:
    """Close everything but ``keep`` and the three standard ones; input is empty, and ``quiet`` output goes nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2) if quiet else (0,):
        os.dup2(nothing, standard)
    previous = 2
    for fd in sorted(keep):
        os.closerange(previous + 1, fd)
        previous = fd
    os.closerange(previous + 1, os.sysconf("SC_OPEN_MAX"))


def limit_basics(cpu_seconds: int, open_files: int, tasks: int) -> None:
    """CPU, descriptors, tasks; no file content, no core."""
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_NOFILE, open_files)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NPROC, tasks)


def limit_memory(beyond: int) -> None:
    """At most ``beyond`` bytes more than now.  May be called again, to tighten."""
    space, data = memory_now()
    if not space:
        return  # macOS neither tells nor limits it
    _lower(resource.RLIMIT_AS, space + beyond + LIBRARY_ROOM)
    _lower(resource.RLIMIT_DATA, data + beyond)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def memory_now() -> tuple[int, int]:
    """Address space and private writable memory of this process, in bytes; zeros where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            pages = file.read().split()
    except OSError:
        return 0, 0
    return int(pages[0]) * resource.getpagesize(), int(pages[5]) * resource.getpagesize()


def tasks_of_user(user: int) -> int:
    """How many threads ``user`` has now: the kernel's limit counts them all, not only the run's."""
    total = 0
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    total += len(os.listdir(f"/proc/{name}/task"))
    return total
