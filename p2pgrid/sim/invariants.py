"""What holds of every node whatever datagrams come, looked at while a simulation runs."""

from __future__ import annotations

from p2pgrid.dht.engine import Engine
from p2pgrid.errors import BrokenInvariant


class Invariants:
    """One node's: ``every`` so many datagrams all of them are looked at; 0 for never."""

    __slots__ = ("_every", "_held", "_last_seq", "_taken")

    def __init__(self, every: int) -> None:
        self._every = every
        self._taken = 0
        self._last_seq = 0
        self._held: dict[tuple[object, ...], int] = {}
        """Of each listing held at the last look: its number."""

    def after_datagram(self, engine: Engine) -> None:
        """It took one more."""
        if self._every:
            self._taken += 1
            if self._taken % self._every == 0:
                self.check(engine)

    def restarted(self) -> None:
        """The node begins anew: what it held may be gone, but its numbers still go up only."""
        self._held = {}

    def check(self, engine: Engine) -> None:
        """Raises ``BrokenInvariant``."""
        limits, table, store = engine.limits, engine.table, engine.store
        for bucket in table.buckets:
            _holds(len(bucket.nodes) <= limits.k, engine, "has more peers in a bucket than k")
            _holds(len(bucket.replacement_nodes) <= limits.cache, engine, "keeps more peers waiting than a cache holds")
        _holds(engine.sessions() <= limits.sessions, engine, "has more sessions than it may")
        _holds(len(store) <= limits.total_listings, engine, "holds more listings than it may")
        _holds(len(engine.calls) <= limits.calls, engine, "has more requests in flight than it may")
        if engine.profile.seq:  # it has signed one since it started
            _holds(engine.profile.seq >= self._last_seq, engine, "signed a record older than one before")
            self._last_seq = engine.profile.seq
        held: dict[tuple[object, ...], int] = {}
        for listing in store.listings():
            record = listing.record
            key = (record.tag, record.key, record.dataset)
            held[key] = record.seq
            _holds(record.seq >= self._held.get(key, 0), engine, "took a listing older than the one that it held")
        self._held = held


def leaked(engine: Engine, before: set[int]) -> set[int]:
    """What is still under way of what was then; see ``under_way``."""
    return before & under_way(engine)


def under_way(engine: Engine) -> set[int]:
    """Everything that the engine is at, by identity."""
    return {id(operation) for operation in engine.operations()}


def _holds(true: bool, engine: Engine, otherwise: str) -> None:
    if not true:
        raise BrokenInvariant(f"Node {engine.identity.id.hex()[:8]} {otherwise}.")
