"""Listings held for others: verified ones only, each newer than the last, within named limits, until they expire.

What is full is shared, as on each shelf: see ``shelf``.  Times are seconds since the epoch, as in the records.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL, shuffled
from p2pgrid.dht.shelf import OWN_GROUP, Entry, Key, Ranking, Shelf, count_down
from p2pgrid.errors import LimitReached, Malformed, RemoteError, RolledBack
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified, verify_listing

__all__ = ["OWN_GROUP", "Store"]

Item = tuple[Tag, Key]

PAIR_AROUND: Final = 64 + 8
"""Bytes of a pair in a page beside its body: signature and msgpack heads."""

ENDS_SPARE: Final = 64
"""Ends of replaced listings that may lie about, beside one a listing."""

TRIED: Final = 64
"""Long held listings of lighter address groups that are passed over in search of one that must give way."""

GROUP_SIZES: Final = (3, 4, 6, 7, 16, 18)
"""What ``contacts.share_of`` gives."""


class Store:
    """All of it."""

    __slots__ = ("_by_publisher", "_ends", "_groups", "_limits", "_order", "_shelves", "bytes", "count")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shelves: dict[Tag, Shelf] = {}
        self._by_publisher: Counter[bytes] = Counter()
        self._groups: Ranking[Item] = Ranking()
        self._order: dict[Item, Entry] = {}
        """Those of others, the longest held first."""
        self._ends: list[tuple[float, Tag, Key]] = []
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def tags(self) -> list[Tag]:
        """Every tag with a listing to hand out."""
        return [tag for tag, shelf in self._shelves.items() if shelf.row]

    def total(self, tag: Tag) -> int:
        """Listings handed out for a tag, as of the last ``sweep``."""
        shelf = self._shelves.get(tag)
        return len(shelf.row) if shelf else 0

    def put(self, listing: Verified[Listing], group: bytes, now: float, since: float | None = None) -> None:
        """Hold it, in place of an older one, whose address group and tenure it keeps.

        When the places of the tag, of the address group or all are taken, one of whoever has most of them goes, if
        they have at least two more than the newcomer; else the longest held, if that is ``tenure`` ago (``since``,
        for a listing that was held before; else ``now``).  Nothing changes when it raises: ``RolledBack`` when one
        as new is held, ``LimitReached`` when its share is used up.
        """
        self.sweep(now)
        record = listing.record
        key = (record.key, record.dataset)
        shelf = self._shelves.get(record.tag)
        old = shelf.by_key.get(key) if shelf else None
        if shelf is not None and old is not None:
            self._refresh(shelf, old, key, listing, now)
            return
        for item in self._in_the_way(listing, group, now):
            self._remove(*item)
        entry = Entry(listing, group, now if since is None else min(since, now))
        shelf = self._shelves.setdefault(record.tag, Shelf())
        shelf.add(key, entry)
        if record.ttl > WITHDRAWN_TTL:
            shelf.show(entry)
        self._by_publisher[record.key] += 1
        if group != OWN_GROUP:
            item = (record.tag, key)
            self._groups.add(group, item)
            self._order[item] = entry
        self.count += 1
        self.bytes += _size(listing)
        heapq.heappush(self._ends, (entry.expires, record.tag, key))

    def page(
        self, tag: Tag, order: int, cursor: int, limit: int, room: int, now: float
    ) -> tuple[list[list[bytes]], int]:
        """Pairs from ``cursor`` on in ``order``, at most ``limit`` and ``room`` bytes; and the next cursor (0: end)."""
        self.sweep(now)
        shelf = self._shelves.get(tag)
        pairs: list[list[bytes]] = []
        if shelf is None:
            return pairs, 0
        at = cursor
        for position in shuffled(len(shelf.row), order, cursor):
            entry = shelf.row[position]
            size = _size(entry.listing)
            if len(pairs) >= limit or size > room:
                return pairs, at
            at += 1
            pairs.append(entry.listing.to_wire())
            room -= size
        return pairs, 0

    def all(self, tag: Tag, now: float) -> list[Verified[Listing]]:
        """Everything held for a tag and still valid."""
        shelf = self._shelves.get(tag)
        return [entry.listing for entry in shelf.row if entry.expires > now] if shelf else []

    def sweep(self, now: float) -> int:
        """Drop what has expired; how many that were.  Costs next to nothing when nothing has."""
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
        """When the next one expires, or earlier."""
        return self._ends[0][0] if self._ends else None

    def listings(self) -> Iterator[Verified[Listing]]:
        """What is held for others, withdrawn ones too, the longest held first."""
        return (entry.listing for entry in self._order.values())

    def dump(self) -> list[list[object]]:
        """What is held for others, the longest held first: body, signature, address group and since when of each."""
        return [
            [entry.listing.raw, entry.listing.signature, entry.group, entry.since] for entry in self._order.values()
        ]

    def load(self, rows: Sequence[object], now: float) -> int:
        """Hold again what an earlier ``dump`` gave; how many were good.

        Each is checked as if it came from a peer: signature, times, limits, and that no newer one is held.  A row
        costs about 70 us, nearly all of it for the signature.
        """
        good = 0
        for row in rows:
            try:
                raw, signature, group, since = _row(row)
                self.put(verify_listing((raw, signature), now=now), group, now, since)
            except RemoteError:
                continue
            good += 1
        return good

    # ------------------------------------------------------------ inside

    def _refresh(self, shelf: Shelf, old: Entry, key: Key, listing: Verified[Listing], now: float) -> None:
        if old.listing.raw == listing.raw:
            return
        if old.listing.record.seq >= listing.record.seq:
            raise RolledBack("A listing is not newer than the one held.")
        tag, withdrawn = listing.record.tag, listing.record.ttl <= WITHDRAWN_TTL
        grown = _size(listing) - _size(old.listing)
        if grown > 0:
            for item in self._for_room(0, grown, old.group, now - self._limits.tenure, (tag, key)):
                self._remove(*item)
        self.bytes += grown
        old.listing = listing
        expires = max(float(listing.expires), old.expires) if withdrawn else float(listing.expires)
        if expires != old.expires:
            old.expires = expires
            heapq.heappush(self._ends, (expires, tag, key))
            if len(self._ends) > 2 * self.count + ENDS_SPARE:
                self._compact()
        (shelf.hide if withdrawn else shelf.show)(old)

    def _in_the_way(self, listing: Verified[Listing], group: bytes, now: float) -> list[Item]:
        """What goes for a new listing.  Raises ``LimitReached``."""
        record, limits, over = listing.record, self._limits, now - self._limits.tenure
        items: list[Item] = []
        if group != OWN_GROUP:
            if self._by_publisher[record.key] >= limits.publisher_listings:
                raise LimitReached("The publisher's share of the store is used up.")
            neighbours = self._groups.of(group)
            if len(neighbours) >= limits.group_listings:
                items.append(next(iter(neighbours)))
                if self._order[items[0]].since > over:
                    raise LimitReached("The address group's share of the store is used up.")
            shelf = self._shelves.get(record.tag)
            key = shelf.in_the_way(record.key, group, limits, over) if shelf is not None else None
            # A place that a neighbour leaves on the same shelf is room enough there.
            if key is not None and not (items and items[0][0] == record.tag):
                items.append((record.tag, key))
        freed = sum(_size(self._order[item].listing) for item in items)
        return [*items, *self._for_room(1 - len(items), _size(listing) - freed, group, over, *items)]

    def _for_room(self, more: int, grown: int, group: bytes, over: float, *spared: Item) -> list[Item]:
        """What goes so that so many more, and so many more bytes, fit: never what is ``spared``."""
        limits = self._limits
        count, size = self.count + more, self.bytes + grown
        items: list[Item] = []
        if count <= limits.total_listings and size <= limits.total_bytes:
            return items
        candidates = self._givers(group, over)
        while count > limits.total_listings or size > limits.total_bytes:
            item = next(candidates, None)
            if item is None:
                raise LimitReached("The store is full.")
            if item not in spared and item not in items:
                items.append(item)
                count -= 1
                size -= _size(self._order[item].listing)
        return items

    def _givers(self, group: bytes, over: float) -> Iterator[Item]:
        """Who gives way to one more of this address group, in turn: first the heaviest, then the longest held."""
        heavy = self._groups.most()
        own = 0 if group == OWN_GROUP else len(self._groups.of(group)) + 1
        yield from islice(reversed(heavy), max(0, len(heavy) - own))
        for item, entry in islice(self._order.items(), TRIED):
            if entry.since > over:
                return
            if entry.group == group or len(self._groups.of(entry.group)) >= max(own, 1):
                yield item

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
        count_down(self._by_publisher, key[0])
        if entry.group != OWN_GROUP:
            self._groups.drop(entry.group, (tag, key))
            del self._order[tag, key]
        self.count -= 1
        self.bytes -= _size(entry.listing)


def _size(listing: Verified[Listing]) -> int:
    return len(listing.raw) + PAIR_AROUND


def _row(row: object) -> tuple[bytes, bytes, bytes, float]:
    """Body, signature, group and tenure of a dumped listing.  Raises ``Malformed``."""
    if not (isinstance(row, list) and len(row) == 4):
        raise Malformed("A saved listing is no row of four.")
    raw, signature, group, since = row
    if not (isinstance(raw, bytes) and isinstance(signature, bytes) and isinstance(since, int | float)):
        raise Malformed("A saved listing has fields of wrong types.")
    if not isinstance(group, bytes) or len(group) not in GROUP_SIZES:
        raise Malformed("A saved listing has no address group.")
    return raw, signature, group, float(since)
