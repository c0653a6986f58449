"""Datagrams to sealed messages and back: the only part that sees packets, handshakes and sessions together.

It takes datagrams and tells its listener what they meant; it takes messages and fills ``outbox``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from p2pgrid import crypto
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Contact, Endpoint, Peer
from p2pgrid.dht.handshake import Arrival, Initiator, Responder
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.packets import SID, TICKET, Accept
from p2pgrid.dht.secrets import Allowance, Secrets
from p2pgrid.dht.sessions import Session, SessionTable
from p2pgrid.errors import BadSeal, LimitReached

HINT_PAUSE: Final = 5.0
"""A session that a hint made suspect is not made suspect again for so long: forged hints cost one handshake each."""


@dataclass(slots=True)
class Card:
    """What this node says of itself in a handshake."""

    name: str
    http: int
    server: bool

    @property
    def flags(self) -> int:
        """As they travel."""
        return packets.SERVER if self.server else 0


class Listener(Protocol):
    """Who is told what datagrams meant."""

    def meet(self, key: bytes, endpoint: Endpoint, now: float) -> Peer:
        """The peer of a key that was just proven at an address."""

    def guest(self, peer: Peer) -> bool:
        """Whether this peer is known, and alive as far as we know, at another address than this one."""

    def met(self, session: Session, accept: Accept | None, now: float) -> None:
        """A session began; ``accept`` is there when we began it."""

    def said(self, session: Session, body: bytes, now: float) -> None:
        """A message arrived in a session."""

    def asked(self, arrival: Arrival, now: float) -> None:
        """A stranger's handshake arrived; ``Channel.accept`` answers it."""

    def welcomed(self, contact: Contact, now: float) -> None:
        """A bare address told its key."""

    def lost(self, session: Session, now: float) -> None:
        """A peer seems to have forgotten this session: what is in flight should be sent again."""


