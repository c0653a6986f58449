"""Listings held for others: verified ones only, each newer than the last, within named limits, until they expire.

What is full is shared: a newcomer takes a place from whoever has most of them, so that nobody, by coming first, keeps
the others out.  Times are seconds since the epoch, as in the records.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL, shuffled
from p2pgrid.errors import LimitReached, RolledBack
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified

Key = tuple[bytes, bytes]
"""Publisher's key and dataset id: one listing a tag."""

OWN_GROUP: Final = b"own"
"""The address group that our own listings count for in our own store.  They have no shares and make no room."""

PAIR_AROUND: Final = 64 + 8
"""Bytes of a pair in a page beside its body: signature and msgpack heads."""

T = TypeVar("T")


class Entry:
    """A listing, the address group that sent it, and when it goes."""

    __slots__ = ("expires", "group", "listing", "position")

    def __init__(self, listing: Verified[Listing], group: bytes, expires: float, position: int) -> None:
        self.listing, self.group, self.expires, self.position = listing, group, expires, position


class Shelf:
    """The listings of one tag: found by key, by position for random pages, and by who has how many."""

    __slots__ = ("_groups", "_publishers", "by_key", "row")

    def __init__(self) -> None:
        self.by_key: dict[Key, Entry] = {}
        self._groups: dict[bytes, dict[Key, None]] = {}
        self._publishers: Counter[bytes] = Counter()
        self.row: list[Entry] = []
        """Those handed out; withdrawn ones are in ``by_key`` only."""

    def add(self, key: Key, entry: Entry) -> None:
        self.by_key[key] = entry
        self._groups.setdefault(entry.group, {})[key] = None
        self._publishers[key[0]] += 1

    def take(self, key: Key) -> Entry:
        entry = self.by_key.pop(key)
        self.hide(entry)
        _drop(self._groups, entry.group, key)
        _count_down(self._publishers, key[0])
        return entry

    def in_the_way(self, publisher: bytes, group: bytes, limits: Limits) -> Key | None:
        """Which listing goes for a new one of this publisher and group; None while there is room.

        Raises ``LimitReached`` when nobody has more than they would.
        """
        if self._publishers[publisher] >= limits.tag_publisher_listings:
            raise LimitReached("The publisher's share of the tag is used up.")
        own: Collection[Key] = self._groups.get(group, {})
        heavy = own
        if len(own) < limits.tag_group_listings:
            if len(self.by_key) - len(self._groups.get(OWN_GROUP, ())) < limits.tag_listings:
                return None
            most = self._groups[_heaviest(self._groups)]
            heavy = most if len(most) > len(own) + 1 else own
        counts = Counter(key[0] for key in heavy)
        worst = max(counts, key=counts.__getitem__, default=b"")
        if heavy is own and counts[worst] <= counts[publisher] + 1:
            raise LimitReached("The tag's share of the store is used up.")
        return [key for key in heavy if key[0] == worst][-1]

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
        self._by_group: dict[bytes, dict[tuple[Tag, Key], None]] = {}
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

        When the tag's places or all are taken, one of whoever has most of them goes, if they have at least two more
        than the newcomer.  Raises ``RolledBack`` when one as new is held, ``LimitReached`` when its share is used up.
        """
        record = listing.record
        key = (record.key, record.dataset)
        shelf = self._shelves.get(record.tag)
        old = shelf.by_key.get(key) if shelf else None
        if old is not None and old.listing.raw == listing.raw:
            return
        if old is not None and old.listing.record.seq >= record.seq:
            raise RolledBack("A listing is not newer than the one held.")
        self._make_room(listing, group, old, shelf)
        expires = float(listing.expires)
        if old is not None:
            expires = max(expires, old.expires) if record.ttl <= WITHDRAWN_TTL else expires
            self._remove(record.tag, key)
        shelf = self._shelves.setdefault(record.tag, Shelf())
        entry = Entry(listing, group, expires, -1)
        shelf.add(key, entry)
        if record.ttl > WITHDRAWN_TTL:
            shelf.show(entry)
        self._by_publisher[record.key] += 1
        self._by_group.setdefault(group, {})[record.tag, key] = None
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

    def _make_room(self, listing: Verified[Listing], group: bytes, old: Entry | None, shelf: Shelf | None) -> None:
        size = len(listing.raw)
        if old is not None:
            if len(self._ends) >= 4 * self._limits.total_listings:
                self._compact()
            self._free(0, size - len(old.listing.raw), group)
            return
        if group != OWN_GROUP:
            self._check_shares(listing.record.key, group)
            victim = shelf.in_the_way(listing.record.key, group, self._limits) if shelf is not None else None
            if victim is not None:
                self._remove(listing.record.tag, victim)
        self._free(1, size + PAIR_AROUND, group)

    def _check_shares(self, publisher: bytes, group: bytes) -> None:
        if self._by_publisher[publisher] >= self._limits.publisher_listings:
            raise LimitReached("The publisher's share of the store is used up.")
        if len(self._by_group.get(group, ())) >= self._limits.group_listings:
            raise LimitReached("The address group's share of the store is used up.")

    def _free(self, more: int, grown: int, group: bytes) -> None:
        """Drop listings of the address group that has most until so many more, and so many more bytes, fit."""
        limits = self._limits
        while self.count + more > limits.total_listings or self.bytes + grown > limits.total_bytes:
            heavy: dict[tuple[Tag, Key], None] = self._by_group.get(_heaviest(self._by_group), {})
            ours = 0 if group == OWN_GROUP else len(self._by_group.get(group, ())) + 1
            if len(heavy) <= ours:
                raise LimitReached("The store is full.")
            tag, key = next(reversed(heavy))
            self._remove(tag, key)

    def _compact(self) -> None:
        """Forget the ends of entries that newer ones replaced."""
        live = [(e.expires, tag, key) for tag, shelf in self._shelves.items() for key, e in shelf.by_key.items()]
        heapq.heapify(live)
        self._ends = live

    def _remove(self, tag: Tag, key: Key) -> None:
        shelf = self._shelves[tag]
        entry = shelf.take(key)
        if not shelf.by_key:
            del self._shelves[tag]
        _count_down(self._by_publisher, key[0])
        _drop(self._by_group, entry.group, (tag, key))
        self.count -= 1
        self.bytes -= len(entry.listing.raw) + PAIR_AROUND


def _heaviest(groups: Mapping[bytes, Collection[object]]) -> bytes:
    """The address group with most listings; our own is none."""
    return max((name for name in groups if name != OWN_GROUP), key=lambda name: len(groups[name]), default=b"")


def _drop(groups: dict[bytes, dict[T, None]], group: bytes, key: T) -> None:
    del groups[group][key]
    if not groups[group]:
        del groups[group]


def _count_down(counter: Counter[bytes], name: bytes) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
