"""Strangers cause a bounded number of entries, and none of their tries is lost from the count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.tally import Tally


def test_what_is_over_the_limit_is_told_as_a_number_once_the_window_ends() -> None:
    tally = Tally(most=2, window=10.0)
    assert [tally.take(float(now)) for now in (0, 1, 2, 3, 4)] == [0, 0, None, None, None]
    assert tally.take(10.0) == 3
    assert tally.take(11.0) == 0
    assert tally.take(12.0) is None
    assert tally.rest() == 1
    assert tally.rest() == 0


def test_a_clock_that_was_set_back_begins_a_new_window() -> None:
    tally = Tally(most=1, window=10.0)
    assert tally.take(1000.0) == 0
    assert tally.take(5.0) == 0


@given(st.lists(st.floats(0, 100), max_size=60))
def test_every_event_is_told_or_counted_and_few_are_told(times: list[float]) -> None:
    tally = Tally(most=3, window=20.0)
    answers = [tally.take(now) for now in sorted(times)]
    told = [untold for untold in answers if untold is not None]
    assert len(told) + sum(told) + tally.rest() == len(times)
    assert len(told) <= 3 * 6
