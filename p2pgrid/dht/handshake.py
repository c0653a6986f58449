"""How a session begins: INIT and ACCEPT, cookies for a server under load, hello and welcome for a bare address.

The keys come from two X25519 agreements: of both identities (``ss``), which authenticates both sides and seals the
first packet at once, and of both ephemeral keys (``ee``), which makes the session worthless to whoever steals the
identities later.  Noise IK would hide the initiator's key as well; here keys are public (every listing carries one),
and its two further agreements would double the price of a join.  What is given up: who steals a node's secret key
can pretend to *it* to be somebody else.

The responder keeps nothing for a stranger: ``accept`` puts the session into a ticket (``secrets.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import crypto
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Contact, Endpoint, Peer, share_of
from p2pgrid.dht.guards import Shares
from p2pgrid.dht.limits import MAX_DATAGRAM, Limits
from p2pgrid.dht.packets import COOKIE, KEY, SID, Accept, Init
from p2pgrid.dht.secrets import Allowance, Secrets, Seen, Ticket
from p2pgrid.dht.sessions import FROM_INITIATOR, IN_ACCEPT, Session, nonce
from p2pgrid.errors import Expired, Flooded, LimitReached, Malformed, Replayed, WrongIdentity

INIT_CONTEXT: Final = b"dht-init"
SESSION_CONTEXT: Final = b"dht-session"
LEAST_INIT: Final = 352
"""An INIT is at least this long, so that an ACCEPT without an answer is never longer."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An INIT that opened: who sent it, from where, and whether the address is proven."""

    key: bytes
    endpoint: Endpoint
    head: bytes
    shared: bytes
    init: Init
    proven: bool
    size: int


class Pending:
    """A handshake that we began, with each try that may still be answered."""

    __slots__ = ("contact", "sent", "shared", "tries")

    def __init__(self, contact: Contact, shared: bytes, now: float) -> None:
        self.contact, self.shared, self.sent = contact, shared, now
        self.tries: dict[bytes, tuple[crypto.Ephemeral, bytes]] = {}
        """Our ephemeral key and the whole datagram of each try, by session id."""


