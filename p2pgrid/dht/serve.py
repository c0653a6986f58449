"""What a node answers: the holder's and router's side of each request, cut to the bytes that the answer may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pgrid import crypto
from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact, Peer, group_of, may_tell
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import (
    AddListing,
    FindListings,
    FindNode,
    Nodes,
    Page,
    Ping,
    Pong,
    Request,
    SampleTags,
    Stored,
    Tags,
)
from p2pgrid.dht.placement import targets
from p2pgrid.dht.routing import Table
from p2pgrid.dht.store import Store
from p2pgrid.errors import LimitReached, RemoteError, RolledBack, WrongIdentity
from p2pgrid.records import NodeRecord, Verified, verify_listing

AROUND_NODES = 16
AROUND_PAGE = 32
CONTACTS_WITH_LISTINGS = 4
"""Contacts that a page of listings leaves room for."""


class Desk:
    """Answers for one node.  ``now`` is the engine's time, ``wall()`` that of records."""

    __slots__ = ("_limits", "_random", "_record", "_store", "_table", "_wall", "blame", "state")

    def __init__(
        self,
        table: Table,
        store: Store,
        limits: Limits,
        random: crypto.Random,
        wall: Callable[[], float],
        record: Callable[[], Verified[NodeRecord]],
        blame: Callable[[RemoteError], None],
    ) -> None:
        self._table, self._store, self._limits, self._random = table, store, limits, random
        self._wall, self._record = wall, record
        self.blame = blame
        self.state = messages.ONLINE

    def answer(self, request: Request, asker: Contact, room: int, proven: bool) -> bytes:
        """The encoded answer in at most ``room`` bytes; empty when it must wait until the address is proven."""
        if isinstance(request, FindNode):
            near = self.near(int.from_bytes(request.target, "big"), asker, (room - AROUND_NODES) // 52)
            return messages.encode(Nodes(request.call, near))
        if isinstance(request, FindListings):
            return self._page(request, asker, room)
        if isinstance(request, Ping):
            return self._pong(request, room)
        if isinstance(request, AddListing):
            return self._add(request, asker) if proven else b""
        return self._tags(request, room)

    def near(self, target: int, asker: Contact, most: int) -> tuple[bytes, ...]:
        """Packed contacts that answered when last asked, nearest first."""
        wanted = min(self._limits.k, max(0, most))
        peers: Sequence[Peer] = self._table.nearest(target, wanted + 4, asker.key)
        good = [p.packed for p in peers if not p.fails and may_tell(asker.ip, p.ip)]
        return tuple(good[:wanted])

    def _page(self, request: FindListings, asker: Contact, room: int) -> bytes:
        tag = request.tag
        total = self._store.total(tag)
        key = int.from_bytes(targets(tag)[0], "big")
        room -= AROUND_PAGE
        if not total:
            return messages.encode(Page(request.call, 0, 0, (), self.near(key, asker, room // 52)))
        first = request.cursor == 0
        kept = CONTACTS_WITH_LISTINGS * 52 if first else 0
        pairs, following = self._store.page(
            tag, request.order, request.cursor, request.limit, room - kept, self._wall()
        )
        left = room - sum(len(pair[0]) + 72 for pair in pairs)
        near = self.near(key, asker, left // 52) if first else ()
        listings = tuple((pair[0], pair[1]) for pair in pairs)
        return messages.encode(Page(request.call, total, following, listings, near))

    def _pong(self, request: Ping, room: int) -> bytes:
        record = self._record()
        pair = (record.raw, record.signature) if request.want else None
        pong = Pong(request.call, self.state, record.record.seq, record.record.name, pair)
        encoded = messages.encode(pong)
        return encoded if len(encoded) <= room else b""

    def _add(self, request: AddListing, asker: Contact) -> bytes:
        return messages.encode(Stored(request.call, self._store_listing(request, asker)))

    def _store_listing(self, request: AddListing, asker: Contact) -> int:
        try:
            listing = verify_listing(request.pair, now=self._wall())
            if listing.record.key != asker.key:
                raise WrongIdentity("A listing came from somebody else than its publisher.")
            self._store.put(listing, group_of(asker.endpoint), self._wall())
        except RemoteError as error:
            self.blame(error)
            if isinstance(error, LimitReached):
                return messages.REFUSED_LIMIT
            return messages.REFUSED_OLD if isinstance(error, RolledBack) else messages.REFUSED_RECORD
        return messages.STORED

    def _tags(self, request: SampleTags, room: int) -> bytes:
        tags = self._store.tags()
        start = int.from_bytes(self._random(4), "big") % max(1, len(tags))
        chosen = []
        room -= AROUND_NODES
        for tag in (tags[start:] + tags[:start])[: request.limit]:
            room -= len(tag.encode()) + 2
            if room < 0:
                break
            chosen.append(tag)
        return messages.encode(Tags(request.call, len(tags), tuple(chosen)))
