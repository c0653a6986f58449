"""Using up the machine.  Each attack is bounded by itself, so that the control harms nobody."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import (
    changed,
    counted,
    disturbed,
    over_memory,
    over_output,
    over_result,
    over_shared,
    over_tasks,
    over_wall,
)
from escape_suite.model import Attack, Limits

_attack = partial(Attack, family="resources")
TIGHT: Final = Limits(wall_seconds=4, cpu_seconds=3, memory_bytes=64 << 20, threads=24, open_files=64,
                      output_bytes=64 << 10, result_bytes=256 << 10)  # fmt: skip
SHORT: Final = Limits(wall_seconds=1, cpu_seconds=1, memory_bytes=256 << 20, threads=24, output_bytes=64 << 10)
CPU: Final = Limits(wall_seconds=30, cpu_seconds=1, memory_bytes=256 << 20, threads=24, output_bytes=64 << 10)
TOO_MUCH: Final = 320
"""MiB; each attack takes more, and its limit is 64 beyond the interpreter."""
TOO_LONG: Final = 3.9
"""Seconds; each attack goes on for longer, and its limit is 1."""

_memory = partial(_attack, judge=over_memory(TOO_MUCH), limits=TIGHT)
_wall = partial(_attack, judge=over_wall(TOO_LONG), limits=SHORT)
_cpu = partial(_attack, judge=over_wall(TOO_LONG), limits=CPU)

ATTACKS: Final = (
    _memory("memory-by-bytes", source="def f(): x = b'x' * (450 << 20); time.sleep(0.4)"),
    _memory(
        "memory-by-small-steps",
        source="""
        def f():
            kept = []
            for _ in range(450):
                kept.append(bytearray(b"x") * (1 << 20))
            time.sleep(0.4)
        """,
    ),
    _memory(
        "memory-by-numpy",
        source="""
        def f():
            import numpy
            x = numpy.ones(56 << 20)
            time.sleep(0.4)
        """,
    ),
    _memory(
        "memory-by-a-shared-mapping",
        source="""
        def f():
            import mmap
            x = mmap.mmap(-1, 450 << 20)
            for _ in range(450):
                x.write(b"x" * (1 << 20))
            time.sleep(0.4)
        """,
    ),
    _memory(
        "memory-by-a-private-mapping",
        source="""
        def f():
            import mmap
            x = mmap.mmap(-1, 450 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for _ in range(450):
                x.write(b"x" * (1 << 20))
            time.sleep(0.4)
        """,
    ),
    _memory(
        "memory-by-many-processes",
        source="""
        def f():
            made = []
            for _ in range(10):
                pid = os.fork()
                if pid == 0:
                    x = b"x" * (50 << 20)
                    time.sleep(1)
                    os._exit(0)
                made.append(pid)
            for pid in made:
                os.waitpid(pid, 0)
        """,
    ),
    _memory(
        "memory-by-threads-stacks",
        source="""
        def f():
            threading.stack_size(64 << 20)
            room = []
            def work():
                room.append(bytearray(b"x") * (60 << 20))
                time.sleep(1)
            made = [threading.Thread(target=work) for _ in range(10)]
            [item.start() for item in made]
            time.sleep(0.8)
        """,
    ),
    _memory(
        "memory-by-a-zip-bomb",
        source="""
        def f():
            import zlib
            packer = zlib.compressobj(9, wbits=-15)
            block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
            x = zlib.decompress(block * 450 + packer.flush(), wbits=-15)
            time.sleep(0.4)
        """,
    ),
    _memory("memory-by-a-large-result", source="def f(): return b'x' * (300 << 20)"),
    _memory(
        "memory-of-a-huge-claim",
        control="fails: the system does not have that much to give",
        source="""
        def f():
            import numpy
            return numpy.ones((1 << 20, 1 << 26))
        """,
    ),
    _attack(
        "memory-by-memfd",
        judge=over_shared(TOO_MUCH),
        limits=TIGHT,
        source="""
        def f():
            fd = os.memfd_create("x", 0)
            for _ in range(450):
                os.write(fd, b"x" * (1 << 20))
            time.sleep(0.4)
        """,
    ),
    _attack(
        "memory-by-a-sparse-memfd",
        judge=over_shared(TOO_MUCH),
        limits=TIGHT,
        source="""
        def f():
            fd = os.memfd_create("x", 0)
            os.posix_fallocate(fd, 0, 450 << 20)
            time.sleep(0.4)
        """,
    ),
    _attack(
        "memory-by-files-in-dev-shm",
        judge=over_shared(TOO_MUCH),
        limits=TIGHT,
        source="""
        def f():
            path = "/dev/shm/" + AT["mark"]
            with open(path, "wb") as file:
                os.unlink(path)
                for _ in range(450):
                    file.write(b"x" * (1 << 20))
                time.sleep(0.4)
        """,
    ),
    _attack(
        "memory-by-system-v-segments",
        judge=over_shared(TOO_MUCH),
        limits=TIGHT,
        source="""
        def f():
            libc.shmat.restype = ctypes.c_void_p
            segment = libc.shmget(0, ctypes.c_size_t(450 << 20), 0o1600)
            at = libc.shmat(segment, None, 0)
            libc.shmctl(segment, 0, None)
            ctypes.memset(at, 65, 450 << 20)
            time.sleep(0.4)
        """,
    ),
    _attack(
        "memory-by-pipe-buffers",
        judge=counted(80),
        limits=TIGHT,
        source="""
        def f():
            import fcntl
            full, kept = 0, []
            for _ in range(96):
                try:
                    read, write = os.pipe2(os.O_NONBLOCK)
                    kept += [read, write]
                    if fcntl.fcntl(write, 1031, 1 << 20) >= 1 << 20:
                        full += os.write(write, b"x" * (1 << 20)) >= 1 << 20
                except OSError:
                    break
            return "count:%d" % full
        """,
        as_user="fails: a user's pipes are bounded to 64 MiB",
    ),
    _attack(
        "memory-by-socket-buffers",
        judge=counted(100),
        limits=TIGHT,
        source="""
        def f():
            kept = []
            for _ in range(120):
                try:
                    ends = socket.socketpair()
                    ends[0].setblocking(False)
                    kept.append(ends)
                    while True:
                        ends[0].send(b"x" * 65536)
                except BlockingIOError:
                    pass
                except OSError:
                    break
            return "count:%d" % len(kept)
        """,
    ),
    _attack(
        "many-threads",
        judge=over_tasks(60),
        limits=TIGHT,
        source="""
        def f():
            for _ in range(90):
                threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
            time.sleep(0.5)
        """,
    ),
    _attack(
        "many-processes",
        judge=over_tasks(60),
        limits=TIGHT,
        source="""
        def f():
            for _ in range(90):
                if os.fork() == 0:
                    time.sleep(1)
                    os._exit(0)
            time.sleep(0.5)
        """,
    ),
    _attack(
        "many-descriptors",
        judge=counted(200),
        limits=TIGHT,
        source="""
        def f():
            got = 0
            try:
                for got in range(400):
                    os.dup(1)
            except OSError:
                pass
            return "count:%d" % got
        """,
    ),
    _attack(
        "many-watchers",
        judge=counted(70),
        limits=TIGHT,
        source="""
        def f():
            got = 0
            while got < 120 and libc.inotify_init1(0) >= 0:
                got += 1
            return "count:%d" % got
        """,
    ),
    _wall("sleeps", source="def f(): time.sleep(5)"),
    _wall(
        "sleeps-with-all-signals-blocked",
        source="""
        def f():
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
            for number in range(1, 65):
                attempt(signal.signal, number, signal.SIG_IGN)
            time.sleep(5)
        """,
    ),
    _wall("stops-itself", source="def f(): os.kill(os.getpid(), signal.SIGSTOP)"),
    _wall(
        "waits-for-ever-after-its-answer",
        source="""
        def f():
            import atexit
            atexit.register(time.sleep, 5)
            class Slow:
                def __del__(self): time.sleep(5)
            sys.modules["slow"] = Slow()
            threading.Thread(target=time.sleep, args=(5,)).start()
        """,
        control="fails: a bare interpreter that has answered is ended by its parent",
    ),
    _wall(
        "holds-the-answers-pipe-open",
        source="""
        def f():
            if os.fork() == 0:
                attempt(os.setsid)
                time.sleep(5)
                os._exit(0)
            os._exit(0)
        """,
    ),
    _wall("never-answers-and-closes-all", source="def f(): os.closerange(0, 256); time.sleep(5)"),
    _wall("keeps-the-interpreter-lock", source="def f(): import re; re.match('(a|a)*b', 'a' * 40)"),
    _wall(
        "writes-no-end-of-a-list",
        source="""
        def f():
            end = time.time() + 5
            while time.time() < end:
                sum(range(10000))
        """,
    ),
    _cpu(
        "processor-time",
        source="""
        def f():
            end = time.time() + 5
            while time.time() < end:
                pass
        """,
    ),
    _cpu(
        "processor-time-with-sigxcpu-ignored",
        source="""
        def f():
            signal.signal(signal.SIGXCPU, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])
            end = time.time() + 5
            while time.time() < end:
                pass
        """,
    ),
    _cpu(
        "processor-time-of-a-family",
        source="""
        def f():
            end = time.time() + 5
            while time.time() < end:
                made = []
                for _ in range(4):
                    pid = os.fork()
                    if pid == 0:
                        stop = time.time() + 0.8
                        while time.time() < stop:
                            pass
                        os._exit(0)
                    made.append(pid)
                for pid in made:
                    os.waitpid(pid, 0)
        """,
    ),
    _attack(
        "output-flood",
        judge=over_output(1 << 20),
        limits=TIGHT,
        source="""
        def f():
            for _ in range(4):
                sys.stdout.write("x" * (1 << 20))
        """,
    ),
    _attack(
        "error-flood", judge=over_output(1 << 20), limits=TIGHT, source="def f(): raise ValueError('x' * (4 << 20))"
    ),
    _attack("large-result", judge=over_result(1 << 20), limits=TIGHT, source="def f(): return b'x' * (4 << 20)"),
    _attack(
        "result-of-many-small-things",
        judge=over_result(1 << 20),
        limits=TIGHT,
        source="def f(): return list(range(10 ** 6))",
    ),
    _attack(
        "fills-the-disk",
        judge=changed,
        limits=TIGHT,
        source="""
        def f():
            for folder in AT["writable"]:
                try:
                    with open(os.path.join(folder, AT["mark"]), "wb") as file:
                        file.write(bytes(20 << 20))
                    return
                except OSError:
                    pass
        """,
    ),
    _attack(
        "fills-the-disk-without-writing",
        judge=changed,
        limits=TIGHT,
        source="""
        def f():
            for folder in AT["writable"]:
                try:
                    fd = os.open(os.path.join(folder, AT["mark"]), os.O_CREAT | os.O_RDWR)
                    os.posix_fallocate(fd, 0, 20 << 20)
                    return
                except OSError:
                    pass
        """,
    ),
    _attack(
        "fills-the-disk-by-a-core-dump",
        judge=changed,
        limits=TIGHT,
        source="""
        def f():
            import resource
            os.chdir(AT["writable"][0])
            resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)
            os.abort()
        """,
        needs=("/proc/sys/kernel/core_pattern", ("core",)),
    ),
    _attack(
        "deep-recursion",
        judge=disturbed,
        beside=True,
        limits=TIGHT,
        control="fails: only the process itself crashes",
        source="""
        def f():
            sys.setrecursionlimit(10 ** 9)
            x = []
            for _ in range(10 ** 6):
                x = [x]
            return repr(x)
        """,
    ),
    _attack(
        "source-that-breaks-the-parser",
        judge=disturbed,
        beside=True,
        limits=TIGHT,
        control="fails: only the process itself crashes",
        source="def f(): return eval('(' * 90 + '-' * 90000 + '1' + ')' * 90)",
    ),
)
