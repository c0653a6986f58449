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
    """asyncio's own start would wait without end at some of these."""
    task = asyncio.create_task(processes.start("sleep", "60", **PIPES))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await processes.end(await task)
            raise asyncio.CancelledError  # it was started before it could be given up
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
