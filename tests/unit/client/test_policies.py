"""Policies as a person writes them, and what of them travels."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pandas as pd
import pytest

import p2pgrid as sy
from p2pgrid.client.held import AssetPointer
from p2pgrid.client.policies import InputPolicy, OutputPolicy
from p2pgrid.domain.policies import check_code, parse_input, parse_output
from p2pgrid.errors import BadCode, InvalidInput

ASSET = AssetPointer("aa" * 16, "ages")
CONTEXT = types.SimpleNamespace(requester="jane@x", function="f", released=0)
OUTSIDE = 3


class Counted(sy.CustomOutputPolicy):
    """Lets ``n_calls`` results out."""

    def __init__(self, n_calls: int = 1) -> None:
        self.n_calls = n_calls
        self.state = {"counts": 0}

    def is_valid(self, context: Any) -> bool:
        return self.state["counts"] < self.n_calls

    def apply_to_output(self, context: Any, outputs: Any, update_policy: bool = True) -> Any:
        import math

        self.state["counts"] += update_policy
        return math.floor(outputs)


class Even(sy.CustomInputPolicy):
    def __init__(self, least: int = 0) -> None:
        super().__init__()
        self.least = least

    def is_valid(self, context: Any, inputs: dict[str, Any]) -> bool:
        return bool(inputs["factor"] >= self.least)


def test_a_mixed_policy_takes_assets_constants_and_values_of_the_caller() -> None:
    policy = sy.MixedInputPolicy(
        data=sy.Matches(ASSET), also=ASSET, plus=sy.Constant(0.5), word="x", n=sy.UserOwned(int, low=1, example=2)
    )
    read = parse_input(policy.to_wire(), policy.inputs)
    assert policy.inputs == {"data": "aa" * 16, "also": "aa" * 16}
    assert policy.names == read.names == {"data", "also", "plus", "word", "n"}
    assert read.constants["plus"].json() == 0.5
    assert read.constants["word"].data == b"x"
    assert "n=an int of at most 65536 bytes, at least 1" in repr(policy)
    assert "constant" in repr(sy.Constant(np.zeros(3)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(int, "int"), (str, "str"), (dict, "dict"), (np.ndarray, "numpy"), (pd.DataFrame, "frame"), ("json", "json")],
)
def test_types_of_a_value_of_ones_own(kind: Any, name: str) -> None:
    assert sy.UserOwned(kind).spec.type == name


def test_what_is_no_policy_is_told_at_once() -> None:
    with pytest.raises(InvalidInput, match="no type"):
        sy.UserOwned(object)
    with pytest.raises(InvalidInput, match="needs a type"):
        sy.MixedInputPolicy(n=sy.UserOwned("thing"))
    with pytest.raises(InvalidInput, match="example"):
        sy.MixedInputPolicy(n=sy.UserOwned(int, high=1, example=2))
    with pytest.raises(InvalidInput, match="no asset"):
        sy.Matches([1, 2])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="1 to 1000"):
        sy.OutputPolicyExecuteCount(0)
    with pytest.raises(InvalidInput, match="is no rule"):
        sy.SingleExecutionExactOutput(rules=["NoAssetRows"])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="whole number"):
        sy.OutputPolicyExecuteOnce(rules=[sy.MinimumRows(0)])


def test_output_policies_travel_with_their_rules() -> None:
    assert sy.SingleExecutionExactOutput().to_wire() == "SingleExecutionExactOutput"
    policy = sy.OutputPolicyExecuteCount(3, rules=[sy.MinimumCellCount(5, by="region"), sy.NoAssetRows()])
    read = parse_output(policy.to_wire())
    assert (read.limit, [rule.kind for rule in read.rules]) == (3, ["MinimumCellCount", "NoAssetRows"])
    assert repr(policy).startswith("OutputPolicyExecuteCount(limit=3, rules=[MinimumCellCount(least=5")


def test_a_custom_policy_travels_as_its_source_and_what_it_was_made_with() -> None:
    policy = Counted(2, rules=[sy.NoAssetRows()])  # type: ignore[call-arg]
    assert policy.apply_to_output(CONTEXT, 2.5) == 2
    read = parse_output(policy.to_wire())
    assert read.to_wire()["init"] == {"n_calls": 2}
    assert read.to_wire()["code"].startswith("class Counted(sy.CustomOutputPolicy):\n")
    assert [rule.kind for rule in read.rules] == ["NoAssetRows"]
    inward = Even(data=ASSET, factor=sy.UserOwned(int, example=4), least=2)  # type: ignore[call-arg]
    assert inward.names == {"data", "factor"}
    assert not inward.is_valid(CONTEXT, {"factor": 1})
    check_code(parse_input(inward.to_wire(), inward.inputs), read)
    assert repr(inward) == f"Even(data={'aa' * 16}, least=2)"


def test_a_class_of_a_notebook_cell_is_found_by_its_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    import linecache

    cell = "import p2pgrid as sy\n\nclass Cell(sy.CustomOutputPolicy):\n    def public_state(self):\n        return 1\n"
    monkeypatch.setitem(linecache.cache, "<cell 1>", (len(cell), None, cell.splitlines(True), "<cell 1>"))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, "<cell 1>", "exec"), names)
    assert names["Cell"]().to_wire()["code"] == "\n".join(cell.splitlines()[2:]) + "\n"


def test_a_class_that_needs_more_than_itself_is_told_before_anything_is_sent() -> None:
    class Lost(sy.CustomOutputPolicy):
        def is_valid(self, context: Any) -> bool:
            return context.released < OUTSIDE

    class Child(Counted):
        pass

    class Odd(sy.CustomOutputPolicy):
        def __init__(self, what: Any) -> None:
            self.what = what

    with pytest.raises(BadCode, match="uses OUTSIDE from outside"):
        Lost()
    with pytest.raises(BadCode, match="CustomOutputPolicy itself"):
        Child()
    with pytest.raises(InvalidInput, match="no JSON"):
        Odd(object())


@pytest.mark.parametrize(
    "policy",
    [sy.ExactMatch(data=ASSET), sy.MixedInputPolicy(n=3), sy.SingleExecutionExactOutput(), Counted(), Even(data=ASSET)],
)  # type: ignore[call-arg]
def test_policies_are_shown_in_a_notebook(policy: InputPolicy | OutputPolicy) -> None:
    page = policy._repr_html_()
    assert page.startswith("<table")
    assert "<script" not in page
