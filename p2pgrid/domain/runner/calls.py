"""The system calls that a run may make, as a filter program for the kernel (seccomp(2), libseccomp).

The list is what numpy, pandas, scipy, scikit-learn, threads and parquet in memory were seen to need.  Every other call
fails with ``EPERM``, so that the code gets an exception that names itself; the few that libraries probe for before
they fall back to an older one fail with ``ENOSYS``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
import termios
from types import ModuleType
from typing import Any, Final

_PLAIN: Final = (
    # Descriptors that it holds, and the files that Landlock lets it read.
    "read readv pread64 preadv write writev close close_range lseek dup dup2 dup3 pipe pipe2",
    "stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd getdents64",
    "statfs fstatfs poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2",
    # (Not preadv2, which tells whether others have read a place of a file.)
    # Its memory and threads.
    "mprotect munmap mremap madvise brk mincore membarrier get_mempolicy futex futex_waitv set_robust_list",
    "get_robust_list rseq set_tid_address sched_yield sched_getaffinity",
    "sched_get_priority_max sched_get_priority_min getcpu arch_prctl restart_syscall exit exit_group",
    # Signals that it sends itself by faults and alarms.
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause",
    "alarm setitimer getitimer",
    # Questions.
    "getpid gettid getppid getuid geteuid getgid getegid getpgrp getgroups getresuid getresgid",
    "getrusage getrlimit times sysinfo uname umask getrandom",
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time",
)
PLAIN: Final = frozenset(name for line in _PLAIN for name in line.split())
"""Allowed with any arguments.  None of them opens, changes or reaches anything that the run does not hold already."""

ABSENT: Final = ("clone3", "openat2", "fchmodat2", "mseal")
"""Their arguments lie in memory, where a filter cannot look; or nothing waits for them to fail otherwise."""

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OWN_THREAD: Final = 0x00010000 | 0x00000100
"""CLONE_THREAD and CLONE_VM: a thread of this process."""
NEW_KIND: Final = 0x7E020000 | 0x00000080 | 0x00002000
"""CLONE_NEW*, and CLONE_PTRACE."""
DESCRIPTOR_COMMANDS: Final = (fcntl.F_DUPFD, 1030, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
"""1030: F_DUPFD_CLOEXEC.  Not F_SETOWN and F_SETSIG, by which a descriptor signals others; no locks, no pipe sizes."""
DEVICE_COMMANDS: Final = (termios.TCGETS, termios.FIONREAD, termios.FIOCLEX, termios.FIONCLEX, termios.FIONBIO)
PR_SET_NAME, PR_GET_NAME = 15, 16
GROWS_DOWN: Final = 0x100
"""MAP_GROWSDOWN: counted as a stack, which no limit of private memory holds."""


def program() -> bytes:
    """The filter.  Raises ``OSError`` or ``RuntimeError`` where libseccomp is absent or knows no such machine."""
    import pyseccomp

    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in sorted(PLAIN):
        _add(pyseccomp, calls, pyseccomp.ALLOW, name)
    for name in ABSENT:
        _add(pyseccomp, calls, pyseccomp.ERRNO(errno.ENOSYS), name)
    for name, *tests in _conditions(pyseccomp):
        _add(pyseccomp, calls, pyseccomp.ALLOW, name, *tests)
    with tempfile.TemporaryFile() as file:
        calls.export_bpf(file)
        file.seek(0)
        return file.read()


def _conditions(lib: ModuleType) -> list[tuple[Any, ...]]:
    """Calls that are allowed with some arguments only; two entries of one call are alternatives."""

    def masked(place: int, mask: int, value: int) -> Any:
        return lib.Arg(place, lib.MASKED_EQ, mask, value)

    def equal(place: int, value: int) -> Any:
        return lib.Arg(place, lib.EQ, value)

    return [
        ("open", masked(1, WRITING, 0)),
        ("openat", masked(2, WRITING, 0)),
        # Memory shared with nobody, or a file's: what is shared and has no file escapes the limit of private memory.
        ("mmap", masked(3, mmap.MAP_SHARED | GROWS_DOWN, 0)),
        ("mmap", masked(3, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.MAP_SHARED)),
        ("clone", masked(0, OWN_THREAD | NEW_KIND, OWN_THREAD)),
        *(("fcntl", equal(1, command)) for command in DESCRIPTOR_COMMANDS),
        *(("ioctl", equal(1, command)) for command in DEVICE_COMMANDS),
        *(("prctl", equal(0, option)) for option in (PR_SET_NAME, PR_GET_NAME)),
        ("prlimit64", equal(0, 0)),  # one's own limits, which can only be lowered
    ]


def _add(lib: ModuleType, calls: Any, action: int, name: str, *tests: Any) -> None:
    if lib.resolve_syscall(lib.Arch.NATIVE, name) >= 0:  # a call of another architecture has no number here
        calls.add_rule(action, name, *tests)
