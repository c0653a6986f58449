"""The store: verified listings within limits, newer over older, until they expire."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.crypto import Identity
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL, shuffled
from p2pgrid.dht.store import Store
from p2pgrid.errors import LimitReached, RolledBack
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, Verified, sign_listing

NOW = 1_800_000_000
PEOPLE = [Identity(bytes([n]) * 32) for n in range(1, 9)]


def listing(
    who: int = 0, tag: str = "t", dataset: int = 0, seq: int = 1, ttl: int = 600, issued: int = NOW
) -> Verified[Listing]:
    identity = PEOPLE[who]
    made = Listing(
        identity.public, "n", (Address("10.0.0.1", 1),), normalise_tag(tag), bytes([dataset]) * 16, "", seq, issued, ttl
    )
    return sign_listing(identity, made)


def test_a_newer_listing_replaces_an_older_one():
    store = Store(Limits())
    store.put(listing(seq=1), b"g", NOW)
    store.put(listing(seq=2), b"g", NOW)
    assert [v.record.seq for v in store.all(normalise_tag("t"), NOW)] == [2]
    assert len(store) == 1


def test_rolled_back_listing():
    store = Store(Limits())
    store.put(listing(seq=5), b"g", NOW)
    with pytest.raises(RolledBack):
        store.put(listing(seq=4), b"g", NOW)
    with pytest.raises(RolledBack):
        store.put(listing(seq=5, ttl=700), b"g", NOW)
    store.put(listing(seq=5), b"g", NOW)  # the same again is no news and no fault


def test_withdrawn_listing_stays_withdrawn_when_the_older_one_is_replayed():
    store = Store(Limits())
    store.put(listing(seq=1, ttl=600), b"g", NOW)
    store.put(listing(seq=2, ttl=WITHDRAWN_TTL), b"g", NOW)
    tag = normalise_tag("t")
    assert store.total(tag) == 0
    assert store.all(tag, NOW) == []
    store.sweep(NOW + WITHDRAWN_TTL + 1)
    with pytest.raises(RolledBack):
        store.put(listing(seq=1, ttl=600), b"g", NOW + WITHDRAWN_TTL + 1)
    store.sweep(NOW + 600)
    assert len(store) == 0


def test_expired_listings_are_not_handed_out_and_then_dropped():
    store = Store(Limits())
    store.put(listing(ttl=100), b"g", NOW)
    tag = normalise_tag("t")
    assert store.page(tag, 1, 0, 10, 10_000, NOW + 100)[0] == []
    assert store.sweep(NOW + 99) == 0
    assert store.sweep(NOW + 100) == 1
    assert store.tags() == []


@pytest.mark.parametrize(
    "limits",
    [
        Limits(tag_listings=3),
        Limits(publisher_listings=3),
        Limits(group_listings=3),
        Limits(total_listings=3),
        Limits(total_bytes=900),
    ],
    ids=["tag", "publisher", "group", "total", "bytes"],
)
def test_storage_spam_stops_at_each_limit_and_refreshes_still_work(limits):
    store = Store(limits)
    kept = 0
    for number in range(10):
        try:
            store.put(listing(dataset=number), b"g", NOW)
            kept += 1
        except LimitReached:
            continue
    assert kept == len(store) < 10
    assert store.bytes <= limits.total_bytes
    store.put(listing(dataset=0, seq=9), b"g", NOW)
    assert len(store) == kept


def test_refreshing_for_years_costs_no_memory():
    limits = Limits(total_listings=8)
    store = Store(limits)
    for seq in range(200):
        store.put(listing(seq=seq), b"g", NOW)
    assert len(store._ends) <= 4 * limits.total_listings + 1


def test_pages_give_each_listing_once_in_any_order():
    store = Store(Limits())
    for number in range(40):
        store.put(listing(who=number % 8, dataset=number), b"g", NOW)
    for order in (0, 1, 12345, 2**32 - 1):
        seen, cursor = [], 0
        while True:
            pairs, cursor = store.page(normalise_tag("t"), order, cursor, 7, 10_000, NOW)
            seen += [raw for raw, _ in pairs]
            if not cursor:
                break
        assert len(seen) == len(set(seen)) == 40


def test_a_page_fits_its_room():
    store = Store(Limits())
    for number in range(20):
        store.put(listing(dataset=number), b"g", NOW)
    pairs, following = store.page(normalise_tag("t"), 3, 0, 20, 700, NOW)
    assert 0 < sum(len(raw) + len(sig) for raw, sig in pairs) <= 700
    assert following == len(pairs)


@given(st.integers(0, 500), st.integers(0, 2**32 - 1))
def test_every_order_is_a_permutation(total, order):
    assert sorted(shuffled(total, order, 0)) == list(range(total))
    if total:
        assert list(shuffled(total, order, total // 2)) == list(shuffled(total, order, 0))[total // 2 :]


@given(st.integers(0, 2**32))
def test_counts_and_bytes_always_match_what_is_held(seed):
    source = random.Random(seed)
    store = Store(Limits(tag_listings=6, publisher_listings=5, total_listings=12))
    now = NOW
    for _ in range(60):
        now += source.randrange(30)
        ttl = source.choice([30, 90, 400])
        made = listing(source.randrange(3), source.choice("abc"), source.randrange(4), source.randrange(5), ttl, now)
        with contextlib.suppress(LimitReached, RolledBack):
            store.put(made, b"g%d" % source.randrange(2), now)
        store.sweep(now)
        entries = [e for shelf in store._shelves.values() for e in shelf.by_key.values()]
        assert len(store) == len(entries) <= 12
        assert store.bytes == sum(len(e.listing.raw) + 72 for e in entries)
        assert sum(store._by_publisher.values()) == sum(store._by_group.values()) == len(entries)
        for shelf in store._shelves.values():
            assert [e.position for e in shelf.row] == list(range(len(shelf.row)))
