"""What a node held for others, written and read again: whatever the file says, only the valid is held."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import wire
from p2pgrid.crypto import Identity
from p2pgrid.dht.holdings import FORMAT, MOST_BYTES, pack, unpack
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.store import OWN_GROUP, Store
from p2pgrid.errors import Malformed, Oversized, RemoteError
from p2pgrid.home import HOLDINGS_BYTES
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, Verified, sign_listing

NOW = 1_800_000_000
TAG = normalise_tag("t")
GROUP = bytes([9, 9, 9])


def listing(who: int, seq: int = 1, ttl: int = 600) -> Verified[Listing]:
    identity = Identity(bytes([who]) * 32)
    made = Listing(identity.public, "n", (Address("10.0.0.1", 1),), TAG, bytes(16), "", seq, NOW, ttl)
    return sign_listing(identity, made)


def held(store: Store) -> list[bytes]:
    return sorted(made.raw for made in store.all(TAG, NOW))


def test_what_was_held_for_others_is_held_again_with_its_group_and_tenure():
    store = Store(Limits())
    for who in range(1, 20):
        store.put(listing(who), bytes([9, 9, who]), NOW + who)
    store.put(listing(20), OWN_GROUP, NOW)
    again = Store(Limits())
    assert again.load(unpack(pack(store.dump()), Limits()), NOW + 100) == 19
    assert held(again) == sorted(listing(who).raw for who in range(1, 20))
    assert again.dump() == store.dump()


def test_the_expired_the_altered_and_the_rolled_back_are_not_held_again():
    good, short, newer = listing(1), listing(2, ttl=90), listing(3, seq=5)
    rows = [
        [good.raw, good.signature, GROUP, NOW],
        [short.raw, short.signature, GROUP, NOW],
        [listing(4).raw, bytes(64), GROUP, NOW],
        [listing(5).raw.replace(b"t", b"u"), listing(5).signature, GROUP, NOW],
        [listing(3).raw, listing(3).signature, GROUP, NOW],
    ]
    store = Store(Limits())
    store.put(newer, GROUP, NOW + 99)  # it came while the file was being read
    assert store.load(rows, NOW + 100) == 1
    assert held(store) == sorted([good.raw, newer.raw])


def test_a_saved_tenure_is_never_in_the_future():
    made = listing(1)
    store = Store(Limits())
    for since in (NOW + 10**6, math.inf):
        store = Store(Limits())
        assert store.load([[made.raw, made.signature, GROUP, since]], NOW) == 1
        assert store.dump()[0][3] == NOW


def test_a_file_that_holds_too_much_fills_no_more_than_the_limits():
    limits = Limits(total_listings=5, tag_group_listings=3)
    rows = [[made.raw, made.signature, GROUP, NOW] for made in map(listing, range(1, 20))]
    assert len(unpack(pack(rows), limits)) == 5
    store = Store(limits)
    assert store.load(rows, NOW) == len(store) == 3


@pytest.mark.parametrize(
    "document",
    [b"\xc1", b"hello", wire.pack([]), wire.pack({"format": "other", "held": []}), wire.pack({"format": FORMAT})],
)
def test_a_damaged_or_foreign_document_is_refused(document):
    with pytest.raises(Malformed):
        unpack(document, Limits())


def test_a_document_without_end_is_refused():
    assert MOST_BYTES < HOLDINGS_BYTES
    with pytest.raises(Oversized):
        unpack(bytes(MOST_BYTES + 1), Limits())
    assert unpack(b"", Limits()) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=80) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(anything | st.tuples(st.binary(), st.binary(), st.just(GROUP), anything).map(list), max_size=5))
def test_rows_of_anything_are_dropped(rows):
    store = Store(Limits())
    assert store.load(unpack(pack(rows), Limits()), NOW) == len(store) == 0


@given(st.binary(max_size=200), st.integers(0, 200))
def test_bytes_of_anything_are_no_holdings(noise, cut):
    whole = pack([[listing(1).raw, listing(1).signature, GROUP, NOW]])
    for document in (noise, whole[:cut], whole[:cut] + noise):
        try:
            rows = unpack(document, Limits())
        except RemoteError:
            continue
        Store(Limits()).load(rows, NOW)
