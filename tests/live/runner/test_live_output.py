"""What a run prints is handed on while it runs: printable, whole characters, and bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from p2pgrid.domain.runner import Limits, Runner, RunSpec

SLOWLY = """def f():
    import time
    for step in range(4):
        print("step", step, flush=True)
        time.sleep(0.4)
    return 1
"""
SPLIT = """def f():
    import os, time
    for byte in "\u00e9\U0001f512".encode():
        os.write(1, bytes([byte]))
        time.sleep(0.05)
    os.write(1, b"\\x1b[31m\\xff")
    return 1
"""


@pytest.fixture
async def runner(tmp_path: Any) -> Any:
    made = Runner(hide=[tmp_path])
    yield made
    await made.close()


async def told(runner: Runner, code: str, **limits: Any) -> tuple[list[str], Any]:
    pieces: list[str] = []
    spec = RunSpec(code, "f", limits=Limits(wall_seconds=20.0, **limits))
    return pieces, await runner.run(spec, on_output=pieces.append)


async def test_output_comes_while_the_code_still_runs(runner: Runner) -> None:
    pieces: list[str] = []
    first = asyncio.Event()

    def hear(text: str) -> None:
        pieces.append(text)
        first.set()

    run = asyncio.create_task(runner.run(RunSpec(SLOWLY, "f"), on_output=hear))
    await asyncio.wait_for(first.wait(), 60)
    assert not run.done()
    assert "step 3" not in "".join(pieces)
    report = await run
    assert "".join(pieces) == report.output == "step 0\nstep 1\nstep 2\nstep 3\n"


async def test_characters_come_whole_and_control_characters_as_escapes(runner: Runner) -> None:
    pieces, report = await told(runner, SPLIT)
    assert report.ok, report
    assert "".join(pieces).startswith("\u00e9\U0001f512\\x1b[31m")
    assert not any("\x1b" in piece or "\ufffd" in piece[:2] for piece in pieces)


async def test_output_over_its_limit_is_not_handed_on(runner: Runner) -> None:
    pieces, report = await told(runner, "def f():\n    print('x' * 50_000)\n    return 1\n", output_bytes=1000)
    assert report.ok, report
    assert "".join(pieces) == "x" * 1000


async def test_a_cancelled_run_hands_on_nothing_more(runner: Runner) -> None:
    pieces: list[str] = []
    first = asyncio.Event()

    def hear(text: str) -> None:
        pieces.append(text)
        first.set()

    run = asyncio.create_task(runner.run(RunSpec(SLOWLY, "f"), on_output=hear))
    await asyncio.wait_for(first.wait(), 60)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    heard = len(pieces)
    await asyncio.sleep(0.6)
    assert len(pieces) == heard
