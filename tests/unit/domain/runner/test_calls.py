"""The list of system calls: what is on it by intention, and that the kernel gets a program of it."""

from __future__ import annotations

import sys

import pytest

from p2pgrid.domain.runner.calls import ABSENT, PLAIN, program
from p2pgrid.domain.runner.inside.confine import INSTRUCTION

NEVER = {
    "socket", "socketpair", "connect", "bind", "sendmsg", "sendto", "recvmsg", "accept4", "execve", "execveat", "fork",
    "vfork", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "pidfd_open",
    "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "unshare", "setns",
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "pivot_root", "chroot", "chdir", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
    "seccomp", "landlock_restrict_self", "personality", "memfd_create", "memfd_secret", "shmget", "shmat", "msgget",
    "semget", "mq_open", "mknod", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat2", "mkdirat", "chmod",
    "fchmodat", "fchownat", "utimensat", "truncate", "ftruncate", "fallocate", "flock", "setrlimit", "setuid",
    "setresuid", "setgroups", "setsid", "setpgid", "setpriority", "sched_setaffinity", "sched_setscheduler",
    "open_by_handle_at", "name_to_handle_at", "init_module", "finit_module", "kexec_load", "reboot", "swapon",
    "splice", "tee", "vmsplice", "sendfile", "copy_file_range", "inotify_init1", "fanotify_init", "timer_create",
    "signalfd4", "modify_ldt", "iopl", "ioperm", "pkey_alloc", "quotactl", "acct", "syslog", "mbind", "migrate_pages",
}  # fmt: skip


def test_calls_that_reach_others_are_not_on_the_list() -> None:
    assert not NEVER & PLAIN


def test_calls_with_conditions_are_not_allowed_without() -> None:
    assert not PLAIN & {*ABSENT, "open", "openat", "mmap", "clone", "fcntl", "ioctl", "prctl", "prlimit64"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="seccomp is Linux's")
def test_the_list_becomes_a_program() -> None:
    steps = program()
    assert len(steps) % INSTRUCTION == 0
    assert 100 < len(steps) // INSTRUCTION < 4096, "the kernel takes 4096 steps"
