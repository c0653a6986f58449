"""Searching: what needs no network."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pgrid.client.bridge import Here
from p2pgrid.client.search import SearchResults, found, host_towards, known_ways_in, newest, read_offers, stream
from p2pgrid.crypto import Identity
from p2pgrid.errors import BadTag, GatewayRefused, NoBootstrap, TooManyCalls, Unreachable
from p2pgrid.home import Home, RunState
from p2pgrid.ids import Tag
from p2pgrid.records import Address, Listing, sign_listing

ALICE = Identity(bytes(32))


def listing(*addresses: Address, title: str = "Digits") -> Any:
    record = Listing(ALICE.public, "Alice", addresses, Tag("digits"), bytes(range(16)), title, 1, 1, 60)
    return sign_listing(ALICE, record)


def test_a_listing_as_a_person_meets_it() -> None:
    item = found(Here(), listing(Address("192.0.2.1", 9), Address("192.0.2.2", 9, 8080)), ("digits", "x"), 12.5, "all")
    assert (item.title, item.name, item.node, item.url) == ("Digits", "Digits", "Alice", "http://192.0.2.2:8080")
    assert (item.node_id, item.dataset_id, item.id) == (ALICE.id.hex(), bytes(range(16)).hex(), item.dataset_id)
    assert item.tags == ("digits", "x")
    assert found(Here(), listing(), ("digits", "x"), 1.0, "any").tags == ("digits",)
    assert found(Here(), listing(), ("digits",), 1.0, "all").url == ""


async def test_a_dataset_is_shown_once_with_the_address_that_came_last() -> None:
    async def stale_first() -> AsyncIterator[Any]:
        for port in (1111, 2222):
            yield found(Here(), listing(Address("192.0.2.1", 9, port)), ("digits",), 1.0, "all")

    assert [item.url for item in await newest(stale_first())] == ["http://192.0.2.1:2222"]


def test_results_are_a_table_that_a_strangers_title_cannot_break() -> None:
    results = SearchResults([found(Here(), listing(title="\x1b[2J<script>\u202e"), ("digits",), 1.0, "all")])
    assert "Alice" in repr(results)
    assert all(line.isprintable() for line in repr(results).splitlines())
    assert "<script>" not in results._repr_html_()
    assert all(line.isprintable() for line in repr(results[0]).splitlines())


@pytest.mark.parametrize(
    ("ways", "host"),
    [
        (["127.0.0.1:1"], "0.0.0.0"),
        (["127.0.0.1:1", "192.0.2.1:1"], "0.0.0.0"),
        (["[2001:db8::1]:1", "192.0.2.1:1"], "0.0.0.0"),
        (["[::1]:1"], "::"),
        ([], "0.0.0.0"),
    ],
)
def test_a_search_through_this_machine_may_send_to_others(ways: list[str], host: str) -> None:
    assert host_towards(ways) == host


def test_nodes_that_run_here_and_what_the_environment_names_are_ways_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_ways_in(None) == []
    monkeypatch.setenv("P2PGRID_BOOTSTRAP", "192.0.2.1:1, 192.0.2.2:2")
    home = Home("alice")
    with home.lock():
        home.save_run(RunState(os.getpid(), "domain", "alice", "", "http://127.0.0.1:7", "127.0.0.1:7", 0.0))
        assert known_ways_in(None) == ["192.0.2.1:1", "192.0.2.2:2", "127.0.0.1:7"]
    assert known_ways_in(None) == ["192.0.2.1:1", "192.0.2.2:2"]


async def test_a_search_without_a_way_in_is_a_clear_error() -> None:
    with pytest.raises(NoBootstrap, match="No node of the grid is known"):
        await anext(stream(Here(), ["#digits"]))
    with pytest.raises(BadTag):
        await anext(stream(Here(), ["\u200b"], bootstrap=["127.0.0.1:1"]))


def test_a_gateways_offers_are_pairs() -> None:
    answer = {"node-addresses": [["Alice", "http://192.0.2.1:1"], ["Bob", "http://192.0.2.2:2"]]}
    assert read_offers("http://g", 200, answer) == answer["node-addresses"]
    assert read_offers("http://g", 200, {"node-addresses": []}) == []


def test_what_a_lying_gateway_slips_in_is_left_out() -> None:
    answer = {"node-addresses": [["Alice", "http://a"], "ab", 5, None, [], ["x"], ["x", "y", "z"], {"a": 1, "b": 2}]}
    assert read_offers("http://g", 200, answer) == [["Alice", "http://a"]]


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"node-addresses": None}, {"node-addresses": {"a": "b"}}])
def test_what_is_no_gateway_is_a_clear_error(answer: Any) -> None:
    with pytest.raises(Unreachable, match="is no gateway"):
        read_offers("http://g", 200, answer)


def test_a_gateway_that_refuses_says_why() -> None:
    with pytest.raises(TooManyCalls, match="Slow down"):
        read_offers("http://g", 429, {"error": {"code": "P2P-0808", "cause": "Slow down."}})
    for answer in (None, {}, "oops"):
        with pytest.raises(GatewayRefused, match="status 502"):
            read_offers("http://g", 502, answer)
