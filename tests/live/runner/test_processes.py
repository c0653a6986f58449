"""Starting a process and giving up on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import psutil
import pytest

from p2pgrid.domain.runner import processes

PIPES = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}


@pytest.mark.parametrize("turns", range(12))
async def test_giving_up_at_any_moment_of_a_start(turns: int, children: Callable[[], list[psutil.Process]]) -> None:
    """Also when what the process started has its pipes; asyncio's own start would wait for that."""
    task = asyncio.create_task(processes.start("sh", "-c", "sleep 60 & exec sleep 60", **PIPES))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=2)
    assert done
    if not task.cancelled():  # it was started before it could be given up
        await processes.end(task.result())
    assert children() == []


async def test_the_end_takes_its_session_along(children: Callable[[], list[psutil.Process]]) -> None:
    process = await processes.start(
        sys.executable, "-c", "import os; os.fork(); input()", stdin=asyncio.subprocess.PIPE
    )
    await processes.end(process)
    await processes.end(process)
    assert children() == []


async def test_a_program_that_is_absent() -> None:
    with pytest.raises(OSError, match="No such file"):
        await processes.start("/nowhere/program")
