"""How a peer does: the median of its last round trips, its state, and who was lost lately.

A state follows what was seen, not what is hoped: ``offline`` as soon as a request went unanswered, ``busy`` when the
peer says so or two of its last three round trips were slow, ``online`` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.trips import median

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
    """Seconds within which each of so many peers is asked once, when nothing else is said to it.

    One peer is probed every ``probe_gap``, none more often than every ``probe_age``.
    """
    return max(limits.probe_age, peers * limits.probe_gap) + limits.probe_gap


@dataclass(frozen=True, slots=True)
class Gone:
    """A peer that left the table because it did not answer.  ``at``: when it left, in the engine's time."""

    peer: Peer
    at: float


class GonePeers:
    """Those lost lately, so that a person sees ``offline`` rather than nothing; the oldest give way."""

    __slots__ = ("_by_id", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_id: dict[bytes, Gone] | None = None
        """None until somebody is lost: most nodes lose nobody, and hundreds share a process."""

    def lose(self, peer: Peer, now: float) -> None:
        """It left the table."""
        if self._by_id is None:
            self._by_id = {}
        self._by_id.pop(peer.id, None)
        self._by_id[peer.id] = Gone(peer, now)
        while len(self._by_id) > self._limits.gone:
            del self._by_id[next(iter(self._by_id))]

    def back(self, an_id: bytes) -> None:
        """It is in the table again."""
        if self._by_id:
            self._by_id.pop(an_id, None)

    def since(self, now: float) -> Iterator[Peer]:
        """Those lost within ``gone_life``, the newest first."""
        for gone in reversed((self._by_id or {}).values()):
            if now - gone.at <= self._limits.gone_life:
                yield gone.peer
