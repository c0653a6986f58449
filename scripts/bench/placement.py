"""Listings in every distance range against listings near one key only: real engines, a fake network, virtual time.

Measured are what 0, 16 and 45 bought ids next to a tag hide (they answer as others do, say that they store a listing
and keep none), how evenly a hot tag loads the grid, and what a search and an announcement cost.  ``--classic`` takes
the folder of an older p2pgrid that walks to one key, as Kademlia does, and runs it as a third placement.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from harness import Row, options, report

NETWORK: Final = Path(__file__).parents[2] / "tests" / "swarm" / "conftest.py"
"""The fake network that the tests use."""
BOUGHT: Final = (0, 16, 45)
GROUND_BITS: Final = 3
"""Leading bits that a bought id shares with the tag's key beyond log2 of the nodes: nearer than most honest ones."""
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


class Grid:
    """A grown grid and what is asked of it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.swarm = _network()(1)
        limits = _limits(task.one_key)
        make = self.swarm.place
        self.swarm.place = lambda endpoint, **more: make(endpoint, **{"limits": limits, **more})
        self.honest = self.swarm.grow(task.nodes)

        before, began = self.swarm.sent, self.swarm.now
        self.swarm.run(60.0)
        self._idle = (self.swarm.sent - before) / (self.swarm.now - began)

    def packets(self) -> float:
        """Sent so far by all, less what they send when nobody asks anything."""
        return float(self.swarm.sent - self._idle * self.swarm.now)

    def ask(self, node: Any, tag: str, limit: int) -> list[Any]:
        """One search to its end; its listings."""
        found: list[Any] = self.swarm.search(node, tag, limit)
        return found

    def publish(self, tag: str, count: int) -> list[bytes]:
        """Listings of honest nodes, no more from each than needed; their publishers' keys."""
        keys = []
        nodes = self.swarm.random.sample(self.honest, min(count, len(self.honest)))
        for number in range(count):
            node = nodes[number % len(nodes)]
            self.swarm.announce(node, tag, self.swarm.random.randbytes(16), "a title")
            keys.append(bytes(node.identity.public))
        self.swarm.run(5.0)  # what is placed after the announcement returned
        return keys


def _network() -> Any:
    spec = importlib.util.spec_from_file_location("p2pgrid_fake_network", NETWORK)
    if spec is None or spec.loader is None:
        raise SystemExit(f"the fake network is not at {NETWORK}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Swarm


def _limits(one_key: bool) -> Any:
    from p2pgrid.dht.limits import Limits

    there = {field.name for field in dataclasses.fields(Limits)}
    return Limits(range_places=0) if one_key and "range_places" in there else Limits()


def bought(grid: Grid, tag: str, count: int) -> list[Any]:
    """Nodes with ids ground next to a tag, each in an address group of its own, that keep no listing."""
    from p2pgrid.crypto import Identity
    from p2pgrid.dht.store import Store
    from p2pgrid.ids import normalise_tag, tag_key

    class Swallowing(Store):
        __slots__ = ()

        def put(self, *_: Any, **__: Any) -> None:
            """Say yes, and keep nothing."""

    point = int.from_bytes(tag_key(normalise_tag(tag)), "big")
    bits = len(grid.honest).bit_length() + GROUND_BITS
    made: list[Any] = []
    while len(made) < count:
        identity = Identity.generate(grid.swarm.random.randbytes)
        if (int.from_bytes(identity.id, "big") ^ point) >> (160 - bits):
            continue
        engine = grid.swarm.make(identity=identity)
        engine.store.__class__ = Swallowing
        grid.swarm.join(engine, grid.swarm.random.choice(grid.honest))
        made.append(engine)
    grid.swarm.run(30.0)
    return made


def censored(grid: Grid) -> dict[str, float]:
    """Share of searches that find anything, and of listings found, beside bought ids; and what they cost."""
    figures = {}
    for count in BOUGHT:
        answered, found, packets, announcing = [], [], [], []
        for number in range(grid.task.tags):
            tag = f"rare-{count}-{number}"
            bad = bought(grid, tag, count)
            before = grid.packets()
            keys = grid.publish(tag, RARE)
            announcing.append((grid.packets() - before) / RARE)
            for node in grid.swarm.random.sample(grid.honest, FEW):
                before = grid.packets()
                listings = {listing.record.key for listing in grid.ask(node, tag, 1000)} & set(keys)
                packets.append(grid.packets() - before)
                answered.append(bool(listings - {bytes(node.identity.public)}))
                found.append(len(listings) / len(set(keys)))
            for engine in bad:
                grid.swarm.kill(engine)
            if bad:
                grid.swarm.run(120.0)
        figures[f"answered {count}"] = sum(answered) / len(answered)
        figures[f"found {count}"] = statistics.fmean(found)
        if not count:
            figures["messages a search"] = statistics.median(packets)
            figures["messages an announcement"] = statistics.median(announcing)
    return figures


def hot(grid: Grid) -> dict[str, float]:
    """How listings of one tag spread, how many of them one search can page through, and who bears its searches."""
    from p2pgrid.ids import normalise_tag

    count = min(grid.task.hot, MOST_EACH * len(grid.honest))
    grid.publish("hot", count)
    tag, wall = normalise_tag("hot"), grid.swarm.wall()
    own = {bytes(engine.identity.public) for engine in grid.honest}
    held = []
    for engine in grid.honest:
        me = bytes(engine.identity.public)
        others = [one for one in engine.store.all(tag, wall) if one.record.key != me and one.record.key in own]
        held.append(len(others))
    some = {
        (one.record.key, one.record.dataset) for one in grid.ask(grid.swarm.random.choice(grid.honest), "hot", count)
    }
    before = dict(grid.swarm.bytes_to)
    askers = grid.swarm.random.sample(grid.honest, ASKERS)
    for number in range(HOT_SEARCHES):
        grid.ask(askers[number % ASKERS], "hot", 100)
    others = [engine.address for engine in grid.honest if engine not in askers]
    heard = [grid.swarm.bytes_to.get(address, 0) - before.get(address, 0) for address in others]
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


def measured(task: Task, folder: str = "") -> dict[str, float]:
    """Everything of one placement, in a process of its own."""
    environment = {**os.environ, **({"PYTHONPATH": folder} if folder else {})}
    command = [sys.executable, os.path.abspath(__file__), "--worker", json.dumps(asdict(task))]
    print(f"{'one key' if task.one_key else 'ranges'}, n={task.nodes} {folder}", file=sys.stderr, flush=True)
    out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
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
    parser.add_argument("--classic", default="", help="folder of an older p2pgrid, to run as well")
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def main() -> int:
    """Ours beside one-key placement."""
    chosen = options(__doc__ or "", _more)
    if chosen.worker:
        grid = Grid(Task(**json.loads(chosen.worker)))
        print(json.dumps({**censored(grid), **hot(grid)}))
        return 0
    if chosen.quick:
        chosen.nodes, chosen.listings, chosen.tags = 40, 80, 1
    task = Task(False, chosen.nodes, chosen.listings, chosen.tags)
    ours = measured(task)
    peers = {"one key": measured(dataclasses.replace(task, one_key=True))}
    if chosen.classic:
        peers["one key, walked to"] = measured(dataclasses.replace(task, one_key=True), chosen.classic)
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
