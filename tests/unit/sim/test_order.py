"""Things sorted by id against looking at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.ranges import ID_BITS
from p2pgrid.sim.order import Ordered

IDS = st.one_of(
    st.integers(0, 2**ID_BITS - 1),
    st.integers(0, 63),
    st.builds(lambda low, shift: low << shift, st.integers(0, 15), st.integers(0, ID_BITS - 4)),
)
MANY = st.sets(IDS, max_size=60)


@given(MANY, IDS, st.integers(0, 70))
def test_the_nearest_are_those_that_looking_at_all_finds(ids, point, count):
    ordered = Ordered([(an_id, an_id) for an_id in ids])
    assert ordered.nearest(point, count) == sorted(ids, key=lambda an_id: an_id ^ point)[:count]


@given(MANY.filter(bool), st.data())
def test_ranges_are_everybody_else_by_leading_bits_shared(ids, data):
    own = data.draw(st.sampled_from(sorted(ids)))
    rows = [list(row) for row in Ordered([(an_id, an_id) for an_id in ids]).ranges(own)]
    for shared, row in enumerate(rows):
        assert row == sorted(one for one in ids if one != own and ID_BITS - (one ^ own).bit_length() == shared)
    assert sum(map(len, rows)) == len(ids) - 1


@given(MANY)
def test_things_are_in_the_order_of_their_ids(ids):
    ordered = Ordered([(an_id, str(an_id)) for an_id in ids])
    assert ordered.things == [str(an_id) for an_id in sorted(ids)]


def test_ranges_end_where_nobody_is_left():
    assert list(Ordered([(5, "alone")]).ranges(5)) == [[]]
    assert [list(row) for row in Ordered([(0, "a"), (1 << ID_BITS - 1, "b")]).ranges(0)] == [["b"]]
