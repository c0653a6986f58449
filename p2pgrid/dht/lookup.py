"""One iterative lookup: whom to ask next, and when it is done.  It knows nothing of packets or time.

Kademlia's node lookup (Maymounkov and Mazieres, 2002, section 2.3), with one change: a peer that is slow gives its
place among the ``alpha`` in flight to the next nearest at once, and does not hold up the end.  If it answers after
all before the end, its answer counts.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final

from p2pgrid.dht.contacts import Contact

NEW, ASKED, SLOW, DONE, FAILED = range(5)

MAX_HEARD: Final = 512
"""Contacts that one lookup remembers; farther ones are forgotten."""


class Candidate:
    """A contact and how far the lookup is with it."""

    __slots__ = ("contact", "state")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.state = NEW


class Lookup:
    """The search for the ``k`` live nodes nearest to ``target``."""

    __slots__ = ("_asked", "_by_id", "_flying", "_order", "_seen", "alpha", "k", "most", "target")

    def __init__(self, target: bytes, k: int, alpha: int, most: int, own: bytes) -> None:
        self.target = int.from_bytes(target, "big")
        self.k, self.alpha, self.most = k, alpha, most
        self._order: list[tuple[int, bytes]] = []
        self._by_id: dict[bytes, Candidate] = {}
        self._seen: set[bytes] = {own}
        self._flying = 0
        self._asked = 0

    def add(self, contacts: Iterable[Contact]) -> None:
        """Take contacts in; the first address heard for an id is kept."""
        for contact in contacts:
            if contact.id in self._seen:
                continue
            self._seen.add(contact.id)
            insort(self._order, (contact.long_id ^ self.target, contact.id))
            self._by_id[contact.id] = Candidate(contact)
        while len(self._order) > MAX_HEARD:
            self._by_id.pop(self._order.pop()[1])

    def next(self) -> list[Contact]:
        """Whom to ask now; they count as asked."""
        chosen: list[Contact] = []
        if self._flying >= self.alpha:
            return chosen
        for candidate in self._front():
            if self._flying >= self.alpha or self._asked >= self.most:
                break
            if candidate.state == NEW:
                candidate.state = ASKED
                self._flying += 1
                self._asked += 1
                chosen.append(candidate.contact)
        return chosen

    def answered(self, an_id: bytes) -> None:
        """It answered; also good for one that was slow."""
        self._move(an_id, DONE)

    def slow(self, an_id: bytes) -> None:
        """It let one time-out pass: go on without it."""
        candidate = self._by_id.get(an_id)
        if candidate is not None and candidate.state == ASKED:
            self._move(an_id, SLOW)

    def failed(self, an_id: bytes) -> None:
        """It never answered."""
        self._move(an_id, FAILED)

    def done(self) -> bool:
        """Whether the ``k`` nearest that are not slow or dead have all answered.

        While fewer than ``k`` have answered and slow ones still may, it is not done: in a small grid a busy node
        may be the only one that knows.
        """
        front = self._front()
        if any(candidate.state == ASKED for candidate in front):
            return False
        if self._asked < self.most and any(candidate.state == NEW for candidate in front):
            return False
        answered = sum(candidate.state == DONE for candidate in front)
        return answered >= self.k or not self._waiting()

    def nearest(self) -> list[Contact]:
        """Those of the ``k`` nearest that answered, nearest first."""
        found = []
        for _, an_id in self._order:
            candidate = self._by_id[an_id]
            if candidate.state == DONE:
                found.append(candidate.contact)
                if len(found) == self.k:
                    break
        return found

    def knows(self, an_id: bytes) -> bool:
        """Whether this id was heard of already."""
        return an_id in self._seen

    def _front(self) -> list[Candidate]:
        """The ``k`` nearest that are neither slow nor dead."""
        front = []
        for _, an_id in self._order:
            candidate = self._by_id[an_id]
            if candidate.state not in (SLOW, FAILED):
                front.append(candidate)
                if len(front) == self.k:
                    break
        return front

    def _waiting(self) -> bool:
        return any(candidate.state in (ASKED, SLOW) for candidate in self._by_id.values())

    def _move(self, an_id: bytes, state: int) -> None:
        candidate = self._by_id.get(an_id)
        if candidate is None:
            return
        if candidate.state == ASKED:
            self._flying -= 1
        candidate.state = state
