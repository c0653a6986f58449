"""Signed records: what is read is what was signed, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgrid import crypto, wire
from p2pgrid.crypto import Identity
from p2pgrid.errors import BadSignature, Expired, Malformed, RemoteError, TooLarge
from p2pgrid.ids import Tag
from p2pgrid.records import (
    CLOCK_SLACK,
    LISTING_CONTEXT,
    MAX_NAME,
    MAX_RECORD,
    MAX_TITLE,
    MAX_TTL,
    NODE_CONTEXT,
    Address,
    Listing,
    NodeRecord,
    sign_listing,
    sign_node,
    verify_listing,
    verify_node,
    with_fitting_title,
)

NOW = 1_800_000_000
ALICE, EVE = Identity(bytes(32)), Identity(bytes([7] * 32))
NODE = NodeRecord(ALICE.public, "Alice", (Address("127.0.0.1", 8080, 8080), Address("2001:db8::1", 1)), 3, NOW, 3600)
LISTING = Listing(
    ALICE.public, "Alice", (Address("127.0.0.1", 8080, 8080),), Tag("mnist"), bytes(16), "Digits", 4, NOW, 3600
)

texts = st.text(max_size=40)
addresses = st.lists(
    st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65_535), st.integers(0, 65_535)),
    min_size=1,
    max_size=3,
).map(tuple)
nodes = st.builds(
    NodeRecord, st.just(ALICE.public), texts, addresses, st.integers(0, 2**63), st.just(NOW), st.integers(1, MAX_TTL)
)


def fields(record: NodeRecord | Listing) -> dict[str, Any]:
    return dict(wire.unpack(record.body(), limit=MAX_RECORD))


def signed(content: Any, context: bytes = NODE_CONTEXT, by: Identity = ALICE) -> list[bytes]:
    raw = wire.pack_canonical(content)
    return [raw, by.sign(context, raw)]


@given(nodes)
def test_a_node_record_comes_back_as_it_was_signed(record: NodeRecord) -> None:
    proven = sign_node(ALICE, record)
    assert verify_node(proven.to_wire(), now=NOW) == proven
    assert proven.record.id == ALICE.id
    assert proven.expires == NOW + record.ttl


@given(texts, addresses, st.binary(min_size=16, max_size=16), st.text(max_size=40))
def test_a_listing_comes_back_as_it_was_signed(name: str, where: Any, dataset: bytes, title: str) -> None:
    listing = replace(LISTING, name=name, addresses=where, dataset=dataset, title=title)
    proven = sign_listing(ALICE, listing)
    assert verify_listing(proven.to_wire(), now=NOW) == proven
    assert proven.record.id == ALICE.id


def test_four_usual_records_fit_one_datagram() -> None:
    assert 4 * len(wire.pack(sign_listing(ALICE, LISTING).to_wire())) < 1200


@settings(max_examples=200)
@given(st.data())
def test_any_altered_byte_is_refused(data: st.DataObject) -> None:
    verify, proven = data.draw(
        st.sampled_from([(verify_node, sign_node(ALICE, NODE)), (verify_listing, sign_listing(ALICE, LISTING))])
    )
    pair = [bytearray(part) for part in proven.to_wire()]
    part = data.draw(st.sampled_from(pair))
    part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteError):
        verify([bytes(part) for part in pair], now=NOW)


@given(
    st.binary(max_size=100)
    | st.lists(st.binary(max_size=60), max_size=3)
    | st.tuples(st.binary(max_size=60), st.just(bytes(64)))
    | st.none()
    | st.lists(st.integers() | st.text(), min_size=2, max_size=2)
)
def test_anything_else_is_the_peers_fault(pair: Any) -> None:
    for verify in (verify_node, verify_listing):
        with pytest.raises(RemoteError):
            verify(pair, now=NOW)


@pytest.mark.parametrize("content", [None, 1, "text", [], [1, 2], {}, {"k": ALICE.public}])
def test_a_signed_body_that_is_no_record_is_refused(content: Any) -> None:
    for context, verify in ((NODE_CONTEXT, verify_node), (LISTING_CONTEXT, verify_listing)):
        with pytest.raises(RemoteError):
            verify(signed(content, context), now=NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", b""),
        ("k", bytes(31)),
        ("k", bytes(33)),
        ("k", "x" * 32),
        ("n", "x" * (MAX_NAME + 1)),
        ("n", b"Alice"),
        ("n", None),
        ("a", [["127.0.0.1", 1, 1]] * 4),
        ("a", {"127.0.0.1": 1}),
        ("a", ["abc"]),
        ("a", [[]]),
        ("a", [["127.0.0.1", 1]]),
        ("a", [["localhost", 1, 1]]),
        ("a", [["127.1", 1, 1]]),
        ("a", [["010.0.0.1", 1, 1]]),
        ("a", [["2001:DB8::1", 1, 1]]),
        ("a", [["fe80::1%eth0", 1, 1]]),
        ("a", [["fe80::1%\x1b[2J", 1, 1]]),
        ("a", [[2130706433, 1, 1]]),
        ("a", [["127.0.0.1", -1, 1]]),
        ("a", [["127.0.0.1", 65_536, 1]]),
        ("a", [["127.0.0.1", 1, True]]),
        ("a", [["127.0.0.1", 1.0, 1]]),
        ("s", -1),
        ("s", 2**63 + 1),
        ("s", True),
        ("s", "3"),
        ("i", float(NOW)),
        ("i", None),
        ("t", 0),
        ("t", -5),
        ("t", MAX_TTL + 1),
    ],
)
def test_a_field_of_a_wrong_type_or_size_is_refused(field: str, value: Any) -> None:
    with pytest.raises(RemoteError):
        verify_node(signed({**fields(NODE), field: value}), now=NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("g", "MNIST"),
        ("g", "#mnist"),
        ("g", ""),
        ("g", "x" * 65),
        ("g", "mn\u200bist"),
        ("g", b"mnist"),
        ("d", bytes(15)),
        ("d", "0" * 16),
        ("l", "x" * (MAX_TITLE + 1)),
        ("l", None),
    ],
)
def test_a_listing_field_of_a_wrong_type_or_form_is_refused(field: str, value: Any) -> None:
    with pytest.raises(RemoteError):
        verify_listing(signed({**fields(LISTING), field: value}, LISTING_CONTEXT), now=NOW)


@pytest.mark.parametrize("field", "knasit")
def test_a_missing_field_is_refused(field: str) -> None:
    content = fields(NODE)
    del content[field]
    with pytest.raises(RemoteError):
        verify_node(signed(content), now=NOW)


def test_a_record_over_its_size_is_refused_both_ways() -> None:
    with pytest.raises(RemoteError):
        verify_node(signed({**fields(NODE), "x": bytes(MAX_RECORD)}), now=NOW)
    with pytest.raises(TooLarge, match="over"):
        sign_node(ALICE, replace(NODE, name="x" * MAX_RECORD))


SIX = tuple(Address(f"2001:db8:1111:2222:3333:4444:5555:{n:x}", 65_535, 65_535) for n in range(0x1000, 0x1003))


def test_a_node_record_of_a_long_name_in_another_script_fits() -> None:
    wide = replace(NODE, name="\U00020000" * MAX_NAME, addresses=SIX, seq=2**63, issued=NOW, ttl=MAX_TTL)
    assert verify_node(sign_node(ALICE, wide).to_wire(), now=NOW).record == wide


@given(st.text(max_size=200), st.text("a\u75c5\U00020000", min_size=1, max_size=64), st.integers(1, 3))
def test_a_long_title_in_any_script_is_cut_between_characters_until_the_listing_fits(
    title: str, tag: str, count: int
) -> None:
    full = replace(LISTING, title=title, name="\u75c5" * 32, tag=Tag(tag), addresses=SIX[:count])
    cut = with_fitting_title(full)
    verify_listing(sign_listing(ALICE, cut).to_wire(), now=NOW)
    assert title.startswith(cut.title)
    if cut.title != title[:MAX_TITLE]:
        more = title[: len(cut.title) + 1]
        assert len(replace(cut, title=more).body()) > MAX_RECORD - 2


def test_a_listing_without_room_for_any_title_is_a_clear_error() -> None:
    with pytest.raises(TooLarge, match="640 is the most") as caught:
        with_fitting_title(replace(LISTING, name="\U00020000" * 64, tag=Tag("\U00020000" * 64), addresses=SIX))
    assert "Shorten" in caught.value.fix


def test_fields_of_a_later_version_are_ignored_and_kept() -> None:
    pair = signed({**fields(NODE), "zz": [1, {"later": True}]})
    proven = verify_node(pair, now=NOW)
    assert proven.record == NODE
    assert verify_node(proven.to_wire(), now=NOW) == proven


def test_a_record_counts_until_its_time_is_over() -> None:
    pair = sign_node(ALICE, NODE).to_wire()
    verify_node(pair, now=NOW + 3599.9)
    for now in (NOW + 3600, NOW + 10**9):
        with pytest.raises(Expired):
            verify_node(pair, now=now)


def test_a_record_from_the_future_is_refused_beyond_the_slack_of_clocks() -> None:
    pair = sign_node(ALICE, NODE).to_wire()
    verify_node(pair, now=NOW - CLOCK_SLACK)
    with pytest.raises(Expired):
        verify_node(pair, now=NOW - CLOCK_SLACK - 1)


def test_a_record_for_somebody_elses_key_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_node(signed(fields(NODE), by=EVE), now=NOW)
    with pytest.raises(ValueError, match="own key"):
        sign_node(EVE, NODE)
    with pytest.raises(ValueError, match="own key"):
        sign_listing(EVE, LISTING)


def test_a_signature_for_one_kind_of_record_is_none_for_the_other() -> None:
    both = fields(NODE) | fields(LISTING)
    for context, verify in ((NODE_CONTEXT, verify_listing), (LISTING_CONTEXT, verify_node), (b"other", verify_node)):
        with pytest.raises(BadSignature):
            verify(signed(both, context), now=NOW)


@pytest.mark.parametrize("verify", [verify_node, verify_listing])
def test_a_key_of_low_order_owns_no_record(verify: Callable[..., Any]) -> None:
    raw = wire.pack_canonical({**fields(NODE), **fields(LISTING), "k": b"\x01" + bytes(31)})
    for signature in (b"\x01" + bytes(63), bytes(64)):
        with pytest.raises(BadSignature):
            verify([raw, signature], now=NOW)


def test_addresses_become_urls() -> None:
    assert Address("127.0.0.1", 1, 8080).url == "http://127.0.0.1:8080"
    assert Address("2001:db8::1", 1, 8080).url == "http://[2001:db8::1]:8080"
    assert Address("127.0.0.1", 1).url is None


def test_the_bytes_of_a_record_do_not_change_between_versions() -> None:
    """Golden bytes: what older nodes signed must still be read."""
    raw = wire.pack_canonical(fields(NODE))
    assert raw == NODE.body()
    assert crypto.digest(raw, size=8).hex() == "0d75ccaeffdbe5d2"
    assert crypto.digest(LISTING.body(), size=8).hex() == "4ae4ad1328ee5f6f"


def test_a_listing_without_an_address_is_refused():
    with pytest.raises(Malformed):
        verify_listing(sign_listing(ALICE, replace(LISTING, addresses=())).to_wire(), now=NOW)


def test_a_record_that_is_held_is_not_checked_twice_but_its_time_is():
    pair = sign_listing(ALICE, LISTING).to_wire()
    held = verify_listing(pair, now=NOW)
    again = [bytes(bytearray(part)) for part in pair]
    assert verify_listing(again, now=NOW) is held
    with pytest.raises(Expired):
        verify_listing(again, now=NOW + LISTING.ttl)
    with pytest.raises(Expired):
        verify_listing(again, now=NOW - CLOCK_SLACK - 1)


def test_a_held_record_proves_no_other_bytes_signature_or_kind():
    pair = sign_listing(ALICE, LISTING).to_wire()
    held = verify_listing(pair, now=NOW)
    forged = bytes([pair[1][0] ^ 1]) + pair[1][1:]
    with pytest.raises(BadSignature):
        verify_listing([pair[0], forged], now=NOW)
    other = replace(LISTING, title="Other digits").body()
    with pytest.raises(BadSignature):
        verify_listing([other, pair[1]], now=NOW)
    with pytest.raises(RemoteError):
        verify_node(pair, now=NOW)
    assert held.record == LISTING


def test_a_record_that_nobody_holds_is_forgotten():
    pair = sign_listing(ALICE, replace(LISTING, title="Forgotten")).to_wire()
    held = verify_listing(pair, now=NOW)
    seen = ref(held)
    del held
    assert seen() is None
    assert verify_listing(pair, now=NOW).record.title == "Forgotten"
