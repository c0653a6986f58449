"""The network falls in two and comes together again."""

from __future__ import annotations

from typing import Any, Final

from p2pgrid.ids import Tag
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.node import Node
from p2pgrid.sim.result import Result
from p2pgrid.sim.workload import Find, Workload

CUT_STEPS: Final = 5
HEALED_STEPS: Final = 15
RECALL: Final = 0.99
"""Share that is found again within one refresh interval after the healing (the design's bound)."""


def measure(run: Run) -> None:
    """Searches across the cut for what was announced before it and meanwhile: before, while and after it."""
    grid = run.grid()
    nodes = grid.grow(run.nodes)
    work = Workload(grid)
    work.publish(run["tags"])
    grid.run(60.0)
    early = set(work.publishers)
    one = set(grid.world.random.sample(nodes, min(run.nodes - 1, max(1, round(run.nodes * run["share"])))))
    grid.part(one, [node for node in nodes if node not in one])
    began = grid.world.now
    work.publish(run["tags"])
    heals = began + run["lasts"]
    for number, at in enumerate(_steps(run["lasts"], CUT_STEPS)):
        run.step(number, CUT_STEPS + HEALED_STEPS)
        grid.run_to(began + at)
        _measure(run, work, one, early, heals)
    grid.run_to(heals)
    heals = grid.world.now  # later than planned where the searches took longer
    grid.part()
    for number, at in enumerate(_steps(run["after"], HEALED_STEPS)):
        run.step(CUT_STEPS + number, CUT_STEPS + HEALED_STEPS)
        grid.run_to(heals + at)
        _measure(run, work, one, early, heals, last=number == HEALED_STEPS - 1)


def _measure(run: Run, work: Workload, one: set[Node], early: set[Tag], heals: float, last: bool = False) -> None:
    """Two rows for now."""
    for announced in ("before", "while cut"):
        tags = sorted(tag for tag in work.publishers if (tag in early) is (announced == "before"))
        seconds = work.grid.world.now - heals
        finds = _across(run, work, one, tags)
        found = sum(find.right for find in finds) / len(finds)
        run.row(
            seconds=seconds,
            state="cut" if seconds < 0 else "healed",
            announced=announced,
            searches=len(finds),
            found_share=found,
            **(run.against(found, RECALL, 0.0, better="more") if last else {}),
        )


def _steps(length: float, count: int) -> list[float]:
    return [length * (at + 1) / count - 1.0 for at in range(count)]


def _across(run: Run, work: Workload, one: set[Node], tags: list[Tag]) -> list[Find]:
    """Searches for datasets of the other side."""
    grid, chance = work.grid, work.grid.world.random
    finds = []
    for tag in chance.sample(tags, min(run["searches"], len(tags))):
        here = work.publishers[tag] in one
        finds.append(work.search(chance.choice([node for node in grid.nodes if (node in one) is not here]), tag))
    grid.run(20.0, lambda: all(find.complete is not None for find in finds))
    return finds


def draw(result: Result, axes: Any) -> None:
    """Found over time."""
    for announced, line in (("before", "s--"), ("while cut", "o-")):
        rows = [row for row in result.rows if row["announced"] == announced]
        minutes, found = [r["seconds"] / 60 for r in rows], [100 * r["found_share"] for r in rows]
        axes.plot(minutes, found, line, label=f"announced {announced}")
    axes.axhline(100 * RECALL, color="k", linewidth=0.8, linestyle=":", label="bound at the end")
    axes.axvspan(-result.parameters["lasts"] / 60, 0, alpha=0.15, color="C3", label="the network is cut")
    axes.set(xlabel="minutes after the healing", ylabel="datasets of the other side found, %", ylim=(-2, 102))
    axes.legend(loc="center right")


EXPERIMENT: Final = Experiment(
    "partition",
    "The network falls in two and heals",
    "Searches for datasets of the other side of a partition, announced before it and meanwhile, until after it heals.",
    300,
    {"share": 0.5, "lasts": 600.0, "after": 900.0, "tags": 40, "searches": 40, **network()},
    measure,
    {"partition": draw},
    {"share": (0.01, 0.99), "lasts": (10, 1e6), "after": (20, 1e6), "tags": (1, 1_000), "searches": (1, 1e6)},
    measures={"found_share": "searches"},
    apart=("state", "announced"),
)
