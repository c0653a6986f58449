"""The DHT without sockets: datagrams and time in, datagrams, a wake-up time and events out.

One ``Engine`` is one node.  A shell calls ``receive`` for each datagram and ``poll`` after anything that may have left
something to send; ``poll`` says when it wants to be called next.  ``now`` is any clock that only goes forward;
``wall`` is the clock of records.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, NamedTuple

from p2pgrid import crypto
from p2pgrid.dht import messages
from p2pgrid.dht.calls import Call, Calls
from p2pgrid.dht.channel import Card, Channel
from p2pgrid.dht.contacts import Contact, Endpoint, Peer
from p2pgrid.dht.greetings import Greetings
from p2pgrid.dht.guards import Silence
from p2pgrid.dht.handshake import Arrival
from p2pgrid.dht.health import GonePeers
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.dht.messages import About, Answer, Pair, Pong, Request
from p2pgrid.dht.operations import Ended, Join, Listener, Operation, PingOnce, Walk, first_packet_size
from p2pgrid.dht.packets import LARGEST_BODY, LARGEST_TICKETED, SERVER, Accept
from p2pgrid.dht.profile import Profile, short_name
from p2pgrid.dht.publisher import Publisher
from p2pgrid.dht.ranges import ID_BITS
from p2pgrid.dht.routing import Table
from p2pgrid.dht.sampling import Sample
from p2pgrid.dht.searching import Found, Reader, Search, Seen, Survey
from p2pgrid.dht.serve import Desk
from p2pgrid.dht.sessions import Session
from p2pgrid.dht.store import Store
from p2pgrid.dht.sweep import DEEP, Row
from p2pgrid.dht.upkeep import Upkeep
from p2pgrid.errors import Malformed, RemoteError
from p2pgrid.ids import NodeId, Tag, tag_key
from p2pgrid.records import Listing, NodeRecord, Verified, verify_listing, verify_node

LATELY: Final = 5.0
"""Seconds."""


class Polled(NamedTuple):
    """What a poll found: datagrams to send now, and when to poll next; perhaps earlier than anything is due."""

    datagrams: list[tuple[bytes, Endpoint]]
    wake: float


class Engine:
    """One node's DHT.  See the module."""

    __slots__ = (
        "_channel",
        "_depth",
        "_desk",
        "_operations",
        "_random",
        "_refused",
        "_searches",
        "_silence",
        "_surveys",
        "_waiting",
        "_walks",
        "_wall",
        "calls",
        "counters",
        "gone_peers",
        "greetings",
        "heard_any",
        "identity",
        "limits",
        "profile",
        "publisher",
        "report",
        "store",
        "table",
        "upkeep",
    )

    def __init__(
        self,
        identity: crypto.Identity,
        *,
        address: Endpoint,
        now: float,
        wall: Callable[[], float],
        random: crypto.Random,
        fixed_address: bool = True,
        server: bool = True,
        name: str = "",
        http: int = 0,
        limits: Limits = DEFAULT,
    ) -> None:
        self.identity, self.limits = identity, limits
        self._wall, self._random = wall, random
        card = Card(short_name(name), http, server)
        self.profile = Profile(identity, card, address, fixed_address, limits, wall, self._changed)
        self.counters: Counter[str] = Counter()
        self.report: Callable[[Exception], None] = lambda error: None
        """A shell may hear of each fault of our own."""
        self.table = Table(identity.id, limits, now)
        self.gone_peers = GonePeers(limits)
        self.store = Store(limits)
        self.calls = Calls(limits, int.from_bytes(random(3), "big"))
        self.publisher = Publisher(self, wall)
        self.greetings = Greetings(limits)
        self.upkeep = Upkeep(self, limits, now)
        self.heard_any = now
        self._channel = Channel(identity, limits, card, self, random, wall, now)
        self._desk = Desk(self.table, self.store, limits, random, wall, self.profile.record, self.blame)
        self._operations: set[Operation] = set()
        self._depth = -1
        """As the table tells it; below 0: not since somebody came."""
        self._walks: dict[tuple[bytes, int], Walk] = {}
        self._surveys: dict[bytes, Survey] = {}
        self._searches: dict[tuple[Tag, int], Search] = {}
        """Those under way, for whoever wants the same."""
        self._refused: deque[Call] = deque()
        self._waiting: deque[Call] = deque()
        """Requests over the limit of those in flight."""
        self._silence = Silence(limits.silent_pause, limits.silent_addresses)

    # ------------------------------------------------------------ the narrow door

    def receive(self, datagram: bytes, addr: Endpoint, now: float) -> None:
        """Take one datagram.  Never raises: what a peer did wrong is dropped and counted by reason."""
        self.counters["received"] += 1
        try:
            self._channel.receive(datagram, addr, now)
        except RemoteError as error:
            self.blame(error)
        except Exception as error:  # a fault of ours that a datagram met; the next one may not
            self.fault(error)

    def poll(self, now: float) -> Polled:
        """Do what is due, and hand over what is to be sent."""
        calls, greetings, upkeep = self.calls, self.greetings, self.upkeep
        if now >= calls.soonest:
            for call in calls.due(now):
                self._try(self._silent, call, now)
        if now >= greetings.soonest:
            for endpoint in greetings.due(now):
                self._try(self._channel.greet, endpoint)
        if now >= upkeep.due:
            self._try(upkeep.run, now)
        while self._refused:
            call = self._refused.popleft()
            self._try(call.waiter.failed, call, now)
        while self._waiting and not calls.full():
            self._begin(self._waiting.popleft(), now)
        datagrams, self._channel.outbox = self._channel.outbox, []
        self.counters["sent"] += len(datagrams)
        return Polled(datagrams, min(calls.soonest, greetings.soonest, upkeep.due))

    # ------------------------------------------------------------ what a shell asks for, beside publisher and profile

    @property
    def address(self) -> Endpoint:
        """Where others reach us, as far as is known."""
        return self.profile.address

    def begin_join(self, greetings: int, saved: int, met: Callable[[], None], ended: Ended) -> Join:
        """For ``Upkeep.join``, which is what a shell calls."""
        operation = Join(self, greetings, saved, met)
        operation.listen(ended)
        self._operations.add(operation)
        return operation

    def greet(self, endpoint: Endpoint, ended: Callable[[Contact | None, float], None], now: float) -> None:
        """Learn the key of whoever lives at a bare address; None when nobody answers."""
        self.greetings.begin(endpoint, ended, now)

    def walk(self, target: bytes, ended: Ended, now: float, k: int = 0) -> Listener:
        """Find the nodes nearest to a point, ``limits.k`` or ``k``; along with whoever is at it already."""
        key = (target, k)
        operation = self._walks.get(key)
        if operation is not None:
            return operation.listen(ended)
        operation = self._walks[key] = Walk(self, target, k)
        listener = operation.listen(ended)
        self._operations.add(operation)
        self._looked_up(target, now)
        operation.begin(now)
        return listener

    def survey(self, target: bytes, ended: Seen, now: float) -> None:
        """Who is around a point, in every distance range; along with whoever is at it already."""
        operation = self._surveys.get(target)
        if operation is not None:
            operation.listen(ended)
            return
        operation = self._surveys[target] = Survey(self, target)
        operation.listen(ended)
        self._operations.add(operation)
        self._looked_up(target, now)
        operation.begin(now)

    def search(self, tag: Tag, limit: int, found: Found, ended: Callable[[float], None], now: float) -> Reader:
        """Collect listings of a tag, ours and those held here first; along with whoever is at it already."""
        key = (tag, limit)
        operation = self._searches.get(key)
        if operation is not None:
            return operation.listen(found, ended)
        operation = self._searches[key] = Search(self, tag, tag_key(tag), limit)
        reader = operation.listen(found, ended)
        self._operations.add(operation)
        operation.begin_with(self.store.all(tag, self._wall()), self.identity.public)
        operation.begin(now)
        return reader

    def ping(self, contact: Contact, want: bool, ended: Callable[[Pong | None, float], None], now: float) -> Operation:
        """Ask one contact whether it is there; ``want`` its record too."""
        operation = PingOnce(self, want, ended)
        self._operations.add(operation)
        operation.begin(contact, now)
        return operation

    def sample_tags(self, ended: Callable[[float], None], now: float) -> Sample:
        """Draw tags from peers across the id space, and from our own store."""
        operation = Sample(self, int.from_bytes(self._random(20), "big"), self.store.tags(), ended)
        self._operations.add(operation)
        operation.begin(now)
        return operation

    def operations(self) -> list[Operation]:
        """Everything under way."""
        return list(self._operations)

    def snapshot(self) -> list[bytes]:
        """Packed contacts to start from next time: the longest known live ones first."""
        peers = [peer for peer in self.table.peers() if not peer.fails]
        return [peer.packed for peer in sorted(peers, key=lambda peer: peer.first)]

    # ------------------------------------------------------------ Asker

    def own_id(self) -> NodeId:
        return self.identity.id

    def seeds(self, target: bytes) -> list[Contact]:
        near = self.table.nearest(int.from_bytes(target, "big"), 2 * self.limits.k)
        good = [peer for peer in near if not peer.fails]
        return list((good if len(good) >= self.limits.k else near)[: self.limits.k])

    def around(self, target: bytes) -> list[Row]:
        rows = self.table.ranges(int.from_bytes(target, "big"))
        return [(r, [contact for contact in row if not contact.fails]) for r, row in rows]

    def likely(self, target: bytes) -> Contact | None:
        deepest = min(int(self.depth() + DEEP), ID_BITS - 1)
        return self.table.first(int.from_bytes(target, "big"), 1 << ID_BITS - 1 - deepest)

    def depth(self) -> float:
        if self._depth < 0:
            self._depth = self.table.depth()
        return self._depth

    def dice(self) -> int:
        return int.from_bytes(self._random(4), "big")

    def ask(self, contact: Contact, request: Request, waiter: Operation, now: float) -> None:
        number = self.calls.number()
        body = messages.encode(request, number)
        size = first_packet_size(request, self.limits.k)
        call = Call(number, contact, request.kind + messages.ANSWER, body, size, waiter)
        if not self.calls.full():
            self._begin(call, now)
        elif len(self._waiting) < self.limits.waiting:
            self._waiting.append(call)
        else:
            call.first = now
            self._refused.append(call)

    def _begin(self, call: Call, now: float) -> None:
        """Send a request for the first time, unless nobody waits for its answer any more."""
        if call.waiter.over:
            return
        call.first = now
        contact = call.contact
        peer = self.peer(contact)
        if peer is None and self._silence.holds(contact.key, contact.endpoint, now):
            self.counters["shunned"] += 1
            self._refused.append(call)
            return
        wait = self.calls.wait(peer, now, call.waiter.hasty)
        self.calls.begin(call, wait, now)
        if not self._transmit(call, wait, now):
            self.calls.end(call)
            self._refused.append(call)

    def check_listing(self, pair: Pair) -> Verified[Listing]:
        return verify_listing(pair, now=self._wall())

    def check_record(self, pair: Pair) -> Verified[NodeRecord]:
        return verify_node(pair, now=self._wall())

    def blame(self, error: RemoteError) -> None:
        self.counters[error.reason] += 1

    def fault(self, error: Exception) -> None:
        """Count a fault of our own that was survived, and report it."""
        self.counters["internal-error"] += 1
        self.report(error)

    def _try(self, step: Callable[..., object], *args: object) -> None:
        """One thing that is due: a fault of ours in it must not keep the others from their turn."""
        try:
            step(*args)
        except Exception as error:
            self.fault(error)

    def opened(self, operation: Operation) -> None:
        """An operation begins; it is kept until it is over."""
        self._operations.add(operation)

    def closed(self, operation: Operation) -> None:
        self._operations.discard(operation)
        if isinstance(operation, Walk):
            _forget(self._walks, (operation.target, operation.k), operation)
        elif isinstance(operation, Search):
            _forget(self._searches, (operation.tag, operation.limit), operation)
        elif isinstance(operation, Survey):
            _forget(self._surveys, operation.target, operation)

    # ------------------------------------------------------------ Listener of the channel

    def meet(self, key: bytes, endpoint: Endpoint, now: float) -> Peer:
        peer = Peer(key, *endpoint, None, now)
        known = self.table.get(peer.id)
        if known is None:
            return peer
        if known.endpoint != endpoint:
            if self._settled(known, now):
                # It may be a relay that passes datagrams on: what is known stays until nobody answers there.
                return peer
            self.table.move(known, endpoint)
            self._count_crowded()
        return known

    def guest(self, peer: Peer) -> bool:
        known = self.table.get(peer.id)
        return known is not None and known is not peer

    def met(self, session: Session, accept: Accept | None, now: float) -> None:
        peer = session.peer
        if accept is not None:
            peer.server = bool(accept.flags & SERVER)
            peer.http, peer.name, peer.fails = accept.http, accept.name, 0
            self.profile.observed(peer.endpoint, accept.observed)
        self._heard(peer, now)
        self._silence.heard(peer.key, session.endpoint, now)
        self._admit(peer, now)
        if session.aside and (known := self.table.get(peer.id)) is not None:
            self._check(known, now)
        if accept is not None:
            introduce = self.profile.card.server and any(call.waiter.introduces for call in self.calls.to(peer.key))
            if accept.answer:
                self.said(session, accept.answer, now)
            waiting = self.calls.to(peer.key)
            for call in waiting:
                self._transmit(call, 0.0, now)
            if introduce and not waiting:  # a request proves our address as well
                self._introduce(session, now)

    def said(self, session: Session, body: bytes, now: float) -> None:
        message = messages.decode(body)
        peer = session.peer
        self._heard(peer, now)
        if messages.is_request(message):
            answer = self._desk.answer(message, peer, _room(session), True)
            if answer:
                self._channel.reply(session, answer, now)
        elif messages.is_answer(message):
            self._answered(peer, message, now)
        elif isinstance(message, About):
            peer.name = message.name if message.name.isprintable() else ""

    def asked(self, arrival: Arrival, now: float) -> None:
        request = messages.decode(arrival.init.request)
        if not messages.is_request(request):
            raise Malformed("A handshake carries no request.")
        # The asker is named for the answer only; it enters nothing until it proves its address.
        asker = Contact(arrival.key, *arrival.endpoint)
        answer = self._desk.answer(request, asker, self._channel.room(arrival), False)
        self._channel.accept(arrival, answer, now)

    def welcomed(self, contact: Contact, now: float) -> None:
        self._silence.heard(contact.key, contact.endpoint, now)
        self.greetings.answered(contact, now)

    def lost(self, session: Session, now: float) -> None:
        for call in self.calls.to(session.peer.key):
            self._transmit(call, self.calls.wait(session.peer, now), now)

    # ------------------------------------------------------------ inside

    def peer(self, contact: Contact) -> Peer | None:
        """What was measured of a contact."""
        session = self._channel.sessions.to(contact.key)
        return session.peer if session is not None else self.table.get(contact.id)

    def _looked_up(self, target: bytes, now: float) -> None:
        """The bucket of this point needs no refresh soon."""
        self.table.buckets[self.table.index(int.from_bytes(target, "big"))].last_updated = now

    def chance(self) -> float:
        """A number in 0..1, to spread what many nodes would do at once."""
        return int.from_bytes(self._random(4), "big") / 2**32

    def drop_idle(self, now: float) -> None:
        """Forget idle sessions."""
        self._channel.tidy(now)
        self._silence.tidy(now)

    def sweep(self, now: float) -> float:
        """Forget expired listings.  Returns when to do it again: as the next one expires, a second away at least."""
        wall = self._wall()
        self.store.sweep(wall)
        end = self.store.next_end()
        # A hair later than the end: what one clock calls its end may be a rounding short of it on the other.
        return now + max(1.0, end - wall) + 0.01 if end is not None else inf

    def rate_load(self, lag: float) -> None:
        """The shell's word on how late we run, in seconds."""
        self._desk.state = messages.BUSY if lag > self.limits.busy else messages.ONLINE

    def sessions(self) -> int:
        """How many there are."""
        return len(self._channel.sessions)

    def _transmit(self, call: Call, patience: float, now: float) -> bool:
        try:
            self._channel.send(call.contact, call.body, call.size, patience, now)
        except RemoteError as error:  # a contact's key that is no key
            self.blame(error)
            return False
        return True

    def _silent(self, call: Call, now: float) -> None:
        """A wait has passed without an answer."""
        peer = self.peer(call.contact)
        if not call.slow:
            if call.waiter.hasty and self.calls.put_off(call, now):
                return
            self.calls.slow(call, peer, now)
            call.waiter.slow(call, now)
            return
        self.counters["timeout"] += 1
        doubted = peer is None and self._silence.doubts(call.contact.key, call.contact.endpoint, now)
        # One try is short: who was heard just before it shows as well that it is not our own network that is down.
        others = self.heard_any > call.first - (LATELY if doubted else 0.0)
        if call.tries < self._tries(call, peer) and not doubted:
            if call.tries == self.limits.tries - 1:
                session = self._channel.sessions.to(call.contact.key)
                if session is not None:
                    session.suspect = True  # perhaps it lost our session and its hint was lost too
            self.calls.again(call, now)
            self._transmit(call, self.calls.wait(peer, now), now)
            call.waiter.silent(call, now)
            return
        self.calls.end(call)
        self._channel.give_up(call.contact.key)
        if peer is not None:
            self._failed(peer, call.first, now)
        if others and self.table.get(call.contact.id) is None:
            self._leave_alone(call.contact, now)
        call.waiter.failed(call, now)

    def _tries(self, call: Call, peer: Peer | None) -> int:
        """How often it is sent: not a third time to whoever failed before, nor to a stranger when nobody waits."""
        hopeless = call.waiter.over if peer is None else peer.fails
        return min(self.limits.tries, 2) if hopeless else self.limits.tries

    def _leave_alone(self, contact: Contact, now: float) -> None:
        """Not even a handshake was answered there, though others did answer since."""
        self._silence.add(contact.key, contact.endpoint, now)
        session = self._channel.sessions.to(contact.key)
        if session is not None:
            self._channel.sessions.drop(session)

    def _failed(self, peer: Peer, asked: float, now: float) -> None:
        if not peer.fails:
            peer.asked = asked
        peer.fails += 1
        if self.table.get(peer.id) is peer:
            self.upkeep.doubt(peer, now)
        # When nobody at all was heard since, it may be our own network that is down: then nobody is to blame.
        if self.heard_any <= peer.asked or self.table.get(peer.id) is not peer:
            return
        bucket = self.table.buckets[self.table.index(peer.long_id)]
        doomed = peer.fails >= self.limits.fails
        heirs = self._heirs(peer) if doomed or peer.fails >= 2 else []
        if doomed or (peer.fails >= 2 and (bucket.replacement_nodes or heirs)):
            self.table.remove_contact(peer)
            self._depth = -1
            self.upkeep.lost(bucket, now)
            self.gone_peers.lose(peer, now)
            session = self._channel.sessions.to(peer.key)
            if session is not None:
                self._channel.sessions.drop(session)
            for heir in heirs:
                self._channel.sessions.prefer(heir)
                self._admit(heir.peer, now)

    def _heirs(self, peer: Peer) -> list[Session]:
        """Sessions with whoever is to take this one's place: itself at another address, another one at its own."""
        key, endpoint = peer.key, peer.endpoint
        return [
            session
            for session in self._channel.sessions.everybody()
            if (session.endpoint == endpoint or session.peer.key == key)
            and session.peer is not peer
            and (session.peer.key == key or session.peer.server)
        ]

    def _settled(self, peer: Peer, now: float) -> bool:
        """Whether it was heard at its address so lately that nobody takes its place before it fails there."""
        return not peer.fails and now - peer.heard < self.limits.move_after

    def _check(self, peer: Peer, now: float) -> None:
        """Somebody else claims its key or its address: ask it whether it is there."""
        if now - peer.probed >= 1.0:
            peer.probed = now
            self.ping(peer, False, lambda pong, rtt: None, now)

    def _answered(self, peer: Peer, answer: Answer, now: float) -> None:
        call = self.calls.take(answer.call, answer.kind, peer.key)
        if call is None:
            self.counters["unasked"] += 1
            return
        self.calls.measured(call, peer, now)
        peer.probed, peer.fails = now, 0  # what it asks clears nothing: one that never answers must leave the table
        if isinstance(answer, Pong):
            peer.busy = answer.state == messages.BUSY
            peer.seq, peer.name = answer.seq, answer.name if answer.name.isprintable() else ""
        call.waiter.answered(call, answer, now)

    def _heard(self, peer: Peer, now: float) -> None:
        self.heard_any = now
        if now - peer.heard > 1.0 and peer.server:
            bucket = self.table.buckets[self.table.index(peer.long_id)]
            if bucket.nodes.get(peer.id) is peer:
                bucket.add_node(peer)
            elif self.gone_peers.holds(peer.id):  # in a session that it still has
                self._admit(peer, now)
        peer.heard = now

    def _changed(self) -> None:
        self.publisher.hurry(self.heard_any)

    def _admit(self, peer: Peer, now: float) -> None:
        """Take a proven server into the table; whoever had its address before makes room unless heard there lately."""
        if not peer.server or self.table.get(peer.id) is not None:
            return
        before = self.table.at(peer.endpoint)
        settled = [other for other in before if self._settled(other, now)]
        if settled:
            self._check(settled[0], now)
            return
        for other in before:
            self.table.remove_contact(other)
        self.table.add_contact(peer)
        self._depth = -1
        self._count_crowded()
        self.gone_peers.back(peer.id)
        self.upkeep.met_somebody(self.heard_any)

    def _count_crowded(self) -> None:
        if self.table.crowded:
            self.counters["crowded"] = self.table.crowded

    def _introduce(self, session: Session, now: float) -> None:
        """Prove our address, so that the peer may keep the session and take us into its table."""
        self._channel.reply(session, messages.encode(About(self.calls.number(), self.profile.card.name)), now)


def _room(session: Session) -> int:
    return LARGEST_TICKETED if session.ticket is not None else LARGEST_BODY


def _forget(under_way: dict[Any, Any], key: object, operation: Operation) -> None:
    """It is over: who wants the same from now on begins anew."""
    if under_way.get(key) is operation:
        del under_way[key]
