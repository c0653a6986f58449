"""Going through the distance ranges around a tag: to see who is there, and to collect the tag's listings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from p2pgrid.dht import messages
from p2pgrid.dht.calls import Call
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.hearsay import Hearsay
from p2pgrid.dht.messages import Answer, FindListings, FindNode, Nodes, Page, Request
from p2pgrid.dht.operations import MAKE_CALL, Asker, Operation
from p2pgrid.dht.placement import WITHDRAWN_TTL
from p2pgrid.dht.ranges import ALL_RANGES, range_of
from p2pgrid.dht.sweep import Sweep
from p2pgrid.errors import RemoteError
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified

PAGERS: Final = 8
"""Holders whose further pages are asked for at the same time."""
MOST_NEWER: Final = 8
"""Times that one search hands out a newer listing of the same dataset."""
SURVEYED: Final = 2
"""Peers heard in each near range by who wants to know only who is there: each names sixteen others."""
HOLDERS: Final = 32
"""One holder fills at most this part of a search's limit before the others were heard."""
WORTH_WIDENING: Final = 64
"""A search that found so many listings, some of them in its last round, asks twice as many nodes."""

Key = tuple[bytes, bytes]
"""Publisher's key and dataset id."""
Seen = Callable[[list[Contact], list[Contact], float], None]
"""Hears who is around a point: those who answered, are in our table or were told by several; and those one told of."""
Found = Callable[[Verified[Listing]], None]
Ended = Callable[[float], None]


class Ranging(Operation):
    """Asks around a point, some in every range."""

    __slots__ = ("_told", "sweep", "target")

    introduces = False
    """Who is asked once for a tag need not keep us: that would cost both sides a third packet and a session."""

    def __init__(self, asker: Asker, target: bytes, each: int | None = None) -> None:
        super().__init__(asker)
        self.target = target
        self._told = Hearsay()
        self.sweep = Sweep(target, asker.own_id(), asker.limits, asker.depth(), asker.dice(), each)
        self.sweep.vouched = self._told.vouched

    def begin(self, now: float) -> None:
        """Start from what is known."""
        self.sweep.start(self.asker.around(self.target))
        self.step(now)

    def step(self, now: float) -> None:
        """Ask whoever is next; end when there is nobody."""
        while not (self.over or self.enough()):
            chosen = self.sweep.next()
            for contact in chosen:
                self.asker.ask(contact, self.request(), self, now)
            if not chosen:
                break
        if not self.over and self.finished(now):
            self.close()
            self.end(now)

    def request(self) -> Request:
        """What each is asked."""
        return FindNode(MAKE_CALL, self.target, self.sweep.have(everybody=True))

    def enough(self) -> bool:
        """Whether nobody needs to be asked any more."""
        return False

    def finished(self, now: float) -> bool:
        """Whether it is over."""
        return self.sweep.done(False)

    def end(self, now: float) -> None:
        """It is over; called once."""

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over:
            return
        if isinstance(answer, (Nodes, Page)):
            told = self._told.take(answer.contacts, call.contact, self.asker)
            for left in self.sweep.add(told, isinstance(answer, Page)):
                self._told.forget(left)
        self.sweep.done_with(call.contact.id)
        self.step(now)

    def slow(self, call: Call, now: float) -> None:
        if not self.over:
            self.sweep.slow(call.contact)
            self.step(now)

    def silent(self, call: Call, now: float) -> None:
        if not self.over:
            self.sweep.silent(call.contact)
            self.step(now)

    def failed(self, call: Call, now: float) -> None:
        if not self.over:
            self.sweep.failed(call.contact)
            self.step(now)


class Survey(Ranging):
    """Who is around a point.  Whoever wants the same point meanwhile listens along."""

    __slots__ = ("_ended",)

    def __init__(self, asker: Asker, target: bytes) -> None:
        super().__init__(asker, target, SURVEYED)
        self._ended: list[Seen] = []

    def listen(self, ended: Seen) -> None:
        """``ended`` gets everybody heard of who was not found silent, apart those whom one network alone told of."""
        self._ended.append(ended)

    def end(self, now: float) -> None:
        sure: list[Contact] = []
        rumoured: list[Contact] = []
        for contact in self.sweep.everybody():
            alone = self._told.alone(contact) and not self.sweep.heard(contact.id)
            (rumoured if alone else sure).append(contact)
        for ended in self._ended:
            self.tell(ended, list(sure), list(rumoured), now)


