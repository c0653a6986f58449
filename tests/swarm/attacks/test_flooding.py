"""More of everything than is fair: peers of one address group, listings and tags of one key."""

from __future__ import annotations

from collections import Counter

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.dht.messages import AddListing, FindNode
from p2pgrid.dht.store import Store
from p2pgrid.errors import LimitReached
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Verified

GROUP = "66.66.66."
IN_A_BUCKET, IN_THE_TABLE = 2, 10
"""Peers of one address group."""
MANY = 100_000


def of_group(peers):
    return [peer for peer in peers if peer.ip.startswith(GROUP)]


def near(victim, bits):
    """Ids that share at least so many leading bits with the victim's."""
    point = int.from_bytes(victim.identity.id, "big")
    return lambda an_id: (an_id ^ point).bit_length() <= 160 - bits


@pytest.mark.slow
def test_buckets_flooded_from_one_address_group(grid):
    """240 real nodes of one /24, half of them ground next to the victim, greet it again and again."""
    victim, swarm = grid.honest[0], grid.swarm
    old = {peer.id for peer in victim.table.peers()}
    keys = grid.grind(120, lambda an_id: True) + grid.grind(40, near(victim, 6)) + grid.grind(80, near(victim, 9))
    flood = [swarm.place((f"{GROUP}{number + 1}", 7000 + number), identity=key) for number, key in enumerate(keys)]
    for _ in range(3):
        for node in flood:
            node.ping(Contact(victim.identity.public, *victim.address), False, lambda pong, rtt: None, swarm.now)
            swarm.flush(node)
        swarm.run(60.0)
        for bucket in victim.table.buckets:
            members = [*bucket.nodes.values(), *bucket.replacement_nodes.values()]
            assert len(of_group(members)) <= IN_A_BUCKET
        assert len(of_group(victim.table.peers())) <= IN_THE_TABLE
    now = {peer.id for peer in victim.table.peers()}
    assert old <= now, "a live peer that was known for long made room for a newcomer"
    told = grid.tell(grid.honest[1], victim, FindNode(0, victim.identity.id)).contacts
    assert len(of_group(map(Contact.unpack, told))) <= IN_THE_TABLE


def test_one_way_pings_from_500_strangers_keep_buckets_bounded(arena):
    nodes = arena.swarm.grow(10)
    old = {peer.id for peer in nodes[0].table.peers()}
    for _ in range(500):
        arena.tell(arena.swarm.make(), nodes[0], messages.Ping(0, False))
    arena.swarm.run(2.0)
    now = {peer.id for peer in nodes[0].table.peers()}
    assert old <= now, "a live peer that was known for long made room for a newcomer"
    assert len(now) <= 16 * 8


# ------------------------------------------------------------ storage


def test_storage_spam_by_one_key_leaves_room_for_others(arena):
    limits = Limits(publisher_listings=8, total_listings=64)
    holder = arena.swarm.make(limits=limits)
    mallory, honest = arena.swarm.make(), arena.swarm.make()
    verdicts = []
    for number in range(40):
        made = arena.listing(mallory.identity, f"t{number}", dataset=number.to_bytes(16, "big"))
        verdicts.append(arena.tell(mallory, holder, AddListing(0, arena.pair(made))).verdict)
    assert verdicts.count(messages.STORED) == 8
    assert set(verdicts[8:]) == {messages.REFUSED_LIMIT}
    made = arena.pair(arena.listing(honest.identity))
    assert arena.tell(honest, holder, AddListing(0, made)).verdict == messages.STORED


@pytest.mark.slow
@pytest.mark.parametrize("what", ["listings", "tags"])
def test_100_000_listings_or_tags_from_one_key(arena, what):
    """Signed and sent by a real peer, 4,000 of them; then 10^5 straight into the store of the same node."""
    swarm = arena.swarm
    nodes = swarm.grow(8)
    mallory, holder = nodes[1], nodes[0]
    accepted = Counter()

    def made(number, key=mallory.identity):
        tag = "prey" if what == "listings" else f"tag-{number}"
        return arena.listing(key, tag, dataset=number.to_bytes(16, "big"))

    for number in range(4000):
        session = mallory._channel.sessions.to(holder.identity.public)
        body = messages.encode(AddListing(number + 1, arena.pair(made(number))))
        holder.receive(session.seal(body), mallory.address, swarm.now)
        swarm.flush(holder)
        if number % 20 == 0:
            swarm.run(1.0)
    share = DEFAULT.tag_publisher_listings if what == "listings" else DEFAULT.publisher_listings
    assert len(holder.store) == share
    one = made(1).record
    for number in range(MANY):
        name = number.to_bytes(16, "big")
        tag = one.tag if what == "listings" else normalise_tag(f"tag-{number}")
        record = type(one)(one.key, "n", one.addresses, tag, name, "", 2, one.issued, one.ttl)
        try:
            holder.store.put(Verified(record, name, bytes(64)), b"group", swarm.wall())
            accepted["stored"] += 1
        except LimitReached:
            accepted["refused"] += 1
    assert len(holder.store) == share, accepted
    assert holder.store.bytes <= DEFAULT.total_bytes
    for tag in ("prey", "other"):
        assert swarm.announce(nodes[2], tag, b"h" * 16, "honest") >= 6
        assert "honest" in {found.record.title for found in swarm.search(nodes[3], tag)}


@pytest.mark.slow
def test_a_store_filled_to_its_cap_by_400_keys_of_one_group(arena):
    """When one key's share is too small, an attacker makes more keys."""
    store, swarm = Store(DEFAULT), arena.swarm
    base = arena.listing(Identity(b"m" * 32)).record
    for number in range(MANY):
        name = number.to_bytes(16, "big")
        key = (number % 400).to_bytes(32, "big")
        record = type(base)(
            key, "n", base.addresses, normalise_tag(f"t{number % 5000}"), name, "", 2, base.issued, 3600
        )
        try:
            store.put(Verified(record, name * 20, bytes(64)), b"bad", swarm.wall())
        except LimitReached:
            continue
    assert len(store) <= DEFAULT.group_listings
    assert store.bytes <= DEFAULT.total_bytes
    for tag in ("t1", "other"):
        store.put(arena.listing(Identity(b"h" * 32), tag), b"good", swarm.wall())
        assert any(
            listing.record.key == Identity(b"h" * 32).public for listing in store.all(normalise_tag(tag), swarm.wall())
        )
