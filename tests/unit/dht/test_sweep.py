"""The sweep by itself: whom it asks in which distance range, and when it is done."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import range_of
from p2pgrid.dht.sweep import Sweep

TARGET = bytes(20)
LIMITS = Limits()
DEPTH = 8.0


class Placed(Contact):
    """A contact with an id of our choice."""

    __slots__ = ()

    def __init__(self, number: int, shared: int) -> None:
        super().__init__(number.to_bytes(32, "big"), f"20.{number // 250}.{number % 250}.7", 4000)
        source = random.Random(number)
        value = 1 << (159 - shared) | source.getrandbits(159 - shared)
        self.id = value.to_bytes(20, "big")
        self.long_id = value


def sweep(limits: Limits = LIMITS) -> Sweep:
    return Sweep(TARGET, b"own" * 6 + b"xx", limits, DEPTH, 7)


def crowd(counts: dict[int, int]) -> list[Placed]:
    """So many contacts in each range."""
    numbers = iter(range(1, 10_000))
    return [Placed(next(numbers), shared) for shared, count in counts.items() for _ in range(count)]


def ranges(contacts: list[Contact]) -> Counter[int]:
    return Counter(range_of(0, contact.long_id) for contact in contacts)


def run(made: Sweep, silent: set[bytes] = frozenset()) -> list[Contact]:  # type: ignore[assignment]
    """Answer at once, but for the silent; everybody asked."""
    asked: list[Contact] = []
    while chosen := made.next():
        asked += chosen
        for contact in chosen:
            if contact.id in silent:
                made.slow(contact)
                made.failed(contact)
            else:
                made.done_with(contact.id)
    return asked


def test_every_range_is_asked_once_before_any_is_asked_twice():
    made = sweep()
    made.add(crowd(dict.fromkeys(range(10), 5)))
    first: list[Contact] = []
    while len(first) < 10:
        for contact in made.next():
            first.append(contact)
            made.done_with(contact.id)
    assert set(ranges(first[:10]).values()) == {1}


def test_each_near_range_gives_three_and_each_far_one_a_single_answer():
    made = sweep()
    made.add(crowd(dict.fromkeys(range(11), 20)))
    asked = ranges(run(made))
    assert asked[0] == asked[1] == 1
    assert all(asked[shared] == LIMITS.range_asked for shared in range(2, 10))
    assert asked[10] == LIMITS.k, "in the nearest one somebody may know a nearer one"
    assert made.done(False)


def test_45_silent_ids_ground_next_to_the_target_take_no_question_from_the_other_ranges():
    made = sweep()
    honest, bought = crowd({5: 5, 6: 3, 7: 2}), [Placed(5000 + n, 9 + n % 6) for n in range(45)]
    made.add(bought)
    made.add(honest)
    asked = run(made, {contact.id for contact in bought})
    assert {contact.id for contact in honest if range_of(0, contact.long_id) > 5} <= {contact.id for contact in asked}
    assert ranges(asked)[5] == LIMITS.range_asked
    assert len(asked) <= LIMITS.lookup_asked
    assert made.done(False)


def test_peers_of_our_own_table_come_before_those_only_told():
    made = sweep()
    told, known = crowd({6: 3}), [Placed(900 + n, 6) for n in range(3)]
    made.add(told)
    made.start([(7, crowd({7: 1})), (6, list(known))])
    asked = {contact.id for contact in run(made) if range_of(0, contact.long_id) == 6}
    assert asked == {contact.id for contact in known}


def test_the_bits_of_have_are_the_ranges_with_enough():
    made = sweep()
    made.add(crowd({0: 1, 4: 2, 6: 20}))
    assert made.have() == 1 << 6


def test_a_wider_sweep_asks_everybody_in_the_end():
    made = sweep()
    everybody = crowd({0: 30, 1: 20, 5: 20})
    made.add(everybody)
    asked = run(made)
    for _ in range(6):
        made.widen()
        asked += run(made)
    assert {contact.id for contact in asked} == {contact.id for contact in everybody}
    assert len(asked) == len(everybody)


def test_slow_peers_are_waited_for_only_while_nothing_is_known():
    made = sweep()
    one, two = crowd({3: 2})
    made.add([one, two])
    assert len(made.next()) == 2
    made.slow(one)
    assert not made.done(False)
    made.done_with(two.id)
    assert made.done(True)
    assert not made.done(False)
    made.failed(one)
    assert made.done(False)


@given(
    st.lists(st.integers(0, 14), max_size=60),
    st.lists(st.sampled_from(["done_with", "slow", "failed"]), max_size=80),
)
def test_it_always_ends_and_never_asks_twice(placed, fates):
    made = sweep()
    made.add([Placed(number, shared) for number, shared in enumerate(placed, 1)])
    asked: list[Contact] = []
    flying: list[Contact] = []
    slow: list[Contact] = []
    for fate in [*fates, *["done_with"] * 300]:
        flying += (chosen := made.next())
        asked += chosen
        if flying:
            contact = flying.pop(0)
            getattr(made, fate)(contact.id if fate == "done_with" else contact)
            if fate == "slow":
                slow.append(contact)
        elif slow:
            made.failed(slow.pop())
        else:
            break
    assert made.done(False)
    assert len(asked) == len({contact.id for contact in asked}) <= LIMITS.lookup_asked
    assert made._flying == made._slow == 0


def known(counts: dict[int, int]) -> list[tuple[int, list[Contact]]]:
    rows: dict[int, list[Contact]] = {}
    for contact in crowd(counts):
        rows.setdefault(range_of(0, contact.long_id), []).append(contact)
    return sorted(rows.items(), reverse=True)


def test_no_range_gives_up_while_hardly_anybody_answers():
    made = sweep()
    rows = known(dict.fromkeys(range(2, 7), 16))
    everybody = [contact for _, row in rows for contact in row]
    living = min(everybody, key=lambda contact: contact.key)
    made.start(rows)
    asked = run(made, {contact.id for contact in everybody} - {living.id})
    assert living in asked


def test_who_wants_one_listing_asks_the_nearest_known_peer_alone():
    made = sweep()
    made.sparing = True
    rows = known({0: 16, 3: 8, 5: 4})
    nearest = min((contact for _, row in rows for contact in row), key=lambda contact: contact.long_id)
    made.start(rows)
    assert made.next() == [nearest]
    assert made.next() == []
    made.done_with(nearest.id)
    assert len(made.next()) == 1, "it had nothing: one more"


def test_who_wants_one_listing_asks_the_next_nearest_and_one_more_for_each_that_is_slow():
    made = sweep()
    made.sparing = True
    rows = known({0: 16, 3: 8, 5: 2})
    nearest = sorted((contact for _, row in rows for contact in row), key=lambda contact: contact.long_id)
    made.start(rows)
    (first,) = made.next()
    made.slow(first)
    second = made.next()
    assert second == nearest[1:3]
    made.slow(second[0])
    made.slow(second[1])
    assert len(made.next()) == LIMITS.alpha


def test_who_wants_one_listing_goes_on_from_the_nearest_told_and_asks_several_when_three_had_nothing():
    made = sweep()
    made.sparing = True
    made.start(known({0: 16, 1: 16, 2: 8}))
    (far,) = made.next()
    assert range_of(0, far.long_id) == 2
    told = crowd({5: 3})
    made.add(told)
    made.done_with(far.id)
    for nearest in sorted(told, key=lambda one: one.long_id)[:2]:
        assert made.next() == [nearest]
        made.done_with(nearest.id)
    assert len(made.next()) > LIMITS.alpha


def test_who_wants_one_listing_is_not_held_up_by_many_near_and_silent():
    made = sweep()
    made.sparing = True
    rows = known({5: 45, 2: 16})
    silent = {contact.id for contact in rows[0][1]}
    made.start(rows)
    asked: list[Contact] = []
    while silent.issuperset(contact.id for contact in asked):
        chosen = made.next()
        asked += chosen
        for contact in chosen:
            made.slow(contact)
    assert len(asked) <= 9


def test_who_was_asked_before_the_table_was_looked_through_is_not_asked_again():
    made = sweep()
    made.sparing = True
    rows = known({4: 3})
    (likely, *others) = sorted(rows[0][1], key=lambda one: one.long_id)
    made.start([(4, [likely])])
    assert made.next() == [likely]
    made.slow(likely)
    made.start(rows)
    assert likely not in run(made, {one.id for one in others})


def test_nothing_found_is_not_over_while_a_slow_one_may_still_know():
    made = sweep()
    made.start(known(dict.fromkeys(range(2, 9), 3)))
    asked = made.next()
    late = asked[0]
    made.slow(late)
    for contact in asked[1:]:
        made.done_with(contact.id)
    run(made)
    assert made.done(True), "with something found nobody waits for the slow"
    assert not made.done(False)
    made.silent(late)
    assert made.done(False)
    assert late not in made.everybody()


def test_nobody_alone_makes_a_range_look_known():
    made = sweep()
    row = crowd({6: 40, 2: 1})
    assert len(made.add(row[:16], spread=True)) == 12
    assert not made.have()
    made.add(row[16:], spread=True)
    assert made.have() == 1 << 6


def test_a_node_told_at_several_addresses_is_asked_at_one_at_a_time_and_the_sweep_ends():
    made = sweep()
    (first,) = crowd({6: 1})
    made.add([first])
    assert made.next() == [first]
    made.slow(first)
    others = []
    for number in range(3):
        other = Placed(int.from_bytes(first.key, "big"), 6)
        other.endpoint = (f"30.0.{number}.1", 4000)
        others.append(other)
    made.add(others)
    asked = run(made, {first.id})
    assert {contact.endpoint for contact in asked} == {contact.endpoint for contact in others}
    made.failed(first)
    assert made.done(False)


def test_a_wider_sweep_has_bounds_as_much_wider():
    made = sweep()
    silent, honest = crowd({4: 60}), [Placed(900 + n, 6) for n in range(8)]
    made.add([*silent, *honest])
    made.widen()
    asked = ranges(run(made, {contact.id for contact in silent}))
    assert asked[6] == 8
    assert asked[4] == 2 * 3 * LIMITS.range_asked


def test_an_id_beyond_the_depth_does_not_end_the_search_for_nearer_ones():
    made = sweep()
    row = crowd({4: 10, 20: 1})
    made.add(row)
    assert ranges(run(made))[4] == 10


def test_an_id_ground_beyond_the_depth_is_not_the_one_asked_alone():
    made = sweep()
    made.sparing = True
    rows = known({14: 1, 5: 4})
    made.start(rows)
    (first,) = made.next()
    assert range_of(0, first.long_id) == 5
