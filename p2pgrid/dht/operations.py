"""What a node does over several requests.  Here: finding nodes, joining, ping; see also ``searching`` and ``placing``.

Each operation asks through its ``Asker`` (the engine), hears answers as a ``Waiter``, and ends once, telling whoever
began it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from p2pgrid.dht import messages
from p2pgrid.dht.calls import Call
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.hearsay import Hearsay
from p2pgrid.dht.limits import MAX_DATAGRAM, Limits
from p2pgrid.dht.lookup import Lookup
from p2pgrid.dht.messages import AddListing, Answer, FindNode, Nodes, Ping, Pong, Request
from p2pgrid.dht.sweep import Row
from p2pgrid.errors import RemoteError
from p2pgrid.records import Listing, NodeRecord, Verified

AROUND_CONTACTS: Final = 272
PACKED_CONTACT: Final = 40
"""Bytes of an answer to a first packet besides its contacts, and of each of those."""
MAKE_CALL: Final = 0
"""A request is made with this number; the engine gives it its own."""

Ended = Callable[[list[Contact], float], None]
"""Hears the contacts that an operation ended with, and when."""


class Asker(Protocol):
    """What operations need of the engine."""

    limits: Limits

    def ask(self, contact: Contact, request: Request, waiter: Operation, now: float) -> None:
        """Send a request; the waiter hears of it exactly once, ``slow`` and ``silent`` apart."""

    def seeds(self, target: bytes) -> list[Contact]:
        """Known contacts nearest to a point."""

    def around(self, target: bytes) -> list[Row]:
        """Known contacts in every distance range around a point."""

    def likely(self, target: bytes) -> Contact | None:
        """The nearest known contact that is alive and not so near that its id must have been ground."""

    def depth(self) -> float:
        """log2 of the number of nodes in the network, roughly."""

    def dice(self) -> int:
        """32 bits of chance."""

    def own_id(self) -> bytes:
        """Our id."""

    def check_listing(self, pair: messages.Pair) -> Verified[Listing]:
        """Verify.  Raises a ``RemoteError``."""

    def check_record(self, pair: messages.Pair) -> Verified[NodeRecord]:
        """Verify.  Raises a ``RemoteError``."""

    def blame(self, error: RemoteError) -> None:
        """Count a peer's fault."""

    def fault(self, error: Exception) -> None:
        """Count a fault of our own that was survived."""

    def closed(self, operation: Operation) -> None:
        """An operation is over."""


