"""Input and output policies, each rule over all its cases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.policies import (
    ExactMatch,
    ExecuteCount,
    Given,
    SingleExecutionExactOutput,
    Spending,
    Step,
    next_step,
    parse_input,
    parse_output,
)
from p2pgrid.errors import InvalidInput, PolicyRefused

A, B = "a" * 32, "b" * 32
DIGESTS = {A: "1" * 64, B: "2" * 64}
POLICY = ExactMatch({"x": A, "y": B})


@pytest.mark.parametrize(
    "given_inputs",
    [
        {"x": Given(asset=A), "y": Given(asset=B)},
        {"x": Given(digest="1" * 64), "y": Given(asset=B)},
        {"x": Given(digest="1" * 64), "y": Given(digest="2" * 64)},
    ],
)
def test_what_the_request_names_goes_in(given_inputs: dict[str, Given]) -> None:
    POLICY.check(given_inputs, DIGESTS)


@pytest.mark.parametrize(
    "given_inputs",
    [
        {},
        {"x": Given(asset=A)},
        {"x": Given(asset=A), "y": Given(asset=B), "z": Given(asset=B)},
        {"x": Given(asset=B), "y": Given(asset=A)},
        {"x": Given(asset=A), "y": Given(digest="1" * 64)},
        {"x": Given(asset=A), "y": Given(asset=B, digest="0" * 64), "w": Given()},
        {"x": Given(asset=A), "y": Given()},
    ],
)
def test_anything_else_stays_out(given_inputs: dict[str, Given]) -> None:
    with pytest.raises(PolicyRefused):
        POLICY.check(given_inputs, DIGESTS)


def test_an_unknown_digest_never_fits() -> None:
    with pytest.raises(PolicyRefused):
        ExactMatch({"x": A}).check({"x": Given(digest="")}, {})


@pytest.mark.parametrize(
    ("limit", "spent", "deposited", "runnable"),
    list(itertools.product([1, 3], range(5), [True, False], [True, False])),
)
def test_every_case_of_the_next_step(limit: int, spent: int, deposited: bool, runnable: bool) -> None:
    policy = SingleExecutionExactOutput() if limit == 1 else ExecuteCount(limit)
    step = next_step(policy, Spending(spent, deposited, runnable))
    if spent >= limit:
        assert step is Step.AGAIN
    elif deposited:
        assert step is Step.RELEASE
    elif runnable:
        assert step is Step.RUN
    else:
        assert step is (Step.AGAIN if spent else Step.REFUSE)


@given(st.integers(1, 1000))
def test_policies_travel_as_data(limit: int) -> None:
    for policy in (SingleExecutionExactOutput(), ExecuteCount(limit)):
        assert parse_output(policy.to_wire()) == policy


@pytest.mark.parametrize(
    "raw",
    [None, "", "Anything", 7, [], {}, {"kind": []}, {"kind": "OutputPolicyExecuteCount"}]
    + [{"kind": "OutputPolicyExecuteCount", "limit": limit} for limit in (0, -1, True, 1001, "3", 2.0)],
)
def test_what_is_no_output_policy(raw: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_output(raw)


def test_an_input_policy_names_its_kind_and_some_inputs() -> None:
    assert parse_input({"kind": "ExactMatch"}, {"x": A}) == ExactMatch({"x": A})
    for raw, inputs in (("Everything", {"x": A}), ("ExactMatch", {}), ("ExactMatch", {str(n): A for n in range(33)})):
        with pytest.raises(InvalidInput):
            parse_input(raw, inputs)
