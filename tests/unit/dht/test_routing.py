"""The table: exact neighbours, bounded buckets, no eviction of the living."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import MAX_RANGE, by_range
from p2pgrid.dht.routing import ID_BITS, Table

LIMITS = Limits(k=4, cache=3)


def peer(number: int) -> Peer:
    return Peer(number.to_bytes(32, "big"), f"10.0.{number // 250}.{number % 250 + 1}", 4000, None, 0.0)


def table(count: int, own: int = 0) -> tuple[Table, list[Peer]]:
    made = Table(own.to_bytes(20, "big"), LIMITS, 0.0)
    peers = [peer(n) for n in range(count)]
    for each in peers:
        made.add_contact(each)
    return made, peers


@given(st.integers(0, 300), st.integers(0, 2**ID_BITS - 1), st.integers(1, 20), st.integers(0, 2**ID_BITS - 1))
def test_neighbours_are_the_exact_nearest(count, target, wanted, own):
    made, _ = table(count, own)
    everybody = sorted(made.peers(), key=lambda p: p.long_id ^ target)
    assert made.nearest(target, wanted) == everybody[:wanted]


@given(st.integers(0, 300), st.integers(0, 2**ID_BITS - 1), st.integers(1, 20), st.randoms())
def test_neighbours_without_the_asker_and_those_that_failed(count, target, wanted, chance):
    made, peers = table(count)
    for each in peers:
        each.fails = chance.randrange(2)
    everybody = sorted(made.peers(), key=lambda p: p.long_id ^ target)
    asker = chance.choice(everybody).key if everybody else b"nobody"
    assert made.nearest(target, wanted, asker) == [p for p in everybody if p.key != asker][:wanted]
    assert (
        made.nearest(target, wanted, asker, alive=True)
        == [p for p in everybody if p.key != asker and not p.fails][:wanted]
    )


@given(st.integers(0, 300), st.integers(0, 2**ID_BITS - 1), st.integers(0, 12), st.randoms())
def test_the_first_is_the_nearest_live_one_that_is_not_suspiciously_near(count, target, bits, chance):
    made, _ = table(count)
    for peer_ in made.peers():
        peer_.fails = chance.randrange(2)
    least = 1 << ID_BITS - bits if bits else 0
    far = [p for p in made.peers() if not p.fails and p.long_id ^ target >= least]
    assert made.first(target, least) is min(far, key=lambda p: p.long_id ^ target, default=None)


@given(st.integers(0, 300), st.integers(0, 2**ID_BITS - 1))
def test_buckets_part_the_id_space_and_keep_their_bounds(count, own):
    made, _ = table(count, own)
    ordered = sorted(made.buckets, key=lambda bucket: bucket.range)
    assert ordered[0].range[0] == 0
    assert ordered[-1].range[1] == 2**ID_BITS - 1
    for left, right in itertools.pairwise(ordered):
        assert left.range[1] + 1 == right.range[0]
    for at, bucket in enumerate(made.buckets):
        assert made.index(bucket.range[0]) == made.index(bucket.range[1]) == at
        assert len(bucket.nodes) <= LIMITS.k
        assert len(bucket.replacement_nodes) <= LIMITS.cache
        assert all(bucket.range[0] <= p.long_id <= bucket.range[1] for p in bucket.nodes.values())
    for each in made.peers():
        assert made.get(each.id) is each


def full_bucket(made: Table) -> tuple[object, list[Peer]]:
    bucket = next(b for b in made.buckets if len(b.nodes) == LIMITS.k and b.replacement_nodes)
    return bucket, list(bucket.nodes.values())


def test_a_newcomer_never_evicts_anybody():
    made, _ = table(200)
    bucket, before = full_bucket(made)
    for number in range(1000, 1400):
        made.add_contact(peer(number))
    assert list(bucket.nodes.values()) == before


def test_the_dead_are_replaced_by_the_newest_of_the_cache():
    made, _ = table(200)
    bucket, before = full_bucket(made)
    newest = list(bucket.replacement_nodes.values())[-1]
    made.remove_contact(before[1])
    assert before[1].id not in bucket.nodes
    assert newest.id in bucket.nodes
    assert len(bucket.nodes) == LIMITS.k


def test_whoever_was_heard_moves_to_the_recent_end():
    made, _ = table(200)
    bucket, before = full_bucket(made)
    bucket.add_node(before[0])
    assert list(bucket.nodes.values()) == [*before[1:], before[0]]


def test_we_never_stand_in_our_own_table():
    me = peer(5)
    made = Table(me.id, LIMITS, 0.0)
    assert not made.add_contact(me)
    assert len(made) == 0


def test_stale_buckets_by_the_time_handed_in():
    made, _ = table(100)
    assert made.stale(10.0, 60.0) == []
    assert made.stale(60.0, 60.0) == made.buckets


def test_buckets_keep_their_order_when_they_split():
    source = random.Random(3)
    numbers = source.sample(range(10_000), 300)
    made = Table(bytes(20), LIMITS, 0.0)
    for number in numbers:
        made.add_contact(peer(number))
    order = {n: at for at, n in enumerate(numbers)}
    for bucket in made.buckets:
        places = [order[int.from_bytes(p.key, "big")] for p in bucket.nodes.values()]
        assert places == sorted(places)


@given(
    st.integers(0, 300), st.integers(0, 2**ID_BITS - 1), st.integers(0, 2**ID_BITS - 1), st.integers(0, 2**MAX_RANGE)
)
def test_ranges_are_everybody_in_rows_of_so_many_shared_leading_bits(count, target, own, but):
    made, _ = table(count, own)
    for point in (target, own, own ^ 1, own ^ (1 << 150)):
        for without in (0, but):
            wanted = [(r, row) for r, row in by_range(point, made.peers()) if not without >> r & 1]
            rows = made.ranges(point, without)
            assert [(r, {p.id for p in row}) for r, row in rows] == [(r, {p.id for p in row}) for r, row in wanted]


@pytest.mark.parametrize(("count", "least", "most"), [(0, 0, 0), (1, 1, 6), (64, 5, 7), (1000, 9, 11), (8000, 12, 14)])
def test_depth_is_the_logarithm_of_the_grids_size(count, least, most):
    made = Table(bytes(range(20)), Limits(), 0.0)
    for number in range(count):
        made.add_contact(peer(number))
    assert least <= made.depth() <= most


def test_a_few_ids_ground_next_to_ours_hardly_change_the_depth():
    made = Table(bytes(range(20)), Limits(), 0.0)
    for number in range(1000):
        made.add_contact(peer(number))
    honest = made.depth()
    for number in range(4):
        near = peer(5000 + number)
        near.long_id = made.own ^ (number + 1)
        near.id = near.long_id.to_bytes(20, "big")
        made.add_contact(near)
    assert made.depth() <= honest + 2


@given(st.lists(st.tuples(st.sampled_from("amr"), st.integers(0, 40), st.integers(0, 12)), max_size=80))
def test_who_is_at_an_address_is_told_exactly_whoever_came_moved_and_left(steps):
    made = Table(bytes(20), Limits(k=4, cache=3, bucket_group=100, table_group=100), 0.0)
    peers = [peer(number) for number in range(41)]
    for step, number, place in steps:
        one, where = peers[number], (f"10.1.0.{place + 1}", 4000)
        if step == "a" and made.get(one.id) is None:
            one.moved(*where)
            made.add_contact(one)
        elif step == "m":
            made.move(one, where)
        elif step == "r":
            made.remove_contact(one)
        for other in range(13):
            at = (f"10.1.0.{other + 1}", 4000)
            assert made.at(at) == [known for known in made.peers() if known.endpoint == at]