class Operation:
    """Something under way; ``over`` once it has ended."""

    __slots__ = ("asker", "over")

    introduces = True
    hasty = False
    """See ``calls.Waiter``."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.over = False

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """See ``calls.Waiter``."""

    def slow(self, call: Call, now: float) -> None:
        """See ``calls.Waiter``."""

    def silent(self, call: Call, now: float) -> None:
        """See ``calls.Waiter``."""

    def failed(self, call: Call, now: float) -> None:
        """See ``calls.Waiter``."""

    def tell(self, hears: Callable[..., None], *news: object) -> None:
        """Tell one of those who wait: what goes wrong with one keeps nothing from the others."""
        try:
            hears(*news)
        except Exception as error:
            self.asker.fault(error)

    def close(self) -> None:
        """Stop: later answers are not heard."""
        if not self.over:
            self.over = True
            self.asker.closed(self)


class Walk(Operation):
    """A lookup of the nearest nodes.  Whoever wants the same point meanwhile listens along."""

    __slots__ = ("_ended", "_told", "k", "lookup", "target")

    def __init__(self, asker: Asker, target: bytes, k: int = 0, paths: int = 0) -> None:
        super().__init__(asker)
        self.target, self.k = target, k
        self._ended: list[Listener] = []
        self._told = Hearsay()
        self.lookup = Lookup(target, asker.limits, asker.own_id(), k, self._told.vouched, paths)

    def listen(self, ended: Ended) -> Listener:
        """Be told of the end; the walk stops when all of its listeners left."""
        listener = Listener(self, ended)
        self._ended.append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """See ``Listener.close``."""
        if listener in self._ended:
            self._ended.remove(listener)
            if not self._ended:
                self.close()

    def begin(self, now: float, more: Sequence[Contact] = ()) -> None:
        """Start from what is known."""
        self.lookup.add(self.asker.seeds(self.target))
        self.lookup.add(more)
        self.step(now)

    def step(self, now: float) -> None:
        """Ask whoever is next; end when there is nobody."""
        while not self.over:
            chosen = self.lookup.next()
            for contact in chosen:
                self.asker.ask(contact, FindNode(MAKE_CALL, self.target), self, now)
            if not chosen:
                break
        if not self.over and self.finished():
            self.close()
            nearest = self.lookup.nearest()
            for listener in self._ended:
                self.tell(listener.ended, nearest, now)

    def finished(self) -> bool:
        """Whether it is over."""
        return self.lookup.done()

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over:
            return
        if isinstance(answer, Nodes) and self.lookup.believes(call.contact.id):
            self.lookup.add(self._told.take(answer.contacts, call.contact, self.asker), call.contact.id)
        self.lookup.answered(call.contact.id)
        self.step(now)

    def slow(self, call: Call, now: float) -> None:
        if not self.over:
            for forgotten in self.lookup.slow(call.contact):
                self._told.forget(forgotten)
            self.step(now)

    def failed(self, call: Call, now: float) -> None:
        if not self.over:
            self.lookup.failed(call.contact)
            self.step(now)


class Listener:
    """One of those who wait for the same walk."""

    __slots__ = ("ended", "walk")

    def __init__(self, walk: Walk, ended: Ended) -> None:
        self.walk, self.ended = walk, ended

    def close(self) -> None:
        """Wait no longer."""
        self.walk.leave(self)


class Join(Walk):
    """Find our own neighbourhood from bare addresses and saved contacts.

    The nearest ``limits.join`` are enough: whom they do not name, later lookups will, and each one asked costs both
    sides a handshake.  There are as many disjoint paths as independent beginnings: whoever lives at the only address
    that we were given could fill four as well as one.
    """

    __slots__ = ("_greetings", "_met")

    def __init__(self, asker: Asker, greetings: int, saved: int, met: Callable[[], None]) -> None:
        paths = max(1, min(greetings + saved, asker.limits.paths))
        super().__init__(asker, asker.own_id(), asker.limits.join, paths)
        self._greetings, self._met = greetings, met

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        self._met()
        super().answered(call, answer, now)

    def greeted(self, contact: Contact | None, now: float) -> None:
        """One bare address told its key, or stayed silent."""
        self._greetings -= 1
        if not self.over:
            if contact is not None:
                self.lookup.add((contact,))
            self.step(now)

    def finished(self) -> bool:
        # A silent bootstrap address holds nobody up once another has answered.
        return super().finished() and (self._greetings <= 0 or bool(self.lookup.nearest()))


class PingOnce(Operation):
    """One ping: ``ended`` gets the answer and its round trip in seconds, or None."""

    __slots__ = ("_ended", "_want")

    def __init__(self, asker: Asker, want: bool, ended: Callable[[Pong | None, float], None]) -> None:
        super().__init__(asker)
        self._want, self._ended = want, ended

    def begin(self, contact: Contact, now: float) -> None:
        """Send it."""
        self.asker.ask(contact, Ping(MAKE_CALL, self._want), self, now)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if isinstance(answer, Pong):
            self._end(answer, now - call.first)

    def failed(self, call: Call, now: float) -> None:
        self._end(None, now - call.first)

    def _end(self, pong: Pong | None, rtt: float) -> None:
        if not self.over:
            self.close()
            self._ended(pong, rtt)


def first_packet_size(request: Request, k: int) -> int:
    """How long a first packet with this request should be, so that its answer may be as long as it needs."""
    if isinstance(request, FindNode):
        return min(AROUND_CONTACTS + PACKED_CONTACT * k, MAX_DATAGRAM)
    if isinstance(request, Ping):
        return 1024 if request.want else 0
    if isinstance(request, AddListing):
        return 0
    return MAX_DATAGRAM
