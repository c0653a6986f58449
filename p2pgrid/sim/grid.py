"""A grid of real engines in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from p2pgrid import crypto
from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import Endpoint, Peer
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.dht.lookup import Lookup
from p2pgrid.errors import BadSignature, BrokenInvariant, InvalidInput
from p2pgrid.ids import Tag
from p2pgrid.records import LISTING_CONTEXT, Listing, Verified
from p2pgrid.sim.growth import Growth
from p2pgrid.sim.invariants import leaked, under_way
from p2pgrid.sim.keys import ModelledIdentity
from p2pgrid.sim.latency import Regions
from p2pgrid.sim.nat import Kind
from p2pgrid.sim.network import Conditions, Network
from p2pgrid.sim.node import Node
from p2pgrid.sim.order import Ordered
from p2pgrid.sim.world import World

CHECK_EVERY: Final = 64
"""Datagrams of a node between two looks at its invariants: more often costs as much as the engines do."""
GROWN_WITHIN: Final = 60.0
"""Seconds that the last node of those that ``grow`` has to join."""
PORT: Final = 4000
TRIES: Final = 16


class Grid:
    """Nodes, the network between them, and their time.

    ``check_every``: see ``Invariants``; ``real_keys``: key agreements are computed, not modelled (see ``keys``), for a
    study of attacks on them.  Nodes live in address groups of their own unless told an address.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        conditions: Conditions | None = None,
        limits: Limits = DEFAULT,
        check_every: int = CHECK_EVERY,
        real_keys: bool = False,
    ) -> None:
        self._identities: type[Identity] = Identity if real_keys else ModelledIdentity
        self.world = World(seed)
        self.network = Network(self.world, conditions)
        self.limits, self.check_every = limits, check_every
        self.nodes: list[Node] = []
        self.faults: list[Exception] = []
        self.unjoined = self.unheld = self.unfinished = 0
        """Joins that nobody answered, announcements after which nobody held the listing, searches and lookups that did
        not end in the time they had."""
        latency = self.network.conditions.latency
        self._regions: Sequence[str] = latency.names if isinstance(latency, Regions) else ()
        self._checked: set[tuple[bytes, bytes, bytes]] = set()

    # ------------------------------------------------------------ who is there

    def add(
        self,
        *,
        identity: Identity | None = None,
        endpoint: Endpoint | None = None,
        server: bool = True,
        nat: Kind | None = None,
        limits: Limits | None = None,
        name: str = "",
        wall: Callable[[], float] | None = None,
        side: int = 0,
    ) -> Node:
        """A node that knows nobody yet.

        ``nat``: what its host stands behind, as the grid's conditions have it unless told.  It serves others all the
        same, as a real node does that listens at all addresses: it cannot know that only those it wrote to reach it.
        ``wall``: its clock of records, the world's unless told; ``side``: of a partition, see ``part``.
        """
        identity = identity or self.new_identity()
        if type(identity) is not self._identities:
            raise InvalidInput(
                f"A grid with {self._identities.__name__} takes no {type(identity).__name__}: they agree with nobody.",
                fix="Make it with new_identity(), or the grid with real_keys=True.",
            )
        chance = self.world.random
        region = chance.choice(self._regions) if self._regions else ""
        nat = nat or self.network.conditions.nat(chance.random)
        host = self.network.add(endpoint or self.free_address(), nat=nat, region=region)
        host.side = side
        node = Node(self, host, identity, limits or self.limits, server, name, wall or self.world.wall)
        self.nodes.append(node)
        return node

    def new_identity(self) -> Identity:
        """A key pair by this world's chance."""
        return self._identities.generate(self.world.random.randbytes)

    def free_address(self) -> Endpoint:
        """An address in a group (/24) of its own; the first million of them differ."""
        number = self.network.made
        return (f"{20 + number // 62_500}.{number // 250 % 250 + 1}.{number % 250}.7", PORT)

    def grow(
        self, count: int, *, every: float = 0.05, told: Callable[[float], None] = lambda share: None
    ) -> list[Node]:
        """``count`` nodes more, each joined through one that is up, one begun ``every`` so many seconds.

        While there is no door, the next is one: open, and the first of its grid.  Whom nobody answers tries again, by
        others.  Returns when all have joined, or a minute after the last began; ``unjoined`` counts those that have not
        by then.  ``told`` hears of the share that has begun.
        """
        grown: list[Node] = []
        growth = Growth(self)

        def one_more() -> None:
            door = self.door()
            node = self.add(nat=None if door else "open")
            grown.append(node)
            told(len(grown) / count)
            growth.join(node, door)
            if len(grown) < count:
                self.world.after(every, one_more)

        if count > 0:
            one_more()
            self.run(every * count + GROWN_WITHIN, lambda: growth.joined >= count)
            growth.over = True
            self.unjoined += sum(not growth.inside(node) for node in grown)
        return grown

    def copy_tables(self, other: Grid) -> None:
        """The nodes of another grid with the tables that they have there, without sessions; for an empty grid."""
        for node in other.nodes:
            copied = self.add(identity=node.identity, endpoint=node.host.endpoint, server=node.server)
            for peer in node.engine.table.peers():
                copied.engine.table.add_contact(Peer(peer.key, *peer.endpoint, None, self.world.now))

    def acquaint(self) -> None:
        """Fill everybody's table as a long life would: of each distance range as many as a bucket has, by chance."""
        everybody = Ordered([(int.from_bytes(node.identity.id, "big"), node) for node in self.nodes])
        for node in self.nodes:
            own, k = int.from_bytes(node.identity.id, "big"), node.limits.k
            for row in everybody.ranges(own):
                for other in self.world.random.sample(row, min(k, len(row))):
                    node.engine.table.add_contact(Peer(other.identity.public, *other.address, None, self.world.now))

    def anyone(self, wanted: Callable[[Node], bool] = lambda node: True) -> Node | None:
        """One that is up, and as wanted, by chance; None when there is none."""
        nodes, choice = self.nodes, self.world.random.choice
        for _ in range(TRIES if nodes else 0):  # most are, so that nobody looks at all of them
            node = choice(nodes)
            if node.up and wanted(node):
                return node
        fitting = [node for node in nodes if node.up and wanted(node)]
        return choice(fitting) if fitting else None

    def door(self, wanted: Callable[[Node], bool] = lambda node: True) -> Node | None:
        """One that others can join through, and as wanted."""
        return self.anyone(lambda node: node.server and node.host.nat is None and wanted(node))

    def living(self) -> list[Node]:
        """Those that are up."""
        return [node for node in self.nodes if node.up]

    def nearest(self, target: bytes, count: int) -> list[bytes]:
        """The ids of the living servers truly nearest to a point."""
        ids: list[bytes] = [node.identity.id for node in self.nodes if node.up and node.server]
        point = int.from_bytes(target, "big")
        return heapq.nsmallest(count, ids, key=lambda one: int.from_bytes(one, "big") ^ point)

    def remove(self, node: Node) -> None:
        """It is gone for good, and forgotten."""
        node.crash()
        self.network.remove(node.host)
        self.nodes.remove(node)

    # ------------------------------------------------------------ one thing at a time

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """See ``World.run``.  Raises ``BrokenInvariant`` for a fault that an engine met meanwhile."""
        came = self.world.run(seconds, until)
        if self.faults:
            raise BrokenInvariant(f"An engine met a fault of its own: {self.faults[0]!r}.") from self.faults[0]
        return came

    def run_to(self, moment: float) -> None:
        """Let time pass until then; not at all when it is over."""
        self.run(max(0.0, moment - self.world.now))

    def announce(self, node: Node, tag: Tag, dataset: bytes, title: str = "") -> int:
        """How many hold it, once the announcement returns."""
        held: list[int] = []
        node.announce(tag, dataset, title, held.append)
        self.run(30.0, lambda: bool(held))
        self.unheld += not any(held)
        return held[0] if held else 0

    def search(self, node: Node, tag: Tag, limit: int = 1000, patience: float = 60.0) -> list[Verified[Listing]]:
        """Everything found until the end of the search, or within ``patience``; ``unfinished`` counts the latter."""
        found: list[Verified[Listing]] = []
        ended: list[None] = []
        node.search(tag, limit, found.append, lambda: ended.append(None))
        self.unfinished += not self.run(patience, lambda: bool(ended))
        return list(found)  # as it is now: a search that goes on finds more

    def find(self, node: Node, target: bytes, patience: float = 60.0) -> Lookup:
        """A lookup of nodes, once it is over or as it is after ``patience``; ``unfinished`` counts the latter."""
        ended: list[object] = []
        lookup = node.find(target, ended.append)
        self.unfinished += not self.run(patience, lambda: bool(ended))
        return lookup

    def part(self, *sides: Iterable[Node]) -> None:
        """Cut the network: nodes of different sides do not hear each other.  Without any, it is whole again.

        Sides are numbered from 1; whoever is on none, or comes later without a side, is on side 0.
        """
        for node in self.nodes:
            node.host.side = 0
        for number, side in enumerate(sides, 1):
            for node in side:
                node.host.side = number

    # ------------------------------------------------------------ watching

    def verified(self, listing: Verified[Listing], tag: Tag) -> None:
        """Whoever searched was handed this: it is of the tag, and signed by its publisher.  Each signature is checked
        once.

        Raises ``BrokenInvariant``.
        """
        if listing.record.tag != tag:
            raise BrokenInvariant(f"A search for #{tag} was handed a listing of #{listing.record.tag}.")
        signed = (listing.record.key, listing.raw, listing.signature)
        if signed in self._checked:
            return
        try:
            crypto.verify(listing.record.key, LISTING_CONTEXT, listing.raw, listing.signature)
        except BadSignature as error:  # an engine would take it for its peer's fault, and go on
            raise BrokenInvariant(f"A search for #{tag} was handed a listing that nobody signed.") from error
        self._checked.add(signed)

    def check_leaks(self, patience: float = 120.0) -> None:
        """Whatever is under way now has ended after ``patience``.  Raises ``BrokenInvariant``."""
        before = {node: under_way(node.engine) for node in self.living()}
        keep = [list(node.engine.operations()) for node in self.living()]  # so that no identity is used again
        self.run(patience)
        for node, then in before.items():
            if node.up and (left := leaked(node.engine, then)):
                raise BrokenInvariant(f"A node is still at {len(left)} things that it began {patience:g} s ago.")
        del keep

    def fault(self, error: Exception) -> None:
        """An engine met a fault of its own; ``run`` raises it."""
        self.faults.append(error)
        self.world.stop()
