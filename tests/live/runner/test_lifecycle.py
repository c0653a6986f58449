"""A runner's own life: how many at once, cancelling, closing, and the node's sudden death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from p2pgrid import wire
from p2pgrid.domain.runner import Limits, RunInput, Runner, RunSpec, zygotes
from p2pgrid.errors import InvalidInput, StorageError

SLEEP = RunSpec(
    "import time\ndef f():\n    print('up', flush=True)\n    time.sleep(60)", "f", {}, Limits(wall_seconds=50)
)
QUICK = RunSpec("def f(): return 1", "f")


def family() -> list[psutil.Process]:
    """Every process below this one but Python's own tracker of resources, which another test may have started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process().children(recursive=True)
        return [process for process in found if "resource_tracker" not in " ".join(process.cmdline())]
    return family()  # one ended while it was looked at


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


class Up:
    """A run that sleeps, and whether its code has begun."""

    def __init__(self, runner: Runner) -> None:
        self.began = asyncio.Event()
        self.task = asyncio.create_task(runner.run(SLEEP, on_output=lambda _: self.began.set()))

    async def wait(self) -> Up:
        """Until it has."""
        async with asyncio.timeout(30):
            await self.began.wait()
        return self


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    found = Runner(at_once=2, waiting=1)
    yield found
    await found.close()
    assert family() == []


async def test_cancelling_kills_the_worker(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    task = (await Up(runner).wait()).task
    before = family()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert until(lambda: len(family()) == len(before) - 1)
    assert os.listdir(tmp_path) == []
    assert (await runner.run(QUICK)).ok


async def test_cancelling_at_once(runner: Runner) -> None:
    for turns in range(6):
        task = asyncio.create_task(runner.run(QUICK))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await runner.run(QUICK)).ok


async def test_cancelling_again_and_again(runner: Runner) -> None:
    task = (await Up(runner).wait()).task
    before = family()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert until(lambda: len(family()) == len(before) - 1)


async def test_closing_ends_what_runs_and_turns_away_what_waits() -> None:
    runner = Runner(at_once=1, waiting=1)
    running = (await Up(runner).wait()).task
    waiting = asyncio.create_task(runner.run(QUICK))
    await asyncio.sleep(0)
    await runner.close()
    assert family() == []
    first, second = await running, await waiting
    assert (first.failure, second.failure) == ("unavailable", "unavailable")
    assert "stopped" in first.error
    assert (await runner.run(QUICK)).error == "The runner is closed."
    await runner.close()


async def test_closing_while_a_run_starts() -> None:
    runner = Runner()
    running = asyncio.create_task(runner.run(SLEEP))
    await asyncio.sleep(0)
    await runner.close()
    assert (await running).failure == "unavailable"
    assert family() == []


async def test_only_so_many_run_and_wait(runner: Runner) -> None:
    running = [Up(runner), Up(runner)]
    for one in running:
        await one.wait()
    tasks = [*(one.task for one in running), asyncio.create_task(runner.run(SLEEP))]
    await asyncio.sleep(0)
    refused = await runner.run(QUICK)
    assert refused.failure == "unavailable"
    assert "Too many" in refused.error
    await runner.close()
    assert {report.failure for report in await asyncio.gather(*tasks)} == {"unavailable"}


async def test_waiting_runs_follow(runner: Runner) -> None:
    reports = await asyncio.gather(*(runner.run(QUICK) for _ in range(3)))
    assert all(report.ok for report in reports)


