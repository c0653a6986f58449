"""The table under floods: no address group gets more than its share, and nobody alive makes room for a newcomer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pgrid.dht.contacts import Endpoint, Peer, group_of, is_local, site_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.routing import ID_BITS, SITE_FACTOR, Table

OWN = bytes(range(20))


def peer(number: int, ip: str, port: int = 4000) -> Peer:
    return Peer(number.to_bytes(32, "big"), ip, port, None, 0.0)


def grown(limits: Limits, count: int = 200) -> Table:
    """A table that knows an honest grid, each node in a group of its own."""
    made = Table(OWN, limits, 0.0)
    for number in range(count):
        made.add_contact(peer(number, f"20.{number // 250}.{number % 250}.1"))
    return made


def caps_hold(made: Table) -> None:
    """At most the named shares of each group, and of each /48 four times as much, in each bucket and in all."""
    for bucket in made.buckets:
        _at_most([bucket], made.limits.bucket_group)
    _at_most(made.buckets, made.limits.table_group)


def _at_most(buckets, most: int) -> None:
    groups = Counter(group_of(p.endpoint) for bucket in buckets for p in bucket.everybody())
    sites: Counter[bytes] = Counter()
    for group, count in groups.items():
        assert is_local(group) or count <= most
        if site := site_of(group):
            sites[site] += count
    assert not sites or max(sites.values()) <= SITE_FACTOR * most


@pytest.mark.parametrize("addresses", ["one address", "/24", "/64", "/48"])
def test_bucket_flood_from_one_address_group(addresses):
    made = grown(Limits())
    before = {p.id for p in made.peers()}
    for number in range(3000):
        ip, port = {
            "one address": ("66.6.6.6", 1000 + number),
            "/24": (f"66.6.6.{number % 250}", 1000 + number),
            "/64": (f"2001:db8:0:1::{number:x}", 4000),
            "/48": (f"2001:db8:0:{number:x}::1", 4000),
        }[addresses]
        made.add_contact(peer(10_000 + number, ip, port))
        if not number % 50:
            caps_hold(made)
    caps_hold(made)
    now = {p.id for p in made.peers()}
    assert before <= now, "a live peer made room for the flood"
    assert len(now - before) <= 10 * (SITE_FACTOR if addresses == "/48" else 1)
    assert made.crowded > 100


def test_bucket_flood_by_peers_that_move_into_one_address_group():
    made = grown(Limits())
    wanderers = [p for n in range(400) if made.add_contact(p := peer(10_000 + n, f"30.{n // 250}.{n % 250}.1"))]
    assert len(wanderers) > 20
    stayed = [made.move(p, ("66.6.6.6", 1000 + n)) for n, p in enumerate(wanderers)]
    caps_hold(made)
    assert 2 <= sum(stayed) <= 10
    for p, stays in zip(wanderers, stayed, strict=True):
        assert (made.get(p.id) is p) == stays
        assert p.ip == "66.6.6.6"  # the session goes on there all the same


def test_a_moved_peer_keeps_its_place_where_its_new_group_has_room():
    made = grown(Limits())
    [first, *_] = made.peers()
    order = list(made.buckets[made.index(first.long_id)].nodes)
    assert made.move(first, ("77.7.7.7", 7))
    assert made.get(first.id) is first
    assert sorted(made.buckets[made.index(first.long_id)].nodes) == sorted(order)
    stranger = peer(99_999, "77.7.7.8")
    assert not made.move(stranger, ("77.7.7.9", 9))
    assert made.get(stranger.id) is None
    assert stranger.endpoint == ("77.7.7.9", 9)


def test_the_dead_of_a_flood_that_wait_in_a_cache_do_not_keep_their_neighbours_out():
    limits = Limits(k=4, cache=4)
    made = grown(limits)
    bucket = made.buckets[0]
    assert len(bucket.nodes) == 4
    there = [p for n in range(10_000, 10_200) if made.index((p := peer(n, f"66.6.6.{n % 250}")).long_id) == 0]
    assert [made.add_contact(p) for p in there[:6]] == [False] * 6
    assert [p.id for p in bucket.replacement_nodes.values() if p.ip.startswith("66.")] == [p.id for p in there[4:6]]
    while any(p.ip.startswith("20.") for p in bucket.nodes.values()):
        made.remove_contact(next(p for p in bucket.nodes.values() if p.ip.startswith("20.")))
    assert {p.id for p in bucket.nodes.values() if p.ip.startswith("66.")} == {p.id for p in there[4:6]}
    assert not made.add_contact(there[6])  # both are proven now, and stay
    caps_hold(made)


def test_nodes_of_one_machine_or_of_one_local_network_know_each_other_all():
    made = Table(OWN, Limits(), 0.0)
    here = [peer(n, "127.0.0.1", 1000 + n) for n in range(14)]
    lan = [peer(100 + n, f"192.168.1.{n}") for n in range(2)]
    assert all(made.add_contact(p) for p in (*here, *lan))


IPS = [
    *(f"66.6.6.{n}" for n in range(4)),
    *(f"77.7.{n}.7" for n in range(6)),
    *(f"2001:db8:0:{n}::1" for n in range(6)),
    "2001:db8:0:1::2",
    "192.168.1.1",
    "192.168.1.2",
    "127.0.0.1",
    "::1",
]


class AnyOrder(RuleBasedStateMachine):
    """Peers come, are heard, move, wait, die and come again, in any order."""

    numbers = st.integers(0, 60)
    endpoints = st.tuples(st.sampled_from(IPS), st.integers(1, 9))

    @initialize(k=st.integers(1, 4), cache=st.integers(0, 3), group=st.integers(1, 3), table=st.integers(1, 6))
    def begin(self, k: int, cache: int, group: int, table: int) -> None:
        limits = Limits(k=k, cache=cache, bucket_group=group, table_group=table)
        self.table = Table(OWN, limits, 0.0)
        self.now = 0.0

    def known(self, number: int) -> Peer | None:
        return self.table.get(peer(number, "20.0.0.1").id)

    @rule(number=numbers, endpoint=endpoints)
    def meet(self, number: int, endpoint: Endpoint) -> None:
        self.now += 1.0
        alive = {p.id for p in self.table.peers()}
        known = self.known(number)
        if known is None:
            made = Peer(number.to_bytes(32, "big"), *endpoint, None, self.now)
            added = self.table.add_contact(made)
            assert added == (made.id in {p.id for p in self.table.peers()})
        else:
            alive.discard(known.id)
            assert self.table.move(known, endpoint) == (self.table.get(known.id) is known)
        assert alive <= {p.id for p in self.table.peers()}, "a live peer made room"

    @rule(number=numbers)
    def hear(self, number: int) -> None:
        if (known := self.known(number)) is not None:
            self.table.add_contact(known)

    @rule(number=numbers)
    def drop(self, number: int) -> None:
        if (known := self.known(number)) is not None:
            self.table.remove_contact(known)
            assert self.table.get(known.id) is None

    @invariant()
    def holds(self) -> None:
        made = self.table
        caps_hold(made)
        for at, bucket in enumerate(made.buckets):
            assert len(bucket.nodes) <= made.limits.k
            assert len(bucket.replacement_nodes) <= made.limits.cache
            assert not bucket.nodes.keys() & bucket.replacement_nodes.keys()
            for each in bucket.everybody():
                assert made.index(each.long_id) == at
                assert made.get(each.id) is each
        for target in (made.own, 0, 2**ID_BITS - 1):
            everybody = sorted(made.peers(), key=lambda p: p.long_id ^ target)
            assert made.nearest(target, 5) == everybody[:5]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
