"""What a node says of itself: name, address, signed record; and how it learns its address from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pgrid import crypto
from p2pgrid.dht.channel import Card
from p2pgrid.dht.contacts import Endpoint
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.votes import Votes
from p2pgrid.records import Address, NodeRecord, Verified, sign_node

RECORD_TTL: Final = 86_400
MOST_NAME_BYTES: Final = 96


class Profile:
    """One node's.  ``changed`` is called when listings should say something else from now on."""

    __slots__ = ("_fixed", "_identity", "_record", "_votes", "_wall", "address", "card", "changed", "seq")

    def __init__(
        self,
        identity: crypto.Identity,
        card: Card,
        address: Endpoint,
        fixed: bool,
        limits: Limits,
        wall: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._identity, self._fixed, self._wall = identity, fixed, wall
        self.card, self.address, self.changed = card, address, changed
        self._votes = Votes(limits.votes)
        self._record: Verified[NodeRecord] | None = None
        self.seq = 0
        """Of the latest record."""

    def describe(self, *, name: str | None = None, http: int | None = None) -> None:
        """Change what we say of ourselves from now on; listings follow with their next round."""
        if name is not None:
            self.card.name = short_name(name)
        if http is not None:
            self.card.http = http
        self._anew()

    def observed(self, voter: Endpoint, seen: Endpoint) -> None:
        """A peer saw our packets come from ``seen``; believed when we do not know better."""
        if self._fixed:
            return
        self._votes.add(voter, seen)
        winner = self._votes.winner()
        if winner is not None and winner != self.address:
            self.address = winner
            self._anew()

    def addresses(self) -> tuple[Address, ...]:
        """Where we are, as it goes into records."""
        ip, port = self.address
        return (Address(ip, port, self.card.http),)

    def record(self) -> Verified[NodeRecord]:
        """Our signed node record, made anew when something changed or half of its time has passed.

        Also when it comes from the future: the clock was ahead, and nobody would believe it until then.
        """
        wall = self._wall()
        if self._record is None or not 0 <= wall - self._record.record.issued < RECORD_TTL / 2:
            self.seq = max(self.seq + 1, int(wall * 1000))
            record = NodeRecord(
                key=self._identity.public,
                name=self.card.name,
                addresses=self.addresses(),
                seq=self.seq,
                issued=int(wall),
                ttl=RECORD_TTL,
            )
            self._record = sign_node(self._identity, record)
        return self._record

    def _anew(self) -> None:
        self._record = None
        self.changed()


def short_name(name: str) -> str:
    """At most 64 characters and 96 bytes, so that it fits every answer to a handshake."""
    return name.encode(errors="ignore")[:MOST_NAME_BYTES].decode(errors="ignore")[:64]
