"""Run times in steps: what a data scientist is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.measures import MEMORY, SECONDS, coarse_run, coarse_seconds


@given(st.floats(0, 1e6))
def test_a_time_is_told_as_a_step_at_or_above_it(seconds: float) -> None:
    told = coarse_seconds(seconds)
    assert told >= seconds
    assert told in SECONDS or told % 3600 == 0


@pytest.mark.parametrize(("seconds", "told"), [(0, 0.1), (0.02, 0.1), (0.11, 1.0), (59, 60.0), (4000, 7200.0)])
def test_steps_of_time(seconds: float, told: float) -> None:
    assert coarse_seconds(seconds) == told


def test_a_report_is_told_in_steps() -> None:
    run = {"ok": True, "seconds": 0.7, "cpu_seconds": 0.6, "memory": MEMORY + 1}
    assert coarse_run(run) == {"ok": True, "seconds": 1.0, "cpu_seconds": 1.0, "memory": 2 * MEMORY}
    assert coarse_run({"skipped": "no mock"}) == {"skipped": "no mock"}
