"""Very many nodes join within seconds."""

from __future__ import annotations

from typing import Any, Final

from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.result import Result
from p2pgrid.sim.workload import Workload, percentile

JOINED: Final = 0.999
"""Share of the crowd that must be in."""
FOUND: Final = 0.99
"""Share of the searches that must find what they look for besides (the design's bound for deaths and partitions)."""


def measure(run: Run) -> None:
    """A small grid, then the crowd, then searches by it."""
    grid = run.grid()
    doors = [node for node in grid.grow(run["before"]) if node.host.nat is None]
    work = Workload(grid)
    work.publish(run["tags"])
    grid.run(60.0)
    sent = grid.network.out
    times: list[float] = []
    failed: list[float] = []
    began = grid.world.now

    def come() -> None:
        at = grid.world.now
        door = grid.world.random.choice(doors)

        def ended(joined: bool) -> None:
            (times if joined else failed).append(grid.world.now - at)

        grid.add().join([door.address], ended)

    for number in range(run.nodes):
        grid.world.after(number * run["seconds"] / run.nodes, come)
    while len(times) + len(failed) < run.nodes and grid.world.now < began + run["seconds"] + 120.0:
        run.pass_time(grid, 1.0, len(times) / run.nodes, len(times) / run.nodes)
    spent = grid.network.out - sent
    grid.unjoined += run.nodes - len(times)
    run.result.tables["joins"] = [{"seconds": seconds} for seconds in sorted(times)]
    for after in run["after"]:
        grid.run(after)
        for _ in range(run["searches"]):
            work.search(grid.world.random.choice(grid.nodes), grid.world.random.choice(sorted(work.publishers)))
        grid.run(20.0)
        finds = work.finds[-run["searches"] :]
        joined, found = len(times) / run.nodes, sum(find.right for find in finds) / len(finds)
        verdict = run.against(joined, JOINED, 0.0, better="more")
        if verdict:
            verdict["holds"] = verdict["holds"] and found >= FOUND
        run.row(
            crowd=run.nodes,
            joined_share=joined,
            join_p50=percentile(times, 0.5),
            join_p95=percentile(times, 0.95),
            bytes_a_join=spent / run.nodes,
            seconds_after=after,
            searches=len(finds),
            found_share=found,
            **verdict,
        )


def draw(result: Result, axes: Any) -> None:
    """Distribution of join times."""
    times = [row["seconds"] for row in result.tables.get("joins", [])]
    axes.plot(times, [100 * (at + 1) / result.nodes for at in range(len(times))], label="joined")
    axes.axhline(100 * JOINED, color="k", linewidth=0.8, linestyle=":", label="bound")
    axes.set(xlabel="seconds until joined", ylabel="nodes, %", ylim=(0, 102))
    axes.legend(loc="center right")


EXPERIMENT: Final = Experiment(
    "flash-crowd",
    "Very many nodes join within seconds",
    "A thousand nodes join a small grid within ten seconds: how long each takes, and whether searches find everything.",
    1_000,
    {"before": 100, "seconds": 10.0, "tags": 40, "searches": 100, "after": (1.0, 60.0), **network()},
    measure,
    {"flash-crowd": draw},
    {"before": (1, 100_000), "seconds": (0.01, 1e6), "tags": (1, 1_000), "searches": (1, 1e6)},
    measures={"joined_share": "crowd", "found_share": "searches", "join_p50": "", "bytes_a_join": ""},
    apart=("seconds_after",),
)