async def test_missing_input_file(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("absent", "folder", "fifo"):
        with pytest.raises(StorageError):
            await runner.run(RunSpec("def f(x): return 1", "f", {"x": RunInput("bytes", str(tmp_path / name))}))
    assert (await runner.run(QUICK)).ok


async def test_interpreter_that_is_absent() -> None:
    runner = Runner(python="/nowhere/python")
    report = await runner.run(QUICK)
    await runner.close()
    assert report.failure == "unavailable"
    assert "cannot be started" in report.error


async def test_interpreter_that_is_another_program() -> None:
    runner = Runner(python="/bin/false")
    report = await runner.run(QUICK)
    await runner.close()
    assert not report.ok
    assert report.failure in ("crash", "unavailable")


async def test_zygote_killed_from_outside(runner: Runner) -> None:
    task = (await Up(runner).wait()).task
    for process in family():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    report = await task
    assert not report.ok
    assert report.started
    assert until(lambda: family() == [])
    assert (await runner.run(QUICK)).ok, "the next run gets a new one"


async def waiting(runner: Runner) -> int:
    """The process id of the worker that waits for the next run, once it is born."""
    if not runner._zygotes:
        await runner.run(QUICK)
    ((_, zygote),) = runner._zygotes.values()
    assert await asyncio.to_thread(until, lambda: zygote._spare is not None, 30)
    assert zygote._spare is not None
    return zygote._spare._pid()


async def test_a_worker_waits_for_the_next_run(runner: Runner) -> None:
    one = psutil.Process(await waiting(runner))
    assert (await runner.run(QUICK)).ok
    assert await asyncio.to_thread(until, lambda: not one.is_running()), "it was the run's, and gone with it"
    assert await waiting(runner) != one.pid


async def test_waiting_worker_killed_from_outside(runner: Runner) -> None:
    one = psutil.Process(await waiting(runner))
    one.kill()
    assert await asyncio.to_thread(until, lambda: not one.is_running())
    await asyncio.sleep(0.01)  # its zygote's word of it is read
    assert (await runner.run(QUICK)).ok
    assert psutil.pid_exists(await waiting(runner))


async def test_an_answer_ends_the_run(runner: Runner) -> None:
    """Whatever the code would still do behind it."""
    code = """
import os, stat, time
from p2pgrid import wire

def f():
    answer = wire.pack({"failure": "", "error": "", "result": wire.pack_value(7)})
    print("before")
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, len(answer).to_bytes(4, "big") + answer)
        except OSError:
            pass
    time.sleep(60)
"""
    report = await asyncio.wait_for(runner.run(RunSpec(code, "f")), 30)
    assert report.ok
    assert (report.result, report.output) == (wire.pack_value(7), "before\n")
    assert report.cpu_seconds > 0
    assert report.max_rss > 1 << 20


async def test_a_zygote_that_stands_still_is_given_up(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "BIRTH_SECONDS", 0.5)
    zygote = psutil.Process(await waiting(runner)).parent()
    assert zygote is not None
    running = asyncio.create_task(runner.run(RunSpec(SLEEP.code, "f", {}, Limits(wall_seconds=1.0))))
    await asyncio.sleep(0.3)
    zygote.suspend()
    async with asyncio.timeout(20):
        assert (await running).failure == "time"
        monkeypatch.undo()
        assert (await runner.run(QUICK)).ok, "the next run gets a new one"


async def test_runs_leave_no_descriptors(runner: Runner) -> None:
    await waiting(runner)
    before = psutil.Process().num_fds()
    for _ in range(3):
        await runner.run(QUICK)
    assert until(lambda: psutil.Process().num_fds() <= before)


async def test_runs_that_are_cancelled_at_any_moment_leave_no_descriptors(runner: Runner) -> None:
    await waiting(runner)
    before = psutil.Process().num_fds()
    for turns in range(0, 120, 3):
        task = asyncio.create_task(runner.run(QUICK))
        for _ in range(turns):
            await asyncio.sleep(0 if turns < 60 else 0.0003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.to_thread(until, lambda: psutil.Process().num_fds() <= before)
    assert (await runner.run(QUICK)).ok


@contextlib.contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """This process can open about so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("warm", [True, False])
async def test_a_shortage_of_descriptors_costs_one_run_and_no_later_one(warm: bool) -> None:
    seen = set()
    for more in range(0, 16, 1 if warm else 3):
        runner = Runner()
        await runner.tier()
        if warm:
            await runner.run(QUICK)
        before = psutil.Process().num_fds()
        async with asyncio.timeout(30):
            with few_descriptors(more):
                report = await runner.run(QUICK)
            seen.add(report.failure)
            assert report.error or report.ok
            assert (await runner.run(QUICK)).ok
            if warm:
                assert await asyncio.to_thread(until, lambda at=before: psutil.Process().num_fds() <= at)
        await runner.close()
    assert "unavailable" in seen, "the shortage was never felt"
    assert seen <= {"", "unavailable"}
    assert family() == []


async def test_giving_up_the_first_run_leaves_no_zygote() -> None:
    for pause in (0.02, 0.1, 0.25):
        runner = Runner()
        task = asyncio.create_task(runner.run(QUICK))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.close()
        assert family() == []


async def test_closing_while_a_large_result_is_read() -> None:
    runner = Runner()
    big = RunSpec("def f(): return list(range(900_000))", "f")
    await runner.tier()
    for pause in (0.05, 0.15, 0.3, 0.5):
        task = asyncio.create_task(runner.run(big))
        await asyncio.sleep(pause)
        if pause == 0.5:
            await runner.close()
        assert (await task).failure in ("", "unavailable")
    assert family() == []


def test_sudden_death_of_the_node_ends_its_runs(tmp_path: Path) -> None:
    program = f"""
import asyncio
from p2pgrid.domain.runner import *
code = {SLEEP.code!r}
print_up = lambda text: print(text, flush=True)
asyncio.run(Runner().run(RunSpec(code, "f", {{}}, Limits(wall_seconds=50)), on_output=print_up))
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    node = subprocess.Popen([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE)
    try:
        assert node.stdout is not None
        assert node.stdout.readline() == b"up\n"
        runs = psutil.Process(node.pid).children(recursive=True)
        assert len(runs) >= 2
    finally:
        node.send_signal(signal.SIGKILL)
        node.communicate()
    assert until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in runs))
    assert until(lambda: os.listdir(tmp_path) == [])


def test_death_of_the_node_while_a_run_starts(tmp_path: Path) -> None:
    program = "import asyncio; from p2pgrid.domain.runner import *; "
    program += "asyncio.run(Runner().run(RunSpec('def f(): return 1', 'f')))"
    node = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        assert until(lambda: psutil.Process(node.pid).children() != [], 20)
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
    assert until(lambda: not [process for process in psutil.process_iter() if theirs(process, tmp_path)])


def theirs(process: psutil.Process, tmp_path: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.ppid() == 1 and "p2pgrid.domain.runner.inside" in " ".join(process.cmdline())
    return False


def test_hidden_folder_that_holds_the_program() -> None:
    with pytest.raises(InvalidInput, match="cannot be hidden"):
        Runner(hide=[str(Path(sysconfig.get_path("purelib")) / "home")])


def test_unknown_tier() -> None:
    with pytest.raises(InvalidInput, match="no tier"):
        Runner(accept=["magic"])
