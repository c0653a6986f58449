"""What hostile code tries, one test an attack; each ends in a report and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from p2pgrid import wire
from p2pgrid.domain.runner import LAYERS, Limits, Runner, RunReport, RunSpec
from p2pgrid.domain.runner.jail import environment

Run = Callable[..., Awaitable[RunReport]]
Value = Callable[..., Awaitable[Any]]

SHORT = Limits(wall_seconds=1.5, cpu_seconds=2)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Any) -> Iterator[None]:
    """No process and no folder of a run outlives its report."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    end = time.monotonic() + 3
    while children() and time.monotonic() < end:
        time.sleep(0.01)
    assert children() == []
    assert list(folder.iterdir()) == []


def existing(places: list[str]) -> list[str]:
    return [place for place in places if Path(place).exists()]


# ---------------------------------------------------------------- secrets of the node


async def test_reads_the_environment(value: Value, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_OWNER_PASSWORD", "very-secret")
    seen = await value(
        """
        import os
        def f():
            seen = [dict(os.environ)]
            try:
                seen.append(open("/proc/self/environ").read())
            except OSError:
                pass
            return seen
        """
    )
    assert "very-secret" not in repr(seen)
    assert set(seen[0]) <= {*environment(), "PWD", "LC_CTYPE"}


async def test_reads_the_environment_of_another_process(run: Run) -> None:
    victim = await asyncio.create_subprocess_exec("/bin/sleep", "60", env={"SECRET": "very-secret"})
    try:
        report = await run(f"def f(): return open('/proc/{victim.pid}/environ').read()")
    finally:
        victim.kill()
        await victim.wait()
    assert not report.ok


async def test_reads_inherited_descriptors(value: Value, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("very-secret")
    with secret.open() as file:
        os.set_inheritable(file.fileno(), True)
        seen = await value(
            """
            def f():
                import os
                found = {}
                for fd in range(3, 4096):
                    try:
                        found[fd] = os.fstat(fd).st_mode
                    except OSError:
                        pass
                return [os.read(0, 10), found]
            """
        )
    assert seen[0] == b""
    assert [stat.S_ISSOCK(mode) for mode in seen[1].values()] == [True], "only the channel of its own answer"


async def test_reads_the_nodes_home(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").write_text("very-secret")
    report = await run(f"def f(): return open({str(home / 'key')!r}).read()")
    assert not report.ok
    assert "FileNotFoundError" in report.error or "PermissionError" in report.error


async def test_finds_the_nodes_home_by_another_way(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").write_text("very-secret")
    report = await run(
        f"""
        def f():
            import ctypes, os
            libc = ctypes.CDLL(None)
            done = [libc.umount2({str(home).encode()!r}, 2), libc.unshare(0x10020000), libc.umount2(b"/tmp", 2)]
            found = []
            for root in ["/proc/self/root", "/proc/1/root", "/proc/1/cwd/../..", "/proc/thread-self/root"]:
                try:
                    found.append(open(root + {str(home / "key")!r}).read())
                except OSError:
                    pass
            return found
        """
    )
    assert report.ok, report
    assert wire.unpack_value(report.result or b"") == []


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The home folder of the node's user, with a key in it, in no place that is hidden in any case."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        Path(folder, "id_ed25519").write_text("very-secret")
        monkeypatch.setenv("HOME", folder)
        yield folder


@pytest.fixture
def program() -> list[str]:
    """The folders of interpreter, libraries and package."""
    package = Path(wire.__file__).parent
    besides = {str(package.parent), os.getcwd(), str(Path(__file__).parent)}
    places = [os.path.realpath(place) for place in (package, *sys.path, sys.prefix, sys.base_prefix) if place]
    return [place for place in places if place not in besides]


async def test_reads_what_people_keep_on_the_machine(run: Run, home: str, program: list[str]) -> None:
    homes = [home, pwd.getpwuid(os.getuid()).pw_dir, "/root", "/home", "/srv", "/mnt", "/media"]
    report = await run(
        f"""
        import os
        def f():
            seen, program = [], {program!r}
            for home in {homes!r}:
                for top, folders, names in os.walk(home):
                    folders[:] = [name for name in folders if os.path.join(top, name) not in program]
                    seen += [os.path.join(top, name) for name in names]
            return seen
        """
    )
    assert report.ok, report
    assert wire.unpack_value(report.result or b"") == []


async def test_reads_the_memory_of_the_node_and_the_warden(run: Run) -> None:
    report = await run(
        f"""
        def f():
            import os
            opened = []
            for name, pid in [("warden", os.getppid()), ("node", {os.getpid()})]:
                try:
                    open(f"/proc/{{pid}}/mem", "rb").close()
                    opened.append(name)
                except OSError:
                    pass
            return opened
        """
    )
    opened = wire.unpack_value(report.result or b"")
    assert "warden" not in opened
    if {"own-processes", "other-user"} & set(report.confinement):
        assert opened == []


async def test_error_text_shows_no_folder_of_this_machine(run: Run) -> None:
    report = await run("def f():\n    import numpy\n    raise ValueError(numpy.__file__)")
    assert report.failure == "error"
    assert sys.prefix not in report.error


# ---------------------------------------------------------------- network


async def test_connects_to_a_loopback_server(run: Run) -> None:
    callers = []
    server = await asyncio.start_server(lambda _, writer: (callers.append(1), writer.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        report = await run(
            f"def f():\n    import socket\n    socket.create_connection(('127.0.0.1', {port}), 2).close()"
        )
    assert not report.ok
    assert callers == []


@pytest.mark.parametrize("kind", ["abstract", "folder"])
async def test_connects_to_a_unix_socket(run: Run, kind: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        address = f"\0p2pgrid-{os.getpid()}" if kind == "abstract" else f"{folder}/socket"
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), address)
        async with server:
            report = await run(f"def f():\n    import socket\n    socket.socket(socket.AF_UNIX).connect({address!r})\n")
    assert not report.ok


# ---------------------------------------------------------------- files


async def test_writes_files(run: Run, tmp_path: Path) -> None:
    mark = f"p2pgrid-attack-{os.getpid()}"
    places = [
        str(tmp_path / "new"),
        f"/tmp/{mark}",
        f"/dev/shm/{mark}",
        f"/var/tmp/{mark}",
        "here",
    ]
    report = await run(
        f"""
        def f():
            written = []
            for place in {places!r}:
                try:
                    with open(place, "wb") as file:
                        file.write(b"x" * 1000)
                    written.append(place)
                except OSError:
                    pass
            return written
        """
    )
    assert wire.unpack_value(report.result or b"") == []
    assert existing(places) == []


async def test_empties_an_existing_file(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.write_text("rows")
    report = await run(f"def f():\n    open({str(database)!r}, 'w')")
    assert not report.ok
    assert database.read_text() == "rows"


async def test_makes_the_file_system_writable_again(run: Run) -> None:
    report = await run(
        """
        def f():
            import ctypes
            libc = ctypes.CDLL(None)
            libc.unshare(0x10020000)
            libc.mount(None, b"/", None, 0x1020, None)
            open("/p2pgrid-attack", "w")
        """
    )
    assert not report.ok
    assert existing(["/p2pgrid-attack"]) == []


# ---------------------------------------------------------------- other processes


async def test_kills_its_parent_and_others(run: Run) -> None:
    victim = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    try:
        report = await run(
            f"""
            def f():
                import os, signal
                for pid in [{victim.pid}, os.getppid()]:
                    for number in (signal.SIGTERM, signal.SIGKILL):
                        try:
                            os.kill(pid or 1, number)
                        except OSError:
                            pass
                return 7
            """,
            limits=SHORT,
        )
        survived = victim.returncode is None and psutil.Process(victim.pid).status() != psutil.STATUS_ZOMBIE
        assert survived, report
        assert report.ok
    finally:
        with contextlib.suppress(ProcessLookupError):
            victim.kill()
        await victim.wait()


@pytest.mark.parametrize("start", ["os.fork()", "os.posix_spawn('/bin/sleep', ['sleep', '60'], {})", "os.vfork()"])
async def test_starts_another_process(run: Run, start: str) -> None:
    start = start.replace("os.vfork()", "__import__('ctypes').CDLL(None).vfork() >= 0 or 1 / 0")
    report = await run(f"import os\ndef f():\n    {start}\n    return 1", limits=SHORT)
    assert not report.ok


async def test_fork_bomb(run: Run) -> None:
    started = time.monotonic()
    report = await run(
        "import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass", limits=SHORT
    )
    assert report.failure in ("time", "cpu")
    assert time.monotonic() - started < 6


async def test_threads_that_never_end(value: Value) -> None:
    seen = await value(
        """
        def f():
            import threading, time
            for _ in range(20):
                threading.Thread(target=lambda: time.sleep(600)).start()
            return threading.active_count()
        """
    )
    assert seen == 21


async def test_threads_without_end(run: Run) -> None:
    report = await run(
        "import threading, time\ndef f():\n    while True: threading.Thread(target=time.sleep, args=(600,)).start()",
        limits=Limits(wall_seconds=5),
    )
    assert report.failure in ("error", "memory", "crash")


# ---------------------------------------------------------------- exhaustion


async def test_infinite_loop(run: Run) -> None:
    report = await run("def f():\n    while True: pass", limits=Limits(wall_seconds=20, cpu_seconds=1))
    assert report.failure == "cpu"
    assert report.wall_seconds < 15


async def test_sleeps_for_ever(run: Run) -> None:
    report = await run("import time\ndef f(): time.sleep(600)", limits=Limits(wall_seconds=0.3))
    assert report.failure == "time"
    assert 0.3 <= report.wall_seconds < 2


async def test_ignores_every_signal(run: Run) -> None:
    report = await run(
        """
        import signal
        def f():
            for number in range(1, 65):
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            while True:
                try:
                    while True: pass
                except BaseException: pass
        """,
        limits=Limits(wall_seconds=20, cpu_seconds=1),
    )
    assert report.failure == "cpu"


@pytest.mark.parametrize(
    "hog",
    [
        "x = b'x' * (3 << 30)",
        "import numpy; x = numpy.ones(3 << 27)",
        "import mmap; x = mmap.mmap(-1, 3 << 30); x.write(b'x' * (1 << 30)); x.write(b'x' * (1 << 30))",
    ],
    ids=["bytes", "numpy", "shared-mapping"],
)
async def test_memory_exhaustion(run: Run, hog: str) -> None:
    report = await run(f"def f():\n    {hog}\n    return 1", limits=Limits(memory_bytes=256 << 20))
    assert report.failure in ("memory", "error"), report
    assert any(word in report.error for word in ("MemoryError", "memory", "Cannot allocate", "not permitted"))


async def test_memory_exhaustion_by_many_small_steps(run: Run) -> None:
    report = await run("def f():\n    x = []\n    while True: x.append(x[:])", limits=Limits(memory_bytes=128 << 20))
    assert report.failure == "memory", report


async def test_output_flood(run: Run) -> None:
    report = await run("def f():\n    for _ in range(100): print('x' * (1 << 20))\n    return 1")
    assert report.failure == "output"
    assert report.result is None
    assert len(report.output) < (256 << 10) + 200
    assert "the limit is 262144" in report.output


async def test_output_over_its_limit_is_cut_and_the_run_goes_on(run: Run) -> None:
    report = await run("def f():\n    print('x' * 400_000)\n    return 1")
    assert report.ok
    assert report.output.count("x") == 256 << 10
    assert "[cut: 400001 bytes" in report.output


async def test_result_flood(run: Run) -> None:
    report = await run("def f(): return b'x' * (17 << 20)")
    assert report.failure == "result"
    assert "limit" in report.error


async def test_deep_recursion(run: Run) -> None:
    report = await run("def f(n=0): return f(n + 1)")
    assert report.failure == "error"
    assert "RecursionError" in report.error


async def test_recursion_until_the_stack_ends(run: Run) -> None:
    report = await run(
        "import sys\ndef f():\n    sys.setrecursionlimit(10**9)\n    x = []\n"
        "    for _ in range(10**6): x = [x]\n    return repr(x)"
    )
    assert report.failure in ("crash", "error", "memory", "value")


async def test_deeply_nested_result(run: Run) -> None:
    report = await run("def f():\n    x = []\n    for _ in range(100_000): x = [x]\n    return x")
    assert report.failure == "value"


async def test_source_that_breaks_the_parser(run: Run) -> None:
    for code in ("(" * 50_000, "def f(): return " + "-" * 100_000 + "1", "def f(): return '\0'", "x = \ud800"):
        report = await run(code)
        assert not report.ok
        assert report.failure in ("error", "memory", "crash")


# ---------------------------------------------------------------- ending in a strange way


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import os\ndef f(): os._exit(0)", "crash"),
        ("import os\ndef f(): os._exit(3)", "crash"),
        ("def f(): raise SystemExit(0)", "error"),
        ("def f(): raise KeyboardInterrupt", "error"),
        ("raise SystemExit", "error"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "crash"),
        ("import os\ndef f(): os.abort()", "crash"),
        ("import os\ndef f(): os.execv('/bin/true', ['true'])", "error"),
        ("import os\ndef f(): os.closerange(0, 4096)", "crash"),
        ("class E(Exception):\n    def __str__(self): raise self\ndef f(): raise E", "error"),
        ("class E(BaseException): pass\ndef f(): raise E", "error"),
        ("def f():\n    while True:\n        try: yield\n        except BaseException: pass", "value"),
        ("async def f(): return 1", "value"),
        ("def f(): return object()", "value"),
        ("def f(): return lambda: 1", "value"),
        ("def g(): return 1", "error"),
        ("f = 3", "error"),
        ("def f(:", "error"),
        ("", "error"),
    ],
)
async def test_ends_in_a_strange_way(run: Run, code: str, failure: str) -> None:
    report = await run(code, limits=SHORT)
    assert report.failure == failure, report
    assert report.error


async def test_kills_itself(run: Run) -> None:
    report = await run("import os\ndef f():\n    os.kill(os.getpid(), 9)\n    return 'still here'", limits=SHORT)
    assert report.failure == "error", "it may signal nobody, not even itself"


async def test_closes_its_standard_output(value: Value) -> None:
    assert await value("import sys\ndef f():\n    sys.stdout.close()\n    sys.stderr = None\n    return 5") == 5


async def test_breaks_the_modules_that_answer(run: Run) -> None:
    report = await run(
        """
        import sys, os
        def f():
            import p2pgrid.wire
            for name in list(vars(p2pgrid.wire)):
                setattr(p2pgrid.wire, name, None)
            os.write = None
            sys.modules.clear()
            return 1
        """
    )
    assert not report.ok


# ---------------------------------------------------------------- forged answers

FIND_CHANNEL = """
import os, stat, msgpack
def tell(body):
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): break
        except OSError: pass
    os.write(fd, len(body).to_bytes(4, 'big') + body)
"""


@pytest.mark.parametrize(
    "forged",
    [
        "os.urandom(1000)",
        "b''",
        "msgpack.packb({'failure': '', 'error': '', 'result': b'\\xc1' * 40})",
        "msgpack.packb({'failure': '', 'error': '', 'result': 7})",
        "msgpack.packb({'failure': 'owned', 'error': '', 'result': b''})",
        "msgpack.packb({'failure': '', 'error': '', 'result': msgpack.packb(msgpack.ExtType(3, os.urandom(300)))})",
        "msgpack.packb({'failure': '', 'error': '', 'result': b'\\x91' * 100_000 + b'\\xc0'})",
        "msgpack.packb({'failure': '', 'error': '', 'result': msgpack.packb(msgpack.ExtType(1,"
        " msgpack.packb(['|O', [1]]) + b'A' * 8))})",
        "msgpack.packb([1, 2])",
        "b'x' * (20 << 20)",
    ],
)
async def test_forged_result(run: Run, forged: str) -> None:
    code = f"{FIND_CHANNEL}\ndef f():\n    tell({forged})\n    os._exit(0)"
    report = await run(code, limits=SHORT)
    assert not report.ok
    assert report.result is None
    assert report.failure in ("result", "crash", "time")


@pytest.mark.parametrize(
    "how",
    [
        "tell(msgpack.packb({'failure': 'unavailable', 'error': 'private', 'result': b''})); os._exit(0)",
        "from p2pgrid.domain.runner.inside.worker import Failed; raise Failed('unavailable', 'private')",
    ],
    ids=["forged", "raised"],
)
async def test_a_run_that_claims_it_never_began(run: Run, how: str) -> None:
    report = await run(f"{FIND_CHANNEL}\ndef f():\n    {how}")
    assert (report.failure, report.started) == ("result", True)


async def test_garbage_before_the_result(run: Run) -> None:
    report = await run(f"{FIND_CHANNEL}\ndef f():\n    tell(b'garbage')\n    return 1")
    assert report.failure == "result"


async def test_forged_confinement_and_use(run: Run) -> None:
    code = f"""{FIND_CHANNEL}
def f():
    content = {{'failure': '', 'error': '', 'result': b'\\x07', 'held': {list(LAYERS)!r}, 'cpu': -5.0, 'rss': -1}}
    tell(msgpack.packb(content))
    os._exit(0)
"""
    report = await run(code)
    honest = await run("def f(): return 1")
    assert report.confinement == honest.confinement
    assert report.cpu_seconds >= 0
    assert report.max_rss > 0


async def test_answers_from_a_thread_when_its_first_thread_is_gone(run: Run) -> None:
    """A process without its first thread tells nobody what it uses; it must end all the same."""
    code = f"""{FIND_CHANNEL}
import ctypes, threading, time

def late():
    time.sleep(0.3)
    tell(msgpack.packb({{'failure': '', 'error': '', 'result': b'\x07'}}))
    time.sleep(600)

def f():
    threading.Thread(target=late).start()
    ctypes.CDLL(None).syscall(60, 0)
"""
    async with asyncio.timeout(20):
        both = await asyncio.gather(*(run(code) for _ in range(2)))
        assert {report.started for report in both} == {True}
        assert (await run("def f(): return 1")).ok


async def test_feeds_its_answer_in_drops(run: Run) -> None:
    """Each drop of an answer and of the output wakes the node; its loop goes on for everybody else."""
    code = f"""{FIND_CHANNEL}
def f():
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): break
        except OSError: pass
    os.write(fd, (1 << 24).to_bytes(4, 'big'))
    while True:
        os.write(fd, b'x')
        os.write(1, b'x')
"""
    running = asyncio.create_task(run(code, limits=SHORT))
    turns = 0
    while not running.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert (await running).failure in ("time", "cpu")
    assert turns > 20


# ---------------------------------------------------------------- fooling the reader


async def test_terminal_escapes_in_output_and_error(run: Run) -> None:
    report = await run(
        r"""
        def f():
            print("\x1b[2J\x1b]0;owned\x07 \x9b31m \u202eabc\u2069 \u200b \r back \b\x7f grün")
            raise ValueError("\x1b[31mred\x00")
        """
    )
    assert report.output == "\\x1b[2J\\x1b]0;owned\\x07 \\x9b31m \\u202eabc\\u2069 \\u200b \\r back \\x08\\x7f grün\n"
    assert report.error == "ValueError: \\x1b[31mred\\x00 (line 4 of the submitted code)"


async def test_output_that_is_no_text(run: Run) -> None:
    report = await run("import os\ndef f():\n    os.write(1, bytes(range(256)))\n    return 1")
    assert report.ok
    assert report.output.replace("\n", "").replace("\t", "").isprintable()


# ---------------------------------------------------------------- privileges


async def test_raises_its_own_limits(value: Value) -> None:
    seen = await value(
        """
        import resource
        def f():
            raised = []
            for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
                try:
                    resource.setrlimit(which, (1 << 40, 1 << 40))
                    raised.append(which)
                except (ValueError, OSError):
                    pass
            return raised
        """
    )
    assert seen == []


async def test_a_tier_that_is_not_accepted_runs_nothing() -> None:
    for side in ("mock", "private"):
        nowhere = Runner(accept=[])
        try:
            report = await nowhere.run(RunSpec("def f(): print('ran'); return 1", "f", side=side))
        finally:
            await nowhere.close()
        assert (report.failure, report.output, report.tier) == ("unavailable", "", "none")
        assert "not run on this machine" in report.error


async def test_without_confinement_only_approved_code_is_run() -> None:
    """``side`` is private for code that somebody approved."""
    bare = Runner(accept=["none"])
    try:
        unread = await bare.run(RunSpec("def f(): print('ran'); return 1", "f", side="mock"))
        approved = await bare.run(RunSpec("def f(): return 1", "f", side="private"))
    finally:
        await bare.close()
    assert (unread.failure, unread.output) == ("unavailable", "")
    assert (approved.ok, approved.tier, approved.confinement) == (True, "none", ("rlimits",))