class Initiator:
    """Handshakes that we begin."""

    __slots__ = ("_by_sid", "_cookies", "_hellos", "_identity", "_limits", "_pending", "_random", "_secrets", "_wall")

    def __init__(
        self,
        identity: crypto.Identity,
        limits: Limits,
        secrets: Secrets,
        random: crypto.Random,
        wall: Callable[[], float],
    ) -> None:
        self._identity, self._limits, self._secrets, self._random, self._wall = identity, limits, secrets, random, wall
        self._pending: dict[bytes, Pending] = {}
        self._by_sid: dict[bytes, Pending] = {}
        self._cookies: dict[bytes, bytes] = {}
        self._hellos: dict[bytes, Endpoint] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def hello(self, endpoint: Endpoint) -> bytes:
        """Ask who lives at a bare address."""
        _make_room(self._hellos, self._limits.handshakes)
        value = self._random(packets.NONCE)
        self._hellos[value] = endpoint
        return bytes([packets.HELLO]) + value + bytes(packets.HELLO_BYTES - 1 - packets.NONCE)

    def read_welcome(self, data: bytes, endpoint: Endpoint) -> Contact:
        """Who lives there.  Raises ``WrongIdentity`` for a welcome that nobody asked for.

        The key is not proven yet: only its holder will be able to answer the INIT that follows.
        """
        if self._hellos.get(data[1 : 1 + packets.NONCE]) != endpoint:
            raise WrongIdentity("A welcome came from where nobody was greeted.")
        del self._hellos[data[1 : 1 + packets.NONCE]]
        key = data[1 + packets.NONCE : 1 + packets.NONCE + KEY]
        if key == self._identity.public:
            raise WrongIdentity("We greeted ourselves.")
        self._keep_cookie(key, data[-COOKIE:])
        return Contact(key, *endpoint)

    def waiting(self, key: bytes, now: float, patience: float) -> bool:
        """Whether an INIT to this key was sent so lately that its answer should be awaited."""
        pending = self._pending.get(key)
        return pending is not None and now - pending.sent < patience

    def init(self, contact: Contact, request: bytes, size: int, flags: int, http: int, now: float) -> bytes:
        """A first packet with a request in it, padded to ``size``.  Raises ``Malformed`` for a key that is none."""
        pending = self._pending.get(contact.key)
        if pending is None or pending.contact.endpoint != contact.endpoint:
            self.forget(contact.key)
            shared = self._identity.agree_with(contact.key)
            self._make_room()
            pending = self._pending[contact.key] = Pending(contact, shared, now)
        ephemeral = self._secrets.current(now).ephemeral
        sid = self._random(SID)
        head = sid + ephemeral.public + self._identity.public
        key = crypto.derive(INIT_CONTEXT, pending.shared, head, contact.key)
        body = packets.pack_init(Init(int(self._wall() * 1000), flags, http, request), max(size, LEAST_INIT))
        sealed = crypto.seal(key, nonce(FROM_INITIATOR, 0), body, head)
        cookie = self._cookies.get(contact.key, packets.NO_COOKIE)
        datagram = bytes([packets.INIT, packets.VERSION]) + cookie + head + sealed
        pending.sent = now
        pending.tries[sid] = (ephemeral, datagram)
        self._by_sid[sid] = pending
        if len(pending.tries) > self._limits.tries:
            self._by_sid.pop(oldest := next(iter(pending.tries)), None)
            del pending.tries[oldest]
        return datagram

    def read_retry(self, data: bytes, endpoint: Endpoint) -> bytes:
        """The same INIT with the cookie that a peer under load asks for.  Raises ``WrongIdentity``; once a try."""
        sid = data[1 : 1 + SID]
        pending = self._by_sid.get(sid)
        if pending is None or pending.contact.endpoint != endpoint:
            raise WrongIdentity("A cookie came that nobody waits for.")
        ephemeral, datagram = pending.tries[sid]
        if datagram[2 : 2 + COOKIE] == data[-COOKIE:]:
            raise Replayed("A cookie came twice.")
        self._keep_cookie(pending.contact.key, data[-COOKIE:])
        again = datagram[:2] + data[-COOKIE:] + datagram[2 + COOKIE :]
        pending.tries[sid] = (ephemeral, again)
        return again

    def read_accept(
        self, data: bytes, endpoint: Endpoint, now: float, meet: Callable[[bytes, Endpoint, float], Peer]
    ) -> tuple[Session, Accept]:
        """The session that a peer agreed to.  Raises ``WrongIdentity``, ``BadSeal`` or ``Malformed``."""
        sid = data[1 : 1 + SID]
        pending = self._by_sid.get(sid)
        if pending is None or pending.contact.endpoint != endpoint:
            raise WrongIdentity("An answer to a handshake came that nobody waits for.")
        ephemeral, sent = pending.tries[sid]
        clear = data[: packets.ACCEPT_CLEAR]
        init_head = sent[2 + COOKIE : packets.INIT_CLEAR]
        both = ephemeral.agree(clear[1 + SID : 1 + SID + KEY])
        root = crypto.derive(SESSION_CONTEXT, pending.shared, both, init_head, pending.contact.key, clear)
        body = crypto.unseal(root, nonce(IN_ACCEPT, 0), data[packets.ACCEPT_CLEAR :], clear)
        accept = packets.read_accept(body)
        key = pending.contact.key
        self.forget(key)
        self._cookies.pop(key, None)
        session = Session(meet(key, endpoint, now), endpoint, root, sid, clear[-SID:], now)
        session.initiator = True
        session.ticket = accept.ticket
        return session, accept

    def forget(self, key: bytes) -> None:
        """Give a handshake up."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            for sid in pending.tries:
                self._by_sid.pop(sid, None)

    def _make_room(self) -> None:
        if len(self._pending) >= self._limits.handshakes:
            self.forget(next(iter(self._pending)))

    def _keep_cookie(self, key: bytes, cookie: bytes) -> None:
        _make_room(self._cookies, self._limits.handshakes)
        self._cookies[key] = cookie


class Responder:
    """Handshakes that others begin."""

    __slots__ = ("_allowance", "_identity", "_limits", "_random", "_secrets", "_seen", "_wall", "shares")

    def __init__(
        self,
        identity: crypto.Identity,
        limits: Limits,
        secrets: Secrets,
        random: crypto.Random,
        wall: Callable[[], float],
        now: float,
    ) -> None:
        self._identity, self._limits, self._secrets, self._random, self._wall = identity, limits, secrets, random, wall
        # An INIT is good for ``init_slack`` before and after its time; it is remembered for as long.
        self._seen = Seen(limits.seen, 2 * limits.init_slack, now)
        self._allowance = Allowance(limits.unproven_rate, limits.unproven_burst, now)
        self.shares = Shares(limits.group_handshake_rate, limits.group_handshake_burst, limits.groups)
        """Of proven addresses; an unproven one may be forged, and would use up somebody else's, so it is counted when
        its ticket comes back."""

    def welcome(self, data: bytes, endpoint: Endpoint, now: float) -> bytes:
        """Answer a hello, in fewer bytes than it had."""
        value = data[1 : 1 + packets.NONCE]
        return bytes([packets.WELCOME]) + value + self._identity.public + self._secrets.cookie(endpoint, now)

    def open(self, data: bytes, endpoint: Endpoint, now: float) -> Arrival | bytes:
        """Open an INIT, or under load the RETRY to answer it with.

        Raises ``Malformed``, ``Replayed``, ``Expired``, ``BadSeal``, ``WrongIdentity``, ``Flooded``.
        """
        head = data[2 + COOKIE : packets.INIT_CLEAR]
        sid, key = head[:SID], head[SID + KEY :]
        if data[1] != packets.VERSION:
            raise Malformed("A handshake is of another version.")
        if key == self._identity.public:
            raise WrongIdentity("Somebody uses our own key.")
        mark = sid + key[:8]
        if mark in self._seen:
            raise Replayed("A handshake came twice.")
        cookie = data[2 : 2 + COOKIE]
        proven = cookie != packets.NO_COOKIE and self._secrets.proves(cookie, endpoint, now)
        if proven and not self.shares.take(share_of(endpoint), now):
            raise Flooded("An address group begins more handshakes than its share.")
        if not proven and not self._allowance.take(now):
            return bytes([packets.RETRY]) + sid + self._secrets.cookie(endpoint, now)
        shared = self._identity.agree_with(key)
        seal_key = crypto.derive(INIT_CONTEXT, shared, head, self._identity.public)
        body = crypto.unseal(seal_key, nonce(FROM_INITIATOR, 0), data[packets.INIT_CLEAR :], head)
        init = packets.read_init(body)
        if abs(init.time / 1000 - self._wall()) > self._limits.init_slack:
            raise Expired("A handshake is of another time than ours.")
        self._seen.add(mark, now)
        return Arrival(key, endpoint, head, shared, init, proven, len(data))

    def room(self, arrival: Arrival, name: str) -> int:
        """Bytes that the answer in an ACCEPT may have: never more out than came in, until the address is proven."""
        around = packets.ACCEPT_CLEAR + packets.TAG + packets.ACCEPT_INNER + len(name.encode()) + 18
        return (MAX_DATAGRAM if arrival.proven else arrival.size) - around

    def accept(self, arrival: Arrival, answer: bytes, name: str, flags: int, http: int, now: float) -> bytes:
        """The reply.  Raises ``LimitReached`` when not even the bare one fits what came in."""
        sid = self._random(SID)
        ephemeral = self._secrets.current(now).ephemeral
        clear = bytes([packets.ACCEPT]) + arrival.head[:SID] + ephemeral.public + sid
        both = ephemeral.agree(arrival.head[SID : SID + KEY])
        root = crypto.derive(SESSION_CONTEXT, arrival.shared, both, arrival.head, self._identity.public, clear)
        said = arrival.init
        ticket = Ticket(arrival.key, root, arrival.head[:SID], sid, said.flags, said.http, charged=arrival.proven)
        sealed_ticket = self._secrets.seal(ticket, arrival.endpoint, now)
        body = packets.pack_accept(Accept(flags, http, name, arrival.endpoint, sealed_ticket, answer))
        if len(clear) + len(body) + packets.TAG > (MAX_DATAGRAM if arrival.proven else arrival.size):
            raise LimitReached("An unproven address wants more bytes than it sent.")
        return clear + crypto.seal(root, nonce(IN_ACCEPT, 0), body, clear)

    def revive(self, raw: bytes, endpoint: Endpoint, now: float) -> Ticket:
        """The session in a ticket that came back.  Raises ``BadSeal``, ``Replayed`` or ``Flooded``."""

        def allowed(ticket: Ticket) -> bool:
            return ticket.charged or self.shares.take(share_of(endpoint), now)

        return self._secrets.redeem(raw, endpoint, now, allowed)


def _make_room(table: dict[bytes, Any], most: int) -> None:
    while len(table) >= most:
        del table[next(iter(table))]
