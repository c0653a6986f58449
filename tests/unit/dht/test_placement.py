"""Where listings go, by itself: the nearest, some of every range, no network twice."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.contacts import Contact, group_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import places, shuffled
from p2pgrid.dht.ranges import MAX_RANGE, by_range, range_of, spread

LIMITS = Limits()
TARGET = 0


def contacts(count: int, seed: int = 1, ip: str = "") -> list[Contact]:
    source = random.Random(seed)
    return [Contact(source.randbytes(32), ip or f"20.{n // 250}.{n % 250}.7", 4000 + n) for n in range(count)]


@given(st.integers(0, 400), st.integers(0, 2**32))
def test_the_nearest_and_some_of_every_range(count, seed):
    everybody = contacts(count)
    source = random.Random(seed)
    near, far = places(TARGET, everybody, (), (), (), 0.0, LIMITS, lambda: source.getrandbits(32))
    nearest = sorted(everybody, key=lambda c: c.long_id)[: LIMITS.k]
    assert near[: LIMITS.k] == nearest
    chosen = nearest + far
    assert len({c.id for c in chosen}) == len(chosen)
    for _, row in by_range(TARGET, everybody):
        inside = [c for c in chosen if c in row]
        assert len(inside) >= min(LIMITS.range_places, len(row))
        assert len([c for c in far if c in row]) <= LIMITS.range_places


def test_far_ranges_get_half_as_many():
    near, far = places(TARGET, contacts(2000), (), (), (), 11.0, LIMITS, random.Random(1).random)
    rows = {r: len(row) for r, row in by_range(TARGET, near[: LIMITS.k] + far)}
    assert [rows[r] for r in range(5)] == [LIMITS.range_places // 2] * 5
    assert min(rows[5], rows[6]) >= LIMITS.range_places


def test_with_no_places_in_ranges_there_are_the_nearest_only():
    near, far = places(TARGET, contacts(100), (), (), (), 0.0, Limits(range_places=0), lambda: 0)
    assert far == []
    assert len(near) == 2 * LIMITS.k


def test_holders_of_the_last_round_are_asked_again():
    everybody = contacts(300)
    _, first = places(TARGET, everybody, (), (), (), 0.0, LIMITS, random.Random(1).random)
    _, second = places(TARGET, everybody, (), {c.id for c in first}, (), 0.0, LIMITS, random.Random(2).random)
    assert {c.id for c in first} == {c.id for c in second}


def test_peers_of_our_own_table_come_before_those_only_told():
    everybody = contacts(300)
    known = {c.id for c in everybody[:150]}
    _, far = places(TARGET, everybody, (), (), known, 0.0, LIMITS, random.Random(1).random)
    outer = [c for c in far if range_of(TARGET, c.long_id) <= 2]
    assert len(outer) == 3 * LIMITS.range_places
    assert {c.id for c in outer} <= known


def test_ids_that_one_liar_invents_near_a_tag_take_no_place():
    everybody, invented = contacts(60), [c for c in contacts(4000, 9) if range_of(TARGET, c.long_id) > 5]
    assert len(invented) > LIMITS.k
    near, far = places(TARGET, everybody, invented, (), (), 6.0, LIMITS, random.Random(1).random)
    assert not {c.id for c in near[: LIMITS.k] + far} & {c.id for c in invented}
    few, _ = places(TARGET, everybody[:3], invented, (), (), 6.0, LIMITS, random.Random(1).random)
    assert {c.id for c in everybody[:3]} <= {c.id for c in few[: LIMITS.k]}


def test_one_network_gets_one_far_place_in_a_range():
    bought = [c for c in contacts(200, 2, "66.6.6.6") if range_of(TARGET, c.long_id) == 0]
    honest = contacts(60, 3)
    _, far = places(TARGET, bought + honest, (), (), (), 0.0, LIMITS, random.Random(1).random)
    assert sum(group_of(c.endpoint) == group_of(("66.6.6.6", 1)) for c in far) <= 1


@given(st.integers(0, 2**160 - 1), st.integers(0, 2**160 - 1))
def test_a_range_is_the_number_of_shared_leading_bits(one, other):
    shared = range_of(one, other)
    assert one >> (160 - shared) == other >> (160 - shared)
    if shared < MAX_RANGE:
        assert one >> (159 - shared) != other >> (159 - shared)


@given(st.lists(st.lists(st.integers(), max_size=6), max_size=8), st.integers(0, 40), st.integers(0, 99))
def test_a_spread_takes_one_of_each_row_before_a_second_of_any(rows, most, turn):
    marked = [[(number, at) for at in range(len(row))] for number, row in enumerate(rows)]
    chosen = spread(marked, most, turn)
    assert len(chosen) == len(set(chosen)) == min(most, sum(map(len, rows)))
    counts = [sum(row == number for row, _ in chosen) for number in range(len(rows))]
    for number, row in enumerate(rows):
        assert counts[number] in (len(row), *range(max(0, max(counts) - 1), max(counts) + 1))


@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_a_shuffling_holds_every_position_once(total, order, cursor):
    positions = list(shuffled(total, order, 0))
    assert sorted(positions) == list(range(total))
    assert list(shuffled(total, order, cursor)) == positions[cursor:]
