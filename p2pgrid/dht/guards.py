"""Bounds on what one sender can make us do, and on what others can make us send to an address that never answers."""

from __future__ import annotations

from collections.abc import Hashable

from p2pgrid.dht.contacts import Endpoint, is_lan


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
    """Addresses that answered none of our tries lately, so that nobody can have us try them again and again.

    A public address counts whole, whatever the port: it may be a victim, told to us under many keys and ports.  On a
    local network or on one machine a port is a neighbour of its own.
    """

    __slots__ = ("_most", "_pause", "_until")

    def __init__(self, pause: float, most: int) -> None:
        self._pause, self._most = pause, most
        self._until: dict[Endpoint, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, endpoint: Endpoint, now: float) -> None:
        """Nobody answered there."""
        where = _place(endpoint)
        self._until.pop(where, None)
        while len(self._until) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[where] = now + self._pause

    def holds(self, endpoint: Endpoint, now: float) -> bool:
        """Whether to leave it alone for now."""
        return bool(self._until) and self._until.get(_place(endpoint), now) > now

    def heard(self, endpoint: Endpoint) -> None:
        """Somebody there answered, or asked us."""
        if self._until:
            self._until.pop(_place(endpoint), None)

    def tidy(self, now: float) -> None:
        """Forget whose pause is over."""
        self._until = {where: until for where, until in self._until.items() if until > now}


def _place(endpoint: Endpoint) -> Endpoint:
    return endpoint if is_lan(endpoint[0]) else (endpoint[0], 0)
