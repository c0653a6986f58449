"""Which peer a person means."""

from __future__ import annotations

import pytest

from p2pgrid.dht.udp.inquiries import known_peer, shown
from p2pgrid.dht.udp.node import PeerInfo
from p2pgrid.errors import InvalidInput, NotFound
from p2pgrid.ids import NodeId
from p2pgrid.records import Address


def peer(name: str, an_id: str) -> PeerInfo:
    whole = NodeId(bytes.fromhex(an_id.ljust(40, "0")))
    return PeerInfo(whole, name, Address("192.0.2.1", 8080, 8080), "online", 1.0, 0.0)


PEERS = [peer("Bob", "5f0c9a"), peer("Jane", "5f0c1b"), peer("beef", "aa01"), peer("Eve", "beef02"), peer("Bob", "77")]


@pytest.mark.parametrize(
    ("text", "found"), [("Jane", "Jane"), ("5f0c1", "Jane"), ("5F0C1B", "Jane"), ("beef", "beef"), ("beef0", "Eve")]
)
def test_a_name_or_the_beginning_of_an_id_is_one_peer(text: str, found: str) -> None:
    assert known_peer(PEERS, text).name == found


@pytest.mark.parametrize("text", ["Bob", "5f0c"])
def test_what_may_be_several_peers_is_told_with_their_ids(text: str) -> None:
    with pytest.raises(InvalidInput, match="may be 2 peers: 5f0c9a0000") as raised:
        known_peer(PEERS, text)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("text", ["Nobody", "5f0", "5f0cff", "", "jane"])
def test_what_is_no_peer(text: str) -> None:
    with pytest.raises(NotFound):
        known_peer(PEERS, text)


def test_addresses_are_shown_as_others_bootstrap_from() -> None:
    assert shown(Address("192.0.2.1", 8080, None)) == "192.0.2.1:8080"
    assert shown(Address("2001:db8::7", 8080, None)) == "[2001:db8::7]:8080"