class Channel:
    """Sessions with everybody."""

    __slots__ = ("_hinted", "_hints", "_initiator", "_limits", "_listener", "_responder", "card", "outbox", "sessions")

    def __init__(
        self,
        identity: crypto.Identity,
        limits: Limits,
        card: Card,
        listener: Listener,
        random: crypto.Random,
        wall: Callable[[], float],
        now: float,
    ) -> None:
        secrets = Secrets(limits, random, now, identity.ephemeral)
        self._limits, self._listener = limits, listener
        self._initiator = Initiator(identity, limits, secrets, random, wall)
        self._responder = Responder(identity, limits, secrets, random, wall, now)
        self._hints = Allowance(limits.hint_rate, limits.hint_rate, now)
        self._hinted: dict[bytes, float] = {}
        self.card = card
        self.sessions = SessionTable(limits)
        self.outbox: list[tuple[bytes, Endpoint]] = []

    # ------------------------------------------------------------ out

    def greet(self, endpoint: Endpoint) -> None:
        """Ask who lives at a bare address."""
        self.outbox.append((self._initiator.hello(endpoint), endpoint))

    def send(self, contact: Contact, body: bytes, size: int, patience: float, now: float) -> None:
        """Send in a session, or with a first packet padded to ``size``.

        When a handshake is under way for less than ``patience``, nothing is sent: ``met`` comes, or the next try.
        """
        session = self.sessions.at(contact.key, contact.endpoint)
        if session is not None and not session.worn(self._limits, now):
            if session.owed < self._limits.peer_burst:
                session.owed += 1
            self.reply(session, body, now)
        elif not self._initiator.waiting(contact.key, now, patience):
            card = self.card
            datagram = self._initiator.init(contact, body, size, card.flags, card.http, now)
            self.outbox.append((datagram, contact.endpoint))

    def reply(self, session: Session, body: bytes, now: float) -> None:
        """Send in this session."""
        if session.ticket is not None and now - session.born >= self._limits.secret_life:
            session.ticket = None
        self.outbox.append((session.seal(body), session.endpoint))

    def room(self, arrival: Arrival) -> int:
        """Bytes for the answer to a handshake's request."""
        return self._responder.room(arrival, self.card.name)

    def accept(self, arrival: Arrival, answer: bytes, now: float) -> None:
        """Answer a handshake.  Raises ``LimitReached``."""
        card = self.card
        datagram = self._responder.accept(arrival, answer, card.name, card.flags, card.http, now)
        self.outbox.append((datagram, arrival.endpoint))

    def tidy(self, now: float) -> None:
        """Forget idle sessions, and whoever has used nothing of its share."""
        self.sessions.drop_idle(now)
        self._responder.shares.tidy(now)

    def give_up(self, key: bytes) -> None:
        """Nobody answers there."""
        self._initiator.forget(key)

    # ------------------------------------------------------------ in

    def receive(self, data: bytes, endpoint: Endpoint, now: float) -> None:
        """Take a datagram.  Raises a ``RemoteError`` for one to drop."""
        kind = packets.check_size(data)
        if kind == packets.DATA:
            self._data(data[1:], endpoint, now)
        elif kind == packets.TICKETED:
            self._ticketed(data, endpoint, now)
        elif kind == packets.INIT:
            arrival = self._responder.open(data, endpoint, now)
            if isinstance(arrival, bytes):
                self.outbox.append((arrival, endpoint))
            else:
                self._listener.asked(arrival, now)
        elif kind == packets.ACCEPT:
            session, accept = self._initiator.read_accept(data, endpoint, now, self._listener.meet)
            session.aside = self._listener.guest(session.peer)
            self.sessions.add(session)
            self._listener.met(session, accept, now)
        else:
            self._rarer(kind, data, endpoint, now)

    def _rarer(self, kind: int, data: bytes, endpoint: Endpoint, now: float) -> None:
        if kind == packets.HELLO:
            self.outbox.append((self._responder.welcome(data, endpoint, now), endpoint))
        elif kind == packets.WELCOME:
            self._listener.welcomed(self._initiator.read_welcome(data, endpoint), now)
        elif kind == packets.RETRY:
            self.outbox.append((self._initiator.read_retry(data, endpoint), endpoint))
        else:
            self._unknown(data, endpoint, now)

    def _data(self, packet: bytes, endpoint: Endpoint, now: float) -> None:
        session = self.sessions.by_sid(packet[:SID])
        if session is None:
            # Shorter than what it answers, and no reason for anybody to drop anything: see ``_unknown``.
            if self._hints.take(now):
                self.outbox.append((bytes([packets.UNKNOWN]) + packet[:SID], endpoint))
            raise BadSeal("A packet belongs to no session.")
        self._listener.said(session, self.sessions.open(session, packet, endpoint, now), now)

    def _ticketed(self, data: bytes, endpoint: Endpoint, now: float) -> None:
        packet = data[1 + TICKET :]
        session = self.sessions.by_sid(packet[:SID])
        if session is not None:
            self._listener.said(session, self.sessions.open(session, packet, endpoint, now), now)
            return
        ticket = self._responder.revive(data[1 : 1 + TICKET], endpoint, now)
        if ticket.responder_sid != packet[:SID]:
            raise BadSeal("A packet belongs to another session than its ticket.")
        peer = self._listener.meet(ticket.key, endpoint, now)
        session = Session(peer, endpoint, ticket.root, ticket.responder_sid, ticket.initiator_sid, now)
        body = session.open(packet)
        peer.server = bool(ticket.flags & packets.SERVER)
        peer.http = ticket.http
        session.aside = self._listener.guest(peer)
        self.sessions.add(session)
        self._listener.met(session, None, now)
        self._listener.said(session, body, now)

    def _unknown(self, data: bytes, endpoint: Endpoint, now: float) -> None:
        """A hint that a session is gone at the other end.  Anybody may have sent it, so the session stays.

        It becomes suspect: the next request goes with a new handshake, and the first packet that does arrive in the
        session clears it.
        """
        session = self.sessions.by_remote(data[1:], endpoint)
        if session is None:
            raise BadSeal("A hint is about no session of ours.")
        key = session.peer.key
        if now - self._hinted.get(key, -HINT_PAUSE) < HINT_PAUSE:
            raise LimitReached("Hints about one session come too often.")
        self._hinted.pop(key, None)
        while len(self._hinted) >= self._limits.handshakes:
            del self._hinted[next(iter(self._hinted))]
        self._hinted[key] = now
        session.suspect = True
        self._listener.lost(session, now)
