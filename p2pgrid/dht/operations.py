"""What a node does over several requests: find nodes, join, announce, search, ping.

Each operation asks through its ``Asker`` (the engine), hears answers as a ``Waiter``, and ends once, telling whoever
began it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from p2pgrid.dht import messages
from p2pgrid.dht.calls import Call
from p2pgrid.dht.contacts import Contact, may_tell
from p2pgrid.dht.limits import MAX_DATAGRAM, Limits
from p2pgrid.dht.lookup import Lookup
from p2pgrid.dht.messages import AddListing, Answer, FindListings, FindNode, Nodes, Page, Ping, Pong, Request, Stored
from p2pgrid.dht.placement import WITHDRAWN_TTL
from p2pgrid.errors import Malformed, RemoteError
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, NodeRecord, Verified

MAKE_CALL: Final = 0
"""A request is made with this number; the engine gives it its own."""
PAGERS: Final = 3
"""Holders whose further pages are asked for at the same time."""
MOST_NEWER: Final = 8
"""Times that one search hands out a newer listing of the same dataset."""
MAX_PAGES: Final = 2048
"""Further pages that one search asks for at most."""


class Asker(Protocol):
    """What operations need of the engine."""

    limits: Limits

    def ask(self, contact: Contact, request: Request, waiter: Operation, now: float) -> None:
        """Send a request; the waiter hears of it exactly once, ``slow`` apart."""

    def seeds(self, target: bytes) -> list[Contact]:
        """Known contacts nearest to a point."""

    def own_id(self) -> bytes:
        """Our id."""

    def check_listing(self, pair: messages.Pair) -> Verified[Listing]:
        """Verify.  Raises a ``RemoteError``."""

    def check_record(self, pair: messages.Pair) -> Verified[NodeRecord]:
        """Verify.  Raises a ``RemoteError``."""

    def blame(self, error: RemoteError) -> None:
        """Count a peer's fault."""

    def closed(self, operation: Operation) -> None:
        """An operation is over."""


class Operation:
    """Something under way; ``over`` once it has ended."""

    __slots__ = ("asker", "over")

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.over = False

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """See ``calls.Waiter``."""

    def slow(self, call: Call, now: float) -> None:
        """See ``calls.Waiter``."""

    def failed(self, call: Call, now: float) -> None:
        """See ``calls.Waiter``."""

    def close(self) -> None:
        """Stop: later answers are not heard."""
        if not self.over:
            self.over = True
            self.asker.closed(self)


class Walk(Operation):
    """A lookup with requests: ``ended`` gets the nearest that answered."""

    __slots__ = ("_told", "ended", "lookup", "target")

    def __init__(self, asker: Asker, target: bytes, ended: Callable[[list[Contact], float], None]) -> None:
        super().__init__(asker)
        limits = asker.limits
        self.target = target
        self.ended = ended
        self._told: set[bytes] = set()
        self.lookup = Lookup(target, limits.k, limits.alpha, limits.lookup_asked, asker.own_id())

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
                self.asker.ask(contact, self.request(contact), self, now)
            if not chosen:
                break
        if not self.over and self.finished():
            self.close()
            self.ended(self.lookup.nearest(), now)

    def request(self, contact: Contact) -> Request:
        """What each is asked."""
        return FindNode(MAKE_CALL, self.target)

    def finished(self) -> bool:
        """Whether it is over."""
        return self.lookup.done()

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over:
            return
        if isinstance(answer, (Nodes, Page)):
            self.hear(call.contact, answer.contacts)
        self.lookup.answered(call.contact.id)
        self.step(now)

    def hear(self, teller: Contact, contacts: Iterable[bytes]) -> None:
        """Take in contacts that a peer told."""
        for packed in contacts:
            if packed in self._told:
                continue
            self._told.add(packed)
            try:
                contact = Contact.unpack(packed)
                if not may_tell(teller.ip, contact.ip):
                    raise Malformed("A peer told a loopback address to another machine.")
            except RemoteError as error:
                self.asker.blame(error)
            else:
                self.lookup.add((contact,))

    def slow(self, call: Call, now: float) -> None:
        if not self.over:
            self.lookup.slow(call.contact.id)
            self.step(now)

    def failed(self, call: Call, now: float) -> None:
        if not self.over:
            self.lookup.failed(call.contact.id)
            self.step(now)


class Join(Walk):
    """Find our own neighbourhood from bare addresses and saved contacts: ``ended`` gets who answered."""

    __slots__ = ("_greetings", "_met")

    def __init__(
        self,
        asker: Asker,
        greetings: int,
        met: Callable[[], None],
        ended: Callable[[list[Contact], float], None],
    ) -> None:
        super().__init__(asker, asker.own_id(), ended)
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


