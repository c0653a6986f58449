"""All nodes that others began with die."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from p2pgrid.dht.contacts import Endpoint
from p2pgrid.errors import BadExperiment
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.node import Node
from p2pgrid.sim.result import Result
from p2pgrid.sim.workload import Workload

RECALL: Final = 0.99
"""Share of the searches, and of the restarts, that must succeed (the design's bound for deaths and partitions)."""


def check(nodes: int, given: Mapping[str, Any]) -> None:
    """Raises ``BadExperiment``."""
    if given["doors"] >= nodes:
        raise BadExperiment(f"{given['doors']} bootstrap nodes of {nodes} leave nobody to go on.")


def measure(run: Run) -> None:
    """Everybody joins through a few nodes; they die; searches, restarts with and without what was saved."""
    grid = run.grid()
    doors = [grid.add(nat="open") for _ in range(run["doors"])]
    for door in doors[1:]:
        door.join([doors[0].address])
    joined: list[bool] = []
    addresses = [door.address for door in doors]
    for number in range(run.nodes - len(doors)):
        grid.world.after(number * 0.05, lambda: grid.add().join(addresses, joined.append))
    grid.run(run.nodes * 0.05 + 60.0, lambda: len(joined) >= run.nodes - len(doors))
    grid.unjoined += run.nodes - len(doors) - sum(joined)
    others = [node for node in grid.nodes if node not in doors]
    work = Workload(grid, among=others)
    work.publish(run["tags"])
    grid.run(60.0)
    run.row(state="all are up", measure="searches that find", tries=run["searches"], share=_found(run, work))
    for door in doors:
        door.crash()
    for number, after in enumerate(run["after"]):
        run.step(number, len(run["after"]) + 1)
        grid.run(after)
        found = _found(run, work)
        run.row(
            state=f"{after:g} s after they died",
            measure="searches that find",
            tries=run["searches"],
            share=found,
            **run.against(found, RECALL, 0.0, better="more"),
        )
    chosen = grid.world.random.sample(others, min(run["restarts"], len(others)))
    back = _restarted(grid, chosen, addresses)
    run.row(
        state="restarted",
        measure="join with what they saved",
        tries=len(chosen),
        share=back,
        **run.against(back, RECALL, 0.0, better="more"),
    )
    fresh = [grid.add() for _ in range(run["restarts"])]
    back = _joined(grid, fresh, addresses)
    run.row(state="new", measure="join by the dead addresses alone", tries=len(fresh), share=back)


def _found(run: Run, work: Workload) -> float:
    grid, chance = work.grid, work.grid.world.random
    tags = sorted(work.publishers)
    finds = [work.search(chance.choice(grid.living()), chance.choice(tags)) for _ in range(run["searches"])]
    grid.run(30.0, lambda: all(find.complete is not None for find in finds))
    return sum(find.right for find in finds) / len(finds)


def _restarted(grid: Grid, nodes: list[Node], addresses: list[Endpoint]) -> float:
    for node in nodes:
        node.crash()
    grid.run(5.0)
    for node in nodes:
        node.restart()
    return _joined(grid, nodes, addresses)


def _joined(grid: Grid, nodes: list[Node], addresses: list[Endpoint]) -> float:
    joined: list[bool] = []
    for node in nodes:
        node.join(addresses, joined.append)
    grid.run(60.0, lambda: len(joined) >= len(nodes))
    return sum(joined) / len(nodes)


def draw(result: Result, axes: Any) -> None:
    """Bars."""
    names = [f"{row['state']}:\n{row['measure']}" for row in result.rows]
    axes.barh(names[::-1], [100 * row["share"] for row in result.rows][::-1])
    axes.axvline(100 * RECALL, color="k", linewidth=0.8, linestyle=":")
    axes.set(xlabel="%; dotted: the bound, but for new nodes", xlim=(0, 102))


EXPERIMENT: Final = Experiment(
    "bootstrap-loss",
    "All bootstrap nodes die",
    "Everybody joined through a few nodes, which die: do searches go on, and do nodes that restart come back.",
    300,
    {"doors": 3, "tags": 40, "searches": 100, "after": (1.0, 60.0, 600.0), "restarts": 20, **network()},
    measure,
    {"bootstrap-loss": draw},
    {"doors": (1, 100), "tags": (1, 1_000), "searches": (1, 1e6), "restarts": (1, 1_000)},
    measures={"share": "tries"},
    apart=("state", "measure"),
    check=check,
)
