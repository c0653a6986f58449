"""Moments as people write them."""

from __future__ import annotations

import datetime as dt

import pytest

from p2pgrid.cli.audit import read_moment
from p2pgrid.errors import InvalidInput

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


def test_a_moment_is_a_date_a_time_or_so_long_ago() -> None:
    assert read_moment("") is None
    assert read_moment("2d", NOW) == NOW - dt.timedelta(days=2)
    assert read_moment("90m", NOW) == NOW - dt.timedelta(minutes=90)
    assert read_moment("2026-11-22T12:00+02:00") == NOW - dt.timedelta(hours=2)
    assert read_moment("2026-11-22") == dt.datetime(2026, 11, 22).astimezone(dt.UTC)


@pytest.mark.parametrize("text", ["yesterday", "5", "2026-13-01", "9999999d", "999999w", "0001-01-01T00:00+23:00"])
def test_what_is_no_moment_is_wrong_use(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_moment(text, NOW)
