"""One iterative lookup of the nodes nearest to a point: whom to ask next, and when it is done.  No packets, no time.

Kademlia's node lookup (Maymounkov and Mazieres, 2002, section 2.3) on disjoint paths (Baumgart and Mies, S/Kademlia,
2007, section 4.2), with two changes.  A peer that is slow gives its place in flight to the next at once, and does not
hold up the end; if it answers after all before the end, its answer counts.  And a path that has heard what its own
nearest know helps with the nearest of all, so that the last rounds of a lookup are as parallel as the first.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from typing import Final

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.crowding import Crowding
from p2pgrid.dht.limits import Limits

NEW, ASKED, SLOW, DONE, FAILED = range(5)

MAX_HEARD: Final = 512
"""Contacts that one lookup remembers; farther ones are forgotten."""
MOST_ADDRESSES: Final = 8
"""Other addresses of one node that a lookup takes in."""
LIES: Final = 3
"""A teller whose first contacts to be asked, so many, are all silent is believed no more: it may invent them."""


class Candidate:
    """A contact, who told us of it, and how far the lookup is with it.

    ``others``: the same node at other addresses, by the word of others.  A liar may name true keys at false addresses.
    """

    __slots__ = ("contact", "distance", "others", "path", "state", "teller")

    def __init__(self, contact: Contact, distance: int, path: int, teller: bytes) -> None:
        self.contact, self.distance, self.path, self.teller = contact, distance, path, teller
        self.state = NEW
        self.others: list[Contact] = []

    def __lt__(self, other: Candidate) -> bool:
        return self.distance < other.distance


class Lookup:
    """The search for the ``k`` live nodes nearest to ``target``."""

    __slots__ = (
        "_asked",
        "_by_id",
        "_crowding",
        "_flying",
        "_order",
        "_paths",
        "_seen",
        "_silent",
        "_vouched",
        "k",
        "most",
        "target",
    )

    def __init__(
        self,
        target: bytes,
        limits: Limits,
        own: bytes,
        k: int = 0,
        vouched: Callable[[Contact], bool] = lambda contact: False,
        paths: int = 0,
    ) -> None:
        """``paths``: ``limits.paths`` unless told.

        ``vouched``: whether more than one network told of a contact, which is therefore asked first of a node's.
        """
        self._vouched = vouched
        self.target = int.from_bytes(target, "big")
        self.k = k or limits.k
        self.most = limits.lookup_asked
        self._order: list[Candidate] = []
        self._paths: list[list[Candidate]] = [[] for _ in range(paths or limits.paths)]
        self._flying = [0] * len(self._paths)
        self._by_id: dict[bytes, Candidate] = {}
        self._seen: set[bytes] = {own}
        self._crowding = Crowding(limits)
        self._silent: dict[bytes, int] = {}
        """Of each teller: how many of its contacts were silent before any answered; -1 once one has."""
        self._asked = 0

    def add(self, contacts: Iterable[Contact], teller: bytes = b"") -> None:
        """Take in contacts; those already heard of change nothing.

        What a peer tells belongs to the path that asked it.  Without a teller (our own table, a bare address that
        answered) they are dealt out to the paths in turn.
        """
        told_by = self._by_id.get(teller)
        for contact in contacts:
            if contact.id in self._seen:
                self._elsewhere(contact, teller)
                continue
            distance = contact.long_id ^ self.target
            if len(self._order) >= MAX_HEARD and distance >= self._order[-1].distance:
                continue
            self._seen.add(contact.id)
            path = told_by.path if told_by is not None else len(self._order) % len(self._paths)
            candidate = Candidate(contact, distance, path, teller)
            self._by_id[contact.id] = candidate
            insort(self._order, candidate)
            insort(self._paths[path], candidate)
            if len(self._order) > MAX_HEARD:
                self._forget_farthest()

    def next(self) -> list[Contact]:
        """Whom to ask now; they count as asked.  One request a path is in flight."""
        chosen: list[Contact] = []
        for path in range(len(self._paths)):
            if self._flying[path] or self._asked >= self.most:
                continue
            candidate = self._next_of(path)
            if candidate is not None:
                candidate.state, candidate.path = ASKED, path
                self._flying[path] += 1
                self._asked += 1
                chosen.append(candidate.contact)
        return chosen

    def answered(self, an_id: bytes) -> None:
        """It answered; also good for one that was slow."""
        candidate = self._by_id.get(an_id)
        if candidate is not None and candidate.state != DONE:
            self._move(an_id, DONE)
            self._crowding.release(candidate.contact)
            self._silent[candidate.teller] = -1

    def believes(self, teller: bytes) -> bool:
        """Whether what this peer tells is taken in."""
        return self._silent.get(teller, 0) < LIES

    def slow(self, contact: Contact) -> list[Contact]:
        """It let one wait pass: go on without it.  Those that are forgotten with its teller, see ``LIES``."""
        candidate = self._by_id.get(contact.id)
        if candidate is None or candidate.state != ASKED or candidate.contact != contact:
            return []
        self._move(contact.id, SLOW)
        teller = candidate.teller
        self._try_elsewhere(candidate)
        silent = self._silent.get(teller, 0)
        if teller and silent >= 0:
            self._silent[teller] = silent + 1
            if silent + 1 >= LIES:
                return self._disbelieve(teller)
        return []

    def failed(self, contact: Contact) -> None:
        """It never answered."""
        candidate = self._by_id.get(contact.id)
        if candidate is not None and candidate.contact == contact and candidate.state != DONE:
            self._move(contact.id, FAILED)

    def done(self) -> bool:
        """Whether the ``k`` nearest that are not slow or dead have all answered.

        While fewer than ``k`` have answered and slow ones still may, it is not done: in a small grid a busy node
        may be the only one that knows.
        """
        front = self._front(self._order, self.k)
        if any(candidate.state == ASKED for candidate in front):
            return False
        if self._asked < self.most and any(candidate.state == NEW for candidate in front):
            return False
        answered = sum(candidate.state == DONE for candidate in front)
        return answered >= self.k or not any(c.state in (ASKED, SLOW) for c in self._by_id.values())

    def nearest(self) -> list[Contact]:
        """Those of the ``k`` nearest that answered, nearest first."""
        found = []
        for candidate in self._order:
            if candidate.state == DONE:
                found.append(candidate.contact)
                if len(found) == self.k:
                    break
        return found

    @property
    def asked(self) -> int:
        """How many were asked so far."""
        return self._asked

    def hops(self, an_id: bytes) -> int:
        """How far away a contact was told first: 1 from our own table, 2 by one of those, and so on; 0 when never."""
        hops = 0
        while (candidate := self._by_id.get(an_id)) is not None:
            hops, an_id = hops + 1, candidate.teller
        return hops

    def _next_of(self, path: int) -> Candidate | None:
        """The nearest that the path knows, if it was not asked; else the nearest of all that was not.

        With its whole share of the ``k`` nearest a lookup of 300 nodes sends 25 requests instead of 20, and is right
        no more often.
        """
        for order, count in ((self._paths[path], 1), (self._order, self.k)):
            while (candidate := self._first_new(order, count)) is not None:
                if candidate.others and not self._vouched(candidate.contact):
                    candidate.others.append(candidate.contact)
                    self._try_elsewhere(candidate)
                if self._crowding.admits(candidate.contact):
                    return candidate
                candidate.state = FAILED  # too many silent ones there already
                self._try_elsewhere(candidate)
        return None

    def _first_new(self, order: list[Candidate], count: int) -> Candidate | None:
        for candidate in order:
            if candidate.state == NEW:
                return candidate
            if candidate.state not in (SLOW, FAILED):
                count -= 1
                if not count:
                    break
        return None

    @staticmethod
    def _front(order: list[Candidate], count: int) -> list[Candidate]:
        """The nearest that are neither slow nor dead."""
        front = []
        for candidate in order:
            if candidate.state not in (SLOW, FAILED):
                front.append(candidate)
                if len(front) == count:
                    break
        return front

    def _move(self, an_id: bytes, state: int) -> Candidate | None:
        candidate = self._by_id.get(an_id)
        if candidate is not None:
            if candidate.state == ASKED:
                self._flying[candidate.path] -= 1
            candidate.state = state
        return candidate

    def _elsewhere(self, contact: Contact, teller: bytes) -> None:
        """Somebody else says that a node that we heard of is at another address."""
        known = self._by_id.get(contact.id)
        if known is None or teller == known.teller or known.state == DONE or len(known.others) >= MOST_ADDRESSES:
            return
        if contact.endpoint not in [one.endpoint for one in (known.contact, *known.others)]:
            known.others.append(contact)
            if known.state in (SLOW, FAILED):
                self._try_elsewhere(known)

    def _try_elsewhere(self, candidate: Candidate) -> None:
        """It is asked at the next address that was told of it, a vouched one first; nobody is to blame for that."""
        if candidate.others:
            best = max(candidate.others, key=self._vouched)
            candidate.others.remove(best)
            candidate.contact, candidate.state, candidate.teller = best, NEW, b""

    def _disbelieve(self, teller: bytes) -> list[Contact]:
        """Forget what only this peer told and nobody was asked of yet; another may tell it again."""
        found = [c for c in self._order if c.teller == teller and c.state == NEW]
        for candidate in found:
            self._drop(candidate)
        return [candidate.contact for candidate in found]

    def _forget_farthest(self) -> None:
        self._drop(next(c for c in reversed(self._order) if c.state != ASKED))

    def _drop(self, candidate: Candidate) -> None:
        self._order.remove(candidate)
        for row in self._paths:
            if candidate in row:
                row.remove(candidate)
        self._by_id.pop(candidate.contact.id)
        self._seen.discard(candidate.contact.id)
