"""A node's answers are read once; whatever a stranger's node says, it is a shape or ``Malformed``."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.cli import shapes
from p2pgrid.cli.datasets import pick_dataset, preview
from p2pgrid.cli.requests import ran
from p2pgrid.errors import Malformed, NotFound

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KNOWN = [
    "id", "name", "status", "code_id", "inputs", "mock_run", "assets", "meta", "tags", "kind", "shape", "dtype",
    "contributors", "seq", "details", "actor", "action", "columns", "mock", "output_policy", "input_policy", "rules",
    "user_owned", "earlier", "policy_code", "lets_in", "dataset", "dataset_name", "words",
]  # fmt: skip
ALMOST = st.recursive(
    ANYTHING, lambda inner: st.dictionaries(st.sampled_from(KNOWN), inner) | st.lists(inner, max_size=3), max_leaves=20
)


@given(ALMOST)
def test_any_answer_is_a_shape_or_malformed(raw: Any) -> None:
    for shape in (
        shapes.dataset,
        shapes.asset,
        shapes.request,
        shapes.account,
        shapes.entry,
        shapes.review,
        shapes.rules,
    ):
        for read in (shapes.read, shapes.read_list):
            try:
                read(shape, raw)
            except Malformed:
                continue


def _dataset(**more: Any) -> dict[str, Any]:
    meta = {"kind": "numpy", "shape": [3, 2], "dtype": "int64", "columns": [], "size": 176}
    asset = {"id": "a" * 32, "name": "x", "description": "", "meta": meta, "mock": {**meta, "digest": "0" * 64}}
    whole = {"id": "d" * 32, "name": "digits", "tags": ["digits"], "assets": [asset]}
    return {**whole, "created_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), **more}


def test_a_dataset_as_a_document() -> None:
    found = shapes.read(shapes.dataset, _dataset())

    json.dumps(found)
    assert found["created_at"] == "2026-01-02T00:00:00+00:00"
    assert found["assets"][0]["shape"] == [3, 2]


def test_a_policy_in_one_word() -> None:
    assert shapes.policy("ExactMatch") == "ExactMatch"
    assert shapes.policy({"kind": "ExecuteCount", "limit": 3}) == "ExecuteCount(limit=3)"
    rules = [{"kind": "NoAssetRows"}, {"kind": "MinimumRows", "least": 3}]
    assert shapes.policy({"kind": "Once", "rules": rules}) == "Once(NoAssetRows, MinimumRows)"
    custom = {"kind": "CustomOutputPolicy", "name": "P", "code": "class P: ...", "init": {"n": 1}}
    assert shapes.policy(custom) == "CustomOutputPolicy(name=P)"
    assert shapes.policy({"kind": "Mixed", "user_owned": {"n": {}}}) == "Mixed(n)"


@pytest.mark.parametrize("wanted", ["digits", "d" * 32, "dddd"])
def test_a_dataset_is_found_by_name_or_id(wanted: str) -> None:
    held = [shapes.read(shapes.dataset, _dataset()), shapes.read(shapes.dataset, _dataset(id="e" * 32, name="other"))]

    assert pick_dataset(held, wanted)["name"] == "digits"


@pytest.mark.parametrize("wanted", ["nope", "d", ""])
def test_no_dataset_of_that_name(wanted: str) -> None:
    with pytest.raises(NotFound, match="there is: digits"):
        pick_dataset([shapes.read(shapes.dataset, _dataset())], wanted)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({}, "not run"),
        ({"skipped": "no mock"}, "not run: no mock"),
        ({"ok": True, "seconds": 0.5, "result_shape": "float"}, "ok in 0.50 s: float"),
        ({"ok": False, "error": "ValueError"}, "failed in 0.00 s: ValueError"),
    ],
)
def test_what_a_run_did_in_one_line(run: dict[str, Any], words: str) -> None:
    assert ran(run) == words


def test_coarse_measures_are_told_as_bounds() -> None:
    run = {"ok": True, "seconds": 5.0, "memory": 2 << 26, "result_shape": "float"}

    assert ran(run, coarse=True) == "ok in under 5 s, at most 134.2 MB of memory: float"
    failed = {"ok": False, "seconds": 30.0, "error": "The run took longer than its 10 s."}
    assert ran(failed, coarse=True) == "failed in under 30 s: The run took longer than its 10 s."


def test_the_beginning_of_a_mock() -> None:
    import numpy as np
    import pandas as pd

    assert preview(np.arange(100)) == "array([0, 1, 2, 3, 4])"
    assert preview(np.zeros((9, 2, 2))).count("[") == 1 + 1 + 2
    assert preview(pd.DataFrame({"a": range(100)})).count("\n") == 5
    assert len(preview("x" * 10_000)) < 2_100
