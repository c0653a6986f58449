"""Lookups right after a share of all nodes died, before anybody noticed."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, median
from typing import Any, Final

from p2pgrid.dht.limits import Limits
from p2pgrid.errors import BadExperiment
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.result import Result

REFERENCE: Final = {20: 95.2, 50: 88.9}
"""Dead nodes in percent: recall of the live k closest in percent; computed for k=20, 10,000 nodes and full tables."""
COMPUTED: Final = (10_000, 20)
"""Nodes and k that the reference is for."""
NEVER: Final = 1e9
"""Seconds between two turns of upkeep: nobody repairs a table."""
TOLERANCE: Final = 1.0
"""Percentage points; above the reference is good."""


def check(nodes: int, given: Mapping[str, Any]) -> None:
    """Raises ``BadExperiment``."""
    if nodes * (100 - max(given["dead"])) // 100 < 3:
        raise BadExperiment("Fewer than three nodes would live on.")


def measure(run: Run) -> None:
    """Full tables, then deaths without a word, then lookups by the living."""
    limits = Limits(k=run["k"], probe_gap=NEVER)
    for number, percent in enumerate(run["dead"]):
        run.step(number, len(run["dead"]))
        grid = run.grid(limits=limits)
        for _ in range(run.nodes):
            grid.add()
        grid.acquaint()
        chance = grid.world.random
        for node in chance.sample(grid.nodes, run.nodes * percent // 100):
            node.crash()
        living = grid.living()
        recalls, asked, seconds = [], [], []
        for at in range(run["lookups"]):
            run.within(at / run["lookups"])
            target, node = chance.randbytes(20), chance.choice(living)
            truth = [an_id for an_id in grid.nearest(target, limits.k + 1) if an_id != node.identity.id][: limits.k]
            began, before = grid.world.now, grid.unfinished
            lookup = grid.find(node, target)
            right = {contact.id for contact in lookup.nearest()}
            recalls.append(100 * sum(an_id in right for an_id in truth) / len(truth))
            asked.append(lookup.asked)
            if grid.unfinished == before:
                seconds.append(grid.world.now - began)
        known = REFERENCE.get(percent) if (run.nodes, run["k"]) == COMPUTED else None
        run.row(
            dead_percent=percent,
            recall_percent=mean(recalls),
            asked=mean(asked),
            seconds=median(seconds) if seconds else None,
            unfinished=grid.unfinished,
            **(run.against(mean(recalls), known, TOLERANCE, better="more") if known is not None else {}),
        )


def draw(result: Result, axes: Any) -> None:
    """Recall against dead nodes."""
    axes.plot([r["dead_percent"] for r in result.rows], [r["recall_percent"] for r in result.rows], "o-", label="ours")
    if (result.nodes, result.parameters["k"]) == COMPUTED:
        axes.plot(list(REFERENCE), list(REFERENCE.values()), "kx", label="reference, unrepaired full tables")
    axes.set(xlabel="dead nodes, %", ylabel="live k nearest that a lookup finds, %", ylim=(0, 102))
    axes.legend()


EXPERIMENT: Final = Experiment(
    "dead-nodes",
    "Lookups among nodes that died unnoticed",
    "A share of all nodes dies at once; lookups by the living, before anybody repaired a table.",
    10_000,
    {"dead": (0, 10, 20, 30, 40, 50, 60, 70), "lookups": 200, "k": 20},
    measure,
    {"dead-nodes": draw},
    {"dead": (0, 95), "lookups": (1, 1e6), "k": (1, 24)},
    measures={"recall_percent": "", "asked": "", "seconds": ""},
    apart=("dead_percent",),
    check=check,
)
