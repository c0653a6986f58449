"""Requests in flight: their numbers, their tries, and when to try again.

Waits adapt to each peer as TCP's do (RFC 6298): smoothed round trip and four deviations.  After that whoever
asked is told, so that it can go on elsewhere; who needs one answer of any is told after twice what the quickest take,
if that is less.  The request itself is tried again only after twice the peer's own wait, and then after doubled ones,
so that haste sends nobody anything twice.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final, Protocol

from p2pgrid.dht.contacts import Contact, Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import MAX_CALL, Answer
from p2pgrid.dht.trips import best

TYPICAL_WAITS: Final = 4.0
"""A stranger is given this many times the typical round trip of this node."""
HASTE: Final = 2.0
"""Where others can answer as well, nobody is waited for longer than so many times what the quickest take."""
SLOW_MOST: Final = 0.5
"""Nobody is waited for longer before others are asked as well: it costs a few packets to be wrong."""
PATIENCE_MOST: Final = 16.0
"""Waits become at most so many times longer in a jam.  Peers that answer after they were called slow tell of one, as
late acknowledgements tell TCP of a false time-out (RFC 5682); to ask others as well would only feed it."""
LATE_USUAL: Final = 0.25
"""A smaller share of late answers is no jam: some peers are far, or play at it."""
LATE_GAIN: Final = 0.125
JAM_LIFE: Final = 0.25
"""Seconds after which the hasty have half forgotten how slow all were."""
TICK: Final = 0.001
"""No timer is set for less."""


class Waiter(Protocol):
    """Who asked.

    ``introduces``: whether those asked should get to know us; ``hasty``: others can answer as well, and one answer is
    enough, so whoever takes longer than the quickest is called slow; ``over``: nobody waits any more.
    """

    introduces: bool
    hasty: bool
    over: bool

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """The answer is there."""

    def slow(self, call: Call, now: float) -> None:
        """One wait has passed."""

    def silent(self, call: Call, now: float) -> None:
        """So much time has passed that it is tried again."""

    def failed(self, call: Call, now: float) -> None:
        """All tries have passed."""


class Call:
    """One request to one contact."""

    __slots__ = ("body", "contact", "due", "first", "kind", "number", "size", "slow", "tries", "waiter")

    def __init__(self, number: int, contact: Contact, kind: int, body: bytes, size: int, waiter: Waiter) -> None:
        self.number, self.contact, self.kind, self.body, self.size = number, contact, kind, body, size
        self.waiter = waiter
        self.tries = 0
        self.slow = False
        self.first = 0.0
        self.due = 0.0


class Calls:
    """All of a node's requests in flight, and its idea of a typical round trip."""

    __slots__ = (
        "_late",
        "_limits",
        "_measured_at",
        "_next",
        "_quickest",
        "_timers",
        "_typical",
        "by_number",
        "soonest",
    )

    def __init__(self, limits: Limits, first: int) -> None:
        self._limits = limits
        self._next = first
        self._typical = 0.0
        self._late = 0.0
        """The share of answers, of late, that came after they were called slow."""
        self._quickest = self._measured_at = 0.0
        self._timers: list[tuple[float, int]] = []
        self.by_number: dict[int, Call] = {}
        self.soonest = inf
        """When to look again.  Perhaps earlier than anything is due: most calls are answered before, and to look in
        vain once for many of them is cheaper than to find the next timer after each."""

    def __len__(self) -> int:
        return len(self.by_number)

    def full(self) -> bool:
        """Whether another request would be over the limit."""
        return len(self.by_number) >= self._limits.calls

    def number(self) -> int:
        """The next free number."""
        while True:
            self._next = (self._next + 1) % MAX_CALL
            if self._next not in self.by_number:
                return self._next

    def begin(self, call: Call, wait: float, now: float) -> None:
        """It is sent for the first time; due when it is slow, after ``wait``."""
        self.by_number[call.number] = call
        call.first = now
        call.tries = 1
        self._arm(call, now + wait)

    def take(self, number: int, kind: int, key: bytes) -> Call | None:
        """The call that an answer from ``key`` belongs to, which is thereby over."""
        call = self.by_number.get(number)
        if call is None or call.contact.key != key or call.kind != kind:
            return None
        del self.by_number[number]
        self._rest()
        return call

    def measured(self, call: Call, peer: Peer, now: float) -> None:
        """Learn from an answer.  A repeated request counts from its first try: rather too long than too short."""
        rtt = now - call.first
        peer.measured(rtt)
        # Quick to believe that things got better: a jam of ours is no trait of the network.
        gain = 0.125 if rtt > self._typical else 0.5
        self._typical = rtt if self._typical == 0.0 else self._typical + gain * (rtt - self._typical)
        if not call.waiter.hasty:
            self._late += LATE_GAIN * (call.slow - self._late)
        # As quick as the quickest of late: whoever is not may be dead, and others know as much.
        if rtt < self._quickest or not self._quickest:
            self._quickest = rtt
        else:
            self._quickest += 0.125 * (rtt - self._quickest)
        self._measured_at = now

    def due(self, now: float) -> list[Call]:
        """Calls whose wait has passed; ``again`` or ``end`` each."""
        found = []
        while self._timers:
            when, number = self._timers[0]
            call = self.by_number.get(number)
            waits = call is not None and call.due == when
            if when > now and waits:
                break
            heapq.heappop(self._timers)
            if call is not None and waits:
                found.append(call)
        self.soonest = self._timers[0][0] if self._timers else inf
        return found

    def put_off(self, call: Call, now: float) -> bool:
        """Whether the wait goes on because we look at it far too late: we are busy, and the answer may lie unread."""
        wait = call.due - call.first
        if now - call.due < wait / 2:
            return False
        self._arm(call, now + wait)
        return True

    def slow(self, call: Call, peer: Peer | None, now: float) -> None:
        """Its first wait has passed; due when it should be sent again."""
        call.slow = True
        wait = 2 * self.wait(peer, now)
        if peer is None or peer.srtt == 0.0:
            wait = max(wait, self._limits.try_stranger)
        self._arm(call, max(call.first + wait, now + TICK))

    def again(self, call: Call, now: float) -> None:
        """It is sent once more; due at twice the time since the first."""
        call.tries += 1
        self._arm(call, now + min(max(now - call.first, TICK), self._limits.try_most))

    def end(self, call: Call) -> None:
        """It is over without an answer."""
        self.by_number.pop(call.number, None)
        self._rest()

    def to(self, key: bytes) -> list[Call]:
        """Everything in flight to one peer."""
        return [call for call in self.by_number.values() if call.contact.key == key]

    def wait(self, peer: Peer | None, now: float, hasty: bool = False) -> float:
        """How long to wait for a first answer until it is called slow, in seconds.

        ``hasty``: no longer than twice the peer's best or the quickest of late, and no jam of long ago counts.
        """
        wait = self._give_up(peer)
        if not hasty:
            return min(wait * _patience(self._late), self._limits.try_most)
        quickest = self._quickest * 0.5 ** ((now - self._measured_at) / JAM_LIFE)
        if peer is not None:
            quickest = max(quickest, best(peer.trips))
        return min(wait, max(HASTE * quickest, self._limits.hasty_least)) if quickest else wait

    def _give_up(self, peer: Peer | None) -> float:
        """How long an answer of this peer may take, all being well, in seconds; half of when it is asked again."""
        limits = self._limits
        if peer is not None and peer.srtt > 0.0:
            wait = max(peer.srtt + 4 * peer.var, limits.try_least)
        elif self._typical == 0.0:
            wait = limits.try_first
        else:
            wait = max(TYPICAL_WAITS * self._typical, limits.try_least)
        return min(wait, SLOW_MOST)

    def _rest(self) -> None:
        if not self.by_number:  # an idle node is not woken in vain
            self._timers.clear()
            self.soonest = inf

    def _arm(self, call: Call, due: float) -> None:
        call.due = due
        heapq.heappush(self._timers, (due, call.number))
        if due < self.soonest:
            self.soonest = due


def _patience(late: float) -> float:
    """Times as long as usual, by the share of late answers."""
    return 1.0 + (PATIENCE_MOST - 1.0) * max(0.0, late - LATE_USUAL) / (1.0 - LATE_USUAL)
