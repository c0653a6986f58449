"""The node's own runner, held to one tier."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from p2pgrid.domain.runner import Limits, RunInput, Runner, RunReport, RunSpec

TICK = 0.01
WAIT_SECONDS = 5.0
HONEST = "def f():\n    return 41 + 1\n"
SLOW = "def f():\n    import time\n    time.sleep(0.7)\n    return 41 + 1\n"


def make_runner(way: str, hide: Sequence[Path]) -> Runner:
    """A runner that runs code in this tier only."""
    return Runner(hide=list(hide), accept=(way,))


def spec(code: str, limits: Limits, inputs: Path | None = None, side: str = "mock") -> RunSpec:
    """An order to run ``f`` of ``code``."""
    given = {"x": RunInput("numpy", str(inputs))} if inputs else {}
    return RunSpec(code, "f", given, limits, side)


class Confined:
    """A runner and its event loop, from a world without one."""

    def __init__(self, way: str, hide: Sequence[Path]) -> None:
        self.way, self._hide = way, hide
        self.stalled = 0.0
        """Seconds for which the loop stood still at most in the last run."""
        self.spent = self._woke = 0.0
        """``spent``: seconds of processor time of this process meanwhile."""
        self._loop = asyncio.Runner()
        self._loop.get_loop()
        self._runner = make_runner(way, hide)

    def run(self, wanted: RunSpec) -> RunReport:
        """One run."""

        async def settled() -> RunReport:
            async with self._watched():
                report = await self._runner.run(wanted)
            await self._wait()
            return report

        return self._loop.run(settled())

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Note how long the loop stands still at most, up to the very end of a run."""
        self.stalled, self._woke, began = 0.0, time.monotonic(), time.process_time()
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            self._note()
            self.spent = time.process_time() - began

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._note()

    def _note(self) -> None:
        now = time.monotonic()
        self.stalled, self._woke = max(self.stalled, now - self._woke - TICK), now

    async def _wait(self) -> None:
        """Until a worker waits for the next run: what is counted then is what is there when nothing happens."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                for _, zygote in tuple(self._runner._zygotes.values()):
                    while zygote.alive and zygote._spare is None:  # noqa: ASYNC110 - a look from outside
                        await asyncio.sleep(0.005)

    def run_beside(self, wanted: RunSpec) -> tuple[RunReport, bool]:
        """One run while an honest one goes on; whether that ended well."""

        async def both() -> tuple[RunReport, bool]:
            honest = asyncio.create_task(self._runner.run(spec(SLOW, Limits())))
            await asyncio.sleep(0.1)
            async with self._watched():
                report = await self._runner.run(wanted)
            well = (await honest).ok
            await self._wait()
            return report, well

        return self._loop.run(both())

    def is_well(self) -> bool:
        """Whether an honest run ends well."""
        return self.run(spec(HONEST, Limits())).ok

    def renew(self) -> None:
        """Another runner in its place."""
        self._loop.run(self._runner.close())
        self._runner = make_runner(self.way, self._hide)

    def close(self) -> None:
        """End runner and loop."""
        self._loop.run(self._runner.close())
        self._loop.close()
