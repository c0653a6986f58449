"""The last round trips of a peer in one number, and what is told of a peer by them."""

from __future__ import annotations

import sys
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.health import GonePeers, calm_turn, probe_interval, probe_round, probes, state_of
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.dht.trips import MOST, TRIPS, UNIT, best, median, with_trip


def peer(number: int = 1) -> Peer:
    return Peer(Identity(bytes([number]) * 32).public, "192.0.2.1", 4000 + number, None, 0.0)


@given(st.lists(st.floats(0.0, 20.0), max_size=30), st.integers(1, TRIPS))
def test_the_median_is_that_of_the_newest(trips: list[float], last: int) -> None:
    kept = 0
    for trip in trips:
        kept = with_trip(kept, trip)

    newest = [min(max(trip, UNIT), MOST * UNIT) for trip in trips[-min(last, TRIPS) :]]
    if newest:
        assert median(kept, last) == pytest.approx(median_low(newest), abs=UNIT)
    else:
        assert median(kept, last) is None


def test_all_round_trips_of_a_peer_take_48_bytes() -> None:
    kept = 0
    for _ in range(100):
        kept = with_trip(kept, 1e9)
    assert sys.getsizeof(kept) <= 48


def test_one_slow_answer_makes_nobody_busy_and_two_do() -> None:
    one = peer()
    for rtt in (0.01, 0.01, 0.01, 0.5):
        one.measured(rtt)
    assert state_of(one, DEFAULT) == "online"
    one.measured(0.5)
    assert state_of(one, DEFAULT) == "busy"
    for rtt in (0.01, 0.01):
        one.measured(rtt)
    assert state_of(one, DEFAULT) == "online"


def test_its_own_word_and_its_silence_count() -> None:
    one = peer()
    assert state_of(one, DEFAULT) == "online"
    one.busy = True
    assert state_of(one, DEFAULT) == "busy"
    one.fails = 1
    assert state_of(one, DEFAULT) == "offline"


def test_a_probe_interval_grows_with_the_table() -> None:
    limits = Limits(probe_age=15.0, probe_gap=5.0)
    assert [probe_interval(peers, limits) for peers in (0, 6, 8, 16, 100)] == [20.0, 20.0, 25.0, 45.0, 1860.0]
    for peers in (17, 24, 32, 100, 360):
        longest = probe_round(peers, limits) + 1.25 * calm_turn(peers, limits)
        assert longest < min(limits.session_idle, limits.move_after)
        # as many turns as the peers need
        assert probe_round(peers, limits) / calm_turn(peers, limits) >= peers / probes(peers, limits)


def test_the_gone_are_told_for_a_while_and_are_bounded() -> None:
    gone = GonePeers(Limits(gone=2, gone_life=100.0))
    assert list(gone.since(0.0)) == []
    peers = [peer(number) for number in (1, 2, 3)]
    for at, one in enumerate(peers):
        gone.lose(one, float(at))

    assert list(gone.since(2.0)) == [peers[2], peers[1]]
    assert list(gone.since(101.5)) == [peers[2]]
    gone.back(peers[2].id)
    gone.back(peers[0].id)
    assert list(gone.since(2.0)) == [peers[1]]


def test_the_best_of_too_few_tells_nothing():
    trips = 0
    for rtt in (0.3, 0.2):
        trips = with_trip(trips, rtt)
        assert best(trips) == 0.0
    trips = with_trip(trips, 0.4)
    assert best(trips) == pytest.approx(0.2)
