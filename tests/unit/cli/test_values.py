"""Results as text, JSON and files; files and literals as values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.cli import values
from p2pgrid.errors import CannotWrite, InvalidInput

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_whatever_came_back_is_one_valid_json_document(value: Any) -> None:
    json.loads(json.dumps(values.as_json(value), allow_nan=False))


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (4.5, {"kind": "float", "value": 4.5}),
        (math.nan, {"kind": "float", "value": None}),
        (np.float64(2.0), {"kind": "float64", "value": 2.0}),
        (b"\x00\x01", {"kind": "bytes", "value": "AAE="}),
        (np.array([[1, 2]]), {"kind": "numpy", "dtype": "int64", "shape": [1, 2], "value": [[1, 2]]}),
        (
            pd.DataFrame({"a": [1, 2]}),
            {"kind": "frame", "columns": ["a"], "shape": [2, 1], "value": [{"a": 1}, {"a": 2}]},
        ),
        ({"mean": np.array([1.0])}, {"kind": "dict", "value": {"mean": [1.0]}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_as_json(value: Any, document: dict[str, Any]) -> None:
    assert values.as_json(value) == document


NAMED = pd.DataFrame({"mean": [0.1, 1e-20]}, index=pd.Index(["a", "b"], name="group"))
TWO = pd.DataFrame({"n": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)]))


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (NAMED, {"index": ["a", "b"], "index_names": ["group"], "value": [{"mean": 0.1}, {"mean": 1e-20}]}),
        (TWO, {"index": [["x", 1]], "value": [{"n": 1}]}),
        (pd.DataFrame({"n": [1, 2]}, index=[3, 4]), {"index": [3, 4], "value": [{"n": 1}, {"n": 2}]}),
        (pd.DataFrame({"n": [1, 2]}, index=[0, 1]), {"value": [{"n": 1}, {"n": 2}]}),
        (NAMED["mean"], {"index": ["a", "b"], "index_names": ["group"], "value": [0.1, 1e-20]}),
        (pd.Series([1, 2]), {"value": [1, 2]}),
        (
            pd.DataFrame({"at": [pd.Timestamp("2026-01-02"), pd.NaT], "n": pd.array([1, None], dtype="Int64")}),
            {"value": [{"at": "2026-01-02T00:00:00", "n": 1}, {"at": None, "n": None}]},
        ),
    ],
)
def test_an_index_that_says_something_comes_along(value: Any, document: dict[str, Any]) -> None:
    about = values.as_json(value)
    assert {key: item for key, item in about.items() if key in ("value", "index", "index_names")} == document


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_of_a_table_are_exact_in_json(numbers: list[float]) -> None:
    document = json.loads(json.dumps(values.as_json(pd.DataFrame({"x": numbers}))))
    assert [row["x"] for row in document["value"]] == numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NAMED, "group,mean\na,0.1\nb,1e-20\n"),
        (NAMED.rename_axis(None), "index,mean\na,0.1\nb,1e-20\n"),
        (TWO, "index 0,index 1,n\nx,1,1\n"),
        (NAMED["mean"], "group,mean\na,0.1\nb,1e-20\n"),
        (pd.Series([1, 2]), "value\n1\n2\n"),
        (pd.DataFrame({"n": [1 / 3]}), f"n\n{1 / 3}\n"),
    ],
)
def test_a_csv_file_keeps_the_index(value: Any, text: str, tmp_path: Path) -> None:
    values.save(value, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == text


def test_a_series_in_a_json_file_keeps_its_index(tmp_path: Path) -> None:
    values.save(NAMED["mean"], tmp_path / "a.json")
    values.save(pd.Series([1, 2]), tmp_path / "b.json")

    assert json.loads((tmp_path / "a.json").read_text())["index"] == ["a", "b"]
    assert json.loads((tmp_path / "b.json").read_text()) == [1, 2]


def test_a_huge_array_is_described_and_not_printed() -> None:
    shown = values.as_json(np.zeros(values.MAX_JSON_ITEMS + 1))

    assert shown == {"kind": "numpy", "dtype": "float64", "shape": [values.MAX_JSON_ITEMS + 1], "omitted": True}


def test_many_bytes_are_described_and_not_printed(tmp_path: Path) -> None:
    assert values.as_text(b"x" * 200) == repr(b"x" * 200)
    shown = values.as_text(b"\x89PNG" + bytes(100_000))
    assert shown.startswith("100,004 bytes, the first: b'\\x89PNG")
    assert shown.endswith("; write it with --out FILE")
    assert values.as_text(bytes(1000), "see all with --json").endswith("; see all with --json")
    assert len(shown) < 300
    values.save(b"x" * 5000, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == repr(b"x" * 5000)


def test_a_long_text_is_shortened_on_the_terminal() -> None:
    assert len(values.as_text("x" * 1_000_000)) < values.TEXT_SIZE + 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.npy", np.arange(6).reshape(2, 3)),
        ("a.json", {"mean": 1.5, "of": [1, 2]}),
        ("a.csv", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})),
        ("a.parquet", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})),
        ("a.txt", "words\n"),
        ("a.bin", b"\x00\xff"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_saved_can_be_deposited_and_published(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    values.check_writable(path)
    values.save(value, path)

    again = values.literal_or_file(str(path))
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(again, value)
    else:
        assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [("a.npy", {"a": 1}), ("a.npy", [[1], [1, 2]]), ("a.csv", np.ones(3)), ("a.parquet", "x"), ("a.bin", 5)],
    ids=str,
)
def test_a_result_that_does_not_fit_its_file_leaves_nothing(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(CannotWrite):
        values.save(value, tmp_path / name)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a.xyz", "a", "nowhere/a.npy"])
def test_a_file_that_cannot_be_made_is_refused_before_any_work(path: str, tmp_path: Path) -> None:
    with pytest.raises(CannotWrite):
        values.check_writable(tmp_path / path)


@pytest.mark.parametrize(
    ("text", "value"), [("42.5", 42.5), ('{"a": [1]}', {"a": [1]}), ('"yes"', "yes"), ("null", None)]
)
def test_literals(text: str, value: Any) -> None:
    assert values.literal_or_file(text) == value


def test_neither_file_nor_literal() -> None:
    with pytest.raises(InvalidInput, match="no file and no JSON"):
        values.literal_or_file("nowhere.npy")


def test_an_archive_of_arrays_is_deposited_as_a_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2), y=np.zeros(1))

    assert set(values.literal_or_file(str(tmp_path / "a.npz"))) == {"x", "y"}
