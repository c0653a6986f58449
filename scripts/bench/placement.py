"""Listings in every distance range against listings near one key only: real engines, a fake network, virtual time.

Measured are what 0, 16 and 45 bought ids next to a tag hide (they answer as others do, say that they store a listing
and keep none), how evenly a hot tag loads the grid, and what a search and an announcement cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Final

from harness import Row, options, report

from p2pgrid.dht.limits import DEFAULT
from p2pgrid.ids import Tag, normalise_tag
from p2pgrid.sim.experiments.bought_neighbourhood import buy
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.latency import Uniform
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.node import Node

BOUGHT: Final = (0, 16, 45)
RARE: Final = 20
"""Listings of a rare tag."""
FEW: Final = 30
"""Searches of one tag, each by another node."""
HOT_SEARCHES: Final = 100
ASKERS: Final = 10
"""Nodes that search the hot tag; what they hear back is no load of it."""
MOST_EACH: Final = 16
"""Listings of one tag that one publisher may have (a limit of the store)."""


@dataclass(frozen=True, slots=True)
class Task:
    """One placement at one size."""

    one_key: bool
    nodes: int
    hot: int
    tags: int


class Bench:
    """A grown grid and what is asked of it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        limits = dataclasses.replace(DEFAULT, range_places=0) if task.one_key else DEFAULT
        self.grid = Grid(1, conditions=Conditions(Uniform(0.002, 0.03)), limits=limits)
        self.honest = self.grid.grow(task.nodes)
        self.grid.run(60.0)
        network, world = self.grid.network, self.grid.world
        before, began = network.sent, world.now
        self.grid.run(60.0)
        self._idle = (network.sent - before) / (world.now - began)

    def packets(self) -> float:
        """Sent so far by all, less what they send when nobody asks anything."""
        return float(self.grid.network.sent - self._idle * self.grid.world.now)

    def sample(self, count: int) -> list[Node]:
        """Some honest nodes."""
        return self.grid.world.random.sample(self.honest, count)

    def publish(self, tag: Tag, count: int) -> list[bytes]:
        """Listings of honest nodes, no more from each than needed; their publishers' keys."""
        keys = []
        nodes = self.sample(min(count, len(self.honest)))
        for number in range(count):
            node = nodes[number % len(nodes)]
            self.grid.announce(node, tag, self.grid.world.random.randbytes(16), "a title")
            keys.append(bytes(node.identity.public))
        self.grid.run(5.0)  # what is placed after the announcement returned
        return keys


def censored(bench: Bench) -> dict[str, float]:
    """Share of searches that find anything, and of listings found, beside bought ids; and what they cost."""
    figures = {}
    grid = bench.grid
    for count in BOUGHT:
        answered, found, packets, announcing = [], [], [], []
        for number in range(bench.task.tags):
            tag = normalise_tag(f"rare-{count}-{number}")
            bad = buy(grid, tag, count)
            before = bench.packets()
            keys = bench.publish(tag, RARE)
            announcing.append((bench.packets() - before) / RARE)
            for node in bench.sample(FEW):
                before = bench.packets()
                listings = {listing.record.key for listing in grid.search(node, tag)} & set(keys)
                packets.append(bench.packets() - before)
                answered.append(bool(listings - {bytes(node.identity.public)}))
                found.append(len(listings) / len(set(keys)))
            for node in bad:
                grid.remove(node)
            if bad:
                grid.run(120.0)
        figures[f"answered {count}"] = sum(answered) / len(answered)
        figures[f"found {count}"] = statistics.fmean(found)
        if not count:
            figures["messages a search"] = statistics.median(packets)
            figures["messages an announcement"] = statistics.median(announcing)
    return figures


