"""Who was lost lately: shown for a while, tried again when known for long, bounded."""

from __future__ import annotations

from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.health import GonePeers
from p2pgrid.dht.limits import Limits

LIMITS = Limits(gone=4, gone_life=100.0, lost_after=50.0)


def peer(number: int, first: float = 0.0) -> Peer:
    made = Peer(number.to_bytes(32, "big"), f"20.0.{number}.1", 4000, None, first)
    made.first = first
    return made


def test_the_lost_are_shown_newest_first_for_their_time():
    gone = GonePeers(LIMITS)
    one, two = peer(1), peer(2)
    gone.lose(one, 60.0)
    gone.lose(two, 100.0)
    assert list(gone.since(110.0)) == [two, one]
    assert list(gone.since(170.0)) == [two]
    gone.back(two.id)
    assert list(gone.since(170.0)) == []


def test_only_those_known_for_long_are_tried_again_and_each_in_turn():
    gone = GonePeers(LIMITS)
    assert gone.again() is None
    old = [peer(n) for n in range(1, 4)]
    for one in old:
        gone.lose(one, 60.0)
    gone.lose(peer(9, first=55.0), 60.0)
    assert {gone.again().id for _ in range(3)} == {one.id for one in old}


def test_newcomers_that_come_and_go_push_out_nobody_of_old():
    gone = GonePeers(LIMITS)
    old = [peer(n) for n in range(1, 4)]
    for one in old:
        gone.lose(one, 60.0)
    for number in range(10, 50):
        gone.lose(peer(number, first=60.0), 61.0)
    assert len(list(gone.since(62.0))) == LIMITS.gone
    assert {one.id for one in old} <= {one.id for one in gone.since(62.0)}
    for number in range(60, 70):
        gone.lose(peer(number), 63.0)
    assert len(list(gone.since(64.0))) == LIMITS.gone
