"""Input and output policies, each rule over all its cases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import wire
from p2pgrid.domain.policies import (
    MAX_INPUTS,
    ExactMatch,
    ExecuteCount,
    Given,
    MaximumResultSize,
    MinimumCellCount,
    MinimumRows,
    MixedInputPolicy,
    NoAssetRows,
    SingleExecutionExactOutput,
    Spending,
    Step,
    UserOwned,
    Value,
    next_step,
    parse_input,
    parse_output,
)
from p2pgrid.domain.policies.custom import Decision, PolicyState, read_input, read_output
from p2pgrid.domain.runner import spec
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
    ("limit", "spent", "deposited", "runnable", "is_open"),
    list(itertools.product([1, 3], range(5), [True, False], [True, False], [True, False])),
)
def test_every_case_of_the_next_step(limit: int, spent: int, deposited: bool, runnable: bool, is_open: bool) -> None:
    policy = SingleExecutionExactOutput() if limit == 1 else ExecuteCount(limit)
    step = next_step(policy, Spending(spent, deposited, runnable, is_open))
    if spent >= limit:
        assert step is Step.AGAIN
    elif deposited:
        assert step is Step.RELEASE
    elif runnable and is_open:
        assert step is Step.RUN
    else:
        assert step is (Step.AGAIN if spent else Step.REFUSE)


RULES = (MinimumRows(5), MinimumCellCount(3, "n", ("region",)), MaximumResultSize(values=9), NoAssetRows())
CODE = {"name": "P", "code": "class P(CustomOutputPolicy):\n    pass\n", "init": {"n": 1}}


@given(st.integers(1, 1000), st.lists(st.sampled_from(RULES), unique=True))
def test_policies_travel_as_data(limit: int, rules: list[Any]) -> None:
    held = tuple(rules)
    custom = parse_output({"kind": "CustomOutputPolicy", **CODE, "rules": [rule.to_wire() for rule in rules]})
    for policy in (SingleExecutionExactOutput(held), ExecuteCount(limit, held), custom):
        assert parse_output(policy.to_wire()) == policy
        assert policy.rules == held


def test_an_output_policy_has_two_names() -> None:
    assert parse_output("OutputPolicyExecuteOnce") == parse_output("SingleExecutionExactOutput")


NUMBER = Value("json", b"5")


def test_a_mixed_policy_travels_as_data() -> None:
    policy = MixedInputPolicy(
        {"x": A}, {"c": NUMBER}, {"u": UserOwned("int", 10, 0, 9, NUMBER), "v": UserOwned("numpy", 100)}
    )
    assert parse_input(policy.to_wire(), {"x": A}) == policy
    assert policy.names == {"x", "c", "u", "v"}


@pytest.mark.parametrize(
    "raw",
    [
        "MixedInputPolicy",
        {"kind": "MixedInputPolicy", "constants": {"x": NUMBER.to_wire()}},
        {"kind": "MixedInputPolicy", "constants": {"c": NUMBER.to_wire()}, "user_owned": {"c": {"type": "int"}}},
        {"kind": "MixedInputPolicy", "constants": {"c": {"type": "pickle", "data": ""}}},
        {"kind": "MixedInputPolicy", "constants": {"c": {"type": "json", "data": "!"}}},
        {"kind": "MixedInputPolicy", "constants": [1]},
        {"kind": "MixedInputPolicy", "constants": {7: NUMBER.to_wire()}},
        {"kind": "MixedInputPolicy", "user_owned": {"u": {"type": "object"}}},
        {"kind": "MixedInputPolicy", "user_owned": {"u": {"type": "int", "most": 1 << 30}}},
        {"kind": "MixedInputPolicy", "user_owned": {"u": {"type": "int", "low": "0"}}},
        {"kind": "MixedInputPolicy", "user_owned": {"u": {"type": "str", "low": 0}}},
        {"kind": "MixedInputPolicy", "user_owned": {"u": {"type": "int", "high": 4, "example": NUMBER.to_wire()}}},
        {"kind": "CustomInputPolicy", "user_owned": {"u": {"type": "numpy"}}, **CODE},
        {"kind": "CustomInputPolicy", "name": "no name", "code": "", "init": {}},
    ],
)
def test_what_is_no_mixed_policy(raw: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_input(raw, {"x": A})


@pytest.mark.parametrize(
    ("owned", "data", "fits"),
    [
        (UserOwned("int"), b"5", True),
        (UserOwned("int"), b"5.0", False),
        (UserOwned("int"), b"true", False),
        (UserOwned("int", low=6), b"5", False),
        (UserOwned("float", high=6), b"5", True),
        (UserOwned("float", high=6), b"NaN", False),
        (UserOwned("bool"), b"false", True),
        (UserOwned("list"), b"[1]", True),
        (UserOwned("list"), b"{}", False),
        (UserOwned("json"), b"null", True),
        (UserOwned("json"), b"[" * 100_000, False),
        (UserOwned("json", most=3), b"1000", False),
        (UserOwned("json"), b"no json", False),
        (UserOwned("numpy"), b"5", False),
    ],
)
def test_a_value_of_ones_own_is_checked(owned: UserOwned, data: bytes, fits: bool) -> None:
    if fits:
        owned.check("u", Value("json", data))
    else:
        with pytest.raises((PolicyRefused, InvalidInput)):
            owned.check("u", Value("json", data))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff", b"x" * 200_000, *map(wire.pack, [{}, [], {"out": 1, "state": "{}", "open": True, "public": ""}])],
)
def test_a_policy_that_answers_nonsense_lets_nothing_out(raw: bytes) -> None:
    assert read_output(raw, 1000).out is None
    assert read_input(raw) is None


def test_a_policys_answer_is_read() -> None:
    raw = {"out": b"x", "why": "", "state": '{"n": 1}', "open": False, "public": "one"}
    assert read_output(wire.pack(raw), 1000) == Decision(b"x", "", PolicyState('{"n": 1}', False, "one"))
    assert read_output(wire.pack({**raw, "state": "[]"}), 1000).out is None
    assert read_output(wire.pack({**raw, "state": '"' + "x" * 20_000 + '"'}), 1000).out is None
    assert read_input(wire.pack({"ok": True, "kwargs": '{"u": 2}'})) == {"u": 2}
    assert read_input(wire.pack({"ok": False, "kwargs": '{"u": 2}'})) is None


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


def test_a_run_has_room_for_the_inputs_the_result_and_the_rules() -> None:
    assert MAX_INPUTS + 2 == spec.MAX_INPUTS
    named = {f"x{place}": A for place in range(MAX_INPUTS)}
    assert len(parse_input("ExactMatch", named).names) == MAX_INPUTS
    with pytest.raises(InvalidInput, match=f"1 to {MAX_INPUTS}"):
        parse_input("ExactMatch", {**named, "more": A})


@pytest.mark.parametrize("field", ["state", "why", "public"])
def test_a_decision_with_bytes_where_text_belongs_is_none(field: str) -> None:
    said = {"out": None, "why": "", "state": "{}", "open": True, "public": ""}
    assert read_output(wire.pack(said), 1000).state is not None
    found = read_output(wire.pack({**said, field: b"{}"}), 1000)
    assert (found.out, found.state) == (None, None)
    assert "no decision" in found.why
