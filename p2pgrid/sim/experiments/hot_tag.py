"""One tag with ever more listings: who holds how many, and whether searches still page through all."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from p2pgrid.ids import normalise_tag
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.result import Result, legend_of_both
from p2pgrid.sim.workload import DATASET_BYTES

TAG: Final = normalise_tag("hot")
BOUND: Final = 5.0
"""Busiest over median that 10,000 listings may have (the design's bound)."""
BOUND_FROM: Final = 10_000


def measure(run: Run) -> None:
    """One grid, and listings added step by step."""
    grid = run.grid()
    grid.grow(run.nodes)
    chance = grid.world.random
    announced: list[int] = []
    sizes = sorted(run["listings"])
    for number, size in enumerate(sizes):
        run.step(number, len(sizes))
        begun = len(announced)
        for at in range(size - begun):
            node = grid.nodes[(begun + at) % len(grid.nodes)]
            grid.world.after(
                at / run["rate"], node.announce, TAG, chance.randbytes(DATASET_BYTES), "", announced.append
            )
        while len(announced) < size:
            before = len(announced)
            run.pass_time(grid, 10.0, before / size, before / size)
            if len(announced) == before:
                break
        grid.run(20.0)
        held = sorted(node.holds(TAG) for node in grid.nodes)
        seconds, found = [], []
        for _ in range(run["searches"]):
            began, listings = grid.world.now, _distinct(grid.search(chance.choice(grid.nodes), TAG, size))
            seconds.append(grid.world.now - began)
            found.append(listings / size)
        typical = median(held)
        skew = held[-1] / typical if typical else None
        bound = {"reference": BOUND, "tolerance": 0.0, "holds": skew <= BOUND} if skew and size >= BOUND_FROM else {}
        run.row(
            listings=size,
            busiest=held[-1],
            median=typical,
            busiest_over_median=skew,
            holders=sum(count > 0 for count in held),
            found_share=sum(found) / len(found),
            search_seconds=median(seconds),
            **bound,
        )


def _distinct(listings: list[Verified[Listing]]) -> int:
    return len({(listing.record.key, listing.record.dataset) for listing in listings})


def draw(result: Result, axes: Any) -> None:
    """Listings held against listings there are."""
    sizes = [row["listings"] for row in result.rows]
    axes.plot(sizes, [row["busiest"] for row in result.rows], "o-", label="busiest node")
    axes.plot(sizes, [row["median"] for row in result.rows], "s-", label="median node")
    axes.set(xscale="log", yscale="symlog", xlabel="listings of the tag", ylabel="listings held")
    axes.legend()


def draw_searches(result: Result, axes: Any) -> None:
    """What searches find."""
    sizes = [row["listings"] for row in result.rows]
    axes.plot(sizes, [100 * row["found_share"] for row in result.rows], "o-", label="found, %")
    axes.set(xscale="log", xlabel="listings of the tag", ylabel="found by one search, %", ylim=(0, 102))
    other = axes.twinx()
    other.plot(sizes, [row["search_seconds"] for row in result.rows], "s--", color="C1", label="seconds")
    other.set(ylabel="seconds a search")
    legend_of_both(axes, other)


EXPERIMENT: Final = Experiment(
    "hot-tag",
    "One tag with ever more listings",
    "Listings of one tag are added step by step: load of the busiest node against the median, and what searches find.",
    2_000,
    {"listings": (10, 100, 1_000, 10_000, 25_000), "rate": 100.0, "searches": 3},
    measure,
    {"hot-tag": draw, "hot-tag-searches": draw_searches},
    {"listings": (1, 1e6), "rate": (0.01, 1e5), "searches": (1, 1e6)},
)
