"""What a node says of itself, whatever its clock does."""

from __future__ import annotations

from p2pgrid.crypto import Identity
from p2pgrid.dht.channel import Card
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.profile import MOST_NAME_BYTES, RECORD_TTL, Profile, short_name
from p2pgrid.records import verify_node

NOW = 1_800_000_000


class Node:
    """A profile, and a clock that can be set."""

    def __init__(self) -> None:
        self.wall = float(NOW)
        card = Card("n", 0, True)
        self.profile = Profile(
            Identity(bytes(32)), card, ("10.0.0.1", 1), True, Limits(), lambda: self.wall, lambda: None
        )


def test_a_record_is_made_once_and_renewed_at_half_of_its_time():
    node = Node()
    first = node.profile.record()
    node.wall += RECORD_TTL / 2 - 1
    assert node.profile.record() is first
    node.wall += 1
    assert node.profile.record().record.issued == NOW + RECORD_TTL / 2


def test_a_clock_that_was_ahead_makes_no_record_from_the_future():
    node = Node()
    node.wall += 2 * 86_400
    ahead = node.profile.record()
    node.wall -= 2 * 86_400
    right = node.profile.record()
    assert verify_node(right.to_wire(), now=node.wall).record.issued == NOW
    assert right.record.seq > ahead.record.seq
    assert node.profile.record() is right


def test_a_name_is_cut_between_characters():
    assert short_name("\u75c5" * 64) == "\u75c5" * (MOST_NAME_BYTES // 3)
    assert short_name("a\ud800b") == "ab"
    assert short_name("x" * 100) == "x" * 64
