"""Reading what callers send."""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bodies import JoinCall, read_join, read_name, read_query
from p2pgrid.crypto import Identity
from p2pgrid.errors import BadGatewayCall, BadNodeName, BadNodeProof, BadQuery, InvalidInput
from p2pgrid.records import Address, NodeRecord, sign_node

NOW = 1_000_000.0


def proof(
    identity: Identity, name: str = "Bob", *addresses: Address, seq: int = 1, issued: int = int(NOW), ttl: int = 3600
) -> list[str]:
    signed = sign_node(identity, NodeRecord(identity.public, name, addresses, seq, issued, ttl))
    return [base64.b64encode(part).decode() for part in signed.to_wire()]


def join(record: Any, name: str = "Bob", address: str = "http://203.0.113.5:8080") -> JoinCall:
    body = {"node-id": name, "node-address": address, "record": record}
    return read_join(json.dumps(body).encode(), wall=NOW)


@pytest.fixture
def bob() -> Identity:
    return Identity.generate(secrets.token_bytes)


DOOR = Address("203.0.113.5", 9000, 8080)


def test_a_record_proves_its_name_and_its_id(bob: Identity) -> None:
    assert join(proof(bob)).record is not None
    call = join(proof(bob, "Bob", DOOR), name=bob.id.hex())
    assert call.record is not None
    assert call.record.id == bob.id
    assert join(None).record is None


def test_attack_somebody_elses_name_with_ones_own_record(bob: Identity) -> None:
    with pytest.raises(BadNodeProof):
        join(proof(bob, "Bob"), name="Alice")


def test_attack_altered_record(bob: Identity) -> None:
    raw, signature = proof(bob, "Bob", DOOR)
    body = base64.b64decode(raw).replace(b"203.0.113.5", b"203.0.113.6")
    with pytest.raises(BadNodeProof):
        join([base64.b64encode(body).decode(), signature])


def test_attack_expired_record_and_record_from_the_future(bob: Identity) -> None:
    for issued in (int(NOW) - 3601, int(NOW) + 500):
        with pytest.raises(BadNodeProof):
            join(proof(bob, "Bob", issued=issued))


def test_attack_sequence_number_that_the_registry_cannot_hold(bob: Identity) -> None:
    with pytest.raises(BadNodeProof):
        join(proof(bob, "Bob", seq=2**63))


@pytest.mark.parametrize(
    "record", [7, "x", [], ["a"], ["!", "!"], [1, 2], {"a": 1}, ["", ""], ["\u00e9", "AA=="], True]
)
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises(BadNodeProof):
        join(record)


def ips(*texts: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def test_attack_replayed_record_with_another_address(bob: Identity) -> None:
    record = proof(bob, "Bob", DOOR)
    assert join(record).vouched(ips("203.0.113.5"))
    assert not join(record, address="http://203.0.113.6:8080").vouched(ips("203.0.113.6"))
    assert not join(record, address="http://203.0.113.5:8081").vouched(ips("203.0.113.5"))
    assert not join(record, address="http://203.0.113.5:8080/evil").vouched(ips("203.0.113.5"))
    assert not join(record, address="http://evil.example:8080").vouched(ips("203.0.113.5", "203.0.113.6"))
    assert join(record, address="http://bob.example:8080").vouched(ips("203.0.113.5"))
    assert not join(record, address="http://bob.example:8080").vouched(())
    assert not join(proof(bob, "Bob", Address("203.0.113.5", 9000, 0))).vouched(ips("203.0.113.5"))


def test_localhost_is_one_machine(bob: Identity) -> None:
    call = join(proof(bob, "Bob", Address("127.0.0.1", 1, 8080)), address="http://localhost:8080")
    assert call.vouched(ips("::1", "127.0.0.1"))


@pytest.mark.parametrize("name", ["Bob", "b", "B" * 64, "Böb 7", "小明", "#1", "<b>"])
def test_visible_names(name: str) -> None:
    assert read_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "B" * 65, "B" * 10**5, " Bob", "Bob ", "B  b", "B\tb", "Bob\n", "B\u200bob", "\u202eboB", "B\u00a0b"],
)
def test_names_that_cannot_be_seen(name: Any) -> None:
    with pytest.raises(BadNodeName):
        read_name(name)


@pytest.mark.parametrize("name", ["\ud800", 5, None, [], {}, True])
def test_names_that_are_no_text(name: Any) -> None:
    with pytest.raises(BadNodeName):
        read_name(name)


def test_two_spellings_of_one_name_are_one() -> None:
    assert read_name("Bo\u0308b") == read_name("B\u00f6b")


def test_a_query_keeps_the_tags_as_they_were_written() -> None:
    assert read_query(b'{"query": ["#MNIST", "boston housing"]}') == (["#MNIST", "boston housing"], "all")
    assert read_query(b'{"query": ["#a"], "match": "any", "more": 1}') == (["#a"], "any")


@pytest.mark.parametrize(
    "query",
    [None, "#a", {"#a": 1}, [], ["#a"] * 17, [1], ["#a", None], [[]], [""], ["#"], ["#" + "a" * 65]],
)
def test_what_is_no_query(query: Any) -> None:
    with pytest.raises(BadQuery):
        read_query(json.dumps({"query": query}).encode())


@pytest.mark.parametrize("tag", ["a\u200b", "\ud800", "\u202ea", "a" * 10**5])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(BadQuery):
        read_query(json.dumps({"query": ["#a", tag]}).encode())


@pytest.mark.parametrize("match", [1, "some", None, ["all"], {}])
def test_what_is_no_match(match: Any) -> None:
    with pytest.raises(BadQuery):
        read_query(json.dumps({"query": ["a"], "match": match}).encode())


@pytest.mark.parametrize(
    "raw",
    [b"", b"x", b"null", b"[]", b'"a"', b"3", b"\xff\xfe", b"{", b"{}", b"[" * 60_000, b'{"a":' * 9_000, b"9" * 9_000],
)
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(BadGatewayCall):
        read_query(raw)
    with pytest.raises(BadGatewayCall):
        read_join(raw, wall=NOW)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (read_query, lambda raw: read_join(raw, wall=NOW)):
        try:
            read(raw)
        except InvalidInput:
            continue
