"""A grid in virtual time, as the tests of the DHT speak of it: by engines, one call at a time.

``swarm`` makes nodes and moves the clock; the seed is printed when a test fails.  It is ``p2pgrid.sim.Grid`` with real
keys, whose nodes have their invariants checked after every 16th datagram, and whenever the clock stops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from p2pgrid.dht.contacts import Contact, Endpoint
from p2pgrid.dht.engine import Engine
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.invariants import Invariants
from p2pgrid.sim.latency import Uniform
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.node import Node

BEGINS = 1000.0
CHECK_EVERY = 16
"""Checking after each datagram would cost as much as the engines do."""


class Swarm:
    """A grid, and its engines by address."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.grid = Grid(seed, conditions=Conditions(Uniform(0.002, 0.030)), check_every=CHECK_EVERY, real_keys=True)
        self.grid.world.now = BEGINS
        self.grid.network.watch = self._seen
        self._nodes: dict[Engine, Node] = {}
        self.bytes_to: dict[Endpoint, int] = {}
        self.watch: Callable[[bytes, Endpoint, Endpoint], bool] | None = None
        """Sees each packet (data, source, target); False drops it."""

    @property
    def now(self) -> float:
        return self.grid.world.now

    @property
    def random(self) -> Any:
        return self.grid.world.random

    @property
    def sent(self) -> int:
        return self.grid.network.sent

    @property
    def engines(self) -> dict[Endpoint, Engine]:
        """Those that live, by where they are."""
        return {node.host.endpoint: node.engine for node in self.grid.nodes}

    @property
    def latency(self) -> tuple[float, float]:
        latency = self.grid.network.conditions.latency
        assert isinstance(latency, Uniform)
        return latency.least, latency.most

    @latency.setter
    def latency(self, seconds: tuple[float, float]) -> None:
        self._change(latency=Uniform(*seconds))

    @property
    def loss(self) -> float:
        return self.grid.network.conditions.loss

    @loss.setter
    def loss(self, share: float) -> None:
        self._change(loss=share)

    def wall(self) -> float:
        return self.grid.world.wall()

    def make(self, **more: Any) -> Engine:
        """A node at an address of its own, in an address group of its own."""
        return self._added(self.grid.add(**more))

    def place(self, endpoint: Endpoint, **more: Any) -> Engine:
        """A node at this address."""
        return self._added(self.grid.add(endpoint=endpoint, **more))

    def node(self, engine: Engine) -> Node:
        """The grid's node that an engine belongs to."""
        return self._nodes[engine]

    def kill(self, engine: Engine) -> None:
        """It is gone, without a word."""
        self.grid.remove(self._nodes.pop(engine))

    def flush(self, engine: Engine) -> None:
        """Send what an engine has ready and note when it wants to be woken."""
        self.node(engine).flush()

    def send(self, data: bytes, source: Endpoint, target: Endpoint) -> None:
        """A packet sets out; anybody may write any source on it."""
        self.grid.network.carry(data, source, target)

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Do something then."""
        self.grid.world.at(when, action)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; whether ``until`` came true."""
        came = self.grid.world.run(seconds, until)  # not the grid's: some tests put faults into engines
        for node in self.grid.nodes:
            Invariants(0).check(node.engine)
        return came

    # ------------------------------------------------------------ what tests do with nodes

    def join(self, engine: Engine, *through: Engine) -> bool:
        """Join by bare addresses; whether anybody answered."""
        done: list[bool] = []
        engine.upkeep.join([e.address for e in through], [], lambda joined, at: done.append(joined), self.now)
        self.flush(engine)
        self.run(10.0, lambda: bool(done))
        return bool(done and done[0])

    def grow(self, count: int) -> list[Engine]:
        """A grid of ``count`` nodes, each joined through one that was there."""
        nodes = [self.make()]
        for _ in range(count - 1):
            nodes.append(self.make())
            assert self.join(nodes[-1], self.random.choice(nodes[:-1]))
        self.run(60.0)
        return nodes

    def announce(self, engine: Engine, tag: str, dataset: bytes, title: str = "") -> int:
        """How many hold it."""
        done: list[int] = []
        engine.publisher.announce(normalise_tag(tag), dataset, title, lambda held, at: done.append(held), self.now)
        self.flush(engine)
        assert self.run(20.0, lambda: bool(done))
        return done[0]

    def search(self, engine: Engine, tag: str, limit: int = 1000, patience: float = 20.0) -> list[Verified[Listing]]:
        """Everything found."""
        found: list[Verified[Listing]] = []
        done: list[bool] = []
        engine.search(normalise_tag(tag), limit, found.append, lambda at: done.append(True), self.now)
        self.flush(engine)
        assert self.run(patience, lambda: bool(done)), "a search did not end"
        return found

    def find(self, engine: Engine, target: bytes) -> list[Contact]:
        """The nearest nodes that a lookup finds."""
        done: list[list[Contact]] = []
        engine.walk(target, lambda found, at: done.append(found), self.now)
        self.flush(engine)
        assert self.run(20.0, lambda: bool(done)), "a lookup did not end"
        return done[0]

    def nearest(self, target: bytes, count: int) -> list[bytes]:
        """The ids of the living servers truly nearest to a point."""
        return self.grid.nearest(target, count)

    def _added(self, node: Node) -> Engine:
        self._nodes[node.engine] = node
        return node.engine

    def _seen(self, data: bytes, source: Endpoint, target: Endpoint) -> bool:
        self.bytes_to[target] = self.bytes_to.get(target, 0) + len(data)
        return self.watch is None or self.watch(data, source, target)

    def _change(self, **changes: Any) -> None:
        network = self.grid.network
        network.conditions = dataclasses.replace(network.conditions, **changes)


@pytest.fixture(scope="session")
def swarm_class() -> type[Swarm]:
    """For fixtures that keep a grid over several tests."""
    return Swarm


@pytest.fixture
def swarm(request: pytest.FixtureRequest) -> Swarm:
    """A seeded swarm; another seed by ``@pytest.mark.parametrize("swarm", [7], indirect=True)``."""
    seed = getattr(request, "param", 20_261_121)
    print(f"swarm seed {seed}")  # pytest shows it when the test fails
    return Swarm(seed)
