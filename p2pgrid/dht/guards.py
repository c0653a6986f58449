"""Bounds on what one sender can make us do, and on what others can make us send to an address that never answers."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Any, Final

from p2pgrid.dht.contacts import Endpoint, is_lan

SILENT_KEYS: Final = 2
"""Different keys that were silent at an address within two pauses, before it is left alone whole."""
HEARD_KEYS: Final = 8
"""The same where somebody proved a key lately."""
HEARD_LIFE: Final = 3600.0


class Used:
    """What one sender has used of its share: the time at which it has used nothing (see ``Shares``)."""

    __slots__ = ("clear",)

    def __init__(self) -> None:
        self.clear = 0.0


class Shares:
    """So many at once and so many a second for each of many senders.

    The generic cell rate algorithm (ITU-T I.371): one number a sender, the time at which it has used nothing.  Whoever
    is past that time needs no entry; when all ``most`` are needed, the one longest unused makes room.
    """

    __slots__ = ("_clear", "_gap", "_most", "_reach")

    def __init__(self, rate: float, burst: float, most: int) -> None:
        self._gap, self._reach, self._most = 1 / rate, (burst - 1) / rate, most
        self._clear: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._clear)

    def take(self, sender: Hashable, now: float) -> bool:
        """Whether this sender may do it once more."""
        clear = max(self._clear.pop(sender, now), now)
        allowed = clear - now <= self._reach
        while len(self._clear) >= self._most:
            del self._clear[next(iter(self._clear))]
        self._clear[sender] = clear + self._gap if allowed else clear
        return allowed

    def tidy(self, now: float) -> None:
        """Forget whoever has used nothing."""
        self._clear = {sender: clear for sender, clear in self._clear.items() if clear > now}


class Silence:
    """Contacts that answered none of our tries lately, so that nobody can have us try an address again and again.

    A key and its endpoint are left alone at once.  After ``SILENT_KEYS`` keys were silent at a public address it is
    left alone whole, whatever key and port: it may be a victim, told to us under many of both.  One invented key must
    not hide the node that does live there, so where somebody proved a key within ``HEARD_LIFE`` it takes
    ``HEARD_KEYS``.  On a local network or on one machine a port counts as an address does elsewhere.
    """

    __slots__ = ("_again", "_heard", "_keys", "_most", "_pairs", "_pause", "_until")

    def __init__(self, pause: float, most: int) -> None:
        self._most, self._pause = most, pause
        self._pairs: dict[tuple[bytes, Endpoint], float] = {}
        """Until when to leave a contact alone; the other tables are by place."""
        self._until: dict[Endpoint, float] = {}
        self._keys: dict[Endpoint, tuple[float, tuple[bytes, ...]]] = {}
        """When the last key was silent there, and the latest such keys."""
        self._heard: dict[Endpoint, float] = {}
        self._again: dict[Endpoint, tuple[bytes, float]] = {}
        """Which key has further tries there, and until when it alone has."""

    def __len__(self) -> int:
        return max(len(self._pairs), len(self._until), len(self._keys), len(self._heard))

    def add(self, key: bytes, endpoint: Endpoint, now: float) -> None:
        """This key did not answer there."""
        place = _place(endpoint)
        last, keys = self._keys.get(place, (-inf, ()))
        # Twice the pause: who was left alone whole and is silent again is no newcomer.
        keys = (*(old for old in keys if old != key), key)[-HEARD_KEYS:] if now - last < 2 * self._pause else (key,)
        _put(self._pairs, (key, endpoint), now + self._pause, self._most)
        _put(self._keys, place, (now, keys), self._most)
        heard = now - self._heard.get(place, -inf) < HEARD_LIFE
        if len(keys) >= (HEARD_KEYS if heard else SILENT_KEYS):
            _put(self._until, place, now + self._pause, self._most)

    def holds(self, key: bytes, endpoint: Endpoint, now: float) -> bool:
        """Whether to leave it alone for now."""
        if not self._pairs:
            return False
        return self._pairs.get((key, endpoint), now) > now or self._until.get(_place(endpoint), now) > now

    def doubts(self, key: bytes, endpoint: Endpoint, now: float) -> bool:
        """Whether one try has to do for a stranger: another key there was silent lately, or is being tried again."""
        place = _place(endpoint)
        if now - self._keys.get(place, (-inf, ()))[0] < 2 * self._pause:
            return True
        first, until = self._again.get(place, (key, 0.0))
        if until > now:
            return first != key
        _put(self._again, place, (key, now + self._pause), self._most)
        return False

    def heard(self, key: bytes, endpoint: Endpoint, now: float) -> None:
        """Whoever has this key answered from there, or asked us."""
        place = _place(endpoint)
        _put(self._heard, place, now, self._most)
        self._pairs.pop((key, endpoint), None)
        self._until.pop(place, None)
        self._keys.pop(place, None)

    def tidy(self, now: float) -> None:
        """Forget what is over."""
        self._pairs = {contact: until for contact, until in self._pairs.items() if until > now}
        self._until = {place: until for place, until in self._until.items() if until > now}
        self._keys = {place: told for place, told in self._keys.items() if now - told[0] < 2 * self._pause}
        self._again = {place: claim for place, claim in self._again.items() if claim[1] > now}
        self._heard = {place: when for place, when in self._heard.items() if now - when < HEARD_LIFE}


def _put(table: dict[Any, Any], key: Hashable, value: object, most: int) -> None:
    """Keep it as the newest of ``most``."""
    table.pop(key, None)
    while len(table) >= most:
        del table[next(iter(table))]
    table[key] = value


def _place(endpoint: Endpoint) -> Endpoint:
    return endpoint if is_lan(endpoint[0]) else (endpoint[0], 0)
