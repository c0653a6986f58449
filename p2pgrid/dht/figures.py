"""A DHT node in numbers, for those who watch it: no key, address, name or tag is among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pgrid.dht.health import State, state_of

if TYPE_CHECKING:
    from p2pgrid.dht.engine import Engine


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of one moment.  ``counters``: see ``DhtNode.counters``."""

    peers: Mapping[State, int]
    """Peers in the table by state; ``offline`` counts those that left it lately too."""
    table: int
    sessions: int
    calls: int
    """Requests in flight."""
    listings: int
    """Held, our own included."""
    listing_bytes: int
    tags: int
    """Tags of those."""
    announced: int
    """Listings of ours that are kept announced."""
    probe_interval: float
    counters: Mapping[str, int]


def figures_of(engine: Engine, now: float, interval: float) -> Figures:
    """Counted now: some 0.5 ms for a full store."""
    states: Counter[State] = Counter(state_of(peer, engine.limits) for peer in engine.table.peers())
    states["offline"] += sum(1 for _ in engine.gone_peers.since(now))
    return Figures(
        peers=dict(states),
        table=len(engine.table),
        sessions=engine.sessions(),
        calls=len(engine.calls),
        listings=len(engine.store),
        listing_bytes=engine.store.bytes,
        tags=len(engine.store.tags()),
        announced=len(engine.publisher.announcements.all()),
        probe_interval=interval,
        counters=dict(engine.counters),
    )