class Announce(Operation):
    """Place one listing with the nodes nearest to its tag: ``ended`` gets those that hold it now."""

    __slots__ = ("_ended", "_held", "_listing", "_open", "_walk")

    def __init__(
        self,
        asker: Asker,
        listing: Verified[Listing],
        target: bytes,
        ended: Callable[[list[Contact], float], None],
    ) -> None:
        super().__init__(asker)
        self._listing, self._ended = listing, ended
        self._held: list[Contact] = []
        self._open = 0
        self._walk = Walk(asker, target, self.place)

    def begin(self, now: float) -> None:
        """Walk to the target, then place."""
        self._walk.begin(now)

    def place(self, holders: Sequence[Contact], now: float) -> None:
        """Ask these to hold it."""
        if self.over:
            return
        request = AddListing(MAKE_CALL, (self._listing.raw, self._listing.signature))
        self._open = len(holders) + 1
        for contact in holders:
            self.asker.ask(contact, request, self, now)
        self._settle(now)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if isinstance(answer, Stored) and answer.verdict == messages.STORED:
            self._held.append(call.contact)
        self._settle(now)

    def failed(self, call: Call, now: float) -> None:
        self._settle(now)

    def close(self) -> None:
        self._walk.close()
        super().close()

    def _settle(self, now: float) -> None:
        self._open -= 1
        if self._open <= 0 and not self.over:
            self.close()
            self._ended(self._held, now)


class Search(Walk):
    """Collect listings of one tag: ``found`` gets each verified one as it arrives, and newer ones of the same too."""

    __slots__ = ("_checked", "_found", "_given", "_keys", "_left", "_limit", "_order", "_pages", "_paging", "_tag")

    def __init__(
        self,
        asker: Asker,
        tag: Tag,
        target: bytes,
        limit: int,
        order: int,
        found: Callable[[Verified[Listing]], None],
        ended: Callable[[list[Contact], float], None],
    ) -> None:
        super().__init__(asker, target, ended)
        self.lookup.k = asker.limits.width
        self._tag, self._limit, self._order, self._found = tag, limit, order, found
        self._keys: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        """Of each publisher and dataset: the highest ``seq`` so far, and how often there was a newer one."""
        self._checked: set[bytes] = set()
        self._given: dict[bytes, set[int]] = {}
        """What each holder gave, by hash: one that repeats itself or sends forgeries is asked for no more pages."""
        self._pages: list[tuple[Contact, int, int]] = []
        """Holders with more: contact, next cursor, their total."""
        self._paging: dict[bytes, int] = {}
        """Holders asked for a further page, and the cursor asked for."""
        self._left = MAX_PAGES

    def request(self, contact: Contact) -> Request:
        return FindListings(MAKE_CALL, self._tag, self._order, 0, self.asker.limits.page)

    def take(self, listing: Verified[Listing]) -> None:
        """Hand a verified listing out, unless one as new of its publisher and dataset was handed out."""
        record = listing.record
        if record.tag != self._tag or record.ttl <= WITHDRAWN_TTL:
            return
        key = (record.key, record.dataset)
        seq, newer = self._keys.get(key, (-1, -1))
        if record.seq > seq and newer < MOST_NEWER and (newer >= 0 or not self._full()):
            self._keys[key] = (record.seq, newer + 1)
            self._found(listing)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over or not isinstance(answer, Page):
            return
        cursor = self._paging.pop(call.contact.key, 0)
        checked = [self._check(pair) for pair in answer.listings]
        if all(checked) and answer.next > cursor and self._news(call.contact.key, answer.listings):
            self._pages.append((call.contact, answer.next, answer.total))
        if cursor:
            self.step(now)
        else:
            super().answered(call, answer, now)

    def slow(self, call: Call, now: float) -> None:
        if call.contact.key not in self._paging:
            super().slow(call, now)

    def failed(self, call: Call, now: float) -> None:
        if self._paging.pop(call.contact.key, 0):
            self.step(now)
        else:
            super().failed(call, now)

    def step(self, now: float) -> None:
        self._turn_pages(now)
        super().step(now)

    def finished(self) -> bool:
        return self._full() or (super().finished() and not self._paging)

    def _full(self) -> bool:
        return len(self._keys) >= self._limit

    def _turn_pages(self, now: float) -> None:
        """Ask holders that have more than was found so far for their next pages."""
        if self.over or self._full():
            return
        self._pages = [page for page in self._pages if page[2] > len(self._keys)]
        while self._pages and len(self._paging) < PAGERS and self._left > 0:
            contact, cursor, _ = self._pages.pop(0)
            self._paging[contact.key] = cursor
            self._left -= 1
            request = FindListings(MAKE_CALL, self._tag, self._order, cursor, self.asker.limits.page)
            self.asker.ask(contact, request, self, now)

    def _news(self, holder: bytes, pairs: Sequence[messages.Pair]) -> bool:
        given = self._given.setdefault(holder, set())
        before = len(given)
        given.update(hash(pair) for pair in pairs)
        return len(given) > before

    def _check(self, pair: messages.Pair) -> bool:
        # Sixteen holders send the same bytes; each is verified once.
        proof = pair[0] + pair[1]
        if proof in self._checked:
            return True
        try:
            listing = self.asker.check_listing(pair)
        except RemoteError as error:
            self.asker.blame(error)
            return False
        self._checked.add(proof)
        self.take(listing)
        return True


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


def first_packet_size(request: Request) -> int:
    """How long a first packet with this request should be, so that its answer may be as long as it needs."""
    if isinstance(request, FindNode):
        return 912
    if isinstance(request, Ping):
        return 1024 if request.want else 0
    if isinstance(request, AddListing):
        return 0
    return MAX_DATAGRAM
