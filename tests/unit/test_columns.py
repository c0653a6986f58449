"""Tables as plain values: every form arrives as it was, and no bytes break the reader."""

from __future__ import annotations

import sys
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgrid import columns, wire
from p2pgrid.errors import BadValue, MissingExtra, RemoteError

TABLE = pd.DataFrame(
    {
        "whole": [1, 2, 3],
        "text": ["x", None, "z"],
        "kind": pd.Categorical(["u", "v", "u"]),
        "order": pd.Categorical([1, 2, 1], ordered=True),
        "moment": pd.date_range("2020", periods=3),
        "zone": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
        "gaps": pd.array([1, None, 3], dtype="Int64"),
        "parts": pd.array([1.5, None, 3], dtype="Float32"),
        "truth": pd.array([True, None, False], dtype="boolean"),
        "number": [1.5, np.nan, -2.0],
        "span": pd.to_timedelta([1, 2, 3], unit="s"),
        "any": [[1], {"a": 2}, None],
        ("a", 1): [True, False, True],
    }
)


def there_and_back(value: Any) -> Any:
    return wire.unpack_value(wire.pack_value(value, arrow=False), arrow=False, items=10_000)


def test_every_kind_of_column() -> None:
    pd.testing.assert_frame_equal(there_and_back(TABLE), TABLE)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(),
        pd.DataFrame(index=range(3)),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame([[1, 2], [3, 4]], columns=["same", "same"]),
        TABLE.set_index(["whole", "kind"])[["number"]],
        TABLE[["number", "whole"]].T,
        TABLE[["number", "whole"]].describe(),
        TABLE.groupby("whole")[["number"]].agg(["mean", "max"]),
        pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="key")),
    ],
    ids=range(9),
)
def test_frames(table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(there_and_back(table), table)


@pytest.mark.parametrize("column", ["whole", "text", "kind", "zone", "gaps", "truth", "any"])
def test_series(column: str) -> None:
    pd.testing.assert_series_equal(there_and_back(TABLE[column]), TABLE[column])


def test_index_and_what_holds_tables() -> None:
    index = pd.Index(["a", "b"], name="letters")
    pd.testing.assert_index_equal(there_and_back({"x": [index]})["x"][0], index)


@pytest.mark.parametrize(
    "table",
    [
        pd.Series(pd.period_range("2020", periods=2, freq="M")),
        pd.Series(pd.interval_range(0, 2)),
        pd.Series([object()]),
        pd.Series([1j]).astype("Sparse[complex]"),
    ],
    ids=["period", "interval", "object", "sparse"],
)
def test_columns_that_cannot_travel(table: Any) -> None:
    with pytest.raises(BadValue):
        wire.pack_value(table, arrow=False)


def forged(parts: Any) -> bytes:
    return bytes(msgpack.packb(msgpack.ExtType(wire.TABLE, wire.pack_value(parts))))


RANGE = ["range", 0, 1, 1, None]
ONE = ["array", np.array([1])]


def series(column: list[Any]) -> dict[str, Any]:
    return {"kind": "series", "index": RANGE, "name": None, "data": [column]}


@pytest.mark.parametrize(
    "parts",
    [
        None,
        [],
        {},
        {"kind": "frame", "index": ["range", 0, 2**62, 1, None], "columns": ["range", 0, 0, 1, None], "data": []},
        {"kind": "frame", "index": RANGE, "columns": RANGE, "data": []},
        {"kind": "frame", "index": RANGE, "columns": RANGE, "data": [["array", np.zeros((1, 1))]]},
        {"kind": "frame", "index": RANGE, "columns": RANGE, "data": [["array", np.array([1, 2])]]},
        {"kind": "frame", "index": ["magic"], "columns": RANGE, "data": [ONE]},
        {"kind": "magic", "index": RANGE, "columns": RANGE, "data": [ONE]},
        {"kind": "series", "index": RANGE, "name": {}, "data": [ONE]},
        {"kind": "series", "index": RANGE, "name": None, "data": []},
        series(["masked", "object", np.array([1]), np.array([True])]),
        series(["masked", "Int64", np.array([1]), np.array([1])]),
        series(["category", True, np.array([9]), ONE]),
        series(["zone", "../../etc/passwd", np.array([1], "M8[s]")]),
        series(["text", [7]]),
        series(["array", np.array(["text"])]),
    ],
    ids=range(17),
)
def test_forged_tables(parts: Any) -> None:
    with pytest.raises(RemoteError):
        wire.unpack_value(forged(parts), arrow=False)


def test_arrow_is_not_taken_where_it_is_not_wanted() -> None:
    for table in (TABLE[["whole"]], TABLE["whole"]):
        with pytest.raises(RemoteError, match="Arrow"):
            wire.unpack_value(wire.pack_value(table), arrow=False)


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["range", "column", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["kind", "index", "data"]), inner),
    max_leaves=12,
)


@settings(max_examples=200)
@given(PARTS, PARTS, st.sampled_from(["frame", "series", "index"]))
def test_any_parts_are_a_table_or_malformed(index: Any, data: Any, kind: str) -> None:
    parts = {"kind": kind, "index": index, "columns": index, "data": data, "name": None}
    try:
        found = wire.unpack_value(forged(parts), arrow=False)
    except (RemoteError, BadValue, MissingExtra):
        return
    assert columns.is_table(found)


def test_a_table_is_checked_without_being_built() -> None:
    for table, kind in ((TABLE, "frame"), (TABLE["kind"], "series"), (pd.Index([1, 2]), "index")):
        found = wire.unpack_value(wire.pack_value(table, arrow=False), build=False)
        assert (found.kind, found.rows) == (kind, len(table))
    assert str(wire.unpack_value(wire.pack_value(TABLE, arrow=False), build=False)) == "DataFrame (3, 13)"


@pytest.mark.parametrize(
    "zone",
    [
        "dateutil//etc/shadow",
        "dateutil/Europe/Berlin",
        "/etc/localtime",
        "../../etc/passwd",
        "Europe/../x",
        "tzlocal()",
    ],
)
@pytest.mark.parametrize("build", [True, False])
def test_a_time_zone_that_is_a_path_opens_no_file(zone: str, build: bool) -> None:
    """Named by a stranger, ``dateutil/...`` made pandas open any file, and wait for ever at some."""
    opened = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and watching else None)
    packed = forged(series(["zone", zone, np.array([1], "M8[s]")]))
    watching = [True]
    try:
        with pytest.raises(RemoteError):
            wire.unpack_value(packed, arrow=False, build=build)
    finally:
        watching.clear()
    assert not [path for path in opened if "etc" in path or "shadow" in path]


def test_names_with_equal_hashes_hold_up_nobody() -> None:
    """pandas would hash them for minutes; whoever reads a stranger's answer only checks its forms."""
    same = [number * (2**61 - 1) for number in range(1, 20_000)]
    parts = {"kind": "index", "index": ["levels", [["values", same]], [None]]}
    assert wire.unpack_value(forged(parts), items=1 << 20, build=False).rows == len(same)


def test_values_hidden_under_gaps() -> None:
    packed = forged(series(["masked", "Int64", np.array([7]), np.array([True])]))
    with pytest.raises(RemoteError):
        wire.unpack_value(packed, arrow=False)
