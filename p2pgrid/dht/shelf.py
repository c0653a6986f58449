"""One tag's listings at a holder, and who has how many of them.

Who comes late finds a place: of whoever has most, the newest goes, if they have at least two more than the newcomer;
among equals the longest held goes, once its tenure is over.  What is refreshed keeps its place and its tenure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from p2pgrid.dht.limits import Limits
from p2pgrid.errors import LimitReached
from p2pgrid.records import Listing, Verified

Key = tuple[bytes, bytes]
"""Publisher's key and dataset id: one listing a tag."""

OWN_GROUP: Final = b"ourselves"
"""What our own listings count for in our own store: they have no shares and make no room.

No address group has this length, so that nobody's network is taken for ourselves.
"""

T = TypeVar("T", bound=Hashable)


class Entry:
    """A listing held for somebody.

    ``group``: the address group that it was first placed from; ``since``: when that was, which no refresh renews;
    ``expires``: when it goes; ``position``: its place in the row, -1 while it is not handed out.
    """

    __slots__ = ("expires", "group", "listing", "position", "since")

    def __init__(self, listing: Verified[Listing], group: bytes, since: float) -> None:
        self.listing, self.group, self.since = listing, group, since
        self.expires = float(listing.expires)
        self.position = -1


class Ranking(Generic[T]):
    """Things by whose they are, and who has most of them, in constant time."""

    __slots__ = ("_levels", "_members", "_top")

    def __init__(self) -> None:
        self._members: dict[bytes, dict[T, None]] = {}
        self._levels: dict[int, dict[bytes, None]] | None = None
        """Names by how much they have.  Made when first asked for: most shelves are never full."""
        self._top = 0

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def of(self, name: bytes) -> dict[T, None]:
        """What it has, the oldest first; to be read only."""
        return self._members.get(name) or {}

    def most(self) -> dict[T, None]:
        """What somebody has of whom nobody has more, the oldest first; nothing when nobody has anything."""
        if self._levels is None:
            self._levels = {}
            for name, things in self._members.items():
                self._levels.setdefault(len(things), {})[name] = None
            self._top = max(self._levels, default=0)
        return self._members[next(iter(self._levels[self._top]))] if self._top else {}

    def add(self, name: bytes, thing: T) -> None:
        """It has one more."""
        things = self._members.setdefault(name, {})
        things[thing] = None
        self._moved(name, len(things) - 1, len(things))

    def drop(self, name: bytes, thing: T) -> None:
        """It has one less."""
        things = self._members[name]
        del things[thing]
        if not things:
            del self._members[name]
        self._moved(name, len(things) + 1, len(things))

    def _moved(self, name: bytes, old: int, new: int) -> None:
        levels = self._levels
        if levels is None:
            return
        if old:
            del levels[old][name]
            if not levels[old]:
                del levels[old]
        if new:
            levels.setdefault(new, {})[name] = None
        # Whoever falls from the top alone is the top of what is below it.
        self._top = max(self._top, new) if self._top in levels or new > self._top else new


class Shelf:
    """The listings of one tag: found by key, by position for random pages, and by who has how many."""

    __slots__ = ("_groups", "_own", "_publishers", "by_key", "row")

    def __init__(self) -> None:
        self.by_key: dict[Key, Entry] = {}
        """The longest held first."""
        self._groups: Ranking[Key] = Ranking()
        self._publishers: Counter[bytes] = Counter()
        self._own = 0
        self.row: list[Entry] = []
        """Those handed out; withdrawn ones are in ``by_key`` only."""

    def add(self, key: Key, entry: Entry) -> None:
        self.by_key[key] = entry
        self._publishers[key[0]] += 1
        if entry.group == OWN_GROUP:
            self._own += 1
        else:
            self._groups.add(entry.group, key)

    def take(self, key: Key) -> Entry:
        entry = self.by_key.pop(key)
        self.hide(entry)
        count_down(self._publishers, key[0])
        if entry.group == OWN_GROUP:
            self._own -= 1
        else:
            self._groups.drop(entry.group, key)
        return entry

    def in_the_way(self, publisher: bytes, group: bytes, limits: Limits, over: float) -> Key | None:
        """Which listing goes for a new one of this publisher and group; None while there is room.

        ``over``: tenures that began then or earlier are over.  Raises ``LimitReached`` when nobody has more than they
        would, and no equal's tenure is over.
        """
        if self._publishers[publisher] >= limits.tag_publisher_listings:
            raise LimitReached("The publisher's share of the tag is used up.")
        own = self._groups.of(group)
        if len(own) >= limits.tag_group_listings:
            return self._of_neighbours(own, publisher, over)
        if len(self.by_key) - self._own < limits.tag_listings:
            return None
        most = self._groups.most()
        if len(most) > len(own) + 1:
            return _newest_of_heaviest(most)
        if len(most) > len(own):
            return self._longest_held(len(most), over)
        return self._of_neighbours(own, publisher, over)

    def show(self, entry: Entry) -> None:
        """Hand it out from now on."""
        if entry.position < 0:
            entry.position = len(self.row)
            self.row.append(entry)

    def hide(self, entry: Entry) -> None:
        """Hand it out no more."""
        if entry.position >= 0:
            last = self.row.pop()
            if last is not entry:
                self.row[entry.position] = last
                last.position = entry.position
            entry.position = -1

    def _of_neighbours(self, own: dict[Key, None], publisher: bytes, over: float) -> Key:
        """Which of its own address group's gives way to a newcomer: the same rule, among publishers."""
        counts = Counter([key[0] for key in own])
        mine = counts[publisher]
        worst = max(counts, key=counts.__getitem__)
        if counts[worst] > mine + 1:
            return next(key for key in reversed(own) if key[0] == worst)
        for key in own:
            if self.by_key[key].since > over:
                break
            if key[0] == publisher or counts[key[0]] > mine:
                return key
        raise LimitReached("The tag's share of the store is used up.")

    def _longest_held(self, count: int, over: float) -> Key:
        """The longest held of those whose address group has so many."""
        for key, entry in self.by_key.items():
            if entry.group == OWN_GROUP:
                continue
            if entry.since > over:
                break
            if len(self._groups.of(entry.group)) == count:
                return key
        raise LimitReached("The tag's share of the store is used up.")


def _newest_of_heaviest(keys: dict[Key, None]) -> Key:
    """The newest listing of the publisher who has most of these."""
    counts = Counter([key[0] for key in keys])
    worst = max(counts, key=counts.__getitem__)
    return next(key for key in reversed(keys) if key[0] == worst)


def count_down(counter: Counter[bytes], name: bytes) -> None:
    """One less; a name with none is forgotten."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
