"""Arguments that are looked at: what passes, and that whatever does not is named with its value."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import BadExperiment, InvalidInput
from p2pgrid.sim import plan
from p2pgrid.sim.checks import MOST_SEED, instance, number, seed_number, whole_number
from p2pgrid.sim.churn import Sessions, Weibull
from p2pgrid.sim.world import World

ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@pytest.mark.parametrize("value", [0, 7, 10**30, np.int64(7)], ids=repr)
def test_whole_numbers_pass(value):
    assert whole_number("n", value) == value
    assert type(whole_number("n", value)) is int


@pytest.mark.parametrize(
    "value", [None, True, "5", 2.5, 2.0, math.nan, math.inf, -1, [1], np.float64(1), 1j, 10**400], ids=str
)
def test_what_is_no_whole_number_in_its_bounds_is_named(value):
    with pytest.raises(InvalidInput, match=r"^n is a whole number from 0 on, not "):
        whole_number("n", value)


@pytest.mark.parametrize("value", [0, 1.5, np.float32(1.5), np.int32(3), Fraction(1, 2), 1e308], ids=repr)
def test_numbers_pass(value):
    assert number("x", value) == value


@pytest.mark.parametrize("value", [None, True, "5", math.nan, math.inf, -math.inf, -0.1, [1], 10**400], ids=str)
def test_what_is_no_finite_number_in_its_bounds_is_named(value):
    with pytest.raises(InvalidInput, match=r"^x is a number from 0 on, not "):
        number("x", value)


def test_bounds_are_told_with_the_value():
    for wrong in (1, 1_001):
        with pytest.raises(BadExperiment, match=rf"n is a whole number from 2 to 1,000, not {wrong}\."):
            whole_number("n", wrong, 2, 1_000, error=BadExperiment)
    with pytest.raises(InvalidInput, match=r"x is a number above 0, not 0\."):
        number("x", 0, above=True)
    with pytest.raises(InvalidInput, match=r"x is a number above 0 and at most 1.5, not 2\."):
        number("x", 2, 0, 1.5, above=True)
    with pytest.raises(InvalidInput) as caught:
        number("x", "long" * 1_000)
    assert len(caught.value.cause) < 150


@given(ANYTHING)
def test_any_value_is_a_number_or_refused(value):
    for look in (number, whole_number):
        with contextlib.suppress(InvalidInput):
            assert look("n", value) == type(look("n", value))(value) >= 0


@pytest.mark.parametrize("seed", [0, 1, MOST_SEED - 1])
def test_seeds(seed):
    assert World(seed).seed == seed_number(seed) == seed


@pytest.mark.parametrize("seed", [None, -1, "x", 1.5, True, MOST_SEED])
def test_what_is_no_seed_is_refused_by_every_world(seed):
    with pytest.raises(InvalidInput, match=r"^seed is a whole number from 0 to 9,223,372,036,854,775,807, not "):
        World(seed)


def test_a_plan_takes_the_same_seeds():
    assert plan.MOST_SEED == MOST_SEED


def test_a_class_is_none_of_its_instances():
    instance("churn", Weibull(), Sessions, "Weibull()")
    for wrong in (Weibull, 3, None):
        with pytest.raises(InvalidInput, match=r"churn is such as Weibull\(\), not "):
            instance("churn", wrong, Sessions, "Weibull()")
