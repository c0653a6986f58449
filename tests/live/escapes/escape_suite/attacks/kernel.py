"""System calls that a run has no business with.

The arguments are chosen to have no effect where a call is let through: it then fails for another reason than a refusal
(a bad address, a bad size), and the judge sees the difference.
"""

from __future__ import annotations

import platform
from functools import partial
from typing import Final

from escape_suite.judges import changed, let_through, proved, told
from escape_suite.model import Attack

X86: Final = platform.machine() == "x86_64"
_attack = partial(Attack, family="kernel")
_ROOTS: Final = "fails: the call is root's"
_USERNS: Final = ("/proc/sys/kernel/unprivileged_userns_clone", ("1",))
_IO_URING: Final = ("/proc/sys/kernel/io_uring_disabled", ("0",))


def _call(name: str, number: int, *given: str, roots: int | None = None, control: str = "succeeds") -> Attack:
    """One call with harmless arguments; ``roots``: only who has this capability may make it anyway."""
    source = f"def f(): return call({name!r}, {', '.join((str(number), *given))})"
    as_user = _ROOTS if roots is not None else ""
    return _attack(
        name.replace("_", "-"), judge=let_through, source=source, control=control, as_user=as_user, capability=roots
    )


def _forked(
    name: str, source: str, *, roots: int | None = None, needs: tuple[str, tuple[str, ...]] | None = None
) -> Attack:
    """Made in a child, so that the run itself can still answer."""
    body = f"""
        def f():
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    word = {source}
                except OSError:
                    word = "call:open=EPERM"
                os.write(write, word.encode())
                os._exit(0)
            os.close(write)
            os.waitpid(pid, 0)
            return os.read(read, 200).decode()
        """
    as_user = _ROOTS if roots is not None else ""
    return _attack(name, judge=let_through, source=body, as_user=as_user, needs=needs, capability=roots)


_OPEN = "def f(): return [{}]"