class Holder:
    """A peer with listings of the tag: what it gave, and where to go on."""

    __slots__ = ("asking", "contact", "cursor", "given", "seen", "waiting")

    def __init__(self, contact: Contact | None) -> None:
        self.contact = contact
        """None: ourselves."""
        self.cursor = 0
        """The next page to ask for; 0: none."""
        self.asking = False
        self.given = 0
        """Listings that it was the first to bring and that were handed out."""
        self.seen: set[Key] = set()
        """What it gave: one that repeats itself, be it newly signed, or sends forgeries is asked for no more pages."""
        self.waiting: list[Verified[Listing]] = []
        """Listings beyond its share, until the others were heard."""


class Search(Ranging):
    """Collect listings of one tag: each reader gets every verified one as it arrives, and newer ones of the same."""

    __slots__ = (
        "_checked",
        "_early",
        "_holders",
        "_keys",
        "_order",
        "_pages_left",
        "_readers",
        "_round",
        "_scouting",
        "hasty",
        "limit",
        "tag",
    )

    def __init__(self, asker: Asker, tag: Tag, target: bytes, limit: int) -> None:
        super().__init__(asker, target)
        self.tag, self.limit, self._order = tag, limit, asker.dice()
        self.hasty = self.sweep.sparing = self._scouting = limit == 1
        self._readers: list[Reader] = []
        self._keys: dict[Key, tuple[Verified[Listing], int]] = {}
        """Of each publisher and dataset: the newest listing so far, and how often there was a newer one."""
        self._checked: dict[messages.Pair, Verified[Listing]] = {}
        """Many holders send the same bytes; each is verified once."""
        self._holders: dict[bytes, Holder] = {}
        self._pages_left = 4 * limit + 64 * PAGERS
        self._early = 0
        """Handed out before everybody was heard: at most half of the limit."""
        self._round = 0
        """How many were found when the present round began."""

    def listen(self, found: Found, ended: Ended) -> Reader:
        """Hear what was found until now and all that will be; the search stops when all of its readers left."""
        reader = Reader(self, found, ended)
        self._readers.append(reader)
        for listing, _ in list(self._keys.values()):
            found(listing)
        return reader

    def leave(self, reader: Reader) -> None:
        """See ``Reader.close``."""
        if reader in self._readers:
            self._readers.remove(reader)
            if not self._readers:
                self.close()

    def begin_with(self, listings: Iterable[Verified[Listing]], own: bytes) -> None:
        """Take what is held here: our own listings, and as a holder's those of others."""
        here = self._holders[own] = Holder(None)
        for listing in listings:
            self.take(listing, None if listing.record.key == own else here)

    def begin(self, now: float) -> None:
        near = self.asker.likely(self.target) if self._scouting else None
        if near is None:
            self._scouting = False
            super().begin(now)
        else:  # most searches for one listing need nobody else, nor all that is known of the ranges
            self.sweep.start([(range_of(self.sweep.target, near.long_id), [near])])
            self.step(now)

    def _look_around(self) -> None:
        """The likeliest holder was not enough: take in all that we know."""
        if self._scouting and not self.over:
            self._scouting = False
            self.sweep.start(self.asker.around(self.target))

    def request(self) -> Request:
        return self._page(0)

    def take(self, listing: Verified[Listing], holder: Holder | None = None) -> None:
        """Hand a verified listing out, unless one as new of its publisher and dataset was handed out.

        One beyond its holder's share waits until the others were heard: nobody fills a search alone.
        """
        record = listing.record
        if record.tag != self.tag or record.ttl <= WITHDRAWN_TTL:
            return
        key = (record.key, record.dataset)
        known = self._keys.get(key)
        if known is not None:
            if record.seq > known[0].record.seq and known[1] < MOST_NEWER:
                self._hand_out(key, listing, known[1] + 1)
        elif not self.enough():
            if holder is not None:
                if holder.given >= max(1, self.limit // HOLDERS) or self._early >= max(1, self.limit // 2):
                    holder.waiting.append(listing)
                    return
                holder.given += 1
                self._early += 1
            self._hand_out(key, listing, 0)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over or not isinstance(answer, Page):
            return
        holder = self._holders.get(call.contact.key)
        if answer.listings or answer.next:
            if holder is None:
                holder = self._holders[call.contact.key] = Holder(call.contact)
            self._read(holder, answer)
        if self.enough():
            self.step(now)
        elif self.sweep.heard(call.contact.id):  # a further page
            if holder is not None:
                holder.asking = False
            self.step(now)
        else:
            self._look_around()
            super().answered(call, answer, now)

    def slow(self, call: Call, now: float) -> None:
        holder = self._holders.get(call.contact.key)
        if holder is None:
            self._look_around()
            super().slow(call, now)
        elif holder.asking:  # its turn goes to another; what it may still answer counts
            holder.asking, holder.cursor = False, 0
            self.step(now)

    def failed(self, call: Call, now: float) -> None:
        holder = self._holders.get(call.contact.key)
        if holder is not None:
            holder.asking, holder.cursor = False, 0
            self.step(now)
        else:
            self._look_around()
            super().failed(call, now)

    def step(self, now: float) -> None:
        if not self.over and not self.enough():
            self._turn_pages(now)
        super().step(now)

    def finished(self, now: float) -> bool:
        if self.enough():
            return True
        if not self.sweep.done(bool(self._keys)):
            return False
        self._hand_out_waiting()
        self._turn_pages(now)
        if self.enough():
            return True
        if any(holder.asking for holder in self._holders.values()):
            return False
        if len(self._keys) >= WORTH_WIDENING and len(self._keys) > self._round:
            self._round = len(self._keys)
            self.sweep.widen()
            self.step(now)
            return False
        return True

    def end(self, now: float) -> None:
        for reader in list(self._readers):
            self.tell(reader.ended, now)

    def enough(self) -> bool:
        return len(self._keys) >= self.limit

    def _hand_out(self, key: Key, listing: Verified[Listing], newer: int) -> None:
        self._keys[key] = (listing, newer)
        for reader in list(self._readers):
            self.tell(reader.found, listing)

    def _hand_out_waiting(self) -> None:
        """Everybody was heard: one of each holder in turn, as long as there is room."""
        holders = [holder for holder in self._holders.values() if holder.waiting]
        while holders and not self.enough():
            for holder in holders:
                listing = holder.waiting.pop(0)
                if (listing.record.key, listing.record.dataset) not in self._keys and not self.enough():
                    self.take(listing)
            holders = [holder for holder in holders if holder.waiting]

    def _turn_pages(self, now: float) -> None:
        """Ask holders for their next pages: within their share at first, and for all once everybody was heard."""
        everybody = self.sweep.done(True)
        share = max(1, self.limit // HOLDERS)
        asking = sum(holder.asking for holder in self._holders.values())
        for holder in sorted(self._holders.values(), key=lambda h: h.given):
            if asking >= PAGERS or self._pages_left <= 0:
                return
            if holder.contact and holder.cursor and not holder.asking and (everybody or holder.given < share):
                holder.asking = True
                asking += 1
                self._pages_left -= 1
                self.asker.ask(holder.contact, self._page(holder.cursor), self, now)

    def _page(self, cursor: int) -> FindListings:
        have = ALL_RANGES if cursor else self.sweep.have()
        limit = min(self.limit, self.asker.limits.page)
        return FindListings(MAKE_CALL, self.tag, self._order, cursor, limit, have)

    def _read(self, holder: Holder, page: Page) -> None:
        """Take a page in; go on with this holder only if all of it was true and some of it new."""
        before, cursor = len(holder.seen), holder.cursor
        checked = [self._check(pair, holder) for pair in page.listings]
        more = all(checked) and page.next > cursor and len(holder.seen) > before
        holder.cursor = page.next if more else 0

    def _check(self, pair: messages.Pair, holder: Holder) -> bool:
        listing = self._checked.get(pair)
        if listing is None:
            try:
                listing = self._checked[pair] = self.asker.check_listing(pair)
            except RemoteError as error:
                self.asker.blame(error)
                return False
        holder.seen.add((listing.record.key, listing.record.dataset))
        self.take(listing, holder)
        return True


class Reader:
    """One of those who read the same search."""

    __slots__ = ("ended", "found", "search")

    def __init__(self, search: Search, found: Found, ended: Ended) -> None:
        self.search, self.found, self.ended = search, found, ended

    def close(self) -> None:
        """Read no longer."""
        self.search.leave(self)
