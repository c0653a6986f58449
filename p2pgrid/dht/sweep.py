"""Whom to ask around a point when neighbours may be bought: some in every distance range.  No packets, no time.

A lookup of the nearest nodes hears only those who bought the ids nearest to its target.  A sweep asks a few peers in
each range instead (see ``ranges.py``): 45 ids next to the target fill the innermost ranges, and change nothing about
how many honest ones are asked in the others.  Silent peers do not count, and each range has a bound for those as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.crowding import Crowding
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import FAR, range_of

ASKED, SLOW, SILENT, DONE, FAILED = range(5)

DEEP: Final = 2.0
"""A range more than so many bits beyond the depth has an honest node one time in 16 at most: fewer are asked there."""
ALONE: Final = 3
"""Who wants one listing asks so many one after the other, the nearest first; those near the tag hold what there is."""
TINY: Final = 4.0
"""log2 of the nodes of a grid in which everybody is asked."""
FEW: Final = 4
"""With fewer answers than this it may be most of the network that is dead: no range gives up."""
MOST_ADDRESSES: Final = 8
"""Other addresses of one node that a sweep takes in."""
MOST_IN_RING: Final = 64
"""Contacts that were told and are remembered per range, times ``Sweep.wide``."""
TURN: Final = 0x9E3779B97F4A7C15


Row = tuple[int, list[Contact]]
"""A range and those in it."""


class Ring:
    """One range: who is there to be asked, and how far we are."""

    __slots__ = ("answered", "asked", "flying", "known", "quota", "told", "tries")

    def __init__(self, quota: int, tries: int) -> None:
        self.quota, self.tries = quota, tries
        self.known: list[Contact] = []
        """From our own table: they were there lately."""
        self.told: list[Contact] = []
        self.asked = self.flying = self.answered = 0

    def wants(self, quota: int, tries: int) -> bool:
        """Whether another one should be asked.

        For each slow or silent one two are at most, as half of the next may be silent too; answers and questions
        under way are never over twice the quota.
        """
        silent = self.asked - self.flying - self.answered
        return (
            self.answered < quota
            and self.flying + self.answered < quota + min(silent, quota)
            and self.asked < tries
            and bool(self.known or self.told)
        )

    def waits(self, quota: int) -> bool:
        """Whether an answer is needed of somebody who was asked."""
        return self.flying > 0 and self.answered < quota

    def pick(self, turn: int) -> Contact:
        """Somebody not yet asked, by chance."""
        row = self.known or self.told
        at = turn % len(row)
        row[at], row[-1] = row[-1], row[at]
        return row.pop()

    def nearest(self, target: int) -> Contact:
        """Whoever is nearest to a point, not yet asked."""
        row = self.known or self.told
        contact = min(row, key=lambda one: one.long_id ^ target)
        row.remove(contact)
        return contact


class Sweep:
    """Asks in every range around ``target``.  ``depth``: log2 of the number of nodes, roughly."""

    __slots__ = (
        "_at",
        "_crowding",
        "_depth",
        "_each",
        "_flying",
        "_limits",
        "_nearest",
        "_others",
        "_own",
        "_seen",
        "_slow",
        "_states",
        "_told",
        "_turn",
        "answered",
        "asked",
        "most",
        "rings",
        "sparing",
        "target",
        "vouched",
        "wide",
    )

    def __init__(
        self, target: bytes, own: bytes, limits: Limits, depth: float, turn: int, each: int | None = None
    ) -> None:
        """``each``: answers wanted in a near range, ``limits.range_asked`` unless told; ``limits.k`` in a tiny grid."""
        self.target = int.from_bytes(target, "big")
        self._each = each or (limits.range_asked if depth > TINY else limits.k)
        self._limits, self._depth, self._turn = limits, depth, turn
        self.rings: dict[int, Ring] = {}
        self._own = own
        self._seen: set[bytes] = set()
        """Everybody heard of, once somebody tells of others."""
        self._crowding = Crowding(limits)
        self._states: dict[bytes, tuple[Ring, int]] = {}
        self._told: dict[bytes, Contact] = {}
        self._at: dict[bytes, Contact] = {}
        """Where each was asked last."""
        self._others: dict[bytes, list[Contact]] = {}
        """The same nodes at other addresses: a liar may name true keys at false ones."""
        self._nearest = -1
        """The nearest range that is known of and not deep."""
        self._flying = self._slow = 0
        self.asked = self.answered = 0
        self.most = limits.lookup_asked
        self.vouched: Callable[[Contact], bool] = lambda contact: False
        """Whether more than one network told of a contact, which is therefore asked first of a node's."""
        self.wide = 1
        """Times the usual quota; see ``widen``."""
        self.sparing = False
        """Whether one listing is enough: then the nearest are asked, one after the other until one of them is slow."""

    def start(self, rows: Sequence[Row]) -> None:
        """Begin with peers of our own table, by range; the lists are used up.  The table bounds address groups.

        Again with more of them, before anybody told of others: whoever was asked counts as asked.
        """
        for r, row in rows:
            self._ring(r).known = [one for one in row if one.id not in self._states] if self._states else row

    def add(self, contacts: Iterable[Contact], spread: bool = False) -> list[Contact]:
        """Take in contacts that one peer told; those already heard of change nothing.

        ``spread``: of each range no more than one over its quota, so that nobody alone makes a range look known (see
        ``have``).  Returns those for which there was no room; another may tell them again.
        """
        if not self._seen:
            self._seen = {self._own, *self._states}
            for ring in self.rings.values():
                self._seen.update([contact.id for contact in ring.known])
        news: dict[Ring, int] = {}
        left = []
        for contact in contacts:
            if contact.id in self._seen:
                self._elsewhere(contact)
                continue
            ring = self._ring(range_of(self.target, contact.long_id))
            news[ring] = news.get(ring, 0) + 1
            most = ring.quota * self.wide + 1 if spread else MOST_IN_RING
            if news[ring] > most or len(ring.told) >= MOST_IN_RING * self.wide:
                left.append(contact)
                continue
            self._seen.add(contact.id)
            self._told[contact.id] = contact
            ring.told.append(contact)
        return left

    def everybody(self) -> list[Contact]:
        """Everybody heard of who was not found silent."""
        silent = {an_id for an_id, (_, state) in self._states.items() if state in (SLOW, SILENT, FAILED)}
        found: dict[bytes, Contact] = {}
        for ring in self.rings.values():
            found.update([(contact.id, contact) for contact in (*ring.known, *ring.told)])
        found.update(self._at)
        return [contact for contact in found.values() if contact.id not in silent]

    def next(self) -> list[Contact]:
        """Whom to ask now; they count as asked.  Every range gets its first before any gets its second."""
        chosen: list[Contact] = []
        # One more for each answer, as in TCP's slow start: who wants the first result is not kept from it by the rest.
        at_once = self._at_once()
        while self._flying < at_once and self.asked < self.most:
            wanting = self._wanting()
            if not wanting:
                break
            # Whoever ground an id beyond the depth is not the one to ask alone.
            near = [r for _, r in wanting if -r <= self._nearest] if self._guesses() else []
            ring = self.rings[-(min(near) if near else min(wanting)[1])]
            self._turn = (self._turn * TURN + 1) % 2**64
            contact = ring.nearest(self.target) if near else ring.pick(self._turn >> 20)
            state = self._states.get(contact.id, (ring, FAILED))[1]
            if state == DONE:
                continue
            if state == ASKED:  # told at several addresses: this one's turn comes when the one asked is silent
                self._others.setdefault(contact.id, []).append(contact)
                continue
            if self._others.get(contact.id) and not self.vouched(contact) and contact is self._told.get(contact.id):
                self._others[contact.id].append(contact)
                self._try_elsewhere(contact.id, ring)
                contact = ring.told.pop()
            if not self._crowding.admits(contact):
                self._try_elsewhere(contact.id, ring)
                continue
            ring.asked += 1
            ring.flying += 1
            self._slow -= state == SLOW
            self._states[contact.id] = (ring, ASKED)
            self._at[contact.id] = contact
            self._flying += 1
            self.asked += 1
            chosen.append(contact)
        return chosen

    def _wanting(self) -> list[tuple[int, int]]:
        """Ranges where another one should be asked: how many were asked there, and minus which range.

        There is no bound on silent ones while hardly anybody has answered anywhere.
        """
        tries = self.most if self.answered < FEW else 0
        return [
            (ring.asked, -r)
            for r, ring in self.rings.items()
            if ring.wants(self._quota(r, ring), tries or max(ring.tries * self.wide, self._quota(r, ring)))
        ]

    def _quota(self, r: int, ring: Ring) -> int:
        """Answers wanted in a range: of the nearest that is known up to ``k``, as one of them may know a nearer one."""
        quota = ring.quota
        if r == self._nearest:
            quota = max(quota, self._limits.k)
        return quota * self.wide

    def _at_once(self) -> int:
        """Requests in flight, the slow apart.

        While the likeliest are asked, one, and one more for each that is slow.
        """
        if self._guesses():
            return min(1 + self.asked - self._flying - self.answered, self._limits.alpha)
        return min(self._limits.alpha + self.answered, self._limits.sweep)

    def _guesses(self) -> bool:
        """Whether to ask the nearest: not for long, as bought ids that are near and say nothing must hide nobody."""
        return self.sparing and self.answered < ALONE and self.asked < 2 * ALONE

    def have(self, everybody: bool = False) -> int:
        """A bit for each range of which enough contacts are known: as many as are to answer and two more.

        With ``everybody``, four more than four times the honest nodes to be expected there, ``k`` at most: all of
        those, most likely.
        """
        mask = 0
        for r, ring in self.rings.items():
            enough = ring.quota * self.wide + 2
            if everybody:
                enough = min(4 + int(2 ** (self._depth - r + 1)), self._limits.k)
            if ring.asked + len(ring.known) + len(ring.told) >= enough:
                mask |= 1 << r
        return mask

    def done_with(self, an_id: bytes) -> None:
        """It answered; also good for one that was slow."""
        ring, state = self._states.get(an_id, (None, FAILED))
        if ring is None or state in (DONE, FAILED):
            return
        self._land(ring, state)
        self._crowding.release(self._at[an_id])
        self._states[an_id] = (ring, DONE)
        ring.answered += 1
        self.answered += 1

    def slow(self, contact: Contact) -> None:
        """It let one wait pass: ask somebody else as well."""
        an_id = contact.id
        ring, state = self._states.get(an_id, (None, FAILED))
        if ring is not None and state == ASKED and self._at[an_id] == contact:
            self._land(ring, state)
            self._slow += 1
            self._states[an_id] = (ring, SLOW)
            self._try_elsewhere(an_id, ring)

    def silent(self, contact: Contact) -> None:
        """It is asked once more: nobody needs to wait for it."""
        an_id = contact.id
        ring, state = self._states.get(an_id, (None, FAILED))
        if ring is not None and state == SLOW and self._at[an_id] == contact:
            self._land(ring, state)
            self._states[an_id] = (ring, SILENT)

    def failed(self, contact: Contact) -> None:
        """It never answered."""
        an_id = contact.id
        ring, state = self._states.get(an_id, (None, FAILED))
        if ring is not None and state in (ASKED, SLOW, SILENT) and self._at[an_id] == contact:
            self._land(ring, state)
            self._states[an_id] = (ring, FAILED)

    def done(self, found: bool) -> bool:
        """Whether nobody is left to ask or to wait for."""
        if any(ring.waits(self._quota(r, ring)) for r, ring in self.rings.items()):
            return False
        if self.asked < self.most and self._wanting():
            return False
        if self._depth <= TINY:  # the slow one may be the only one that knows, or knows better
            return not self._slow and not any(state == SILENT for _, state in self._states.values())
        return not self._slow or (found and self.answered > 0)

    def widen(self) -> None:
        """Twice as many in every range, until everybody was asked."""
        self.wide *= 2
        self.most *= 2

    def _elsewhere(self, contact: Contact) -> None:
        """Somebody says that a node that we heard of is at another address."""
        known = self._told.get(contact.id)
        ring, state = self._states.get(contact.id, (None, ASKED))
        others = self._others.setdefault(contact.id, [])
        if known is None or state == DONE or len(others) >= MOST_ADDRESSES:
            return
        if contact.endpoint not in [one.endpoint for one in (known, *others)]:
            others.append(contact)
            if ring is not None and state in (SLOW, SILENT, FAILED):
                self._try_elsewhere(contact.id, ring)

    def _try_elsewhere(self, an_id: bytes, ring: Ring) -> None:
        """A silent one is asked again at the next address that was told of it."""
        others = self._others.get(an_id)
        if others:
            best = max(others, key=self.vouched)
            others.remove(best)
            self._told[an_id] = best
            ring.told.append(best)

    def heard(self, an_id: bytes) -> bool:
        """Whether it answered."""
        return self._states.get(an_id, (None, FAILED))[1] == DONE

    def _land(self, ring: Ring, state: int) -> None:
        if state == ASKED:
            self._flying -= 1
            ring.flying -= 1
        elif state == SLOW:
            self._slow -= 1

    def _ring(self, r: int) -> Ring:
        ring = self.rings.get(r)
        if ring is None:
            if r < self._depth - FAR:
                ring = Ring(1, 3)  # a sample: it finds what many have
            elif r > self._depth + DEEP:
                ring = Ring(2, 4)
            else:
                ring = Ring(self._each, 3 * self._each)
            self.rings[r] = ring
            if r <= self._depth + DEEP:
                self._nearest = max(self._nearest, r)
        return ring
