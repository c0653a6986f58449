"""Diffs of two sources: as ``difflib`` would make them, in bounded time."""

from __future__ import annotations

import difflib
import time

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.diffs import unified

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=14)


def applied(old: list[str], diff: list[str]) -> list[str]:
    """``old`` after the hunks of a diff, read as ``patch`` reads them."""
    new, at = [], 0
    for line in diff[2:]:
        if line.startswith("@@"):
            start, _, count = line.split(" ")[1][1:].partition(",")
            begin = int(start) - (count != "0")
            new += old[at:begin]
            at = begin
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            at += 1
            new += [line[1:]] if line.startswith(" ") else []
    return new + old[at:]


@given(LINES, LINES)
def test_a_diff_leads_from_one_source_to_the_other(old: list[str], new: list[str]) -> None:
    diff = unified("\n".join(old), "\n".join(new), "x", "y").split("\n")
    old, new = "\n".join(old).splitlines(), "\n".join(new).splitlines()
    assert (diff == [""]) == (old == new)
    assert applied(old, diff) == new


def test_a_small_change_far_down_has_its_own_line_numbers() -> None:
    old = [f"line {number}" for number in range(1000)]
    new = [*old[:900], "another", *old[901:]]
    expected = list(difflib.unified_diff(old, new, "x", "y", lineterm=""))
    assert unified("\n".join(old), "\n".join(new), "x", "y").split("\n") == expected


def test_code_made_to_be_slow_to_compare_is_shown_as_all_new() -> None:
    old, new = "\n".join(["a", "b"] * 8000), "\n".join(["b", "a", "a"] * 5000)
    begun = time.monotonic()
    diff = unified(old, new, "x", "y")
    assert time.monotonic() - begun < 5
    assert diff.count("\n-") == 16_000 or len(diff) == 256 << 10
