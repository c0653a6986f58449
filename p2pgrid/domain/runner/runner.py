"""The door: a bounded number of runs at once, a bounded queue of those that wait, and an end to all of them."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from p2pgrid import wire
from p2pgrid.domain.runner.jail import PACKAGE, Interpreter, interpreter, refuse_seen
from p2pgrid.domain.runner.run import Listener, Run
from p2pgrid.domain.runner.spec import TIERS, RunReport, RunSpec, unavailable
from p2pgrid.domain.runner.tiers import Tier, layers_of, self_test, start_zygote, system_lacks
from p2pgrid.domain.runner.zygotes import Zygote
from p2pgrid.errors import InvalidInput, LocalError, StorageError

AT_ONCE: Final = 2
WAITING: Final = 32
KEPT_SECONDS: Final = 600.0
"""How long a zygote waits for its next run: it holds about 100 MB."""

Place = tuple[str, str]
"""Environment and side: each has a zygote of its own."""


class Runner:
    """Runs submitted code in processes apart.  Belongs to one event loop.

    ``python``: the interpreter; ``environments``: others by name, asked anew for each run.  ``at_once`` runs go at
    the same time, ``waiting`` more queue.  ``hide``: folders that no run may see, such as the node's home; runs see
    nothing but the interpreter, and these are what it must not lie around.  ``accept``: the tiers in which code is
    run; in ``none`` only code on private data, which somebody has read.  Nothing is started before the first run or
    ``tier``.
    Raises ``InvalidInput`` for an unknown tier, or a folder of ``hide`` that lies in the program.
    """

    def __init__(
        self,
        *,
        python: str = sys.executable,
        environments: Mapping[str, str] = MappingProxyType({}),
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        hide: Sequence[str | os.PathLike[str]] = (),
        accept: Sequence[str] = ("strong", "kernel"),
    ) -> None:
        unknown = sorted(set(accept) - set(TIERS))
        if unknown:
            raise InvalidInput(f"{', '.join(unknown)} is no tier.", fix=f"Choose from {', '.join(TIERS)}.")
        self._own_python, self._environments = python, environments
        self._hide, self._accept = tuple(os.path.realpath(place) for place in hide), tuple(accept)
        refuse_seen(self._hide, (PACKAGE, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))
        self._slots, self._at_once, self._waiting = asyncio.Semaphore(at_once), at_once, waiting
        self._opening = asyncio.Lock()
        self._finding: asyncio.Task[Tier] | None = None
        self._interpreters: dict[str, Interpreter] = {}
        self._zygotes: dict[Place, tuple[Interpreter, Zygote]] = {}
        self._users: Counter[Place] = Counter()
        self._retiring: dict[Place, asyncio.TimerHandle] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._runs: set[Run] = set()
        self._inside, self._closed = 0, False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def environments(self) -> tuple[str, ...]:
        """Names that a run may ask for, besides the empty one."""
        return tuple(sorted(self._environments))

    async def tier(self) -> Tier:
        """How well runs are confined here, found out by a self-test at the first call.

        Raises ``InvalidInput`` when runs would see a folder of ``hide``.
        """
        if self._finding is None or (self._finding.done() and self._finding.exception() is not None):
            self._finding = asyncio.get_running_loop().create_task(self._find_tier())
        return await asyncio.shield(self._finding)  # whoever asked first may give up

    async def run(
        self,
        spec: RunSpec,
        begin: Callable[[], Awaitable[None]] | None = None,
        on_output: Listener | None = None,
    ) -> RunReport:
        """Run ``spec.function`` of ``spec.code`` on its inputs; however the code behaves, this answers a report.

        ``begin`` is awaited when the run's turn has come, before anything of it starts; what it raises is raised here
        and nothing runs.  ``on_output`` is called with printable pieces of what the run prints.
        Cancelling ends the run before ``CancelledError`` is raised.
        Raises ``StorageError`` when an input file cannot be opened.
        """
        if self._closed:
            return unavailable("The runner is closed.")
        if spec.environment and spec.environment not in self._environments:
            return unavailable(f"There is no environment {spec.environment[:80]!r} here.")
        if self._inside >= self._at_once + self._waiting:
            return unavailable("Too many runs are waiting; try again shortly.")
        self._inside += 1
        self._empty.clear()
        run = Run(spec, on_output)
        try:
            await self._slots.acquire()
        except BaseException:
            self._left()
            raise
        try:
            return await self._turn(spec, begin, run)
        finally:
            run.when_gone(self._out)

    def _out(self) -> None:
        """A run is over, and its process gone."""
        self._slots.release()
        self._left()

    def _left(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def _turn(self, spec: RunSpec, begin: Callable[[], Awaitable[None]] | None, run: Run) -> RunReport:
        if begin is not None and not self._closed:
            await begin()
        if self._closed:
            return unavailable("The runner is closed.")
        try:
            tier = await self.tier()
            if tier.name not in self._accept or (tier.name == "none" and spec.side != "private"):
                return unavailable(f"Submitted code is not run on this machine. {tier.why}")
            return await self._in_zygote(spec, tier, run)
        except StorageError:
            raise
        except LocalError as error:
            return unavailable(error.cause)

    async def _in_zygote(self, spec: RunSpec, tier: Tier, run: Run) -> RunReport:
        place = (spec.environment, spec.side)
        self._users[place] += 1
        self._runs.add(run)
        try:
            zygote = await self._zygote(place, tier.name)
            report = await run.go(zygote)
        finally:
            self._runs.discard(run)
            self._users[place] -= 1
            self._retire_later(place)
        return replace(report, tier=tier.name, confinement=layers_of(tier.name, zygote))

    async def _zygote(self, place: Place, tier: str) -> Zygote:
        async with self._opening:
            if self._closed:
                raise LocalError("The runner is closed.")
            python = await self._python(place[0])
            held = self._zygotes.get(place)
            if held is not None and held[0] is python and held[1].alive:
                return held[1]
            if held is not None:
                del self._zygotes[place]
                self._rest(held[1])
            zygote = await start_zygote(python, tier, self._at_once)
            self._zygotes[place] = (python, zygote)
            return zygote

    async def _python(self, environment: str) -> Interpreter:
        """What an environment's interpreter is now: asked again when it was made anew."""
        known = self._interpreters.get(environment)
        if known is None or not known.is_as_it_was():
            python = self._environments.get(environment, "") if environment else self._own_python
            known = self._interpreters[environment] = await interpreter(python, self._hide)
        return known

    async def _find_tier(self) -> Tier:
        """The best tier whose self-test nothing gets through; tiers that are not accepted are not tried."""
        why = [lacks] if (lacks := system_lacks()) else []
        for name in ("strong", "kernel") if not lacks else ():
            if name not in self._accept:
                why.append(f"The tier {name} is not accepted here.")
                continue
            try:
                python = await self._python("")
                zygote = await start_zygote(python, name, self._at_once)
            except InvalidInput:
                raise
            except LocalError as error:
                why.append(f"Not {name}: {error.cause}")
                continue
            try:
                wrong = await self._broken(zygote)
            except BaseException:
                await zygote.close()
                raise
            if wrong:
                why.append(f"Not {name}: {wrong}")
                await zygote.close()
                continue
            self._zygotes["", "mock"] = (python, zygote)
            layers = layers_of(name, zygote)
            if os.geteuid() == 0 and "other-user" not in layers:
                why.append("Runs stay root's: no other user can read this interpreter.")
            return Tier(name, layers, " ".join(why) or "Every layer holds.")
        return Tier("none", ("rlimits",), " ".join(why))

    async def _broken(self, zygote: Zygote) -> str:
        """What is wrong with the workers of ``zygote``; empty when no attack gets through."""
        with self_test() as spec:
            run = Run(spec)
            self._runs.add(run)
            try:
                report = await run.go(zygote)
            finally:
                self._runs.discard(run)
        if not report.ok or report.result is None:
            return f"the self-test failed: {report.error}"
        through = wire.unpack_value(report.result, arrow=False)
        return f"these attacks succeeded: {', '.join(map(str, through))}." if through else ""

    def _retire_later(self, place: Place) -> None:
        if (handle := self._retiring.pop(place, None)) is not None:
            handle.cancel()
        if not self._closed:
            loop = asyncio.get_running_loop()
            self._retiring[place] = loop.call_later(KEPT_SECONDS, self._retire, place)

    def _retire(self, place: Place) -> None:
        self._retiring.pop(place, None)
        if not self._users[place] and (held := self._zygotes.pop(place, None)) is not None:
            self._rest(held[1])

    def _rest(self, zygote: Zygote) -> None:
        task = asyncio.get_running_loop().create_task(zygote.retire())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        """Stop what runs, turn away what waits, and return when no process is left.  May be called again."""
        self._closed = True
        for handle in self._retiring.values():
            handle.cancel()
        for run in tuple(self._runs):
            run.stop()
        await self._empty.wait()
        if self._finding is not None:
            await asyncio.wait([self._finding])
        async with self._opening:
            await asyncio.gather(*self._endings, *(zygote.close() for _, zygote in self._zygotes.values()))
            self._zygotes.clear()
