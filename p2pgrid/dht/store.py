"""Listings held for others: verified ones only, each newer than the last, within named limits, until they expire.

Times are seconds since the epoch, as in the records.
"""

from __future__ import annotations

import heapq
from collections import Counter

from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL, shuffled
from p2pgrid.errors import LimitReached, RolledBack
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified

Key = tuple[bytes, bytes]
"""Publisher's key and dataset id: one listing a tag."""

PAIR_AROUND = 64 + 8
"""Bytes of a pair in a page beside its body: signature and msgpack heads."""


class Entry:
    """A listing, the address group that sent it, and when it goes."""

    __slots__ = ("expires", "group", "listing", "position")

    def __init__(self, listing: Verified[Listing], group: bytes, expires: float, position: int) -> None:
        self.listing, self.group, self.expires, self.position = listing, group, expires, position


class Shelf:
    """The listings of one tag: found by key, and by position for random pages."""

    __slots__ = ("by_key", "row")

    def __init__(self) -> None:
        self.by_key: dict[Key, Entry] = {}
        self.row: list[Entry] = []
        """Those handed out; withdrawn ones are in ``by_key`` only."""

    def show(self, entry: Entry) -> None:
        entry.position = len(self.row)
        self.row.append(entry)

    def hide(self, entry: Entry) -> None:
        if entry.position >= 0:
            last = self.row.pop()
            if last is not entry:
                self.row[entry.position] = last
                last.position = entry.position
            entry.position = -1


class Store:
    """All of it."""

    __slots__ = ("_by_group", "_by_publisher", "_ends", "_limits", "_shelves", "bytes", "count")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shelves: dict[Tag, Shelf] = {}
        self._by_publisher: Counter[bytes] = Counter()
        self._by_group: Counter[bytes] = Counter()
        self._ends: list[tuple[float, Tag, Key]] = []
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def tags(self) -> list[Tag]:
        """Every tag with a listing to hand out."""
        return [tag for tag, shelf in self._shelves.items() if shelf.row]

    def total(self, tag: Tag) -> int:
        """Listings handed out for a tag."""
        shelf = self._shelves.get(tag)
        return len(shelf.row) if shelf else 0

    def put(self, listing: Verified[Listing], group: bytes, now: float) -> None:
        """Hold it, in place of an older one.

        Raises ``RolledBack`` when one as new is held, ``LimitReached`` when its share is used up.
        """
        record = listing.record
        key = (record.key, record.dataset)
        shelf = self._shelves.get(record.tag)
        old = shelf.by_key.get(key) if shelf else None
        if old is not None and old.listing.raw == listing.raw:
            return
        if old is not None and old.listing.record.seq >= record.seq:
            raise RolledBack("A listing is not newer than the one held.")
        self._check_limits(listing, group, old, shelf)
        expires = float(listing.expires)
        if old is not None:
            expires = max(expires, old.expires) if record.ttl <= WITHDRAWN_TTL else expires
            self._remove(record.tag, key)
        shelf = self._shelves.setdefault(record.tag, Shelf())
        entry = Entry(listing, group, expires, -1)
        shelf.by_key[key] = entry
        if record.ttl > WITHDRAWN_TTL:
            shelf.show(entry)
        self._by_publisher[record.key] += 1
        self._by_group[group] += 1
        self.count += 1
        self.bytes += len(listing.raw) + PAIR_AROUND
        heapq.heappush(self._ends, (expires, record.tag, key))

    def page(
        self, tag: Tag, order: int, cursor: int, limit: int, room: int, now: float
    ) -> tuple[list[list[bytes]], int]:
        """Pairs from ``cursor`` on in ``order``, at most ``limit`` and ``room`` bytes; and the next cursor (0: end)."""
        shelf = self._shelves.get(tag)
        pairs: list[list[bytes]] = []
        if shelf is None:
            return pairs, 0
        at = cursor
        for position in shuffled(len(shelf.row), order, cursor):
            entry = shelf.row[position]
            size = len(entry.listing.raw) + PAIR_AROUND
            if len(pairs) >= limit or size > room:
                return pairs, at
            at += 1
            if entry.expires > now:
                pairs.append(entry.listing.to_wire())
                room -= size
        return pairs, 0

    def all(self, tag: Tag, now: float) -> list[Verified[Listing]]:
        """Everything held for a tag and still valid."""
        shelf = self._shelves.get(tag)
        return [entry.listing for entry in shelf.row if entry.expires > now] if shelf else []

    def sweep(self, now: float) -> int:
        """Drop what has expired; how many that were."""
        gone = 0
        while self._ends and self._ends[0][0] <= now:
            expires, tag, key = heapq.heappop(self._ends)
            shelf = self._shelves.get(tag)
            entry = shelf.by_key.get(key) if shelf else None
            if entry is not None and entry.expires == expires:
                self._remove(tag, key)
                gone += 1
        return gone

    def next_end(self) -> float | None:
        """When the next one expires."""
        return self._ends[0][0] if self._ends else None

    def _check_limits(self, listing: Verified[Listing], group: bytes, old: Entry | None, shelf: Shelf | None) -> None:
        limits = self._limits
        grown = self.bytes + len(listing.raw) + PAIR_AROUND
        if old is not None:
            if len(self._ends) >= 4 * limits.total_listings:
                self._compact()
            if grown - len(old.listing.raw) - PAIR_AROUND > limits.total_bytes:
                raise LimitReached("The store is full.")
            return
        if shelf is not None and len(shelf.by_key) >= limits.tag_listings:
            raise LimitReached("The tag's share of the store is used up.")
        if self._by_publisher[listing.record.key] >= limits.publisher_listings:
            raise LimitReached("The publisher's share of the store is used up.")
        if self._by_group[group] >= limits.group_listings:
            raise LimitReached("The address group's share of the store is used up.")
        if self.count >= limits.total_listings or grown > limits.total_bytes:
            raise LimitReached("The store is full.")

    def _compact(self) -> None:
        """Forget the ends of entries that newer ones replaced."""
        live = [(e.expires, tag, key) for tag, shelf in self._shelves.items() for key, e in shelf.by_key.items()]
        heapq.heapify(live)
        self._ends = live

    def _remove(self, tag: Tag, key: Key) -> None:
        shelf = self._shelves[tag]
        entry = shelf.by_key.pop(key)
        shelf.hide(entry)
        if not shelf.by_key:
            del self._shelves[tag]
        for counter, name in ((self._by_publisher, key[0]), (self._by_group, entry.group)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        self.count -= 1
        self.bytes -= len(entry.listing.raw) + PAIR_AROUND
