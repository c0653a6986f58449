"""Functions to be sent, and the policies they are bound to."""

from __future__ import annotations

from typing import Any

import pytest

from p2pgrid.client.functions import (
    ExactMatch,
    GridFunction,
    SingleExecutionExactOutput,
    grid_function,
    source_of,
    syft_function,
)
from p2pgrid.client.held import AssetPointer
from p2pgrid.errors import BadCode, InvalidInput

ASSET = AssetPointer("aa" * 16, "ages")


def test_a_bound_function_carries_its_source_and_policies_and_still_runs() -> None:
    @grid_function(input_policy=ExactMatch(data=ASSET), output_policy=SingleExecutionExactOutput())
    def compute_sum(data: list[int]) -> int:
        return sum(data)

    assert isinstance(compute_sum, GridFunction)
    assert compute_sum.name == "compute_sum"
    assert compute_sum(data=[1, 2]) == 3
    assert compute_sum.code.startswith("@grid_function")
    assert "    return sum(data)" in compute_sum.code
    assert compute_sum.input_policy.inputs == {"data": ASSET.asset_id}
    assert compute_sum.output_policy.kind == "SingleExecutionExactOutput"
    assert "ExactMatch(data=aaaa" in repr(compute_sum)


def test_the_output_policy_is_the_strictest_unless_given() -> None:
    def nothing() -> None:
        return None

    bound = grid_function(input_policy=ExactMatch())(nothing)
    assert isinstance(bound.output_policy, SingleExecutionExactOutput)


OUTSIDE = 3


def test_names_from_outside_are_told_before_anything_is_sent() -> None:
    around = 2

    def lost(data: Any) -> Any:
        return [pytest.approx(item) + OUTSIDE + around for item in data]

    with pytest.raises(BadCode, match="uses OUTSIDE, around, pytest from outside"):
        grid_function(input_policy=ExactMatch(data=ASSET))(lost)


def test_what_a_function_brings_itself_is_not_from_outside() -> None:
    def whole(data: Any, depth: int = 3) -> Any:
        import math

        class Inner:
            step = 2
            twice = step * 2

        def helper(item: Any) -> Any:
            return math.sqrt(item) + Inner.twice + depth

        return whole(data, depth - 1) if depth else sum(helper(item) for item in data.real)

    assert "def whole" in grid_function(input_policy=ExactMatch(data=ASSET))(whole).code


def test_the_seeds_name_is_the_same_thing() -> None:
    assert syft_function is grid_function


def test_an_input_that_is_no_asset_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"ExactMatch\(data=\.\.\.\) got a value of type list"):
        ExactMatch(data=[1, 2])  # type: ignore[arg-type]


def test_an_input_that_the_function_does_not_take_is_refused() -> None:
    def f(data: object) -> object:
        return data

    with pytest.raises(BadCode, match="no parameter named other"):
        grid_function(input_policy=ExactMatch(other=ASSET))(f)


@pytest.mark.parametrize("nothing", [len, eval("lambda x: x")], ids=["builtin", "typed at a prompt"])
def test_a_function_without_source_is_a_clear_error(nothing: object) -> None:
    with pytest.raises(BadCode, match="cannot be found"):
        source_of(nothing)  # type: ignore[arg-type]
