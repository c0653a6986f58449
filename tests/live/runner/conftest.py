"""A runner that is closed afterwards, and short ways to run a function in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

from p2pgrid import assets, wire
from p2pgrid.domain.runner import Limits, RunInput, Runner, RunReport, RunSpec

Run = Callable[..., Awaitable[RunReport]]


def family() -> list[psutil.Process]:
    """Every process below this one but Python's own tracker of resources, which another test may have started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    found = Runner(hide=[tmp_path / "home"])
    yield found
    await found.close()


@pytest.fixture
def run(runner: Runner, tmp_path: Path) -> Run:
    """``await run(code, x=value, limits=Limits())`` calls ``f`` of ``code`` with each value from a file."""

    async def call(code: str, *, limits: Limits | None = None, **values: Any) -> RunReport:
        inputs = {}
        for name, value in values.items():
            dumped = assets.dump(value)
            path = tmp_path / f"input-{name}"
            path.write_bytes(dumped.tobytes())
            inputs[name] = RunInput(dumped.meta.kind, str(path))
        return await runner.run(RunSpec(dedent(code), "f", inputs, limits or Limits()))

    return call


@pytest.fixture
def value(run: Run) -> Callable[..., Awaitable[Any]]:
    """The same, for a run that must succeed: its value."""

    async def call(code: str, **rest: Any) -> Any:
        report = await run(code, **rest)
        assert report.ok, report
        assert report.result is not None
        return wire.unpack_value(report.result)

    return call


@pytest.fixture
def children() -> Callable[[], list[psutil.Process]]:
    """What asks for the processes below this one."""
    return family
