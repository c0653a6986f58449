"""A full store is shared: places rotate, nobody starves, and a flood costs its victims nothing."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import share_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL
from p2pgrid.dht.shelf import Entry, Ranking
from p2pgrid.dht.store import ENDS_SPARE, OWN_GROUP, PAIR_AROUND, Store
from p2pgrid.errors import LimitReached, RolledBack
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, Verified, sign_listing

NOW = 1_800_000_000
TAG = normalise_tag("t")
PEOPLE = [Identity(bytes([n]) * 32) for n in range(1, 65)]
DAY = 86_400


def listing(
    who: int, dataset: int = 0, tag: str = "t", seq: int = 1, ttl: int = DAY, issued: int = NOW, title: str = ""
):
    identity = PEOPLE[who]
    address = (Address("10.0.0.1", 1),)
    made = Listing(
        identity.public, "n", address, normalise_tag(tag), dataset.to_bytes(16, "big"), title, seq, issued, ttl
    )
    return sign_listing(identity, made)


def free(number: int, tag: str) -> Verified[Listing]:
    """A listing whose signature nobody looks at: a hundred thousand real ones would take a minute to sign."""
    key = (number // 1000).to_bytes(32, "big")
    made = Listing(key, "n", (), normalise_tag(tag), number.to_bytes(16, "big"), "", 1, NOW, DAY)
    return Verified(made, made.body(), bytes(64))


def put(store: Store, group: bytes, made: Verified[Listing], now: float = NOW) -> bool:
    try:
        store.put(made, group, now)
    except LimitReached:
        return False
    return True


def held(store: Store) -> set[int]:
    """Who has places of the tag."""
    numbers = {identity.public: number for number, identity in enumerate(PEOPLE)}
    return {numbers[made.record.key] for made in store.all(TAG, NOW)}


LIMITS = Limits(tag_listings=8, tenure=3600.0)
FULL = [
    pytest.param(Limits(tag_listings=8), "t", id="tag"),
    pytest.param(Limits(total_listings=8), "other", id="all places"),
    pytest.param(Limits(total_bytes=8 * (len(listing(0).raw) + PAIR_AROUND)), "t", id="all bytes"),
]


@pytest.mark.parametrize(("limits", "tag"), FULL)
def test_refreshes_starve_no_newcomer(limits, tag):
    store = Store(limits)
    assert all(put(store, b"g%d" % who, listing(who), NOW + who) for who in range(8))
    assert not put(store, b"new", listing(9, tag=tag), NOW + 3599)
    for seq in range(2, 6):  # incumbents refresh all the time
        assert all(
            put(store, b"g%d" % who, listing(who, seq=seq, issued=NOW + 700 * seq), NOW + 700 * seq) for who in range(8)
        )
    assert put(store, b"new", listing(9, tag=tag), NOW + 3600)
    assert len(store) == 8
    assert held(store) - {9} == {1, 2, 3, 4, 5, 6, 7}, "the longest held goes first"
    assert not put(store, b"newer", listing(10), NOW + 3600), "the next one's tenure is not over"
    assert put(store, b"newer", listing(10), NOW + 3601)
    assert put(store, b"g0", listing(0, seq=9), NOW + 3602), "whoever gave way comes back as a newcomer"
    assert len(store) == 8


def test_places_rotate_so_that_everybody_is_listed_in_turn():
    store = Store(LIMITS)
    listed: Counter[int] = Counter()
    now, seq = float(NOW), 1
    for _ in range(60):
        now, seq = now + 1200, seq + 1
        for who in range(16):  # twice as many as there are places, each announcing every 20 minutes
            put(store, b"g%d" % who, listing(who, seq=seq, issued=int(now), ttl=3600), now)
        listed.update(held(store))
    assert set(listed) == set(range(16))
    assert min(listed.values()) >= 15, listed


def test_whoever_has_more_than_others_gains_nothing_by_waiting():
    store = Store(LIMITS)
    assert all(put(store, b"greedy", listing(who, 1)) for who in range(3))
    assert all(put(store, b"g%d" % who, listing(who)) for who in range(10, 15))
    late = NOW + 10 * 3600
    assert put(store, b"greedy", listing(4, 1), late), "among its own, the longest held gives way"
    assert {entry.group for entry in store._shelves[TAG].row} == {b"greedy", *(b"g%d" % who for who in range(10, 15))}
    assert put(store, b"new", listing(20), late), "before any single one, the heaviest gives way"
    assert Counter(entry.group for entry in store._shelves[TAG].row)[b"greedy"] == 2
    assert held(store) >= {*range(10, 15), 20}


def test_neighbours_in_one_address_group_take_turns_too():
    store = Store(Limits(tag_group_listings=4, group_listings=6))
    assert all(put(store, b"g", listing(who), NOW + who) for who in range(4))
    assert not put(store, b"g", listing(9), NOW + 3599)
    assert put(store, b"g", listing(9), NOW + 3600)
    assert held(store) == {1, 2, 3, 9}
    assert all(put(store, b"g", listing(who, tag="u"), NOW + 3600) for who in (20, 21))
    assert not put(store, b"g", listing(22, tag="u"), NOW + 3600 + 0.5)
    assert put(store, b"g", listing(22, tag="u"), NOW + 3601), "the group's share of the store rotates as well"
    assert held(store) == {2, 3, 9}
    assert len(store) == 6


def test_moving_to_another_address_renews_no_tenure_and_evades_no_share():
    store = Store(Limits(tag_listings=8, tag_group_listings=2))
    assert all(put(store, b"g%d" % who, listing(who), NOW + who) for who in range(8))
    assert all(put(store, b"one", listing(who, seq=2), NOW + 100) for who in range(8))
    assert {entry.group for entry in store._shelves[TAG].row} == {b"g%d" % who for who in range(8)}
    assert put(store, b"new", listing(9), NOW + 3600)
    assert 0 not in held(store)


def test_what_is_refused_changes_nothing():
    small = len(listing(0).raw) + PAIR_AROUND
    store = Store(Limits(total_bytes=4 * small))
    for who in range(4):
        put(store, b"g%d" % who, listing(who), NOW + 1000 * who)
    before = held(store)
    # Two would have to go, and the tenure of one is over.
    assert not put(store, b"new", listing(9, title="x" * 90), NOW + 3700)
    assert held(store) == before
    with pytest.raises(LimitReached):
        store.put(listing(0, seq=2, title="x" * 90), b"g0", NOW + 3700)
    assert held(store) == before
    assert [made.record.seq for made in store.all(TAG, NOW)] == [1] * 4


def test_the_65536_groups_of_one_48_have_one_share_of_a_tag():
    limits = Limits()
    store = Store(limits)
    for number in range(2000):
        put(store, share_of((f"2001:db8:7:{number:x}::1", 4000)), free(1000 * number, "t"))
    assert store.total(TAG) == limits.tag_group_listings
    assert all(put(store, share_of((f"9.9.{who}.9", 4000)), listing(who)) for who in range(64))
    assert share_of(("2001:db8:7::1", 1)) != share_of(("2001:db8:8::1", 1))


@pytest.mark.parametrize("kind", ["one key", "one address", "many addresses"])
def test_100000_listings_from_few_keys_leave_the_store_at_its_caps_and_room_for_others(kind):
    limits = Limits()
    store = Store(limits)
    started = time.process_time()
    for number in range(100_000):
        tag = f"t{number % 3}" if number % 2 else f"t{number}"
        made = free(number if kind != "one key" else number % 1000, tag)
        put(store, b"a%d" % (number % 10_000) if kind == "many addresses" else b"a", made)
    spent = time.process_time() - started
    caps = {"one key": limits.publisher_listings, "one address": limits.group_listings}
    assert len(store) <= caps.get(kind, limits.total_listings)
    assert store.bytes <= limits.total_bytes
    late = NOW + limits.tenure if kind == "many addresses" else NOW
    assert put(store, b"honest", listing(1, tag="another"), late)
    assert put(store, b"honest", listing(1, tag="t1"), late)
    print(f"{kind}: {spent / 100_000 * 1e6:.1f} us a listing, its making included")


def test_a_ranking_knows_who_has_most():
    ranking: Ranking[int] = Ranking()
    assert not ranking.most()
    for name, count in ((b"a", 2), (b"b", 3), (b"c", 1)):
        for number in range(count):
            ranking.add(name, number)
    assert list(ranking.most()) == [0, 1, 2]
    ranking.drop(b"b", 1)
    ranking.drop(b"b", 2)
    assert ranking.most() == ranking.of(b"a")
    for number in range(2):
        ranking.drop(b"a", number)
    assert len(ranking.most()) == 1
    ranking.drop(b"b", 0)
    ranking.drop(b"c", 0)
    assert not ranking.most()
    assert len(ranking) == 0


Row = tuple[str, int, int]


class AnyOrder(RuleBasedStateMachine):
    """Puts, refreshes, withdrawals and the passing of time in any order, against the rules counted out one by one."""

    who = st.integers(0, 5)
    dataset = st.integers(0, 2)
    tag = st.sampled_from("ab")
    group = st.sampled_from([b"10.1", b"10.2", b"10.3", b"10.4", OWN_GROUP])

    @initialize(
        tag=st.integers(2, 5),
        mine=st.integers(1, 3),
        group=st.integers(1, 4),
        total=st.integers(4, 9),
        small=st.booleans(),
    )
    def begin(self, tag: int, mine: int, group: int, total: int, small: bool) -> None:
        self.limits = Limits(
            tag_listings=tag,
            tag_publisher_listings=mine,
            tag_group_listings=group,
            publisher_listings=mine + 1,
            group_listings=group + 2,
            total_listings=total,
            total_bytes=1200 if small else 4 << 20,
            tenure=300.0,
        )
        self.store = Store(self.limits)
        self.now = NOW
        self.seq = 0

    def entries(self) -> dict[tuple[str, bytes, bytes], Entry]:
        return {(tag, *key): entry for tag, shelf in self.store._shelves.items() for key, entry in shelf.by_key.items()}

    @rule(
        who=who,
        dataset=dataset,
        tag=tag,
        group=group,
        ttl=st.sampled_from([30, WITHDRAWN_TTL, 90, 500]),
        title=st.sampled_from(["", "x" * 60]),
    )
    def put(self, who: int, dataset: int, tag: str, group: bytes, ttl: int, title: str) -> None:
        self.store.sweep(self.now)
        before, self.seq = self.entries(), self.seq + 1
        sinces = {row: entry.since for row, entry in before.items()}
        made = listing(who, dataset, tag, self.seq, ttl, self.now, title)
        row = (made.record.tag, made.record.key, made.record.dataset)
        accepted = put(self.store, group, made, self.now)
        after = self.entries()
        gone = before.keys() - after.keys()
        if not accepted:
            assert not gone
            assert {r: e.since for r, e in after.items()} == sinces
            return
        assert after[row].listing is made
        assert after[row].since == sinces.get(row, self.now)
        first_from = before[row].group if row in before else group  # what is refreshed keeps its group
        for each in gone:
            assert self.must_give_way(before, each, first_from, row[1])

    def must_give_way(self, before: dict, row: tuple[str, bytes, bytes], group: bytes, publisher: bytes) -> bool:
        """To this newcomer: whoever has two more, or has held longest."""
        counts = Counter((scope, e.group) for r, e in before.items() for scope in ("", r[0]))
        entry = before[row]
        assert entry.group != OWN_GROUP
        if group == OWN_GROUP or entry.since <= self.now - self.limits.tenure:
            return True
        if any(counts[scope, entry.group] >= counts[scope, group] + 2 for scope in ("", row[0])):
            return True
        own = Counter(r[1] for r, e in before.items() if e.group == group and r[0] == row[0])
        return entry.group == group and own[row[1]] >= own[publisher] + 2

    @rule(who=who, dataset=dataset, tag=tag)
    def roll_back(self, who: int, dataset: int, tag: str) -> None:
        made = listing(who, dataset, tag, 0, 500, self.now)
        if (made.record.tag, made.record.key, made.record.dataset) in self.entries():
            with pytest.raises(RolledBack):
                self.store.put(made, b"10.1", self.now)

    @rule(seconds=st.integers(1, 200))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.store.sweep(self.now)
        assert all(entry.expires > self.now for entry in self.entries().values())

    @rule()
    def restart(self) -> None:
        kept = {
            row: (entry.listing.raw, entry.since, entry.group)
            for row, entry in self.entries().items()
            if entry.group != OWN_GROUP and entry.listing.expires > self.now
        }
        rows = self.store.dump()
        self.store = Store(self.limits)
        assert self.store.load(rows, self.now) == len(kept)
        assert {row: (e.listing.raw, e.since, e.group) for row, e in self.entries().items()} == kept

    @invariant()
    def limits_hold(self) -> None:
        store, limits, entries = self.store, self.limits, self.entries()
        others = {row: entry for row, entry in entries.items() if entry.group != OWN_GROUP}
        assert len(store) == len(entries)
        assert len(others) <= limits.total_listings
        assert store.bytes == sum(len(e.listing.raw) + PAIR_AROUND for e in entries.values())
        assert store.bytes <= limits.total_bytes
        assert len(store._ends) <= 2 * len(entries) + ENDS_SPARE + len(entries) + 1
        tags, groups = Counter(r[0] for r in others), Counter(e.group for e in others.values())
        assert max(tags.values(), default=0) <= limits.tag_listings
        assert max(groups.values(), default=0) <= limits.group_listings
        mine = Counter(r[1] for r in others)
        assert max(mine.values(), default=0) <= limits.publisher_listings
        assert max(Counter(r[:2] for r in others).values(), default=0) <= limits.tag_publisher_listings
        assert max(Counter((r[0], e.group) for r, e in others.items()).values(), default=0) <= limits.tag_group_listings
        assert {group: len(store._groups.of(group)) for group in groups} == groups
        assert len(store._groups) == len(store._order) == len(others)
        assert len(store._groups.most()) == max(groups.values(), default=0)
        for shelf in store._shelves.values():
            assert [e.position for e in shelf.row] == list(range(len(shelf.row)))
            assert {id(e) for e in shelf.row} == {
                id(e) for e in shelf.by_key.values() if e.listing.record.ttl > WITHDRAWN_TTL
            }


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
