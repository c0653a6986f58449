"""Sessions: the keys shared with a peer, what was received under them, and the bounded table of them.

A datagram in a session is ``DATA``: session id of its receiver, counter, sealed message.  Both directions share one
key; the nonce holds the direction and the counter, so none is used twice.  See ``handshake.py`` for how they begin.
"""

from __future__ import annotations

from typing import Final

from p2pgrid import crypto
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Endpoint, Peer, share_of
from p2pgrid.dht.guards import Used
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
        "aside",
        "born",
        "endpoint",
        "group",
        "initiator",
        "key",
        "owed",
        "peer",
        "remote",
        "sent",
        "sid",
        "suspect",
        "ticket",
        "unasked",
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
        self.aside = False
        """The peer was lately heard elsewhere: what we ask goes there, not here, until nobody answers there."""
        self.born = self.used = now
        self.group = b""
        """What the table counts it by."""
        self.unasked: Used | None = None
        """What the peer sent unasked, in all its sessions."""
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
    """All sessions by their id here, and for each peer the one to send with and one beside it.

    One peer has two at most, so nobody fills the table with one key; one address group (``contacts.share_of``) that
    holds over a quarter of a full table makes room itself.
    """

    __slots__ = ("_beside", "_by_remote", "_by_sid", "_gap", "_groups", "_heavy", "_limits", "_out", "_reach")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._gap, self._reach = 1 / limits.peer_rate, (limits.peer_burst - 1) / limits.peer_rate
        self._by_sid: dict[bytes, Session] = {}
        self._by_remote: dict[bytes, Session] = {}
        self._out: dict[bytes, Session] = {}
        self._beside: dict[bytes, Session] = {}
        self._groups: dict[bytes, int] = {}
        self._heavy: set[bytes] = set()
        """Groups with over a quarter of the places: three at most."""

    def __len__(self) -> int:
        return len(self._by_sid)

    def add(self, session: Session) -> None:
        """Keep it, and send with it from now on unless it is ``aside``; when the table is full, another one goes."""
        key = session.peer.key
        beside = self._beside.get(key)
        if beside is not None:
            self.drop(beside)
        if len(self._by_sid) >= self._limits.sessions:
            self.drop(self._least())
        known = self._out.get(key)
        last = known or beside
        session.unasked = last.unasked if last is not None else Used()
        session.group = share_of(session.endpoint)
        self._by_sid[session.sid] = session
        self._by_remote[session.remote] = session
        self._count(session.group, 1)
        if session.aside:
            self._beside[key] = session
            return
        if known is not None:
            self._beside[key] = known
        self._out[key] = session

    def drop(self, session: Session) -> None:
        """Forget it."""
        if self._by_sid.pop(session.sid, None) is None:
            return
        self._count(session.group, -1)
        if self._by_remote.get(session.remote) is session:
            del self._by_remote[session.remote]
        for table in (self._out, self._beside):
            if table.get(session.peer.key) is session:
                del table[session.peer.key]

    def prefer(self, session: Session) -> None:
        """Send with this one, which was aside, from now on."""
        key = session.peer.key
        session.aside = False
        if self._beside.get(key) is session:
            del self._beside[key]
            if key in self._out:
                self._beside[key] = self._out[key]
            self._out[key] = session

    def by_sid(self, sid: bytes) -> Session | None:
        """The session of a packet that came in."""
        return self._by_sid.get(sid)

    def to(self, key: bytes) -> Session | None:
        """The session to send with."""
        return self._out.get(key)

    def at(self, key: bytes, endpoint: Endpoint) -> Session | None:
        """The session to send to this address with: one aside, if the peer has that one there and no other."""
        session = self._out.get(key)
        if session is None or session.endpoint != endpoint:
            beside = self._beside.get(key)
            if beside is not None and beside.aside and beside.endpoint == endpoint:
                return beside
        return session

    def everybody(self) -> list[Session]:
        """All of them, the least recently used first."""
        return list(self._by_sid.values())

    def by_remote(self, sid: bytes, endpoint: Endpoint) -> Session | None:
        """The session that a peer at ``endpoint`` knows, or no longer knows, by ``sid``."""
        session = self._by_remote.get(sid)
        return session if session is not None and session.endpoint == endpoint else None

    def open(self, session: Session, packet: bytes, endpoint: Endpoint, now: float) -> bytes:
        """A message received in ``session``, which is thereby confirmed.

        Raises ``Replayed``, ``BadSeal``, or ``Flooded`` before anything is opened; answers that we asked for are free.
        """
        if endpoint != session.endpoint:
            raise BadSeal("A packet of a session came from another address than the one it proved.")
        if session.owed:
            session.owed -= 1
        else:
            used = session.unasked
            if used is not None:
                clear = used.clear if used.clear > now else now
                if clear - now > self._reach:
                    raise Flooded("A peer sends more than its share.")
                used.clear = clear + self._gap
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

    def _least(self) -> Session:
        """Whose place a new one takes: the least recently used, of the heaviest group if one has over a quarter."""
        sessions = self._by_sid.values()
        if self._heavy:
            group = max(self._heavy, key=self._groups.__getitem__)
            return next(session for session in sessions if session.group == group)
        return next(iter(sessions))

    def _count(self, group: bytes, change: int) -> None:
        count = self._groups.get(group, 0) + change
        if count:
            self._groups[group] = count
        else:
            del self._groups[group]
        if 4 * count > self._limits.sessions:
            self._heavy.add(group)
        else:
            self._heavy.discard(group)
