"""Sessions: the keys shared with a peer, what was received under them, and the bounded table of them.

A datagram in a session is ``DATA``: session id of its receiver, counter, sealed message.  Both directions share one
key; the nonce holds the direction and the counter, so none is used twice.  See ``handshake.py`` for how they begin.
"""

from __future__ import annotations

from typing import Final

from p2pgrid import crypto
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Endpoint, Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.errors import BadSeal, Flooded, Replayed

WINDOW: Final = 64
"""Packets that may overtake one another and still be taken once each (as IPsec, RFC 4303, section 3.4.3)."""
_MASK: Final = (1 << WINDOW) - 1

FROM_INITIATOR, FROM_RESPONDER, IN_ACCEPT = 1, 2, 3
USED_AGAIN: Final = 1.0
"""Seconds within which the use of a session is noted once."""
COUNTER_MOST: Final = 2**31
"""A session is renewed long before its 32-bit counter could come round."""


def nonce(direction: int, counter: int) -> bytes:
    """12 bytes, unlike any other under the same key: the direction, seven zeros, the counter in four bytes."""
    return (direction << 88 | counter).to_bytes(12, "big")


_FROM_INITIATOR: Final = nonce(FROM_INITIATOR, 0)[:8]
_FROM_RESPONDER: Final = nonce(FROM_RESPONDER, 0)[:8]
_DATA: Final = bytes([packets.DATA])
_TICKETED: Final = bytes([packets.TICKETED])


class Session:
    """One key with one peer at one address."""

    __slots__ = (
        "_top",
        "_window",
        "born",
        "clear",
        "endpoint",
        "initiator",
        "key",
        "owed",
        "peer",
        "remote",
        "sent",
        "sid",
        "suspect",
        "ticket",
        "used",
    )

    def __init__(self, peer: Peer, endpoint: Endpoint, key: bytes, sid: bytes, remote: bytes, now: float) -> None:
        self.peer, self.key = peer, key
        self.endpoint = peer.endpoint if peer.endpoint == endpoint else endpoint  # one tuple is enough for both
        self.sid, self.remote = sid, remote
        self.initiator = False
        self.ticket: bytes | None = None
        """What still has to go along, because the responder may not keep the session yet."""
        self.suspect = False
        """The peer may have lost it: agree on a new one, and go on listening meanwhile."""
        self.born = self.used = now
        self.clear = now
        """When all that the peer sent unasked is within its rate again (see ``guards.Shares``)."""
        self.owed = 0
        """Answers that we asked for."""
        self.sent = 0
        self._top = -1
        self._window = 0

    def seal(self, message: bytes) -> bytes:
        """The next datagram."""
        counter = self.sent
        self.sent += 1
        number = counter.to_bytes(4, "big")
        head = self.remote + number
        once = (_FROM_INITIATOR if self.initiator else _FROM_RESPONDER) + number
        sealed = crypto.seal(self.key, once, message, head)
        if self.ticket is not None:
            return _TICKETED + self.ticket + head + sealed
        return _DATA + head + sealed

    def open(self, packet: bytes) -> bytes:
        """The message in ``sid, counter, sealed``.  Raises ``Replayed`` or ``BadSeal``; then nothing has changed."""
        number = packet[8:12]
        counter = int.from_bytes(number, "big")
        behind = self._top - counter
        if behind >= 0 and (behind >= WINDOW or self._window >> behind & 1):
            raise Replayed("A packet came twice, or far too late.")
        once = (_FROM_RESPONDER if self.initiator else _FROM_INITIATOR) + number
        message = crypto.unseal(self.key, once, packet[12:], packet[:12])
        if behind < 0:
            self._window = (self._window << -behind | 1) & _MASK if -behind < WINDOW else 1
            self._top = counter
        else:
            self._window |= 1 << behind
        return message

    def worn(self, limits: Limits, now: float) -> bool:
        """Whether the next request should agree on new keys."""
        if self.suspect or self.sent >= COUNTER_MOST or now - self.born >= limits.session_life:
            return True
        # A ticket that was never sent dies with its secret; one that was sent has made the session.
        return self.ticket is not None and self.sent == 0 and now - self.born >= limits.secret_life


class SessionTable:
    """All sessions by their id here, and for each peer the one to send with."""

    __slots__ = ("_by_sid", "_gap", "_limits", "_out", "_reach")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._gap, self._reach = 1 / limits.peer_rate, (limits.peer_burst - 1) / limits.peer_rate
        self._by_sid: dict[bytes, Session] = {}
        self._out: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._by_sid)

    def add(self, session: Session) -> None:
        """Keep it and send with it from now on; the least recently used goes when the table is full."""
        if len(self._by_sid) >= self._limits.sessions:
            self.drop(next(iter(self._by_sid.values())))
        self._by_sid[session.sid] = session
        self._out[session.peer.key] = session

    def drop(self, session: Session) -> None:
        """Forget it."""
        self._by_sid.pop(session.sid, None)
        if self._out.get(session.peer.key) is session:
            del self._out[session.peer.key]

    def by_sid(self, sid: bytes) -> Session | None:
        """The session of a packet that came in."""
        return self._by_sid.get(sid)

    def to(self, key: bytes) -> Session | None:
        """The session to send with."""
        return self._out.get(key)

    def by_remote(self, sid: bytes, endpoint: Endpoint) -> Session | None:
        """The session that a peer at ``endpoint`` knows, or no longer knows, by ``sid``."""
        for session in self._out.values():
            if session.remote == sid and session.endpoint == endpoint:
                return session
        return None

    def open(self, session: Session, packet: bytes, endpoint: Endpoint, now: float) -> bytes:
        """A message received in ``session``, which is thereby confirmed.

        Raises ``Replayed``, ``BadSeal``, or ``Flooded`` before anything is opened; answers that we asked for are free.
        """
        if endpoint != session.endpoint:
            raise BadSeal("A packet of a session came from another address than the one it proved.")
        if session.owed:
            session.owed -= 1
        else:
            clear = session.clear if session.clear > now else now
            if clear - now > self._reach:
                raise Flooded("A peer sends more than its share.")
            session.clear = clear + self._gap
        message = session.open(packet)
        session.ticket = None
        session.suspect = False
        if now - session.used >= USED_AGAIN:
            # Order is use: the first is the least recently used.
            session.used = now
            self._by_sid[session.sid] = self._by_sid.pop(session.sid)
        return message

    def drop_idle(self, now: float) -> None:
        """Forget sessions unused for long, and those that new ones have replaced."""
        idle, life = self._limits.session_idle, self._limits.session_life
        for session in list(self._by_sid.values()):
            replaced = self._out.get(session.peer.key) is not session
            if now - session.used >= (min(idle, 60.0) if replaced else idle) or now - session.born >= 2 * life:
                self.drop(session)
