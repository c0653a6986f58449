"""Virtual time: the order of events, where a run stops, and the digest."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.sim.world import EPOCH, FOLD, WATCH, World

TIMES = st.integers(0, 20).map(float)


def chatter(world: World, who: int) -> None:
    """Somebody who says something by chance, again and again."""
    world.note(who, world.random.randbytes(world.random.randrange(200)))
    world.after(world.random.expovariate(10.0), chatter, world, who)


def lively(seed: int) -> World:
    world = World(seed)
    for who in range(3):
        world.at(0.0, chatter, world, who)
    return world


@given(st.lists(TIMES, max_size=40))
def test_events_happen_in_order_of_time_and_those_of_one_moment_as_they_were_asked_for(times):
    world = World(1)
    happened: list[tuple[float, int]] = []
    for number, when in enumerate(times):
        world.at(when, lambda number=number: happened.append((world.now, number)))
    assert not world.run(100.0)
    assert happened == sorted((when, number) for number, when in enumerate(times))
    assert world.events == len(times)


@given(st.lists(TIMES, max_size=40), TIMES)
def test_a_run_does_what_is_due_by_its_end_and_the_next_run_the_rest(times, end):
    world = World(1)
    happened: list[float] = []
    for when in times:
        world.at(when, happened.append, when)
    world.run(end)
    assert happened == sorted(when for when in times if when <= end)
    assert world.now == end
    world.run(100.0)
    assert happened == sorted(times)


@given(st.lists(TIMES, min_size=1, max_size=40), st.data())
def test_a_run_stops_right_after_the_event_that_makes_until_true(times, data):
    wanted = data.draw(st.integers(1, len(times)))
    world = World(1)
    happened: list[float] = []
    for when in times:
        world.at(when, happened.append, when)
    assert world.run(100.0, lambda: len(happened) >= wanted)
    assert len(happened) == wanted
    assert world.now == sorted(times)[wanted - 1]


def test_nothing_happens_when_until_is_true_already():
    world = World(1)
    happened: list[str] = []
    world.at(0.0, happened.append, "late")
    assert world.run(1.0, lambda: True)
    assert not happened
    assert world.now == 0.0


def test_until_that_never_comes_true_lets_all_the_time_pass():
    world = World(1)
    assert not world.run(2.5, lambda: False)
    assert world.now == 2.5
    assert world.wall() == EPOCH + 2.5


def test_what_was_due_in_the_past_happens_now_and_time_never_goes_back():
    world = World(1)
    world.run(5.0)
    seen: list[float] = []
    world.at(1.0, lambda: seen.append(world.now))
    world.after(0.5, lambda: seen.append(world.now))
    world.run(1.0)
    assert seen == [5.0, 5.5]


def test_events_may_ask_for_events():
    world = World(1)
    seen: list[float] = []

    def again() -> None:
        seen.append(world.now)
        world.after(1.0, again)

    again()
    world.run(3.5)
    assert seen == [0.0, 1.0, 2.0, 3.0]


def test_an_event_that_raises_stops_the_run_and_the_next_run_goes_on_behind_it():
    world = World(1)
    seen: list[int] = []
    world.at(1.0, {}.__getitem__, "nothing")
    world.at(2.0, seen.append, 2)
    with pytest.raises(KeyError):
        world.run(5.0)
    assert world.now == 1.0
    world.run(5.0)
    assert seen == [2]


def test_whoever_watches_is_called_every_so_many_events():
    world = World(1)
    looks: list[int] = []
    world.watch = lambda: looks.append(world.events)
    for _ in range(2 * WATCH + 1):
        world.after(0.0, int)
    world.run(1.0)
    assert looks == [WATCH, 2 * WATCH]


def test_the_same_seed_gives_the_same_digest_and_another_seed_another():
    digests = []
    for seed in (7, 7, 8):
        world = lively(seed)
        world.run(20.0)
        digests.append(world.digest())
    assert digests[0] == digests[1] != digests[2]
    assert len(bytes.fromhex(digests[0])) == 16


def test_a_seed_alone_makes_no_digest_but_what_chance_does_with_it_does():
    worlds = [World(1), World(1), World(2)]
    assert len({world.digest() for world in worlds}) == 1, "nothing has happened"
    for world in worlds:
        world.after(world.random.random(), lambda: None)
        world.run(1.0)
    assert worlds[0].digest() == worlds[1].digest() != worlds[2].digest()


def test_time_runs_forward_only():
    world = World(1)
    with pytest.raises(ValueError, match="forward"):
        world.run(-0.1)


def test_what_happens_may_end_a_run_and_the_next_goes_on():
    world = World(1)
    done: list[int] = []
    for number in range(3):
        world.at(float(number), done.append, number)
    world.at(1.0, world.stop)
    assert not world.run(10.0)
    assert (done, world.now) == ([0, 1], 1.0)
    world.run(10.0)
    assert (done, world.now) == ([0, 1, 2], 11.0)


@pytest.mark.parametrize(
    "other",
    [
        [(0.0, 2, b"one"), (1.0, 1, b"two")],
        [(0.0, 1, b"one"), (1.0, 1, b"tw0")],
        [(0.0, 1, b"one"), (1.5, 1, b"two")],
        [(0.0, 1, b"two"), (1.0, 1, b"one")],
        [(0.0, 1, b"one")],
    ],
    ids=["who", "what", "when", "order", "less"],
)
def test_the_digest_tells_apart_who_what_when_and_in_which_order(other):
    def digest(notes: list[tuple[float, int, bytes]]) -> str:
        world = World(1)
        for when, who, what in notes:
            world.at(when, world.note, who, what)
        world.run(5.0)
        return world.digest()

    assert digest([(0.0, 1, b"one"), (1.0, 1, b"two")]) != digest(other)


def test_a_long_trace_is_told_apart_by_its_first_byte_and_takes_little_memory():
    worlds = [World(1), World(1), World(1)]
    for world, first in zip(worlds, (b"a", b"a", b"b"), strict=True):
        world.note(0, first)
        for _ in range(5):
            world.note(0, bytes(FOLD // 2))
        assert len(world._trace) <= 2 * FOLD
    digests = [world.digest() for world in worlds]
    assert digests[0] == digests[1] != digests[2]


def test_looking_at_the_digest_does_not_change_it():
    one, other = lively(3), lively(3)
    for _ in range(20):
        one.run(1.0)
        one.digest()
    other.run(20.0)
    assert one.digest() == one.digest() == other.digest()


def test_a_copied_world_goes_on_to_the_same_digest():
    world = lively(5)
    world.run(30.0)
    copied = pickle.loads(pickle.dumps(world))
    for one in (world, copied):
        one.run(30.0)
    assert copied.digest() == world.digest() != lively(5).digest()
    assert copied.events == world.events
