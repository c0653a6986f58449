"""The door: a bounded number of runs at once, a bounded queue of those that wait, and an end to all of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from p2pgrid.domain.runner.confine import holds
from p2pgrid.domain.runner.launch import PACKAGE_ROOT, Launch
from p2pgrid.domain.runner.spec import MEASURES, RunReport, RunSpec
from p2pgrid.errors import InvalidInput

AT_ONCE: Final = 2
WAITING: Final = 32


class Runner:
    """Runs submitted code in processes apart.  Belongs to one event loop.

    ``python``: the interpreter.  ``at_once`` runs go at the same time, ``waiting`` more queue.  ``hide``: folders
    that no run may look into, such as the node's home; people's home folders and the like are hidden besides, but for
    the program's own folders in them (``confine.PRIVATE``).  ``require``: members of ``MEASURES`` without which code is
    not run.  Raises ``InvalidInput`` for an unknown measure or a hidden folder that holds the interpreter.
    """

    def __init__(
        self,
        *,
        python: str = sys.executable,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        hide: Sequence[str | os.PathLike[str]] = (),
        require: Sequence[str] = (),
    ) -> None:
        unknown = sorted(set(require) - set(MEASURES))
        if unknown:
            raise InvalidInput(f"{', '.join(unknown)} is no measure.", fix=f"Choose from {', '.join(MEASURES)}.")
        self._hide = tuple(os.path.realpath(place) for place in hide)
        for place in self._hide:
            if holds(place, (PACKAGE_ROOT, sys.prefix, sys.base_prefix)):
                fix = "Keep the node's home and the program in separate folders."
                raise InvalidInput(f"{place} cannot be hidden from runs: the program itself lies in it.", fix=fix)
        self._python, self._require = python, tuple(require)
        self._slots, self._at_once, self._waiting = asyncio.Semaphore(at_once), at_once, waiting
        self._launches: set[Launch] = set()
        self._inside, self._closed = 0, False
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(self, spec: RunSpec, begin: Callable[[], Awaitable[None]] | None = None) -> RunReport:
        """Run ``spec.function`` of ``spec.code`` on its inputs; however the code behaves, this answers a report.

        ``begin`` is awaited when the run's turn has come, before anything of it starts; what it raises is raised here
        and nothing runs.
        Cancelling ends the run and all its processes before ``CancelledError`` is raised.
        Raises ``StorageError`` when an input file cannot be opened.
        """
        if sys.platform == "win32":
            return _unavailable("This system cannot run submitted code apart from the node.")
        if self._closed:
            return _unavailable("The runner is closed.")
        if self._inside >= self._at_once + self._waiting:
            return _unavailable("Too many runs are waiting; try again shortly.")
        self._inside += 1
        self._empty.clear()
        try:
            async with self._slots:
                return await self._launched(spec, begin)
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def _launched(self, spec: RunSpec, begin: Callable[[], Awaitable[None]] | None) -> RunReport:
        if begin is not None and not self._closed:
            await begin()
        if self._closed:
            return _unavailable("The runner is closed.")
        launch = Launch(spec, python=self._python, hide=self._hide, require=self._require)
        self._launches.add(launch)
        try:
            return await launch.run()
        finally:
            self._launches.discard(launch)

    async def close(self) -> None:
        """Stop what runs, turn away what waits, and return when no process is left.  May be called again."""
        self._closed = True
        for launch in tuple(self._launches):
            launch.stop()
        await self._empty.wait()


def _unavailable(error: str) -> RunReport:
    return RunReport(ok=False, failure="unavailable", error=error)
