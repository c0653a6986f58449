"""One tag with ever more listings: who holds how many, and whether searches still page through all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from p2pgrid.dht.limits import DEFAULT
from p2pgrid.errors import BadExperiment
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.axes import log_x
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.node import Node
from p2pgrid.sim.result import Result, legend_of_both
from p2pgrid.sim.workload import DATASET_BYTES

TAG: Final = normalise_tag("hot")
BOUND: Final = 5.0
"""Busiest over median that 10,000 listings may have (the design's bound)."""
BOUND_FROM: Final = 10_000
LISTINGS: Final = (10, 100, 1_000, 10_000, 25_000)
"""Unless told; as many of them as fit the nodes."""
PLACED_WITHIN: Final = 60.0
"""Seconds after the last announcement began."""


def measure(run: Run) -> None:
    """One grid, and listings added step by step."""
    sizes = _fitting(run.nodes, run.result.parameters)
    grid = run.grid()
    grid.grow(run.nodes)
    chance = grid.world.random
    announced: list[int] = []
    begun = 0
    for number, size in enumerate(sizes):
        run.step(number, len(sizes))
        for at in range(size - begun):
            node, dataset = grid.nodes[(begun + at) % len(grid.nodes)], chance.randbytes(DATASET_BYTES)
            grid.world.after(at / run["rate"], node.announce, TAG, dataset, "", announced.append)
        run.pass_time(grid, (size - begun) / run["rate"] + PLACED_WITHIN, 0.0, 1.0)
        begun = size
        held = sorted(_held(node) for node in grid.nodes)
        seconds, found, unfinished = [], [], grid.unfinished
        for _ in range(run["searches"]):
            began, before = grid.world.now, grid.unfinished
            listings = grid.search(chance.choice(grid.nodes), TAG, size, patience=60.0 + size / 20)
            if grid.unfinished == before:
                seconds.append(grid.world.now - began)
            found.append(_distinct(listings) / size)
        typical = median(held)
        skew = held[-1] / typical if typical else None
        run.row(
            listings=size,
            announced=sum(holders > 0 for holders in announced),
            busiest=held[-1],
            median=typical,
            busiest_over_median=skew,
            holders=sum(count > 0 for count in held),
            found_share=sum(found) / len(found),
            search_seconds=median(seconds) if seconds else None,
            unfinished=grid.unfinished - unfinished,
            **(run.against(skew or math.inf, BOUND, 0.0, better="less") if size >= BOUND_FROM else {}),
        )
    grid.unheld += begun - sum(holders > 0 for holders in announced)


def _fitting(nodes: int, given: Mapping[str, Any]) -> list[int]:
    """Those numbers of listings that so many nodes may announce; all of them, unless they are the usual ones."""
    each = DEFAULT.tag_publisher_listings
    most = each * nodes
    sizes = sorted(given["listings"])
    if given["listings"] == LISTINGS:
        sizes = [size for size in sizes if size <= most]
    if sizes[-1] > most:
        need = f"{sizes[-1]:,} listings need {-(-sizes[-1] // each):,} nodes, not {nodes:,}"
        raise BadExperiment(
            f"A node lists a tag at most {each} times: {need}.",
            fix=f"Take --nodes {-(-sizes[-1] // each)}, or --set listings=... of at most {most}.",
        )
    return sizes


def _held(node: Node) -> int:
    """Listings of the tag that a node holds for others."""
    return sum(listing.record.tag == TAG for listing in node.engine.store.listings())


def _distinct(listings: list[Verified[Listing]]) -> int:
    return len({(listing.record.key, listing.record.dataset) for listing in listings})


def draw(result: Result, axes: Any) -> None:
    """Listings held against listings there are."""
    sizes = [row["listings"] for row in result.rows]
    axes.plot(sizes, [row["busiest"] for row in result.rows], "o-", label="busiest node")
    axes.plot(sizes, [row["median"] for row in result.rows], "s-", label="median node")
    bounds = [row for row in result.rows if row.get("reference")]
    if bounds:
        at, most = [row["listings"] for row in bounds], [BOUND * row["median"] for row in bounds]
        axes.plot(at, most, "kx", label="bound of the busiest")
    log_x(axes, sizes)
    axes.set(yscale="symlog", xlabel="listings of the tag", ylabel="listings held for others")
    axes.set_ylim(0, 2 * axes.get_ylim()[1])
    axes.legend()


def draw_searches(result: Result, axes: Any) -> None:
    """What searches find."""
    sizes = [row["listings"] for row in result.rows]
    axes.plot(sizes, [100 * row["found_share"] for row in result.rows], "o-", label="found, %")
    log_x(axes, sizes)
    axes.set(xlabel="listings of the tag", ylabel="found by one search, %", ylim=(0, 102))
    other = axes.twinx()
    other.plot(sizes, [row["search_seconds"] for row in result.rows], "s--", color="C1", label="seconds")
    other.set(ylabel="seconds a search", ylim=(0, None))
    legend_of_both(axes, other)


EXPERIMENT: Final = Experiment(
    "hot-tag",
    "One tag with ever more listings",
    "Listings of one tag are added step by step: load of the busiest node against the median, and what searches find.",
    2_000,
    {"listings": LISTINGS, "rate": 100.0, "searches": 3, **network()},
    measure,
    {"hot-tag": draw, "hot-tag-searches": draw_searches},
    {"listings": (1, 1e6), "rate": (0.01, 1e5), "searches": (1, 1e6)},
    measures={"found_share": "", "busiest_over_median": "", "search_seconds": ""},
    apart=("listings",),
    check=_fitting,
)
