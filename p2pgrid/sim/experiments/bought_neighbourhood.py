"""Ids ground next to a tag that take its listings and keep none: what is still found, with listings in every range and
with listings near one key only."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from p2pgrid.dht.limits import DEFAULT
from p2pgrid.dht.ranges import ID_BITS
from p2pgrid.dht.store import Store
from p2pgrid.ids import Tag, normalise_tag, tag_key
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.node import Node
from p2pgrid.sim.result import Result
from p2pgrid.sim.workload import DATASET_BYTES

TAG: Final = normalise_tag("prey")
GROUND_BITS: Final = 3
"""Leading bits that a bought id shares with the tag's key beyond log2 of the nodes: nearer than most honest ones."""
FOUND: Final = 0.95
"""Share of the honest listings that is to be found (the attack suite's bound)."""


class Swallowing(Store):
    """Says yes, and keeps nothing."""

    __slots__ = ()

    def put(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""


def measure(run: Run) -> None:
    """Each placement with each number of bought ids."""
    parts = [(name, count) for name in ("every range", "one key") for count in run["bought"]]
    for number, (placement, count) in enumerate(parts):
        run.step(number, len(parts))
        limits = DEFAULT if placement == "every range" else dataclasses.replace(DEFAULT, range_places=0)
        grid = run.grid(limits=limits)
        honest = grid.grow(run.nodes)
        grid.run(60.0)
        buy(grid, TAG, count)
        chance = grid.world.random
        publishers = chance.sample(honest, min(run["listings"], len(honest)))
        for node in publishers:
            grid.announce(node, TAG, chance.randbytes(DATASET_BYTES))
        grid.run(30.0)
        shares, unfinished = [], grid.unfinished
        for at in range(run["searches"]):
            run.within(at / run["searches"])
            keys = {listing.record.key for listing in grid.search(chance.choice(honest), TAG)}
            shares.append(sum(node.identity.public in keys for node in publishers) / len(publishers))
        found = sum(shares) / len(shares)
        run.row(
            placement=placement,
            bought=count,
            searches=len(shares),
            unfinished=grid.unfinished - unfinished,
            found_share=found,
            searches_with_any=sum(share > 0 for share in shares) / len(shares),
            **(run.against(found, FOUND, 0.0, better="more") if placement == "every range" else {}),
        )


def buy(grid: Grid, tag: Tag, count: int) -> list[Node]:
    """Nodes with ids near a tag's key, each in an address group of its own, that join as others do and keep nothing."""
    point = int.from_bytes(tag_key(tag), "big")
    bits = len(grid.nodes).bit_length() + GROUND_BITS
    doors = [node.address for node in grid.nodes if node.host.nat is None]
    bought: list[Node] = []
    joined: list[bool] = []
    while len(bought) < count:
        identity = grid.new_identity()
        if (int.from_bytes(identity.id, "big") ^ point) >> (ID_BITS - bits):
            continue
        node = grid.add(identity=identity, nat="open")
        node.engine.store.__class__ = Swallowing
        node.join([grid.world.random.choice(doors)], joined.append)
        bought.append(node)
    grid.run(60.0, lambda: len(joined) >= count)
    grid.unjoined += count - sum(joined)
    grid.run(60.0)
    return bought


def draw(result: Result, axes: Any) -> None:
    """Found against bought."""
    for placement, line in (("every range", "o-"), ("one key", "s--")):
        rows = [row for row in result.rows if row["placement"] == placement]
        axes.plot([r["bought"] for r in rows], [100 * r["found_share"] for r in rows], line, label=placement)
    axes.axhline(100 * FOUND, color="k", linewidth=0.8, linestyle=":", label="bound for every range")
    axes.set(xlabel="ids bought next to the tag", ylabel="honest listings found, %", ylim=(0, 102))
    axes.legend()


EXPERIMENT: Final = Experiment(
    "bought-neighbourhood",
    "Ids bought next to a tag",
    "Ground ids around a tag take its listings and keep none: what searches still find, by placement.",
    300,
    {"bought": (0, 16, 45), "listings": 20, "searches": 30, **network()},
    measure,
    {"bought-neighbourhood": draw},
    {"listings": (1, 10_000), "searches": (1, 1e6), "bought": (0, 1_000)},
    measures={"found_share": "", "searches_with_any": "searches"},
    apart=("bought", "placement"),
)
