"""Hellos to bare addresses: tried a few times with growing waits, each told once how it ended."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from p2pgrid.dht.contacts import Contact, Endpoint
from p2pgrid.dht.limits import Limits

Ended = Callable[[Contact | None, float], None]


class Greeting:
    """One address that was greeted and has not answered."""

    __slots__ = ("due", "ended", "tries", "wait")

    def __init__(self, wait: float, now: float) -> None:
        self.ended: list[Ended] = []
        self.tries = 0
        self.wait = wait
        self.due = now


class Greetings:
    """All of them, by address."""

    __slots__ = ("_limits", "_open", "soonest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Endpoint, Greeting] = {}
        self.soonest = inf
        """When to look again; perhaps earlier than anybody is to be greeted."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, endpoint: Endpoint, ended: Ended, now: float) -> None:
        """Greet, or wait along with who does already."""
        greeting = self._open.get(endpoint)
        if greeting is None:
            greeting = self._open[endpoint] = Greeting(self._limits.try_first, now)
        greeting.ended.append(ended)
        self.soonest = min(self.soonest, greeting.due)

    def due(self, now: float) -> list[Endpoint]:
        """Whom to greet now (again)."""
        again = []
        for endpoint, greeting in list(self._open.items()):
            if greeting.due > now:
                continue
            if greeting.tries >= self._limits.tries:
                del self._open[endpoint]
                for ended in greeting.ended:
                    ended(None, now)
                continue
            greeting.tries += 1
            greeting.due = now + greeting.wait
            greeting.wait *= 2
            again.append(endpoint)
        self.soonest = min((greeting.due for greeting in self._open.values()), default=inf)
        return again

    def answered(self, contact: Contact, now: float) -> None:
        """Somebody lives there."""
        greeting = self._open.pop(contact.endpoint, None)
        if greeting is not None:
            for ended in greeting.ended:
                ended(contact, now)
