"""A run in words: what is coarse or cut says so."""

from __future__ import annotations

from typing import Any

import pytest

from p2pgrid.client.runs import KEPT, is_coarse, printed, printed_end
from p2pgrid.domain.service.runs import MAX_OUTPUT


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ({}, ""),
        ({"output": "one\ntwo\n"}, "one\ntwo"),
        ({"output": "x" * 12}, "xxxxxxxxxx\n... 2 more characters"),
    ],
)
def test_what_a_run_printed_says_how_much_is_left_out(run: dict[str, Any], text: str) -> None:
    assert printed(run, 10) == text


def test_what_the_node_may_have_cut_is_told() -> None:
    assert KEPT == MAX_OUTPUT
    assert printed({"output": "x" * KEPT}).endswith("x\n... the node keeps 16,384 characters; there may have been more")
    assert printed({"output": "x" * (KEPT - 1)}).endswith("x")


def test_the_end_of_much_output_says_what_is_before_it() -> None:
    assert printed_end({"output": "short\n"}, 10, "look") == "short"
    assert printed_end({"output": "x" * 990 + "an error"}, 8, "look") == "(990 characters before this: look)\nan error"


def test_only_an_owner_is_told_measures_as_they_were() -> None:
    assert is_coarse({"mock_run": {}})
    assert not is_coarse({"mock_run": {}, "private_run": None})
