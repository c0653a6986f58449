"""What a responder needs to keep nothing for a stranger: rotating secrets for cookies and tickets.

A *cookie* is a MAC over the address it was sent to; whoever echoes it receives there.  A *ticket* is a whole session,
sealed to ourselves and bound to an address; the session comes to life here only when the ticket comes back.  Both
live for one to two periods, and so does the ephemeral key that the sessions of a period were agreed with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from p2pgrid import crypto
from p2pgrid.dht.contacts import Endpoint, pack_endpoint
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.packets import COOKIE, KEY, SID, TICKET
from p2pgrid.errors import BadSeal, Flooded, Replayed

TICKET_COUNTER: Final = slice(1, 9)
CHARGED: Final = 0x80
"""In the flags of a ticket, beside the bits that travel in a handshake."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A session as its responder will keep it: the initiator's key, the root key, both ids, what it said of itself.

    ``charged``: its handshake was counted on its address group's share when it began.
    """

    key: bytes
    root: bytes
    initiator_sid: bytes
    responder_sid: bytes
    flags: int
    http: int
    charged: bool = False


MakeEphemeral = Callable[[crypto.Random], crypto.Ephemeral]


class Generation:
    """The secrets of one period, and the tickets of it that were used."""

    __slots__ = ("_ephemeral", "_make", "_random", "cookie_key", "number", "redeemed", "ticket_key", "tickets", "used")

    def __init__(self, number: int, random: crypto.Random, make: MakeEphemeral) -> None:
        self.number = number % 256
        self.cookie_key = random(32)
        self.ticket_key = random(32)
        self.tickets = 0
        self.used = 0
        """One bit a ticket, by its counter: a set would take 100 bytes for each."""
        self.redeemed = 0
        self._random, self._make = random, make
        self._ephemeral: crypto.Ephemeral | None = None

    @property
    def ephemeral(self) -> crypto.Ephemeral:
        """The key pair of this period, made when first needed."""
        if self._ephemeral is None:
            self._ephemeral = self._make(self._random)
        return self._ephemeral


class Secrets:
    """The present and the previous generation."""

    __slots__ = ("_born", "_life", "_make", "_most", "_old", "_random", "_young")

    def __init__(self, limits: Limits, random: crypto.Random, now: float, make: MakeEphemeral) -> None:
        """``make``: what makes ephemeral keys."""
        self._life, self._most, self._random, self._make = limits.secret_life, limits.seen, random, make
        self._young = Generation(0, random, make)
        self._old: Generation | None = None
        self._born = now

    def current(self, now: float) -> Generation:
        """This period's secrets; rotates when it is over."""
        if now - self._born >= self._life:
            late = now - self._born >= 2 * self._life
            self._rotate(now)
            if late:
                self._old = None
        return self._young

    def cookie(self, endpoint: Endpoint, now: float) -> bytes:
        """The cookie that proves that ``endpoint`` receives what is sent there."""
        return _mac(self.current(now).cookie_key, endpoint)

    def proves(self, cookie: bytes, endpoint: Endpoint, now: float) -> bool:
        """Whether we made this cookie for this address, in this period or the one before."""
        young = self.current(now)
        if compare_digest(cookie, _mac(young.cookie_key, endpoint)):
            return True
        return self._old is not None and compare_digest(cookie, _mac(self._old.cookie_key, endpoint))

    def seal(self, ticket: Ticket, endpoint: Endpoint, now: float) -> bytes:
        """The ticket in ``TICKET`` bytes."""
        generation = self.current(now)
        generation.tickets += 1
        head = bytes([generation.number]) + generation.tickets.to_bytes(8, "big")
        plain = (
            ticket.key
            + ticket.root
            + ticket.initiator_sid
            + ticket.responder_sid
            + bytes([ticket.flags & ~CHARGED | (CHARGED if ticket.charged else 0)])
            + ticket.http.to_bytes(2, "big")
        )
        return head + crypto.seal(generation.ticket_key, _nonce(head), plain, pack_endpoint(endpoint))

    def redeem(
        self, raw: bytes, endpoint: Endpoint, now: float, allowed: Callable[[Ticket], bool] = lambda ticket: True
    ) -> Ticket:
        """Open a ticket, once.  Raises ``BadSeal``, ``Replayed`` for the second time, ``Flooded`` unless ``allowed``.

        Exact, so that no session ever comes to life twice under one key: what was used is known, one bit a ticket, as
        long as the secret lives.  After too many a new secret takes over; the tickets of the last stay good.
        One that is not allowed is not used.
        """
        young = self.current(now)
        generation = young if raw[0] == young.number else self._old
        if generation is None or generation.number != raw[0] or len(raw) != TICKET:
            raise BadSeal("A ticket is of a period that is over.")
        plain = crypto.unseal(generation.ticket_key, _nonce(raw[:9]), raw[9:], pack_endpoint(endpoint))
        bit = 1 << int.from_bytes(raw[TICKET_COUNTER], "big")  # a number that we sealed: it is no larger than our count
        if generation.used & bit:
            raise Replayed("A ticket was used before.")
        sid = 2 * KEY
        ticket = Ticket(
            key=plain[:KEY],
            root=plain[KEY:sid],
            initiator_sid=plain[sid : sid + SID],
            responder_sid=plain[sid + SID : sid + 2 * SID],
            flags=plain[sid + 2 * SID] & ~CHARGED,
            http=int.from_bytes(plain[sid + 2 * SID + 1 :], "big"),
            charged=bool(plain[sid + 2 * SID] & CHARGED),
        )
        if not allowed(ticket):
            raise Flooded("An address group begins more sessions than its share.")
        generation.used |= bit
        generation.redeemed += 1
        if generation is young and generation.redeemed >= self._most:
            self._rotate(now)
        return ticket

    def _rotate(self, now: float) -> None:
        self._old, self._young = self._young, Generation(self._young.number + 1, self._random, self._make)
        self._born = now


class Seen:
    """Handshakes that arrived lately, in two bounded generations."""

    __slots__ = ("_born", "_most", "_old", "_period", "_young")

    def __init__(self, most: int, period: float, now: float) -> None:
        self._most, self._period, self._born = most, period, now
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, entry: bytes) -> bool:
        return entry in self._young or entry in self._old

    def add(self, entry: bytes, now: float) -> None:
        """Remember it for one to two periods, or until as many others came."""
        if now - self._born >= self._period or len(self._young) >= self._most:
            self._old, self._young, self._born = self._young, set(), now
        self._young.add(entry)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Allowance:
    """A token bucket: ``burst`` at once, ``rate`` a second."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def take(self, now: float) -> bool:
        """Whether one more is allowed."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _mac(key: bytes, endpoint: Endpoint) -> bytes:
    return hashlib.blake2b(pack_endpoint(endpoint), key=key, digest_size=COOKIE).digest()


def _nonce(head: bytes) -> bytes:
    return head.rjust(12, b"\0")