ATTACKS: Final = (
    _attack(
        "unshare-user-namespace",
        judge=let_through,
        needs=_USERNS,
        source="def f(): return call('unshare', 272, 0x10000000)",
    ),
    _attack(
        "unshare-mounts-and-network",
        judge=let_through,
        as_user=_ROOTS,
        capability=21,
        source="def f(): return call('unshare', 272, 0x40020000)",
    ),
    _attack(
        "clone-user-namespace",
        judge=let_through,
        needs=_USERNS,
        source="""
        def f():
            answer, word = raw(56, 0x10000000 | 17, 0, 0, 0, 0)
            if answer == 0:
                os._exit(0)
            return "call:clone=" + word
        """,
    ),
    _attack(
        "clone3-user-namespace",
        judge=let_through,
        needs=_USERNS,
        source="""
        def f():
            answer, word = raw(435, struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)
            if answer == 0:
                os._exit(0)
            return "call:clone3=" + word
        """,
    ),
    _call("mount", 165, "b'x'", "b'.'", "b'no-such-system'", "0", "0", roots=21),
    _call("umount", 166, "b'.'", "2", roots=21),
    _call("fsopen", 430, "b'tmpfs'", "1", roots=21),
    _call("open_tree", 428, "-100", "b'/'", "1", roots=21),
    _call("move_mount", 429, "-1", "b''", "-1", "b''", "4", roots=21),
    _call("mount_setattr", 442, "-100", "b'/nonexistent'", "0", "bytes(32)", "32", roots=21),
    _forked("setns-of-the-node", "call('setns', 308, os.open('/proc/%d/ns/uts' % AT['victim'], 0), 0)", roots=21),
    _forked("setns-by-pidfd", "call('setns', 308, os.pidfd_open(AT['victim']), 0x04000000)", roots=21),
    _forked("chroot", "call('chroot', 161, b'/')", roots=18),
    _call("pivot_root", 155, "b'/nonexistent'", "b'/nonexistent'", roots=21),
    _call("bpf", 321, "5", "0", "0", roots=21),
    _attack(
        "perf-event-open",
        judge=let_through,
        needs=("/proc/sys/kernel/perf_event_paranoid", ("-1", "0", "1", "2")),
        source="""
        def f():
            attributes = struct.pack("IIQQQQQ", 1, 64, 1, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(16)
            return call("perf_event_open", 298, attributes, 0, -1, -1, 0)
        """,
    ),
    _call("userfaultfd", 323, "1"),
    _call("keyctl", 250, "0", "-3", "1"),
    _call("add_key", 248, "b'user'", "AT['mark'].encode()", "b'x'", "1", "-2"),
    _call("request_key", 249, "b'user'", "AT['mark'].encode()", "0", "-2"),
    _attack(
        "io-uring-setup",
        judge=let_through,
        needs=_IO_URING,
        source="def f(): return call('io_uring_setup', 425, 4, ctypes.create_string_buffer(120))",
    ),
    _call("io_setup", 206, "4", "ctypes.create_string_buffer(8)"),
    _call("kexec_load", 246, "0", "99", "0", "0x40000000", roots=22),
    _call("init_module", 175, "0", "0", "0", roots=16),
    _call("finit_module", 313, "-1", "b''", "0", roots=16),
    _call("delete_module", 176, "0", "0", roots=16),
    _call("reboot", 169, "1", "2", "3", "0", roots=22),
    _call("swapon", 167, "0", "0", roots=21),
    _call("swapoff", 168, "0", roots=21),
    _call("acct", 163, "1", roots=20),
    _call("sethostname", 170, "0", "-1", roots=21),
    _call("quotactl", 179, "0", "0", "0", "0"),
    _call("syslog", 103, "10", "0", "0", roots=34),
    _call("iopl", 172, "3", roots=17, control="succeeds" if X86 else "fails: no such call"),
    _call("ioperm", 173, "0x80", "1", "1", roots=17, control="succeeds" if X86 else "fails: no such call"),
    _call("modify_ldt", 154, "0", "ctypes.create_string_buffer(16)", "16"),
    _call("personality", 135, "0x0400000"),
    _call("seccomp_notify", 317, "1", "8", "0"),
    _call("ptrace_traceme", 101, "0", "0", "0", "0"),
    _call("fanotify_init", 300, "0x200", "0"),
    _call("prctl_mm", 157, "35", "1", "0", "0", "0", roots=24),
    _call("prctl_dumpable", 157, "4", "1", "0", "0", "0"),
    _call("process_madvise", 440, "-1", "0", "1", "21", "0"),
    _call("migrate_pages", 256, "AT['victim']", "1", "0", "0", control="succeeds"),
    _call("vmsplice", 278, "-1", "0", "0", "0"),
    _call("remap_file_pages", 216, "0", "4096", "0", "0", "0"),
    _call("nonsense_call", 9999, "0", control="fails: no such call"),
    _call("x32_call", 0x40000000 | 39, control="fails: few kernels are built with it"),
    _attack(
        "calls-of-32-bit-programs",
        judge=proved,
        control="succeeds" if X86 else "fails: no such calls",
        source="""
        def f():
            import mmap
            page = mmap.mmap(-1, 4096, prot=7)
            page.write(b"\\x53\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x5b\\xc3")  # push rbx; getpid by int 0x80; pop; ret
            code = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
            if code() == os.getpid():
                return AT["mark"] + str(-42 * 42)
        """,
    ),
    _attack(
        "a-device-made-by-mknod",
        judge=changed,
        as_user=_ROOTS,
        capability=27,
        source="""
        def f():
            import stat
            for folder in AT["writable"]:
                attempt(os.mknod, os.path.join(folder, AT["mark"]), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        """,
    ),
    _attack(
        "key-by-a-forged-file-handle",
        judge=told("key"),
        as_user=_ROOTS,
        capability=2,
        source="""
        def f():
            handle = bytes.fromhex(AT["handle"])
            mount = os.open("/", os.O_RDONLY)
            for place in ("/", "/tmp", "/dev/shm"):
                try:
                    fd = raw(304, os.open(place, os.O_RDONLY), handle, os.O_RDONLY)[0]
                except OSError:
                    continue
                if fd >= 0:
                    return os.read(fd, 4096).decode()
        """,
    ),
    _attack(
        "runs-a-program-from-memory",
        judge=proved,
        source="""
        def f():
            fd = os.memfd_create("x", 0)
            with open("/bin/sh", "rb") as file:
                os.write(fd, file.read())
            sys.stdout.flush()
            os.execve(fd, ["sh", "-c", "echo %s-$((42*42))" % AT["mark"]], {})
        """,
    ),
    _attack(
        "runs-a-program-by-execveat",
        judge=proved,
        source="""
        def f():
            sys.stdout.flush()
            fd = os.open("/bin/sh", os.O_PATH)
            words = [b"sh", b"-c", b"echo %s-$((42*42))" % AT["mark"].encode()]
            given = (ctypes.c_char_p * 4)(*words, None)
            return raw(322, fd, b"", given, None, 0x1000)
        """,
    ),
    _attack(
        "opens-kernel-memory",
        judge=let_through,
        as_user=_ROOTS,
        source=_OPEN.format("opened('/dev/kmsg'), opened('/dev/mem'), opened('/proc/kcore')"),
    ),
    _attack(
        "opens-the-machines-disk",
        judge=let_through,
        as_user=_ROOTS,
        source="""
        def f():
            return [opened(path) for path in AT["disks"]]
        """,
    ),
    _attack(
        "opens-settings-of-the-kernel",
        judge=let_through,
        as_user=_ROOTS,
        source=_OPEN.format("opened('/proc/sys/kernel/core_pattern', 1), opened('/proc/sysrq-trigger', 1)"),
    ),
    _attack(
        "opens-doors-of-drivers",
        judge=let_through,
        source=_OPEN.format("*[opened(p, 2) for p in ('/dev/fuse', '/dev/kvm', '/dev/net/tun', '/dev/ptmx')]"),
    ),
)
