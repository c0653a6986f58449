"""A network in virtual time: real engines, seeded latency and loss, no sockets and no waiting.

``swarm`` makes nodes and moves the clock; the seed is printed when a test fails.  The invariants of a node are checked
after every 16th datagram that it took, and of all that took any whenever the clock stops.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import Contact, Endpoint
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.limits import MAX_DATAGRAM, Limits
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Listing, Verified

EPOCH = 1_800_000_000.0
CHECK_EVERY = 16
"""Checking after each datagram would cost as much as the engines do."""


class Swarm:
    """Engines by address, packets on their way, and the time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 1000.0
        self.engines: dict[Endpoint, Engine] = {}
        self.loss = 0.0
        self.latency = (0.002, 0.030)
        self.sent = 0
        self.bytes_to: dict[Endpoint, int] = {}
        self.watch: Callable[[bytes, Endpoint, Endpoint], bool] | None = None
        """Sees each packet (data, source, target); False drops it."""
        self._events: list[tuple[float, int, Any]] = []
        self._count = 0
        self._wakes: dict[Endpoint, float] = {}
        self._touched: dict[Engine, int] = {}
        """Who took datagrams since the clock last stopped, and how many."""

    def wall(self) -> float:
        return EPOCH + self.now

    def make(self, *, server: bool = True, identity: Identity | None = None, **more: Any) -> Engine:
        """A node at an address of its own, in an address group of its own."""
        number = len(self.engines) + self._count
        self._count += 1
        endpoint = (f"{20 + number // 60000}.{number // 250 % 240 + 1}.{number % 250}.7", 4000 + number % 50000)
        return self.place(endpoint, server=server, identity=identity, **more)

    def place(
        self, endpoint: Endpoint, *, server: bool = True, identity: Identity | None = None, **more: Any
    ) -> Engine:
        """A node at this address."""
        engine = Engine(
            identity or Identity.generate(self.random.randbytes),
            address=endpoint,
            now=self.now,
            wall=more.pop("wall", self.wall),
            random=self.random.randbytes,
            server=server,
            limits=more.pop("limits", Limits()),
            **more,
        )
        self.engines[endpoint] = engine
        self.flush(engine)
        return engine

    def kill(self, engine: Engine) -> None:
        """It is gone, without a word."""
        del self.engines[engine.address]

    def flush(self, engine: Engine) -> None:
        """Send what an engine has ready and note when it wants to be woken."""
        polled = engine.poll(self.now)
        for data, target in polled.datagrams:
            self.send(data, engine.address, target)
        if self._wakes.get(engine.address) != polled.wake:
            self._wakes[engine.address] = polled.wake
            self._push(polled.wake, (None, engine.address, engine))

    def send(self, data: bytes, source: Endpoint, target: Endpoint) -> None:
        """A packet sets out; anybody may write any source on it."""
        assert len(data) <= MAX_DATAGRAM, f"a datagram of {len(data)} bytes"
        self.sent += 1
        self.bytes_to[target] = self.bytes_to.get(target, 0) + len(data)
        if self.watch is not None and not self.watch(data, source, target):
            return
        if self.random.random() >= self.loss:
            low, high = self.latency
            self._push(self.now + self.random.uniform(low, high), (data, source, target))

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something then."""
        self._push(when, (action, None, None))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; whether ``until`` came true."""
        came = self._run(seconds, until)
        for engine in self._touched:
            self.check(engine)
        self._touched.clear()
        return came

    def _run(self, seconds: float, until: Callable[[], bool]) -> bool:
        end = self.now + seconds
        while not until():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return until()
            when, _, (data, source, target) = heapq.heappop(self._events)
            self.now = max(self.now, when)
            if callable(data):
                data()
                continue
            if data is None:
                engine = self.engines.get(source)
                if engine is target and self._wakes.get(source) == when:
                    self._wakes.pop(source)
                    self.flush(engine)
                continue
            engine = self.engines.get(target)
            if engine is not None:
                engine.receive(data, source, self.now)
                self.flush(engine)
                taken = self._touched[engine] = self._touched.get(engine, 0) + 1
                if taken % CHECK_EVERY == 0:
                    self.check(engine)
        return True

    def check(self, engine: Engine) -> None:
        """What holds whatever datagrams come."""
        limits = engine.limits
        for bucket in engine.table.buckets:
            assert len(bucket.nodes) <= limits.k
            assert len(bucket.replacement_nodes) <= limits.cache
        assert engine.sessions() <= limits.sessions
        assert len(engine.store) <= limits.total_listings
        assert len(engine.calls) <= limits.calls

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
        ids = [engine.identity.id for engine in self.engines.values() if engine.profile.card.server]
        point = int.from_bytes(target, "big")
        return sorted(ids, key=lambda i: int.from_bytes(i, "big") ^ point)[:count]

    def _push(self, when: float, event: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))


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