def hot(bench: Bench) -> dict[str, float]:
    """How listings of one tag spread, how many of them one search can page through, and who bears its searches."""
    grid, tag = bench.grid, normalise_tag("hot")
    count = min(bench.task.hot, MOST_EACH * len(bench.honest))
    bench.publish(tag, count)
    own = {bytes(node.identity.public) for node in bench.honest}
    held = []
    for node in bench.honest:
        others = [one for one in node.engine.store.listings() if one.record.tag == tag and one.record.key in own]
        held.append(len(others))
    some = {(one.record.key, one.record.dataset) for one in grid.search(bench.sample(1)[0], tag, count)}
    before = {node: node.host.into for node in bench.honest}
    askers = bench.sample(ASKERS)
    for number in range(HOT_SEARCHES):
        grid.search(askers[number % ASKERS], tag, 100)
    heard = [node.host.into - before[node] for node in bench.honest if node not in askers]
    return {
        "listings": count,
        "holders": sum(number > 0 for number in held),
        "busiest holds": max(held),
        "median holds": statistics.median(held),
        "busiest/median holds": _over(max(held), statistics.median(held)),
        "busiest/mean holds": _over(max(held), statistics.fmean(held)),
        "paged": len(some) / count,
        "busiest/median bytes": _over(max(heard), statistics.median(heard)),
    }


def _over(most: float, middle: float) -> float:
    return most / middle if middle else float("inf")


def measured(task: Task) -> dict[str, float]:
    """Everything of one placement, in a process of its own."""
    command = [sys.executable, os.path.abspath(__file__), "--worker", json.dumps(asdict(task))]
    print(f"{'one key' if task.one_key else 'ranges'}, n={task.nodes}", file=sys.stderr, flush=True)
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


ROWS: Final = (
    ("searches that find an honest holder, 0 bought ids", "", "answered 0", 0.99),
    ("searches that find an honest holder, 16 bought ids", "", "answered 16", 0.99),
    ("searches that find an honest holder, 45 bought ids", "", "answered 45", 0.99),
    ("honest listings found, 0 bought ids", "", "found 0", 0.95),
    ("honest listings found, 16 bought ids", "", "found 16", 0.95),
    ("honest listings found, 45 bought ids", "", "found 45", 0.95),
    ("messages a search, there and back", "", "messages a search", None),
    ("messages an announcement, there and back", "", "messages an announcement", None),
    ("hot tag: listings announced", "", "listings", None),
    ("hot tag: nodes that hold some", "", "holders", None),
    ("hot tag: the busiest node holds", "", "busiest holds", None),
    ("hot tag: the median node holds", "", "median holds", None),
    ("hot tag: busiest over median, held", "x", "busiest/median holds", 5.0),
    ("hot tag: busiest over mean, held", "x", "busiest/mean holds", None),
    ("hot tag: listings that one search pages through", "", "paged", None),
    ("hot tag: busiest over median, bytes of questions heard", "x", "busiest/median bytes", None),
)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--listings", type=int, default=2000, help="of the hot tag; at most 16 a node")
    parser.add_argument("--tags", type=int, default=5, help="rare tags for each number of bought ids")
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def main() -> int:
    """Ours beside one-key placement."""
    chosen = options(__doc__ or "", _more)
    if chosen.worker:
        bench = Bench(Task(**json.loads(chosen.worker)))
        print(json.dumps({**censored(bench), **hot(bench)}))
        return 0
    if chosen.quick:
        chosen.nodes, chosen.listings, chosen.tags = 40, 80, 1
    task = Task(False, chosen.nodes, chosen.listings, chosen.tags)
    ours = measured(task)
    peers = {"one key": measured(dataclasses.replace(task, one_key=True))}
    rows = []
    for name, unit, key, target in ROWS:
        row = Row(f"{name}, n={chosen.nodes}", unit, _finite(ours[key]), {n: _finite(f[key]) for n, f in peers.items()})
        row.target, row.at_least = target, unit == ""
        rows.append(row)
    return report(rows, chosen, ["No figure for a ratio to a median: the median node holds nothing."])


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


if __name__ == "__main__":
    sys.exit(main())
