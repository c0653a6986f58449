"""What our address is, by the word of several peers."""

from __future__ import annotations

from collections import Counter

from p2pgrid.dht.contacts import Endpoint, group_of


class Votes:
    """The latest word of each address group; one network cannot outvote the rest by its number of nodes."""

    __slots__ = ("_most", "_words")

    def __init__(self, most: int) -> None:
        self._most = most
        self._words: dict[bytes, Endpoint] = {}

    def add(self, voter: Endpoint, seen: Endpoint) -> None:
        """A peer at ``voter`` saw our packets come from ``seen``."""
        group = group_of(voter)
        self._words.pop(group, None)
        self._words[group] = seen
        while len(self._words) > self._most:
            del self._words[next(iter(self._words))]

    def winner(self) -> Endpoint | None:
        """The address that more than half of them saw, if there is one."""
        if not self._words:
            return None
        seen, count = Counter(self._words.values()).most_common(1)[0]
        return seen if 2 * count > len(self._words) else None
