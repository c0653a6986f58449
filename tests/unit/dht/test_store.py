"""The store: verified listings within limits, newer over older, until they expire."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import share_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL, shuffled
from p2pgrid.dht.store import ENDS_SPARE, GROUP_SIZES, OWN_GROUP, Store
from p2pgrid.errors import LimitReached, RolledBack
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, Verified, sign_listing

NOW = 1_800_000_000
PEOPLE = [Identity(bytes([n]) * 32) for n in range(1, 65)]
TAG = normalise_tag("t")


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
    assert store.next_end() == NOW + 100
    assert store.sweep(NOW + 99) == 0
    assert len(store.page(tag, 1, 0, 10, 10_000, NOW + 99)[0]) == 1
    assert store.all(tag, NOW + 100) == []
    assert store.page(tag, 1, 0, 10, 10_000, NOW + 100)[0] == []
    assert store.sweep(NOW + 100) == 0
    assert store.tags() == []
    assert store.next_end() is None


def test_an_expired_listing_takes_no_place_from_a_newcomer():
    store = Store(Limits(tag_listings=1, total_listings=1))
    store.put(listing(ttl=100), b"g", NOW)
    with pytest.raises(LimitReached):
        store.put(listing(who=1), b"h", NOW + 99)
    store.put(listing(who=1), b"h", NOW + 100)
    assert len(store) == store.total(TAG) == 1


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
    store = Store(Limits())
    for seq in range(500):
        store.put(listing(seq=seq, issued=NOW + seq), b"g", NOW + seq)
        assert len(store._ends) <= 2 + ENDS_SPARE
    assert store.sweep(NOW + 499 + 599) == 0
    assert store.sweep(NOW + 499 + 600) == 1


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
        store.put(listing(who=number % 8, dataset=number), b"g", NOW)
    pairs, following = store.page(normalise_tag("t"), 3, 0, 20, 700, NOW)
    assert 0 < sum(len(raw) + len(sig) for raw, sig in pairs) <= 700
    assert following == len(pairs)


@given(st.integers(0, 500), st.integers(0, 2**32 - 1))
def test_every_order_is_a_permutation(total, order):
    assert sorted(shuffled(total, order, 0)) == list(range(total))
    if total:
        assert list(shuffled(total, order, total // 2)) == list(shuffled(total, order, 0))[total // 2 :]


def put(store: Store, group: bytes, who: int, dataset: int, **more: int) -> bool:
    """Whether it is held now."""
    try:
        store.put(listing(who=who, dataset=dataset, **more), group, NOW)
    except LimitReached:
        return False
    return True


def shares(store: Store) -> dict[bytes, int]:
    """How many listings of the tag each group has."""
    entries = store._shelves[TAG].by_key.values()
    return {group: sum(e.group == group for e in entries) for group in sorted({e.group for e in entries})}


def test_censoring_a_tag_by_coming_first_with_free_keys_of_one_address_fails():
    store = Store(Limits())
    for who in range(60):
        for dataset in range(40):
            put(store, b"evil", who, dataset)
    assert store.total(TAG) == Limits().tag_group_listings
    assert all(put(store, b"good", 60 + n % 4, n) for n in range(16))


def test_a_full_shelf_makes_room_for_a_newcomer_from_whoever_has_most_of_it():
    store = Store(Limits(tag_listings=24, tag_group_listings=16))
    assert all(put(store, b"evil-1", who, n) for who in range(4) for n in range(4))
    assert all(put(store, b"evil-2", 4 + who, n) for who in range(2) for n in range(4))
    assert shares(store) == {b"evil-1": 16, b"evil-2": 8}
    for number in range(4):
        assert put(store, b"good-%d" % number, 10 + number, 0)
    assert shares(store)[b"evil-1"] == 12
    assert store.total(TAG) == 24
    held = {entry.listing.record.key for entry in store._shelves[TAG].row}
    assert {PEOPLE[10 + number].public for number in range(4)} <= held


def test_one_key_has_a_few_places_of_a_tag_and_its_newer_listings_keep_them():
    store = Store(Limits())
    kept = [n for n in range(40) if put(store, b"g", 0, n)]
    assert len(kept) == Limits().tag_publisher_listings
    assert all(put(store, b"other", 0, n, seq=2) for n in kept)
    assert not put(store, b"g", 0, 40)


def test_the_neighbours_of_a_flooder_have_places_within_its_address_group():
    store = Store(Limits(tag_group_listings=20))
    for n in range(20):
        put(store, b"g", n % 2, n)
    assert all(put(store, b"g", 5, n) for n in range(5))
    assert shares(store) == {b"g": 20}


def test_two_equals_do_not_drive_each_other_out():
    store = Store(Limits(tag_listings=8))
    assert all(put(store, b"a", who, 0) for who in range(4))
    assert all(put(store, b"b", 4 + who, 0) for who in range(4))
    assert not put(store, b"a", 10, 0)
    assert not put(store, b"b", 11, 0)
    assert put(store, b"c", 12, 0)
    assert not put(store, b"a", 10, 0)


def test_refreshes_keep_their_places_on_a_full_shelf():
    store = Store(Limits(tag_listings=8))
    for who in range(8):
        assert put(store, b"g%d" % who, who, 0)
    assert not put(store, b"new", 9, 0)
    assert all(put(store, b"g%d" % who, who, 0, seq=2) for who in range(8))
    assert not put(store, b"new", 9, 0)


@pytest.mark.parametrize("limits", [Limits(total_listings=20), Limits(total_bytes=20 * 210)], ids=["listings", "bytes"])
def test_a_store_full_of_one_address_takes_a_newcomer(limits):
    store = Store(limits)
    for number in range(40):
        with contextlib.suppress(LimitReached):
            store.put(listing(who=number % 8, tag=f"t{number}", dataset=number), b"evil", NOW)
    full = len(store)
    assert full >= 18
    for number in range(4):
        store.put(listing(who=10, tag=f"good{number}", dataset=number), b"good", NOW)
        store.put(listing(who=11, tag=f"own{number}", dataset=number), OWN_GROUP, NOW)
    assert len(store) <= full
    assert store.bytes <= limits.total_bytes


def test_no_strangers_address_group_passes_for_ourselves():
    assert len(OWN_GROUP) not in GROUP_SIZES
    for ip in ("111.119.110.7", "10.0.0.1", "127.0.0.1", "::1", "fe80::1", "2001:db8::1"):
        assert len(share_of((ip, 4000))) in GROUP_SIZES


def test_our_own_listings_have_no_share_and_take_none_of_the_others():
    store = Store(Limits(tag_listings=8, publisher_listings=8))
    for number in range(60):
        store.put(listing(dataset=number), OWN_GROUP, NOW)
    assert all(put(store, b"g%d" % who, who, 0) for who in range(1, 9))
    for who in range(10, 20):
        put(store, b"x", who, 0)
    assert shares(store)[OWN_GROUP] == 60
    assert sum(shares(store).values()) == 68
