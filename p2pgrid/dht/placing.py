"""Placing one listing: see who is around its tag, ask those near to hold it, then some in every range farther out."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Sequence
from typing import Final

from p2pgrid.dht import messages
from p2pgrid.dht.calls import Call
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.messages import AddListing, Answer, Stored
from p2pgrid.dht.operations import MAKE_CALL, Asker, Ended, Operation
from p2pgrid.dht.placement import places
from p2pgrid.records import Listing, Verified

FAR_AT_ONCE: Final = 2
"""Far holders asked at the same time: nobody waits for them, and they must not crowd out what somebody waits for."""


class Place(Operation):
    """One round of placing.

    ``near`` hears of those that hold it as soon as half of the nearest do, or all were asked; ``ended`` of all.
    """

    __slots__ = ("_asked", "_ended", "_far", "_flying", "_held", "_listing", "_near", "_nearing", "_spare")

    def __init__(self, asker: Asker, listing: Verified[Listing], near: Ended, ended: Ended) -> None:
        super().__init__(asker)
        self._listing = listing
        self._near: Ended | None = near
        self._nearing = True
        """Whether the nearest are still being asked."""
        self._ended = ended
        self._held: list[Contact] = []
        self._spare: deque[Contact] = deque()
        """Farther ones, for near ones that refuse or are gone."""
        self._far: deque[Contact] = deque()
        self._flying = 0
        self._asked: list[Contact] = []

    def stop(self, now: float) -> list[Contact]:
        """Place it with nobody else; those that have it or may get it yet."""
        self.close()
        self._tell_near(now)
        return self._asked

    def choose(
        self,
        target: int,
        sure: Iterable[Contact],
        rumoured: Iterable[Contact],
        held: Container[bytes],
        known: Container[bytes],
        now: float,
    ) -> None:
        """Place it with the right ones of these; see ``placement.places``."""
        if self.over:
            return
        limits, asker = self.asker.limits, self.asker
        near, far = places(target, sure, rumoured, held, known, asker.depth(), limits, asker.dice)
        self._far.extend(far)
        self._spare.extend(near[limits.k :])
        self.place(near[: limits.k], now)

    def place(self, holders: Sequence[Contact], now: float) -> None:
        """Ask these to hold it, all at once."""
        for contact in holders:
            self._ask(contact, now)
        self._go_on(now)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over:
            return
        self._flying -= 1
        if isinstance(answer, Stored) and answer.verdict == messages.STORED:
            self._held.append(call.contact)
        elif self._nearing and self._spare:
            self._ask(self._spare.popleft(), now)
        self._go_on(now)

    def failed(self, call: Call, now: float) -> None:
        if self.over:
            return
        self._flying -= 1
        if self._nearing and self._spare:
            self._ask(self._spare.popleft(), now)
        self._go_on(now)

    def _ask(self, contact: Contact, now: float) -> None:
        self._flying += 1
        self._asked.append(contact)
        request = AddListing(MAKE_CALL, (self._listing.raw, self._listing.signature))
        self.asker.ask(contact, request, self, now)

    def _go_on(self, now: float) -> None:
        if self.over:
            return
        self._nearing = self._nearing and self._flying > 0
        if not self._nearing or len(self._held) >= self.asker.limits.k // 2:
            self._tell_near(now)
        while not self._nearing and self._far and self._flying < FAR_AT_ONCE:
            self._ask(self._far.popleft(), now)
        if not self._nearing and not self._flying and not self.over:
            self.close()
            self._ended(self._held, now)

    def _tell_near(self, now: float) -> None:
        if self._near is not None:
            near, self._near = self._near, None
            near(list(self._held), now)
