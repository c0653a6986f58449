"""The routing table: the kademlia package's buckets, with an exact neighbour search and no eviction of the living.

What is taken from ``kademlia.routing``: buckets as ranges of the id space, the split of the bucket that holds our own
id, least recently seen first, a replacement cache.  What is not, and why (each was seen running):
its wall clock and its ``asyncio.ensure_future`` inside ``add_contact`` (a core takes time as an argument and starts
nothing), ranges that overlap by one id, ``find_neighbors`` that stops when one side runs out (recall 0.82 of the true
nearest), and the ping that each newcomer to a full bucket causes (the idle storm).

Only the bucket around our own id ever splits, so bucket ``i`` holds the ids that share exactly ``i`` leading bits with
ours, and the last one all that share more: which bucket an id belongs to, and in which order buckets come nearer to
a point, is read off the bits of ``own XOR point``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2
from statistics import median
from typing import Final

from kademlia.routing import KBucket, RoutingTable

from p2pgrid.dht.contacts import KEY, SITE_FACTOR, Contact, Endpoint, Peer, group_of, is_local, site_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import ID_BITS, by_range

DEPTH_SLACK: Final = 5.0
"""log2 of a network in which even an empty table could be."""
ADDRESS_AT: Final = KEY + 2
"""Where the address begins in a packed contact: after key and port."""
MARKS: Final = 4096
"""Bits that tell addresses and their groups apart: of 100 peers one in twenty strangers is mistaken for one, and looked
for."""


class Bucket(KBucket):  # type: ignore[misc]
    """Peers of one range of ids, least recently seen first, and the newest newcomers that found it full."""

    nodes: dict[bytes, Peer]
    replacement_nodes: dict[bytes, Peer]
    range: tuple[int, int]

    def __init__(self, lower: int, upper: int, limits: Limits, now: float) -> None:
        # KBucket.__init__ reads the wall clock, so it is not called; plain dicts keep order in half the memory.
        self.range = (lower, upper)
        self.nodes = {}
        self.replacement_nodes = {}
        self.last_updated = now
        self.ksize = limits.k
        self.max_replacement_nodes = limits.cache
        self.limits = limits

    def touch_last_updated(self) -> None:
        """Not used: whoever looks a range up sets ``last_updated`` to its own time."""

    def split(self) -> tuple[Bucket, Bucket]:
        """Two halves, each node in its half and in its order."""
        lower, upper = self.range
        middle = (lower + upper) // 2
        one = Bucket(lower, middle, self.limits, self.last_updated)
        two = Bucket(middle + 1, upper, self.limits, self.last_updated)
        for peer in self.everybody():
            (one if peer.long_id <= middle else two).add_node(peer)
        return one, two

    def everybody(self) -> Iterator[Peer]:
        """Nodes, then those that wait."""
        yield from self.nodes.values()
        yield from self.replacement_nodes.values()

    def add_node(self, node: Peer) -> bool:
        """Add or move to the most recent end.  False when the bucket is full and the node waits in the cache."""
        if node.id in self.nodes:
            del self.nodes[node.id]
            self.nodes[node.id] = node
            return True
        self.replacement_nodes.pop(node.id, None)
        if len(self.nodes) < self.ksize:
            self.nodes[node.id] = node
            return True
        self.replacement_nodes[node.id] = node
        while len(self.replacement_nodes) > self.max_replacement_nodes:
            del self.replacement_nodes[next(iter(self.replacement_nodes))]
        return False

    def remove_node(self, node: Contact) -> None:
        """Drop a node; the newest of the cache takes its place."""
        self.replacement_nodes.pop(node.id, None)
        if self.nodes.pop(node.id, None) is not None and self.replacement_nodes:
            newest, peer = self.replacement_nodes.popitem()
            self.nodes[newest] = peer


class Table(RoutingTable):  # type: ignore[misc]
    """All buckets.  ``peers`` counts those that lookups use; caches come on top.

    Of one address group (``contacts.group_of``) at most ``bucket_group`` peers are in one bucket and ``table_group``
    in the table, waiting ones included: whoever floods us from a bought network gets no more of our answers.
    """

    buckets: list[Bucket]
    """Bucket ``i``: ids that share exactly ``i`` leading bits with ours; the last one: those that share more."""

    def __init__(self, own: bytes, limits: Limits, now: float) -> None:
        self.own = int.from_bytes(own, "big")
        self.limits = limits
        self.began = now
        self.crowded = 0
        """How often a peer was kept out, or had to go, because of its address group."""
        self._marks = 0
        """Bits for the address and the address groups of each peer ever added: most newcomers' are not among them, and
        nobody is compared."""
        super().__init__(None, limits.k, None)

    def flush(self) -> None:
        """Forget everybody."""
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.limits, self.began)]

    def index(self, long_id: int) -> int:
        """Which bucket an id falls into."""
        shared = ID_BITS - (self.own ^ long_id).bit_length()
        last = len(self.buckets) - 1
        return shared if shared < last else last

    def get(self, an_id: bytes) -> Peer | None:
        """The peer of that id, in a bucket or waiting in its cache."""
        bucket = self.buckets[self.index(int.from_bytes(an_id, "big"))]
        return bucket.nodes.get(an_id) or bucket.replacement_nodes.get(an_id)

    def split_bucket(self, index: int) -> None:
        """Halve the last bucket; the half with our own id stays the last."""
        one, two = self.buckets[index].split()
        near, far = (one, two) if self.own <= one.range[1] else (two, one)
        self.buckets[index:] = [far, near]

    def add_contact(self, node: Peer) -> bool:
        """Admit a peer whose key and address were proven, or note that it was heard.

        False when its bucket is full: it waits in the cache until somebody in the bucket is found dead.  False also
        when its address group has its share, unless one of the group that only waits makes room; then it is in neither.
        """
        if node.long_id == self.own:
            return False
        index = self.index(node.long_id)
        known = node.id in self.buckets[index].nodes or node.id in self.buckets[index].replacement_nodes
        if not known and not self._has_room(node, index):
            self.crowded += 1
            return False
        while self._splits(index, node):
            self.split_bucket(index)
            index = self.index(node.long_id)
        self._marks |= _marks_of(node.endpoint)
        return self.buckets[index].add_node(node)

    def remove_contact(self, node: Contact) -> None:
        """Drop a peer found dead or displaced."""
        self.buckets[self.index(node.long_id)].remove_node(node)

    def move(self, peer: Peer, endpoint: Endpoint) -> bool:
        """Its address is another now; proven by a session from there.

        False when its new address group has its share without it: then it is in the table no more.
        """
        index = self.index(peer.long_id)
        bucket = self.buckets[index]
        waiting = bucket.replacement_nodes.pop(peer.id, None) is not None
        held = bucket.nodes.pop(peer.id, None) is not None
        peer.moved(*endpoint)
        self._marks |= _marks_of(endpoint)
        if not (held or waiting):
            return False
        if not self._has_room(peer, index):
            self.crowded += 1
            if held and bucket.replacement_nodes:
                newest, other = bucket.replacement_nodes.popitem()
                bucket.nodes[newest] = other
            return False
        (bucket.nodes if held else bucket.replacement_nodes)[peer.id] = peer
        return True

    def peers(self) -> Iterator[Peer]:
        """Everybody in a bucket."""
        for bucket in self.buckets:
            yield from bucket.nodes.values()

    def at(self, endpoint: Endpoint) -> list[Peer]:
        """Those in a bucket that are to be found at this address."""
        if not self._marks & _mark(endpoint):
            return []
        found = [peer for bucket in self.buckets for peer in bucket.nodes.values() if peer.endpoint == endpoint]
        if not found:  # of somebody who left, or by chance
            self._marks = 0
            for bucket in self.buckets:
                for peer in bucket.everybody():
                    self._marks |= _marks_of(peer.endpoint)
        return found

    def __len__(self) -> int:
        return sum([len(bucket.nodes) for bucket in self.buckets])

    def nearest(self, target: int, count: int, exclude: bytes = b"", alive: bool = False) -> list[Peer]:
        """The exact ``count`` peers nearest to ``target``, nearest first, but for the one with the key ``exclude``.

        ``alive``: only those that answered when last asked.  Where ``target`` differs from our id, the bucket of that
        bit is on the target's side: those come first, from the widest to the narrowest, then the rest from the
        narrowest to the widest.  Only as many as needed are sorted.
        """
        # 16 of 80 peers in 4.5 us.  A key function over the 16 nodes of a bucket costs 2.3 us of that; pairs, dicts by
        # distance, ready integers, and numpy over the top 64 bits cost 3.2 to 11.
        found: list[Peer] = []
        for nodes in self._towards(target):
            if nodes:
                near = sorted(nodes.values(), key=lambda peer: peer.long_id ^ target)
                if alive:
                    near = [peer for peer in near if not peer.fails and peer.key != exclude]
                elif exclude:
                    near = [peer for peer in near if peer.key != exclude]
                found += near
                if len(found) >= count:
                    break
        return found[:count]

    def first(self, target: int, least: int) -> Peer | None:
        """The nearest to ``target`` of those that are at least so far from it and answered when last asked."""
        for nodes in self._towards(target):
            found, nearest = None, 1 << ID_BITS
            for peer in nodes.values():
                distance = peer.long_id ^ target
                if least <= distance < nearest and not peer.fails:
                    found, nearest = peer, distance
            if found is not None:
                return found
        return None

    def ranges(self, target: int, but: int = 0) -> list[tuple[int, Sequence[Peer]]]:
        """Everybody in a bucket, in rows by the leading bits shared with ``target``, the most first; no row is empty.

        Without the ranges whose bit is set in ``but``.  A bucket that holds neither ``target`` nor us is one range, so
        only those in the one that does are looked at one by one.
        """
        buckets = self.buckets
        last = len(buckets) - 1
        ours = ID_BITS - (self.own ^ target).bit_length()
        at = min(ours, last)
        mixed = by_range(target, buckets[at].nodes.values())
        rows: list[tuple[int, Sequence[Peer]]] = [(r, row) for r, row in mixed if not but >> r & 1]
        if ours < last and not but >> ours & 1:  # our own side of where target and we part
            near = [peer for bucket in buckets[ours + 1 :] for peer in bucket.nodes.values()]
            rows += [(ours, near)] if near else []
        for r in range(at - 1, -1, -1):
            if buckets[r].nodes and not but >> r & 1:
                rows.append((r, list(buckets[r].nodes.values())))
        return rows

    def depth(self) -> int:
        """How many ranges around any point hold somebody: log2 of the number of nodes, rounded; 0 when alone.

        Of ``n`` ids spread evenly, the ``i``-th nearest to ours is ``i * 2**160 / n`` away, so each known neighbour
        tells ``n = i * 2**160 / distance``.  The median over our ``k`` nearest: ids ground close to us can raise the
        word of few, and of single neighbours, chance makes too much.
        """
        distances = [peer.long_id ^ self.own for peer in self.nearest(self.own, self.limits.k)]
        if not distances:
            return 0
        told = median([log2(rank) + ID_BITS - log2(far) for rank, far in enumerate(distances, 1)])
        # Each bit more of a network's size fills one bucket more: a few ids ground next to us cannot make it look vast.
        return max(1, round(min(told, DEPTH_SLACK + 1.5 * len(self) / self.limits.k)))

    def stale(self, now: float, period: float) -> list[Bucket]:
        """Buckets in whose range nothing was looked up for ``period``."""
        return [bucket for bucket in self.buckets if now - bucket.last_updated >= period]

    # ------------------------------------------------------------ inside

    def _towards(self, target: int) -> Iterator[dict[bytes, Peer]]:
        """The nodes of each bucket, from the nearest to ``target`` to the farthest."""
        buckets = self.buckets
        last = len(buckets) - 1
        differ = (self.own ^ target) >> (ID_BITS - last)
        left = differ
        while left:
            bit = left.bit_length()
            yield buckets[last - bit].nodes
            left ^= 1 << (bit - 1)
        yield buckets[last].nodes
        for at in range(last):
            if not differ >> at & 1:
                yield buckets[last - 1 - at].nodes

    def _splits(self, index: int, node: Peer) -> bool:
        bucket = self.buckets[index]
        return (
            index == len(self.buckets) - 1
            and len(bucket.nodes) >= self.limits.k
            and node.id not in bucket.nodes
            and bucket.range[0] != bucket.range[1]
        )

    def _has_room(self, node: Peer, index: int) -> bool:
        """Whether the address group has room for one more, if need be by sending off one of it that only waits."""
        group = group_of(node.endpoint)
        if is_local(group):
            return True
        shares = [(group, 1)]
        if site := site_of(group):
            shares.append((site, SITE_FACTOR))
        shares = [share for share in shares if self._marks & _mark(share[0])]
        if not shares:
            return True
        limits = self.limits
        crowds = [
            crowd
            for prefix, times in shares
            for buckets, most in (([self.buckets[index]], limits.bucket_group), (self.buckets, limits.table_group))
            if len(crowd := self._of_group(buckets, prefix, len(group))) >= times * most
        ]
        waiting = [[(b, p) for b, p in crowd if p.id in b.replacement_nodes] for crowd in crowds]
        if not all(waiting):
            return False
        gone: set[bytes] = set()
        for crowd in waiting:  # the narrower first: whoever goes there makes room in the wider too
            bucket, peer = crowd[0]
            if gone.isdisjoint(other.id for _, other in crowd):
                del bucket.replacement_nodes[peer.id]
                gone.add(peer.id)
        self.crowded += len(gone)
        return True

    def _of_group(self, buckets: list[Bucket], prefix: bytes, length: int) -> list[tuple[Bucket, Peer]]:
        """Who is in these buckets from addresses with this prefix, of groups named by so many bytes."""
        # No counters: newcomers are rare, and what is counted when needed is never out of step with moved peers.
        size = ADDRESS_AT + (4 if length in (3, 4) else 16)
        stop = ADDRESS_AT + len(prefix)
        return [
            (bucket, peer)
            for bucket in buckets
            for peer in bucket.everybody()
            if peer.packed[ADDRESS_AT:stop] == prefix and len(peer.packed) == size
        ]


def _mark(place: Endpoint | bytes) -> int:
    return 1 << hash(place) % MARKS


def _marks_of(endpoint: Endpoint) -> int:
    group = group_of(endpoint)
    marks = _mark(endpoint) | _mark(group)
    site = site_of(group)
    return marks | _mark(site) if site else marks
