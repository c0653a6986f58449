"""How many hops and messages a lookup of nodes takes as the grid grows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any, Final

from p2pgrid.dht.limits import Limits
from p2pgrid.errors import BadExperiment
from p2pgrid.sim.axes import log_x
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.result import Result, Row

NODES: Final = 10_000
SIZES: Final = (100, 300, 1_000, 10_000)
"""Unless told; those of them that are not above the nodes."""
REFERENCE: Final = (
    (8, 100, 1.66),
    (8, 300, 1.93),
    (8, 1_000, 2.23),
    (8, 10_000, 2.91),
    (20, 100, 1.43),
    (20, 300, 1.68),
    (20, 1_000, 1.88),
    (20, 10_000, 2.42),
)
"""k, nodes, hops: computed with full tables and three requests in flight."""
TOLERANCE: Final = 0.15
"""Share of the reference, either way; and of a growth with log n."""
PATHS: Final = 3
"""Requests in flight, as the reference has them."""
NEVER: Final = 1e9
"""Seconds between two turns of upkeep: so all packets are the lookups'."""


def measure(run: Run) -> None:
    """Lookups of points by chance, in grids of several sizes: with full tables, and as they grew by themselves."""
    sizes = _sizes(run.nodes, run.result.parameters)
    parts = [
        (k, size, tables)
        for size in sizes
        for k in run["k"]
        for tables in ("full", "grown")
        if tables == "full" or size <= run["grown_most"]
    ]
    least: dict[int, tuple[int, float]] = {}
    """Of each k: the smallest size, and its hops."""
    for number, (k, size, tables) in enumerate(parts):
        run.step(number, len(parts))
        at_rest = Limits(k=k, paths=PATHS, probe_gap=NEVER)
        if tables == "grown":
            grown = run.grid(limits=Limits(k=k, paths=PATHS))
            grown.grow(size)
            grown.run(60.0)
            grid = run.grid(limits=at_rest)
            grid.copy_tables(grown)
        else:
            grid = run.grid(limits=at_rest)
            for _ in range(size):
                grid.add()
            grid.acquaint()
        told = [_lookup(run, grid, at) for at in range(run["lookups"])]
        reached = [one["hops"] for one in told if one["hops"]]
        hops = mean(reached) if reached else 0.0
        known = next((value for of, nodes, value in REFERENCE if (of, nodes) == (k, size)), None)
        verdict = run.against(hops, known, TOLERANCE * known) if known and tables == "full" else {}
        if tables == "full":
            least_size, least_hops = least.setdefault(k, (size, hops))
            slow = hops <= least_hops * math.log(size) / math.log(least_size) * (1 + TOLERANCE)
            verdict["within_log_n"] = slow
            if "holds" in verdict:
                verdict["holds"] = verdict["holds"] and slow
        run.row(
            k=k,
            nodes=size,
            tables=tables,
            hops=hops,
            asked=mean(one["asked"] for one in told),
            packets=mean(one["packets"] for one in told),
            missed=len(told) - len(reached),
            recall=mean(one["recall"] for one in told),
            seconds=mean(one["seconds"] for one in told),
            **verdict,
        )


def _sizes(nodes: int, given: Mapping[str, Any]) -> list[int]:
    """The usual ones up to the nodes, and the nodes; of others exactly these, and the nodes unless those are usual."""
    if given["sizes"] == SIZES:
        return sorted({size for size in SIZES if size <= nodes} | {nodes})
    most = max(given["sizes"])
    if most > nodes:
        raise BadExperiment(
            f"A size of {most:,} is above the {nodes:,} nodes.",
            fix=f"Take --nodes {most}, or --set sizes=... of at most {nodes}.",
        )
    return sorted({*given["sizes"]} | {nodes} - {NODES})


def _lookup(run: Run, grid: Grid, number: int) -> Row:
    """One of them; 0 hops when the nearest node never came up."""
    run.within(number / run["lookups"])
    chance = grid.world.random
    target = chance.randbytes(20)
    truth = grid.nearest(target, grid.limits.k)
    node = chance.choice([one for one in grid.nodes if one.identity.id != truth[0]])
    began, sent = grid.world.now, grid.network.sent
    lookup = grid.find(node, target)
    others = [an_id for an_id in truth if an_id != node.identity.id]
    right = {contact.id for contact in lookup.nearest()}
    return {
        "hops": lookup.hops(truth[0]),
        "asked": lookup.asked,
        "packets": grid.network.sent - sent,
        "recall": sum(an_id in right for an_id in others) / max(1, len(others)),
        "seconds": grid.world.now - began,
    }


def draw(result: Result, axes: Any) -> None:
    """Hops against nodes, with the reference as crosses."""
    for number, k in enumerate(sorted({row["k"] for row in result.rows})):
        for tables, line in (("full", "-"), ("grown", ":")):
            rows = [row for row in result.rows if row["k"] == k and row["tables"] == tables]
            nodes, hops = [row["nodes"] for row in rows], [row["hops"] for row in rows]
            axes.plot(nodes, hops, line, marker="o", color=f"C{number}", label=f"k={k}, {tables}")
        known = [row for row in result.rows if row["k"] == k and "reference" in row]
        sizes, hops = [row["nodes"] for row in known], [row["reference"] for row in known]
        axes.plot(sizes, hops, "x", color=f"C{number}", markersize=9, markeredgewidth=2)
    if any("reference" in row for row in result.rows):
        axes.plot([], [], "kx", label="reference, full tables")
    log_x(axes, [row["nodes"] for row in result.rows])
    axes.set(xlabel="nodes", ylabel="hops", ylim=(0, None))
    axes.legend()


EXPERIMENT: Final = Experiment(
    "hops",
    "Hops of a lookup against the size of the grid",
    "Lookups of random points in grids of several sizes, with full tables and with those that nodes grew themselves.",
    NODES,
    {"sizes": SIZES, "k": (8, 20), "lookups": 200, "grown_most": 1_000},
    measure,
    {"hops": draw},
    {"sizes": (3, 100_000), "k": (1, 24), "lookups": (1, 1e6)},
    measures={"hops": "", "asked": "", "recall": ""},
    apart=("nodes", "k", "tables"),
    check=_sizes,
)
