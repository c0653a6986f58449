"""What every experiment has: a name, parameters with defaults, a run that can be watched and stopped, a result."""

from __future__ import annotations

import hashlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.errors import BadExperiment, InvalidInput
from p2pgrid.sim.checks import seed_number
from p2pgrid.sim.conditions import BOUNDS, NETWORK, conditions_of, written
from p2pgrid.sim.grid import CHECK_EVERY, Grid
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.result import Draw, Result

MOST_NODES: Final = 100_000
Progress = Callable[[float, "Run"], None]
"""Hears the share that is done (0..1) and the run itself, a few times a second."""
TELL_EVERY: Final = 0.1
"""Seconds of real time between two words of progress."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One of them.

    ``about``: one sentence; ``nodes``: how many unless told; ``parameters``: their names and defaults, which also say
    their types, a text being a latency (see ``conditions``, also for those of every network), a tuple a list of
    different values; ``measure``: does it, a row at a time; ``pictures``: by file name; ``bounds``: least and most of a
    parameter, 0 and anything finite unless told; ``check``: looks at nodes and all parameters before anything runs, and
    raises ``BadExperiment``.

    What many runs are summed up by: ``measures``: columns, each with the column that says of how many tries it is the
    share, "" where it is none; ``of_run``: of those that are no mean over the rows of a run, as a median is none, what
    they are of a whole run; ``apart``: columns by which rows of one run are kept apart, the first is across.
    """

    name: str
    title: str
    about: str
    nodes: int
    parameters: Mapping[str, Any]
    measure: Callable[[Run], None]
    pictures: Mapping[str, Draw]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    measures: Mapping[str, str] = field(default_factory=dict)
    of_run: Mapping[str, Callable[[Result], float | None]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    check: Callable[[int, Mapping[str, Any]], object] = lambda nodes, given: None

    def checked(self, nodes: int | None, seed: int, given: Mapping[str, Any]) -> tuple[int, int, dict[str, Any]]:
        """Nodes, seed and all parameters of a run.  Raises ``BadExperiment`` for what is impossible."""
        count, taken = self.with_nodes(nodes), self.with_parameters(given)
        self.check(count, taken)
        return count, seed_number(seed, error=BadExperiment), taken

    def with_parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, those given in place of their defaults.  Raises ``BadExperiment``."""
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise BadExperiment(f"{self.name} has no parameter {unknown[0]!r}; its parameters: {known}.")
        taken = {name: self._fitting(name, given.get(name, default)) for name, default in self.parameters.items()}
        with self._as_ours():
            conditions_of(taken)
        return taken

    def with_nodes(self, given: int | None) -> int:
        """How many, its own number unless told.  Raises ``BadExperiment``."""
        count = self.nodes if given is None else given
        if not 2 <= count <= MOST_NODES:
            raise BadExperiment(f"{self.name} runs with 2 to {MOST_NODES:,} nodes, not {count}.")
        return count

    def run(
        self,
        *,
        nodes: int | None = None,
        seed: int = 1,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        begun: Callable[[Result], None] = lambda result: None,
    ) -> Result:
        """Do it.  An interrupt ends it with what was finished (``complete`` is False then).

        ``begun`` is handed the result before anything is in it: whatever is raised later, what was finished is there.
        Raises ``BadExperiment`` for parameters that are impossible, ``BrokenInvariant`` for a fault in the engine.
        """
        count, seed, chosen = self.checked(nodes, seed, parameters or {})
        result = Result(self.name, self.title, count, seed, chosen, pictures=self.pictures)
        begun(result)
        usual = all(chosen[name] == self.parameters[name] for name in NETWORK if name in chosen)
        return perform(result, self.measure, progress, usual=usual)

    @contextmanager
    def _as_ours(self) -> Iterator[None]:
        """What is wrong with a network is told as this experiment's."""
        try:
            yield
        except InvalidInput as error:
            raise BadExperiment(f"{self.name}: {error.cause}", fix=error.fix) from error

    def _fitting(self, name: str, value: Any) -> Any:
        default = self.parameters[name]
        if isinstance(default, str):
            with self._as_ours():
                return written(value)
        if isinstance(default, tuple):
            values = value if isinstance(value, (list, tuple)) else [value]
            if not values:
                raise BadExperiment(f"{self.name}: {name} needs at least one value.")
            return tuple(dict.fromkeys(self._number(name, default[0], one) for one in values))
        return self._number(name, default, value)

    def _number(self, name: str, default: Any, value: Any) -> Any:
        least, most = {**BOUNDS, **self.bounds}.get(name, (0, math.inf))
        try:
            made = None if isinstance(value, bool) else type(default)(value)
            fits = made is not None and float(made) == float(value) and least <= made <= most and made != math.inf
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            kind = "whole number" if isinstance(default, int) else "number"
            span = f"from {least:g} on" if most == math.inf else f"from {least:g} to {most:g}"
            raise BadExperiment(f"{self.name}: {name} is a {kind} {span}, not {value!r}.")
        return made


@dataclass(slots=True)
class Run:
    """One run under way: what an experiment asks of its surroundings.

    ``usual``: its network is the one that the experiment has by itself.
    """

    result: Result
    progress: Progress | None = None
    usual: bool = True
    grids: list[Grid] = field(default_factory=list)
    share: float = 0.0
    """What was done before the present part began, and what the part is of the whole."""
    part: float = 1.0
    began: float = field(default_factory=time.perf_counter)
    _told: float = 0.0
    _within: float = 0.0
    _events: int = 0
    _seconds: float = 0.0
    _digests: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        """A parameter."""
        return self.result.parameters[name]

    @property
    def nodes(self) -> int:
        """How many."""
        return self.result.nodes

    @property
    def seed(self) -> int:
        """Of all chance."""
        return self.result.seed

    @property
    def events(self) -> int:
        """Happened so far."""
        return self._events + sum(grid.world.events for grid in self.grids)

    @property
    def virtual_seconds(self) -> float:
        """Passed so far."""
        return self._seconds + sum(grid.world.now for grid in self.grids)

    @property
    def rate(self) -> float:
        """Events a second of real time, so far."""
        return self.events / max(1e-9, time.perf_counter() - self.began)

    def grid(
        self, *, conditions: Conditions | None = None, limits: Limits = DEFAULT, check_every: int = CHECK_EVERY
    ) -> Grid:
        """An empty grid whose events count; those before it are let go.

        ``conditions``: as the experiment's parameters say, unless told.
        """
        self.let_go()
        conditions = conditions or conditions_of(self.result.parameters)
        made = Grid(self.seed, conditions=conditions, limits=limits, check_every=check_every)
        made.world.watch = self._watch
        self.grids.append(made)
        return made

    def let_go(self) -> None:
        """The grids so far are done: what they counted is kept, and they are not."""
        for grid in self.grids:
            self._events += grid.world.events
            self._seconds += grid.world.now
            self._digests.append(grid.world.digest())
            self.result.unjoined += grid.unjoined
            self.result.unheld += grid.unheld
            self.result.unfinished += grid.unfinished
        self.grids.clear()

    def count(self, events: int) -> None:
        """Events beside those of the grids."""
        self._events += events

    def note(self, digest: str) -> None:
        """Something beside the grids that the run's digest covers."""
        self._digests.append(digest)

    def row(self, **values: Any) -> None:
        """One point of the result."""
        self.result.rows.append(values)

    def against(self, measured: float, reference: float, tolerance: float, *, better: str = "") -> dict[str, Any]:
        """Columns for a point with a reference: itself, and whether the measured one is within the tolerance.

        ``better``: "more" or "less" when a point on that side of the reference is good however far it is.  None when
        the network is another than the reference is for.
        """
        if not self.usual:
            return {}
        off = measured - reference
        good = abs(off) <= tolerance or (better == "more" and off > 0) or (better == "less" and off < 0)
        return {"reference": reference, "tolerance": tolerance, "holds": good}

    def step(self, number: int, of: int) -> None:
        """Part ``number`` (from 0) of so many equal ones begins."""
        self.begin(number / of, 1 / of)

    def begin(self, share: float, part: float) -> None:
        """The next part begins: ``share`` (0..1) was done before it, and it is ``part`` of the whole."""
        self.share, self.part = share, part
        self.within(0.0)

    def within(self, share: float) -> None:
        """So much (0..1) of the present part is done."""
        self._within = share
        now = time.perf_counter()
        if self.progress is not None and now - self._told >= TELL_EVERY:
            self._told = now
            self.progress(self.share + self.part * min(1.0, share), self)

    def pass_time(self, grid: Grid, seconds: float, begin: float, end: float) -> None:
        """Let time pass in a grid; meanwhile the present part goes from ``begin`` to ``end`` (0..1)."""
        pieces = max(1, min(100, int(seconds)))
        for piece in range(pieces):
            self.within(begin + (end - begin) * piece / pieces)
            grid.run(seconds / pieces)

    def end(self) -> None:
        """It is over: the totals go into the result."""
        result = self.result
        self.let_go()
        result.events, result.virtual_seconds = self._events, self._seconds
        result.wall_seconds = time.perf_counter() - self.began
        result.peak_rss_mib = peak_rss_mib()
        result.digest = hashlib.blake2b("".join(self._digests).encode(), digest_size=16).hexdigest()

    def _watch(self) -> None:
        self.within(self._within)


def perform(
    result: Result, measure: Callable[[Run], None], progress: Progress | None = None, *, usual: bool = True
) -> Result:
    """Do what ``measure`` says; the same result, filled.  An interrupt ends it with what was finished.

    What ``measure`` raises goes on to the caller; the result has by then what was finished.
    """
    run = Run(result, progress, usual)
    try:
        measure(run)
        if progress is not None:
            progress(1.0, run)
    except KeyboardInterrupt:
        result.complete = False
    except BaseException:
        result.complete = False
        raise
    finally:
        run.end()
    return result


def peak_rss_mib() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
