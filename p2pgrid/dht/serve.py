"""What a node answers: the holder's and router's side of each request, cut to the bytes that the answer may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from p2pgrid import crypto
from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact, Peer, is_loopback, may_tell, share_of
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
from p2pgrid.dht.placement import shuffled
from p2pgrid.dht.ranges import ALL_RANGES, spread
from p2pgrid.dht.routing import Table
from p2pgrid.dht.store import Store
from p2pgrid.errors import LimitReached, RemoteError, RolledBack, WrongIdentity
from p2pgrid.ids import tag_key
from p2pgrid.records import NodeRecord, Verified, verify_listing

TAGS_FRESH = 5.0
"""Seconds for which one list of the store's tags is sampled from: to make it costs far more than an answer."""
AROUND_NODES = 16
AROUND_PAGE = 32
CONTACT_BYTES = 40
"""An IPv4 contact with its msgpack head; an IPv6 one takes 12 more."""
CONTACTS_WITH_LISTINGS = 8
"""Contacts that a page of listings leaves room for."""


class Desk:
    """Answers for one node.  ``now`` is the engine's time, ``wall()`` that of records."""

    __slots__ = ("_limits", "_random", "_record", "_row", "_row_at", "_store", "_table", "_wall", "blame", "state")

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
        self._row = store.tags()
        self._row_at = float("-inf")

    def answer(self, request: Request, asker: Contact, room: int, proven: bool) -> bytes:
        """The encoded answer in at most ``room`` bytes; empty when it must wait until the address is proven."""
        if isinstance(request, FindNode):
            target, have = int.from_bytes(request.target, "big"), request.have
            room -= AROUND_NODES
            around = self._near(target, asker, room) if have is None else self._around(target, have, asker, room)
            return messages.encode(Nodes(request.call, around))
        if isinstance(request, FindListings):
            return self._page(request, asker, room)
        if isinstance(request, Ping):
            return self._pong(request, room)
        if isinstance(request, AddListing):
            return self._add(request, asker) if proven else b""
        return self._tags(request, room)

    def _near(self, target: int, asker: Contact, room: int) -> tuple[bytes, ...]:
        """Packed contacts that answered when last asked, nearest first, in so many bytes."""
        return _fitting(self._table.nearest(target, self._limits.k, asker.key, True), self._limits.k, asker, room)

    def _around(self, target: int, have: int, asker: Contact, room: int) -> tuple[bytes, ...]:
        """The same, from every distance range around ``target`` but those of which the asker has enough."""
        most = self._limits.k
        turn = int.from_bytes(self._random(2), "big")
        rows = [row for _, row in self._table.ranges(target, have)]
        return _fitting(spread(rows, most + 4, turn), most, asker, room)

    def _page(self, request: FindListings, asker: Contact, room: int) -> bytes:
        tag = request.tag
        self._store.sweep(self._wall())
        total = self._store.total(tag)
        key = int.from_bytes(tag_key(tag), "big")
        room -= AROUND_PAGE
        if not total:
            return messages.encode(Page(request.call, 0, 0, (), self._around(key, request.have, asker, room)))
        # Others are named only where the asker still looks for some: not with a further page, nor with the one listing
        # that it wants.
        some = request.have != ALL_RANGES and request.limit > 1
        kept = CONTACTS_WITH_LISTINGS * CONTACT_BYTES if some else 0
        pairs, following = self._store.page(
            tag, request.order, request.cursor, request.limit, room - kept, self._wall()
        )
        left = room - sum(len(pair[0]) + 72 for pair in pairs)
        around = self._around(key, request.have, asker, left) if kept else ()
        listings = tuple((pair[0], pair[1]) for pair in pairs)
        return messages.encode(Page(request.call, total, following, listings, around))

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
            self._store.put(listing, share_of(asker.endpoint), self._wall())
        except RemoteError as error:
            self.blame(error)
            if isinstance(error, LimitReached):
                return messages.REFUSED_LIMIT
            return messages.REFUSED_OLD if isinstance(error, RolledBack) else messages.REFUSED_RECORD
        return messages.STORED

    def _tags(self, request: SampleTags, room: int) -> bytes:
        """A random sample: each tag is as likely as every other, whoever has how many listings under it."""
        now = self._wall()
        if not 0.0 <= now - self._row_at <= TAGS_FRESH:
            self._row, self._row_at = self._store.tags(), now
        row, chosen = self._row, []
        room -= AROUND_NODES
        for position in islice(shuffled(len(row), int.from_bytes(self._random(8), "big"), 0), request.limit):
            room -= len(row[position].encode()) + 2
            if room < 0:
                break
            chosen.append(row[position])
        return messages.encode(Tags(request.call, len(row), tuple(chosen)))


def _fitting(peers: Sequence[Peer], most: int, asker: Contact, room: int) -> tuple[bytes, ...]:
    """Those that the asker can use, packed, as many as fit."""
    usable = [peer for peer in peers if not peer.fails and peer.key != asker.key]
    if not is_loopback(asker.ip):  # whoever is on this machine may be told of everybody
        asker_ip = asker.ip
        usable = [peer for peer in usable if may_tell(asker_ip, peer.endpoint[0])]
    packed = [peer.packed for peer in usable[:most]]
    while packed and sum(map(len, packed)) + 2 * len(packed) > room:
        packed.pop()
    return tuple(packed)
