"""The routing table: the kademlia package's buckets, with an exact neighbour search and no eviction of the living.

What is taken from ``kademlia.routing``: buckets as ranges of the id space, the split of the bucket that holds our own
id, least recently seen first, a replacement cache.  What is not, and why (each was seen running):
its wall clock and its ``asyncio.ensure_future`` inside ``add_contact`` (a core takes time as an argument and starts
nothing), ranges that overlap by one id, ``find_neighbors`` that stops when one side runs out (recall 0.82 of the true
nearest), and the ping that each newcomer to a full bucket causes (the idle storm).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from kademlia.routing import KBucket, RoutingTable

from p2pgrid.dht.contacts import Contact, Peer
from p2pgrid.dht.limits import Limits

ID_BITS = 160


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
        for peer in (*self.nodes.values(), *self.replacement_nodes.values()):
            (one if peer.long_id <= middle else two).add_node(peer)
        return one, two

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
    """All buckets.  ``peers`` counts those that lookups use; caches come on top."""

    buckets: list[Bucket]

    def __init__(self, own: bytes, limits: Limits, now: float) -> None:
        self.own = int.from_bytes(own, "big")
        self.limits = limits
        self.began = now
        super().__init__(None, limits.k, None)

    def flush(self) -> None:
        """Forget everybody."""
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.limits, self.began)]

    def index(self, long_id: int) -> int:
        """Which bucket an id falls into."""
        return bisect_right(self.buckets, long_id, key=lambda bucket: bucket.range[0]) - 1

    def get(self, an_id: bytes) -> Peer | None:
        """The peer of that id, in a bucket or waiting in its cache."""
        bucket = self.buckets[self.index(int.from_bytes(an_id, "big"))]
        return bucket.nodes.get(an_id) or bucket.replacement_nodes.get(an_id)

    def add_contact(self, node: Peer) -> bool:
        """Admit a peer whose key and address were proven, or note that it was heard.

        False when its bucket is full: it waits in the cache until somebody in the bucket is found dead.
        """
        if node.long_id == self.own:
            return False
        while True:
            index = self.index(node.long_id)
            bucket = self.buckets[index]
            if bucket.add_node(node):
                return True
            if not bucket.range[0] <= self.own <= bucket.range[1] or bucket.range[0] == bucket.range[1]:
                return False
            del bucket.replacement_nodes[node.id]
            self.split_bucket(index)

    def remove_contact(self, node: Contact) -> None:
        """Drop a peer found dead or displaced."""
        self.buckets[self.index(node.long_id)].remove_node(node)

    def peers(self) -> Iterator[Peer]:
        """Everybody in a bucket."""
        for bucket in self.buckets:
            yield from bucket.nodes.values()

    def __len__(self) -> int:
        return sum(len(bucket.nodes) for bucket in self.buckets)

    def nearest(self, target: int, count: int, exclude: bytes = b"") -> list[Peer]:
        """The exact ``count`` peers nearest to ``target``, nearest first.

        Buckets are aligned subtrees, so all of one is nearer than all of the next in the order of
        ``lower XOR target`` (with the bits inside the bucket cleared): only as many as needed are sorted.
        """
        found: list[Peer] = []
        for bucket in sorted(self.buckets, key=lambda b: (b.range[0] ^ target) & ~(b.range[1] - b.range[0])):
            near = [peer for peer in bucket.nodes.values() if peer.key != exclude]
            near.sort(key=lambda peer: peer.long_id ^ target)
            found += near
            if len(found) >= count:
                break
        return found[:count]

    def stale(self, now: float, period: float) -> list[Bucket]:
        """Buckets in whose range nothing was looked up for ``period``."""
        return [bucket for bucket in self.buckets if now - bucket.last_updated >= period]
