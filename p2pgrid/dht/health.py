"""How a peer does: the median of its last round trips, its state, and who was lost lately.

A state follows what was seen, not what is hoped: ``offline`` as soon as a request went unanswered, ``busy`` when the
peer says so or two of its last three round trips were slow, ``online`` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf
from typing import Final, Literal

from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.trips import median

CALM_PEERS: Final = 16
"""With more peers, turns are longer while all is calm, and who asked us is as good as probed."""
CALM_ROUND: Final = 900.0
"""Seconds within which twice as many peers, and more, are heard while all is calm.
Less than ``session_idle`` and ``move_after``, so that no probe costs a handshake, and nobody is moved in between."""
CALM_TURN: Final = 60.0
"""Seconds that no turn is longer than."""

State = Literal["online", "busy", "offline"]

DECIDING: Final = 3
"""Last round trips whose median decides between ``online`` and ``busy``: one slow answer alone changes nothing, and
two probes change it."""


def state_of(peer: Peer, limits: Limits) -> State:
    """How the peer is, by what was last seen of it."""
    if peer.fails:
        return "offline"
    recent = median(peer.trips, DECIDING)
    return "busy" if peer.busy or (recent is not None and recent > limits.busy) else "online"


def probe_interval(peers: int, limits: Limits) -> float:
    """Seconds within which each of so many peers is asked once, when nothing else is said to it."""
    rounds = 1 if peers <= CALM_PEERS else 2
    return rounds * probe_round(peers, limits) + calm_turn(peers, limits)


def probe_round(peers: int, limits: Limits) -> float:
    """Seconds within which each of so many peers is heard, at most: asked by us or, when they are many, us by it.

    Of two that know each other one probe a round is enough for both; but each asks at least every other time, as who
    is asked learns nothing of the other's load and round trips, and not whether it answers at all.
    """
    return max(quickest_round(peers, limits), CALM_ROUND * min(1.0, peers / CALM_PEERS - 1.0))


def quickest_round(peers: int, limits: Limits) -> float:
    """The same at least: while peers die all the time."""
    return max(limits.probe_age, ceil(peers / probes(peers, limits)) * limits.probe_gap)


def probes(peers: int, limits: Limits) -> int:
    """How many of so many peers are probed in a turn, at most."""
    return limits.probes if peers <= CALM_PEERS else 4 * limits.probes


def calm_turn(peers: int, limits: Limits, within: float = inf) -> float:
    """Seconds that a turn of upkeep takes when there is nothing to do but to probe so many peers ``within`` a time."""
    if peers <= CALM_PEERS:
        return limits.probe_gap
    within = min(within, probe_round(peers, limits))
    return max(limits.probe_gap, min(CALM_TURN, within / ceil(peers / probes(peers, limits))))


@dataclass(frozen=True, slots=True)
class Gone:
    """A peer that left the table because it did not answer.

    ``at``: when it left, in the engine's time; ``long``: it had been known for ``lost_after`` then.
    """

    peer: Peer
    at: float
    long: bool


class GonePeers:
    """Those lost lately: a person sees ``offline`` rather than nothing, and after a partition they are tried again.

    The oldest give way, those that were known briefly first: newcomers that come and go push out nobody of old.
    """

    __slots__ = ("_by_id", "_limits", "_turn")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_id: dict[bytes, Gone] | None = None
        """None until somebody is lost: most nodes lose nobody, and hundreds share a process."""
        self._turn = 0

    def lose(self, peer: Peer, now: float) -> None:
        """It left the table."""
        if self._by_id is None:
            self._by_id = {}
        self._by_id.pop(peer.id, None)
        self._by_id[peer.id] = Gone(peer, now, now - peer.first >= self._limits.lost_after)
        while len(self._by_id) > self._limits.gone:
            brief = (an_id for an_id, gone in self._by_id.items() if not gone.long)
            del self._by_id[next(brief, next(iter(self._by_id)))]

    def holds(self, an_id: bytes) -> bool:
        """Whether it was lost lately."""
        return an_id in (self._by_id or ())

    def back(self, an_id: bytes) -> None:
        """It is in the table again."""
        if self._by_id:
            self._by_id.pop(an_id, None)

    def again(self) -> Peer | None:
        """The next, in turn, of those that had been known for long: worth another try."""
        known = self._worth_a_try()
        self._turn += 1
        return known[self._turn % len(known)] if known else None

    def waiting(self) -> bool:
        """Whether there is one worth another try."""
        return bool(self._worth_a_try())

    def since(self, now: float) -> Iterator[Peer]:
        """Those lost within ``gone_life``, the newest first."""
        for gone in reversed((self._by_id or {}).values()):
            if now - gone.at <= self._limits.gone_life:
                yield gone.peer

    def _worth_a_try(self) -> list[Peer]:
        return [gone.peer for gone in (self._by_id or {}).values() if gone.long]
