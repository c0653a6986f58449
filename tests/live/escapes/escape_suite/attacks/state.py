"""What one run leaves for the next one: ``f`` poisons, ``then`` looks.  A bare subprocess is fresh each time."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import carried, disturbed, let_through
from escape_suite.model import Attack

_FRESH: Final = "fails: each control is a fresh process"
_attack = partial(Attack, family="state", judge=carried, control=_FRESH)
_kept = partial(Attack, family="state", judge=carried)

_TELL: Final = "def f(): return 'carried' + '-over' if ({}) else 'nothing'"


def _tell(condition: str) -> str:
    return _TELL.format(condition)


ATTACKS: Final = (
    _attack(
        "a-module-of-its-own",
        source="""
        def f():
            import types
            sys.modules["escape_poison"] = types.ModuleType("escape_poison")
        """,
        then=_tell("'escape_poison' in sys.modules"),
    ),
    _attack(
        "numpy-patched",
        source="""
        def f():
            import numpy
            numpy.mean = numpy.sum = lambda *a, **b: "poisoned"
        """,
        then=_tell("__import__('numpy').mean([1.0, 3.0]) != 2.0"),
    ),
    _attack(
        "builtins-patched",
        source="""
        def f():
            import builtins
            builtins.len = lambda x: 77
            builtins.escape_poison = 1
        """,
        then=_tell("len('ab') != 2 or hasattr(__import__('builtins'), 'escape_poison')"),
    ),
    _attack(
        "environment-variable",
        source="def f(): os.environ['LD_PRELOAD'] = os.environ['ESCAPE_POISON'] = '/x.so'",
        then=_tell("'ESCAPE_POISON' in os.environ"),
    ),
    _attack(
        "import-path",
        source="def f(): sys.path.insert(0, '/escape-poison')",
        then=_tell("'/escape-poison' in sys.path"),
    ),
    _attack(
        "working-folder-and-mask",
        source="def f(): os.chdir('/proc'); os.umask(0)",
        then=_tell("os.getcwd() == '/proc' or os.umask(0o22) == 0"),
    ),
    _attack(
        "signal-handler",
        source="def f(): signal.signal(signal.SIGUSR2, signal.SIG_IGN)",
        then=_tell("signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN"),
    ),
    _attack(
        "a-thread",
        source="""
        def f():
            threading.Thread(target=time.sleep, args=(20,), name="escape-poison", daemon=True).start()
        """,
        then=_tell("any(t.name == 'escape-poison' for t in threading.enumerate())"),
    ),
    _attack(
        "random-numbers-are-those-of-the-run-before",
        source="def f(): return 1",
        then="""
        def f():
            import random, numpy
            key = [random.getrandbits(64), int(numpy.random.randint(1 << 62))]
            return "drawn:" + repr(key)
        """,
    ),
    _attack(
        "the-inputs-of-the-run-before",
        inputs=True,
        source="def f(x): return float(x.sum())",
        then="""
        def f(x=None):
            import gc
            token = AT["input_token"].encode()
            for item in gc.get_objects():
                if type(item).__name__ in ("ndarray", "memmap") and token in item.tobytes()[:4096]:
                    return "carried" + "-over"
            wanted = token
            with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
                for line in maps:
                    area, rights = line.split()[:2]
                    start, end = (int(part, 16) for part in area.split("-"))
                    if "rw" in rights and end - start < 1 << 28:
                        memory.seek(start)
                        found = memory.read(end - start)
                        if found.count(wanted[::-1][::-1] + b"-in-the-array"):
                            return "carried" + "-over"
            return "nothing"
        """,
    ),
    _kept(
        "a-file-in-a-temporary-folder",
        source="def f(): return [attempt(drop, p) for p in AT['writable']]",
        then=_tell("any(os.path.exists(os.path.join(p, AT['mark'])) for p in AT['writable'])"),
    ),
    _attack(
        "a-file-in-its-own-folder",
        source="""
        def f():
            places = [".", os.environ.get("HOME", "."), os.environ.get("TMPDIR", ".")]
            return [attempt(drop, p) for p in places]
        """,
        then=_tell(
            "any(os.path.exists(os.path.join(p, AT['mark'])) for p in "
            "('.', os.environ.get('HOME', '.'), os.environ.get('TMPDIR', '.')))"
        ),
        control="succeeds",
    ),
    _kept(
        "a-file-in-shared-memory",
        source="def f(): return drop('/dev/shm')",
        then=_tell("os.path.exists('/dev/shm/' + AT['mark'])"),
    ),
    _kept(
        "a-system-v-segment",
        source="def f(): return libc.shmget(AT['number'], 4096, 0o1600)",
        then="""
        def f():
            segment = libc.shmget(AT["number"], 4096, 0)
            if segment >= 0:
                libc.shmctl(segment, 0, None)
                return "carried" + "-over"
        """,
    ),
    _kept(
        "a-system-v-semaphore",
        source="def f(): return libc.semget(AT['number'], 1, 0o1600)",
        then="""
        def f():
            found = libc.semget(AT["number"], 1, 0)
            if found >= 0:
                libc.semctl(found, 0, 0, 0)
                return "carried" + "-over"
        """,
    ),
    _kept(
        "a-system-v-queue",
        source="def f(): return libc.msgget(AT['number'], 0o1600)",
        then="""
        def f():
            found = libc.msgget(AT["number"], 0)
            if found >= 0:
                libc.msgctl(found, 0, None)
                return "carried" + "-over"
        """,
    ),
    _kept(
        "a-posix-queue",
        source="""
        def f():
            return raw(240, AT["mark"].encode(), os.O_CREAT | os.O_RDWR, 0o600, 0)
        """,
        then="""
        def f():
            if raw(241, AT["mark"].encode())[0] == 0:
                return "carried" + "-over"
        """,
    ),
    _kept(
        "a-key-in-the-kernels-keyring",
        source="""
        def f():
            return raw(248, b"user", AT["mark"].encode(), b"x", 1, -4)
        """,
        then="""
        def f():
            found = raw(250, 10, -4, b"user", AT["mark"].encode(), 0)[0]
            if found > 0:
                raw(250, 9, found, -4)
                return "carried" + "-over"
        """,
    ),
    _kept(
        "a-process-that-listens-for-the-next-run",
        source="""
        def f():
            server = socket.socket(socket.AF_UNIX)
            server.bind("\\0" + AT["mark"])
            server.listen()
            background(10)
        """,
        then="""
        def f():
            sock = socket.socket(socket.AF_UNIX)
            sock.connect("\\0" + AT["mark"])
            return "carried" + "-over"
        """,
    ),
    _attack(
        "lowered-limits",
        source="""
        def f():
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7))
            resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (9, 9))
        """,
        then=_tell("__import__('resource').getrlimit(7)[1] in (7, 9)"),
    ),
    _attack(
        "a-filter-on-what-comes-after",
        judge=disturbed,
        source="""
        def f():
            libc.prctl(38, 1, 0, 0, 0)
            libc.prctl(22, 1, 0, 0, 0)
        """,
    ),
    _attack(
        "the-zygote-traced-and-written",
        judge=let_through,
        control="succeeds",
        needs=("/proc/sys/kernel/yama/ptrace_scope", ("0",)),
        source="""
        def f():
            room = ctypes.create_string_buffer(8)
            with open("/proc/self/maps") as maps:
                here = int(maps.readline().split("-")[0], 16)
            local = struct.pack("QQ", ctypes.addressof(room), 8)
            remote = struct.pack("QQ", here, 8)
            word = raw(310, os.getppid(), local, 1, remote, 1, 0)[1] if os.getppid() else "EPERM"
            return "call:process_vm_readv=" + {"ESRCH": "EPERM"}.get(word, word)
        """,
    ),
)
