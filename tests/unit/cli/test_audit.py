"""Moments as people write them."""

from __future__ import annotations

import datetime as dt

import pytest

from p2pgrid.cli.audit import read_moment
from p2pgrid.client.audit import DETAIL, details_text
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


def test_details_are_cut_after_a_whole_item() -> None:
    limits = {"wall_seconds": 10.0, "cpu_seconds": 8, "memory_bytes": 1 << 30, "threads": 64, "output_bytes": 262144}
    assert details_text({"ok": False, "rows": 0, "why": None}) == "ok=False, rows=0, why="
    told = details_text({"ok": True, "limits": limits, "layers": ["namespaces"] * 20, "why": "x" * 200})

    assert told.startswith("ok=True, limits={wall_seconds: 10.0, cpu_seconds: 8, memory_bytes: 1073741824, ")
    assert "threads: 64, …}, layers=[namespaces, " in told
    assert "namespaces, …], why=xxx" in told
    assert told.endswith("x…")
    assert max(map(len, told.split("="))) < DETAIL + 20
