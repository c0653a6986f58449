"""A grid in virtual time as people use it: ``Simulation(nodes=..., seed=...).run(hours=...)``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

from p2pgrid import __version__
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.errors import BadExperiment
from p2pgrid.sim.checks import instance, number, seed_number, whole_number
from p2pgrid.sim.churn import Sessions, Weibull
from p2pgrid.sim.experiment import MOST_NODES, Progress, Run, perform
from p2pgrid.sim.grid import CHECK_EVERY, Grid
from p2pgrid.sim.latency import LogNormal
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.result import Result, Row, legend_of_both
from p2pgrid.sim.workload import Find, Workload, times

SLICES: Final = 30
"""Rows of a result: so many equal parts of the time."""
SETTLE: Final = 120.0
"""Seconds in which new nodes get to know one another before anything is counted."""
MOST_SEARCHES: Final = 1_000_000
MOST_TAGS: Final = 10_000
LEAST_SESSION: Final = 1.0
"""Seconds that nodes stay on average: with less a grid is nothing but joins."""
JOIN_EVERY: Final = 0.05
"""Seconds between two nodes that join while the grid grows."""


class Simulation:
    """Real engines over a fake network: they join one by one, announce datasets, search, come and go.

    ``conditions``: of the network, a log-normal latency with a median of 30 ms unless told; ``churn``: how long nodes
    stay, None for ever; ``tags``: datasets announced, each with a tag of its own; ``limits``: of every node;
    ``check_every``: datagrams of a node between two looks at its invariants, 0 for never.  The same seed gives the
    same run to the byte (``Result.digest``).

    >>> from p2pgrid.sim import Simulation, Weibull
    >>> found = Simulation(nodes=50, seed=7, churn=Weibull(shape=0.5, mean=3600)).run(hours=0.1, searches=20)
    >>> found.frame("searches").right.mean()
    1.0
    """

    def __init__(
        self,
        nodes: int = 300,
        *,
        seed: int = 1,
        churn: Sessions | None = None,
        conditions: Conditions | None = None,
        limits: Limits = DEFAULT,
        tags: int = 50,
        check_every: int = CHECK_EVERY,
    ) -> None:
        whole, kind = partial(whole_number, error=BadExperiment), partial(instance, error=BadExperiment)
        self.nodes = whole("nodes", nodes, 2, MOST_NODES)
        self.seed = seed_number(seed, error=BadExperiment)
        self.tags, self.check_every = whole("tags", tags, 0, MOST_TAGS), whole("check_every", check_every)
        self.churn, self.limits = churn, limits
        self.conditions = Conditions(LogNormal()) if conditions is None else conditions
        kind("conditions", self.conditions, Conditions, "Conditions(LogNormal())")
        kind("limits", limits, Limits, "Limits(k=20)")
        if churn is not None:
            kind("churn", churn, Sessions, "Weibull(0.5, 3600)")
        if isinstance(churn, Weibull) and churn.mean < LEAST_SESSION:
            raise BadExperiment(f"A mean session is {LEAST_SESSION:g} s or more, not {churn.mean:g} s.")

    def run(self, hours: float = 1.0, *, searches: int = 1_000, progress: Progress | None = None) -> Result:
        """Grow the grid, then let it live for so many virtual hours with so many searches spread over them.

        Rows: one for each thirtieth of the time.  Tables: ``searches``, and ``nodes`` as they are at the end.  An
        interrupt ends it with what was finished.  Raises ``BadExperiment``, ``BrokenInvariant``.
        """
        hours = number("hours", hours, above=True, error=BadExperiment)
        searches = whole_number("searches", searches, 0, MOST_SEARCHES, error=BadExperiment)
        parameters = {
            "hours": hours,
            "searches": searches,
            "tags": self.tags,
            "churn": repr(self.churn),
            "conditions": repr(self.conditions),
            "limits": repr(self.limits),
            "version": __version__,
        }
        result = Result(
            "simulation", f"{self.nodes:,} nodes for {hours:g} h", self.nodes, self.seed, parameters, pictures=PICTURES
        )
        return perform(result, lambda run: self.measure(run, hours, searches), progress)

    def measure(self, run: Run, hours: float, searches: int) -> None:
        """What ``run`` does, in a run that somebody else watches."""
        grid = run.grid(conditions=self.conditions, limits=self.limits, check_every=self.check_every)
        joins = self.nodes * JOIN_EVERY
        span = joins + 3600.0 * hours
        run.begin(0.0, joins / span)
        grid.grow(self.nodes, every=JOIN_EVERY, told=run.within)
        run.begin(joins / span, 3600.0 * hours / span)
        grid.run(SETTLE)
        work = Workload(grid)
        work.publish(self.tags)
        if self.churn is not None:
            work.churn(self.churn)
        began = grid.world.now
        work.search_over(3600.0 * hours, searches)
        marks = [_mark(grid, work)]
        try:
            for number in range(SLICES):
                run.pass_time(grid, 3600.0 * hours / SLICES, number / SLICES, (number + 1) / SLICES)
                marks.append(_mark(grid, work))
                run.row(**_slice(work, began, *marks[-2:]))
            grid.check_leaks()
        finally:  # again, as searches end after the slice that they began in
            run.result.rows[:] = [_slice(work, began, *pair) for pair in pairwise(marks)]
            run.result.tables["searches"] = [_search(find, began) for find in work.finds]
            run.result.tables["nodes"] = [_node(node) for node in grid.nodes]


@dataclass(frozen=True, slots=True)
class Mark:
    """Totals at one moment."""

    at: float
    nodes: int
    births: int
    deaths: int
    out: int


def _mark(grid: Grid, work: Workload) -> Mark:
    return Mark(grid.world.now, len(grid.living()), work.births, work.deaths, grid.network.out)


def _slice(work: Workload, began: float, before: Mark, after: Mark) -> Row:
    """What happened between two moments; a search counts where it began, and as failed while it has not ended."""
    finds = [find for find in work.finds if before.at <= find.at < after.at]
    return {
        "seconds": before.at - began,
        "nodes": after.nodes,
        "births": after.births - before.births,
        "deaths": after.deaths - before.deaths,
        "bytes_a_node_and_second": (after.out - before.out) / (after.at - before.at) / max(1, after.nodes),
        "searches": len(finds),
        "success_percent": 100 * sum(find.right for find in finds) / len(finds) if finds else None,
        "unfinished": sum(find.complete is None for find in finds),
        "local": sum(find.local for find in finds),
        **times(finds),
    }


def _search(find: Find, began: float) -> Row:
    return {
        "seconds": find.at - began,
        "first": find.first,
        "complete": find.complete,
        "listings": find.listings,
        "right": find.right,
        "local": find.local,
    }


def _node(node: Any) -> Row:
    engine, host = node.engine, node.host
    return {
        "id": node.identity.id.hex(),
        "nat": "open" if host.nat is None else host.nat.kind,
        "region": host.region,
        "peers": len(engine.table),
        "sessions": engine.sessions(),
        "listings": len(engine.store),
        "packets_sent": host.sent,
        "packets_heard": host.heard,
        "bytes_sent": host.out,
        "bytes_heard": host.into,
    }


def draw_time(result: Result, axes: Any) -> None:
    """Searches over time."""
    rows = [row for row in result.rows if row["success_percent"] is not None]
    hours = [row["seconds"] / 3600 for row in rows]
    axes.plot(hours, [row["success_percent"] for row in rows], "o-", label="searches that find the dataset")
    axes.set(xlabel="hours", ylabel="searches, %", ylim=(0, 102))
    other = axes.twinx()
    traffic = [row["bytes_a_node_and_second"] for row in rows]
    other.plot(hours, traffic, "s--", color="C1", label="bytes a node and second")
    other.set(ylabel="bytes a node and second", ylim=(0, None))
    legend_of_both(axes, other)


def draw_latency(result: Result, axes: Any) -> None:
    """Distribution of search times; a first result from the searcher's own store is none."""
    everything = result.tables.get("searches", [])
    for name in ("first", "complete"):
        searches = [row for row in everything if name == "complete" or not row["local"]]
        seconds = sorted(row[name] for row in searches if row[name] is not None)
        axes.plot(seconds, [100 * (at + 1) / len(searches) for at in range(len(seconds))], label=f"{name} result")
    axes.set(xlabel="seconds", ylabel="searches, %", ylim=(0, 102))
    axes.legend()


PICTURES: Final = {"over-time": draw_time, "latency": draw_latency}
