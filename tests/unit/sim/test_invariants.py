"""What holds of every node: it is seen when it does not."""

from __future__ import annotations

import dataclasses

import pytest

from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.store import Store
from p2pgrid.errors import BrokenInvariant
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, sign_listing
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.invariants import Invariants, leaked, under_way

TAG = normalise_tag("digits")


@pytest.fixture
def grid():
    """A few nodes that know one another and hold a listing."""
    made = Grid(3)
    nodes = made.grow(5)
    made.announce(nodes[0], TAG, bytes(16))
    made.run(10.0)
    return made


@pytest.fixture
def engine(grid):
    return grid.nodes[1].engine


def check(engine):
    Invariants(1).check(engine)


def stranger(number: int) -> Peer:
    return Peer(number.to_bytes(32, "big"), f"50.{number}.0.1", 4000, None, 0.0)


def listing(identity, seq: int):
    address = Address("20.0.0.1", 4000)
    return sign_listing(
        identity, Listing(identity.public, "", (address,), TAG, b"x" * 16, "", seq, 1_800_000_000, 3600)
    )


def test_all_of_it_holds_of_a_healthy_grid(grid):
    for node in grid.nodes:
        assert node.engine.sessions()
        assert len(node.engine.table) == 4
        check(node.engine)


def test_too_many_peers_in_a_bucket_are_seen(engine):
    (bucket,) = engine.table.buckets
    for number in range(engine.limits.k - len(bucket.nodes)):
        bucket.nodes[stranger(number).id] = stranger(number)
    check(engine)
    bucket.nodes[stranger(99).id] = stranger(99)
    with pytest.raises(BrokenInvariant, match=f"Node {engine.identity.id.hex()[:8]} has more peers in a bucket than k"):
        check(engine)


def test_too_many_peers_in_a_cache_are_seen(engine):
    (bucket,) = engine.table.buckets
    for number in range(engine.limits.cache):
        bucket.replacement_nodes[stranger(number).id] = stranger(number)
    check(engine)
    bucket.replacement_nodes[stranger(99).id] = stranger(99)
    with pytest.raises(BrokenInvariant, match="waiting"):
        check(engine)


@pytest.mark.parametrize(
    ("limit", "cause"), [("sessions", "more sessions"), ("total_listings", "more listings"), ("calls", "in flight")]
)
def test_more_than_the_limits_allow_is_seen(grid, engine, limit, cause):
    grid.nodes[1].find(bytes(20), lambda near: None)  # requests are in flight
    there = {"sessions": engine.sessions(), "total_listings": len(engine.store), "calls": len(engine.calls)}[limit]
    assert there
    engine.limits = dataclasses.replace(engine.limits, **{limit: there})
    check(engine)
    engine.limits = dataclasses.replace(engine.limits, **{limit: there - 1})
    with pytest.raises(BrokenInvariant, match=cause):
        check(engine)


def test_a_record_signed_as_older_than_one_before_is_seen(engine):
    checks = Invariants(1)
    engine.profile.seq = 10
    checks.check(engine)
    checks.check(engine)
    engine.profile.seq = 9
    with pytest.raises(BrokenInvariant, match="record older"):
        checks.check(engine)


def test_a_listing_rolled_back_in_a_store_is_seen(grid, engine):
    checks, identity = Invariants(1), grid.nodes[2].identity
    for seq, holds in ((5, True), (5, True), (6, True), (5, False)):
        engine.store = Store(engine.limits)
        engine.store.put(listing(identity, seq), b"group", 1_800_000_000.0)
        if holds:
            checks.check(engine)
    with pytest.raises(BrokenInvariant, match="listing older"):
        checks.check(engine)


@pytest.mark.parametrize(("every", "looked"), [(0, []), (1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6])])
def test_a_node_is_looked_at_every_so_many_datagrams(engine, every, looked):
    checks = Invariants(every)
    engine.limits = dataclasses.replace(engine.limits, sessions=0)
    seen = []
    for number in range(1, 8):
        try:
            checks.after_datagram(engine)
        except BrokenInvariant:
            seen.append(number)
    assert seen == looked


def test_what_is_under_way_is_a_leak_while_it_does_not_end(grid, engine):
    assert not under_way(engine)
    grid.nodes[1].find(bytes(20), lambda near: None)
    before = under_way(engine)
    assert leaked(engine, before) == before != set()
    grid.run(30.0)
    assert not leaked(engine, before)
