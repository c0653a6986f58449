"""Lengths of sessions against theory."""

from __future__ import annotations

import math
import random
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgrid.errors import InvalidInput
from p2pgrid.sim.churn import LEAST_SHAPE, Weibull

DRAWN = 5_000
SHAPES = st.floats(0.5, 4.0)
MEANS = st.floats(1.0, 1e5)


def moment(sessions: Weibull, order: int) -> float:
    """E[X^order] of a Weibull distribution."""
    return sessions.scale**order * math.gamma(1 + order / sessions.shape)


def close(drawn: list[float], mean: float, variance: float) -> bool:
    """Within six standard errors."""
    return abs(fmean(drawn) - mean) <= 6 * math.sqrt(variance / len(drawn))


@settings(max_examples=25)
@given(SHAPES, MEANS)
def test_sessions_have_the_mean_that_was_asked_for(shape, mean):
    sessions, chance = Weibull(shape, mean), random.Random(11)
    drawn = [sessions.session(chance) for _ in range(DRAWN)]
    assert moment(sessions, 1) == pytest.approx(mean)
    assert close(drawn, mean, moment(sessions, 2) - mean**2)


@settings(max_examples=25)
@given(SHAPES, MEANS)
def test_what_is_left_at_a_random_moment_has_the_mean_of_renewal_theory(shape, mean):
    sessions, chance = Weibull(shape, mean), random.Random(12)
    drawn = [sessions.rest(chance) for _ in range(DRAWN)]
    left = moment(sessions, 2) / (2 * mean)  # E[X^2] / 2 E[X], the mean residual life
    assert close(drawn, left, moment(sessions, 3) / (3 * mean) - left**2)


def test_with_a_shape_of_one_who_stayed_long_stays_as_long_as_who_just_came():
    sessions, chance = Weibull(1.0, 100.0), random.Random(13)
    new = [sessions.session(chance) for _ in range(20_000)]
    met = [sessions.rest(chance) for _ in range(20_000)]
    for measure in (fmean, median):
        assert measure(met) == pytest.approx(measure(new), rel=0.05)


def test_a_shape_under_one_means_many_short_sessions_and_a_long_tail():
    sessions, chance = Weibull(0.5, 1000.0), random.Random(14)
    drawn = [sessions.session(chance) for _ in range(20_000)]
    assert median(drawn) == pytest.approx(sessions.scale * math.log(2) ** 2, rel=0.1)
    assert median(drawn) < 1000.0 / 3
    assert max(drawn) > 10 * 1000.0


@pytest.mark.parametrize("shape", [LEAST_SHAPE, 50.0])
def test_extreme_shapes_give_finite_lengths(shape):
    sessions, chance = Weibull(shape, 1000.0), random.Random(15)
    for draw in (sessions.session, sessions.rest):
        assert all(0 <= draw(chance) < math.inf for _ in range(1000))


@pytest.mark.parametrize(
    "values",
    [(0.0, 1.0), (-1.0, 1.0), (0.5, 0.0), (0.5, -1.0), (0.5, math.inf), (math.inf, 1.0), (math.nan, 1.0), (1e-9, 1.0)],
)
def test_impossible_sessions_are_refused(values):
    with pytest.raises(InvalidInput):
        Weibull(*values)
