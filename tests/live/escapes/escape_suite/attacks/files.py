"""Reading what is the node's or other people's, and writing anything that stays."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import changed, told
from escape_suite.model import Attack

_attack = partial(Attack, family="files")
_OWNERS: Final = "fails: the file is not this user's"
_FRESH: Final = "fails: numpy maps a read-only descriptor, and the kernel lets no such mapping be written"

ATTACKS: Final = (
    _attack("node-key", judge=told("key"), source="def f(): return slurp(AT['key'])"),
    _attack(
        "whole-home",
        judge=told("key", "database"),
        source="""
        def f():
            return slurp_all(os.path.join(top, name) for top, _, names in os.walk(AT["home"]) for name in names)
        """,
    ),
    _attack("database", judge=told("database"), source="def f(): return slurp(AT['database'])"),
    _attack("another-persons-asset", judge=told("asset"), source="def f(): return slurp(AT['asset'])"),
    _attack(
        "ssh-key-of-the-nodes-user",
        judge=told("ssh"),
        source="def f(): return slurp_all([AT['ssh'], os.path.expanduser('~/.ssh/id_ed25519')])",
    ),
    _attack("key-by-a-relative-path", judge=told("key"), source="def f(): return slurp(os.path.relpath(AT['key']))"),
    _attack(
        "key-by-another-root",
        judge=told("key"),
        source="""
        def f():
            roots = ["/proc/self/root", "/proc/thread-self/root", "/proc/1/root", "/proc/1/cwd/../../../../..",
                     "/proc/%d/root" % os.getppid(), "/oldroot", "/newroot"]
            return slurp_all(root + AT["key"] for root in roots)
        """,
    ),
    _attack(
        "key-by-a-symbolic-link",
        judge=told("key"),
        source="""
        def f():
            found = []
            for folder in AT["writable"]:
                link = os.path.join(folder, AT["mark"])
                attempt(os.symlink, AT["key"], link)
                found.append(attempt(slurp, link))
                attempt(os.unlink, link)
            return found
        """,
    ),
    _attack(
        "key-by-a-hard-link",
        judge=told("key"),
        source="""
        def f():
            found = []
            for folder in AT["writable"]:
                link = os.path.join(folder, AT["mark"])
                attempt(os.link, AT["key"], link)
                found.append(attempt(slurp, link))
                attempt(os.unlink, link)
            return found
        """,
    ),
    _attack(
        "key-by-a-path-only-descriptor",
        judge=told("key"),
        source="""
        def f():
            fd = os.open(AT["key"], os.O_PATH)
            return slurp("/proc/self/fd/%d" % fd)
        """,
    ),
    _attack(
        "key-mapped-by-numpy",
        judge=told("key"),
        source="""
        def f():
            import numpy
            return bytes(numpy.memmap(AT["key"], mode="r")).decode("latin1")
        """,
    ),
    _attack("etc-passwd", judge=told("passwd"), source="def f(): return slurp('/etc/passwd')"),
    _attack(
        "etc-passwd-by-pandas",
        judge=told("passwd"),
        source="""
        def f():
            import pandas
            return pandas.read_csv("/etc/passwd", header=None, sep="!").to_csv(index=False, header=False)
        """,
    ),
    _attack("a-file-that-everybody-may-read", judge=told("public"), source="def f(): return slurp(AT['public'])"),
    _attack(
        "files-that-others-left-in-temporary-folders",
        judge=told("left-in-tmp", "left-in-shm"),
        source="def f(): return slurp_all(AT['temporary'])",
    ),
    _attack(
        "a-folder-on-the-nodes-own-import-path",
        judge=told("on-path"),
        source="""
        def f():
            return slurp_all([AT["on_path"]]) + slurp_all(
                os.path.join(place, os.path.basename(AT["on_path"])) for place in sys.path)
        """,
    ),
    _attack(
        "the-nodes-module-by-its-name",
        judge=told("on-path"),
        source="""
        def f():
            sys.path.append(os.path.dirname(AT["on_path"]))
            import escape_canary
            return escape_canary.TOKEN
        """,
    ),
    _attack(
        "environment-of-a-process-of-the-node",
        judge=told("environ"),
        source="def f(): return slurp('/proc/%d/environ' % AT['victim'])",
    ),
    _attack(
        "memory-of-a-process-of-the-node",
        judge=told("memory"),
        source="""
        def f():
            with open("/proc/%d/mem" % AT["victim"], "rb") as file:
                file.seek(AT["address"])
                return file.read(64).decode("latin1")
        """,
    ),
    _attack(
        "descriptor-of-a-process-of-the-node",
        judge=told("opened"),
        source="def f(): return slurp('/proc/%d/fd/%d' % (AT['victim'], AT['victim_fd']))",
    ),
    _attack(
        "root-and-folder-of-a-process-of-the-node",
        judge=told("key"),
        source="""
        def f():
            base = "/proc/%d" % AT["victim"]
            return slurp_all([base + "/root" + AT["key"], base + "/cwd/" + os.path.basename(AT["key"])])
        """,
    ),
    _attack(
        "own-environment",
        judge=told("variable"),
        source="def f(): return [str(dict(os.environ)), attempt(slurp, '/proc/self/environ')]",
    ),
    _attack(
        "environment-of-its-ancestors",
        judge=told("variable", "environ"),
        source="""
        def f():
            return slurp_all("/proc/%s/environ" % pid for pid in os.listdir("/proc") if pid.isdigit())
        """,
    ),
    _attack(
        "inherited-descriptors",
        judge=told("opened"),
        source="def f(): return [repr(attempt(os.pread, fd, 4096, 0)) for fd in range(3, 256)]",
    ),
    _attack(
        "own-descriptors-opened-again",
        judge=told("opened"),
        source="def f(): return slurp_all('/proc/self/fd/%d' % fd for fd in range(3, 256) if os.path.isfile("
        "'/proc/self/fd/%d' % fd))",
    ),
    _attack(
        "an-inherited-folder-descriptor",
        judge=told("key"),
        source="""
        def f():
            found = []
            for fd in range(3, 256):
                try:
                    found.append(os.read(os.open(os.path.basename(AT["key"]), os.O_RDONLY, dir_fd=fd), 4096).decode())
                except OSError:
                    pass
            return found
        """,
    ),
    _attack(
        "writes-a-file-anywhere", judge=changed, source="def f(): return [attempt(drop, p) for p in AT['writable']]"
    ),
    _attack(
        "writes-into-the-package",
        judge=changed,
        as_user=_OWNERS,
        source="def f(): return [attempt(drop, p) for p in AT['program']]",
    ),
    _attack(
        "writes-bytecode-beside-the-package",
        judge=changed,
        as_user=_OWNERS,
        source="def f(): return [attempt(drop, p + '/__pycache__') for p in AT['program']]",
    ),
    _attack(
        "empties-the-database",
        judge=changed,
        source="def f(): open(AT['database'], 'w').close()",
    ),
    _attack("deletes-the-database", judge=changed, source="def f(): os.unlink(AT['database'])"),
    _attack("renames-the-home", judge=changed, source="def f(): os.rename(AT['database'], AT['database'] + '-moved')"),
    _attack("opens-the-key-to-others", judge=changed, source="def f(): os.chmod(AT['key'], 0o644)"),
    _attack("turns-back-the-time-of-a-file", judge=changed, source="def f(): os.utime(AT['database'], (1, 1))"),
    _attack(
        "writes-to-its-input-by-path",
        judge=changed,
        inputs=True,
        source="""
        def f(x):
            paths = [AT["input"]] + [attempt(os.readlink, "/proc/self/fd/%d" % fd) for fd in range(3, 64)]
            for path in paths:
                if path.endswith(".npy"):
                    with open(path, "r+b") as file:
                        file.seek(-8, 2)
                        file.write(b"tampered")
        """,
    ),
    _attack(
        "opens-its-inputs-descriptor-again-to-write",
        judge=changed,
        inputs=True,
        source="""
        def f(x):
            for fd in range(3, 64):
                try:
                    again = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY)
                    if os.fstat(again).st_size > 100:
                        os.pwrite(again, b"tampered", os.fstat(again).st_size - 8)
                except OSError:
                    pass
        """,
    ),
    _attack(
        "changes-its-input-by-the-descriptor-that-mmap-kept",
        judge=changed,
        inputs=True,
        source="""
        def f(x):
            done = []
            for fd in range(3, 64):
                done += [attempt(os.fchmod, fd, 0o646), attempt(os.ftruncate, fd, 8)]
            return [str(item) for item in done]
        """,
    ),
    _attack(
        "sets-the-time-of-its-input-by-a-descriptor",
        judge=changed,
        inputs=True,
        source="def f(x): return [str(attempt(os.utime, fd, (1, 1))) for fd in range(3, 64)]",
    ),
    _attack(
        "makes-the-mapping-of-its-input-writable",
        judge=changed,
        inputs=True,
        control=_FRESH,
        source="""
        def f(x):
            page = x.ctypes.data & ~4095
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(x.nbytes + 4096), 3) == 0:
                ctypes.memset(x.ctypes.data, 65, 8)
        """,
    ),
    _attack(
        "writes-to-the-mapping-of-its-input-by-proc-mem",
        judge=changed,
        inputs=True,
        control=_FRESH,
        source="""
        def f(x):
            with open("/proc/self/mem", "r+b", buffering=0) as file:
                file.seek(x.ctypes.data)
                file.write(b"tampered")
        """,
    ),
    _attack(
        "resizes-its-input-by-its-mapping",
        judge=changed,
        inputs=True,
        control=_FRESH,
        source="""
        def f(x):
            base = x
            while base is not None and not hasattr(base, "resize_mapping") and hasattr(base, "base"):
                base = base.base
            x._mmap.resize(8) if hasattr(x, "_mmap") else base.resize(8)
        """,
    ),
)
