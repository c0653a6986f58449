"""A runner's own life: how many at once, cancelling, closing, and the node's sudden death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from p2pgrid.domain.runner import Limits, RunInput, Runner, RunSpec
from p2pgrid.errors import InvalidInput, StorageError

SLEEP = RunSpec(
    "import time\ndef f():\n    print('up', flush=True)\n    time.sleep(60)", "f", {}, Limits(wall_seconds=50)
)
QUICK = RunSpec("def f(): return 1", "f")
FORKS = RunSpec(
    "import os, time\ndef f():\n    for _ in range(3):\n        if os.fork() == 0: os.setsid()\n    time.sleep(60)",
    "f",
    {},
    Limits(wall_seconds=50),
)


def family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


async def until_running(count: int) -> None:
    """Until ``count`` processes live below this one."""
    assert await asyncio.to_thread(until, lambda: len(family()) >= count, 20)


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    found = Runner(at_once=2, waiting=1)
    yield found
    await found.close()
    assert family() == []


async def test_cancelling_kills_the_whole_family(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    task = asyncio.create_task(runner.run(FORKS))
    await until_running(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert until(lambda: family() == [])
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
    assert until(lambda: family() == [])


async def test_cancelling_again_and_again(runner: Runner) -> None:
    task = asyncio.create_task(runner.run(FORKS))
    await until_running(10)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert family() == []


async def test_closing_ends_what_runs_and_turns_away_what_waits() -> None:
    runner = Runner(at_once=1, waiting=1)
    running = asyncio.create_task(runner.run(SLEEP))
    await until_running(3)
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
    tasks = [asyncio.create_task(runner.run(SLEEP)) for _ in range(3)]
    await until_running(6)
    refused = await runner.run(QUICK)
    assert refused.failure == "unavailable"
    assert "Too many" in refused.error
    assert len(psutil.Process().children()) == 2
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


async def test_warden_killed_from_outside(runner: Runner) -> None:
    task = asyncio.create_task(runner.run(SLEEP))
    await until_running(3)
    psutil.Process().children()[0].kill()
    report = await task
    assert report.failure == "crash"
    assert until(lambda: family() == [])


async def test_runs_leave_no_descriptors(runner: Runner) -> None:
    await runner.run(QUICK)
    before = psutil.Process().num_fds()
    for _ in range(3):
        await runner.run(QUICK)
    assert until(lambda: psutil.Process().num_fds() <= before)


def test_sudden_death_of_the_node_ends_its_runs(tmp_path: Path) -> None:
    program = f"""
import asyncio
from p2pgrid.domain.runner import *
code = {FORKS.code!r}
asyncio.run(Runner().run(RunSpec(code, "f", {{}}, Limits(wall_seconds=50))))
"""
    node = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        parent = psutil.Process(node.pid)
        assert until(lambda: len(parent.children(recursive=True)) >= 10, 20)
        runs = parent.children(recursive=True)
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
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
    assert until(lambda: os.listdir(tmp_path) == [])


def test_hidden_folder_that_holds_the_program() -> None:
    with pytest.raises(InvalidInput, match="cannot be hidden"):
        Runner(hide=[sys.prefix])


def test_unknown_measure() -> None:
    with pytest.raises(InvalidInput, match="no measure"):
        Runner(require=["magic"])
