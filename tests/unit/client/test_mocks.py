"""Mocks: the schema of the real data, and none of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from p2pgrid.assets import OnDisk
from p2pgrid.client.data import BUNDLED, load_source
from p2pgrid.client.mocks import make_mock
from p2pgrid.errors import InvalidInput

dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes()
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
    | hnp.unicode_string_dtypes(min_len=1)
    | hnp.byte_string_dtypes(min_len=1)
)


def rows(array: Any) -> set[bytes]:
    return {np.asarray(row).tobytes() for row in array}


@given(hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
def test_a_mock_array_keeps_dtype_and_shape_and_no_row(real: np.ndarray[Any, Any]) -> None:
    try:
        mock = make_mock(real)
    except InvalidInput:
        assume(False)
    assert (mock.dtype, mock.shape) == (real.dtype, real.shape)
    if real.ndim > 1 and real.size:
        assert not rows(mock) & rows(real)
    if real.ndim == 0:
        assert mock.tobytes() != real.tobytes()


@given(hnp.arrays(hnp.integer_dtypes() | hnp.floating_dtypes(), st.integers(1, 20)), st.integers(0, 2**32))
def test_mock_numbers_stay_within_the_real_range(real: np.ndarray[Any, Any], seed: int) -> None:
    finite = real[np.isfinite(real)]
    assume(finite.size and finite.min() < finite.max())
    mock = make_mock(real, seed=seed)
    assert (mock >= finite.min()).all()
    assert (mock <= finite.max()).all()


@pytest.mark.parametrize(
    "value", [np.array(4711), np.float64(1e300), np.array([4711]), np.full((5, 3), 7.0), np.uint8(255)]
)
def test_one_value_alone_is_not_its_own_mock(value: Any) -> None:
    mock = make_mock(value)
    assert mock.shape == np.shape(value)
    if mock.ndim == 2:
        assert not rows(mock) & rows(value)
    else:
        assert mock.tobytes() != value.tobytes()


def test_a_mock_is_the_same_for_the_same_seed_only() -> None:
    real = np.arange(100.0).reshape(50, 2) ** 1.5
    np.testing.assert_array_equal(make_mock(real), make_mock(real))
    assert rows(make_mock(real)) != rows(make_mock(real, seed=1))


def test_whole_numbers_stay_whole() -> None:
    mock = make_mock(np.arange(40.0).reshape(20, 2))
    np.testing.assert_array_equal(mock, np.round(mock))


def test_a_negative_zero_does_not_hide_a_real_row() -> None:
    mock = make_mock(np.zeros((50, 2)))
    assert mock.any(axis=1).all()


def test_rows_that_are_all_taken_are_a_clear_error() -> None:
    for real in (np.array([[True], [False]]), pd.DataFrame({"a": [True, False]})):
        with pytest.raises(InvalidInput, match="real rows keep coming") as caught:
            make_mock(real)
        assert "--mock" in caught.value.fix


@pytest.mark.parametrize("source", BUNDLED)
def test_the_bundled_datasets_have_mocks_without_a_real_row(source: str) -> None:
    for _, real in load_source(source).assets:
        mock = make_mock(real)
        assert type(mock) is type(real)
        assert mock.shape == real.shape
        if isinstance(real, pd.DataFrame):
            assert list(mock.columns) == list(real.columns)
            assert (mock.dtypes == real.dtypes).all()
            assert not set(map(tuple, mock.to_numpy().tolist())) & set(map(tuple, real.to_numpy().tolist()))
        else:
            assert mock.dtype == real.dtype
            if real.ndim > 1:
                assert not rows(mock) & rows(real)


N = 30
COLUMNS: dict[str, Any] = {
    "ints": np.arange(N),
    "small": np.arange(N, dtype="u1"),
    "floats": np.linspace(0, 1, N),
    "gaps": [np.nan, *np.linspace(0, 1, N - 1)],
    "halves": np.linspace(0, 1, N).astype("f2"),
    "bools": [True, False] * (N // 2),
    "texts": [f"patient {n}" for n in range(N)],
    "texts with gaps": [None, *[f"patient {n}" for n in range(N - 1)]],
    "objects": pd.Series([f"p{n}" for n in range(N)], dtype=object),
    "categories": pd.Categorical(["a", "b", None] * (N // 3)),
    "days": pd.date_range("2020", periods=N),
    "zoned": pd.date_range("2020-03-28", periods=N, tz="Europe/Oslo"),
    "spans": pd.to_timedelta(range(N), unit="h"),
    "months": pd.period_range("2020", periods=N, freq="M"),
    "nullable ints": pd.array([None, *range(N - 1)], dtype="Int64"),
    "nullable floats": pd.array([None, *range(N - 1)], dtype="Float32"),
    "nullable bools": pd.array([None, True, False] * (N // 3), dtype="boolean"),
    "arrow ints": pd.array([None, *range(N - 1)], dtype="int64[pyarrow]"),
    "arrow texts": pd.array([None, *map(str, range(N - 1))], dtype=pd.ArrowDtype(pa.string())),
    "constant": [7] * N,
    "empty": [np.nan] * N,
}


def test_a_mock_table_keeps_columns_and_dtypes_and_no_row() -> None:
    real = pd.DataFrame(COLUMNS, index=pd.Index([f"ssn-{n}" for n in range(N)], name="ssn"))
    mock = make_mock(real)
    assert list(mock.columns) == list(real.columns)
    assert mock.dtypes.to_dict() == real.dtypes.to_dict()
    assert mock.shape == real.shape
    assert not set(map(repr, mock.to_numpy().tolist())) & set(map(repr, real.to_numpy().tolist()))
    text = mock.to_csv()
    assert "patient" not in text
    assert "ssn" not in text


@pytest.mark.parametrize("name", COLUMNS)
def test_a_mock_series_keeps_name_dtype_and_length(name: str) -> None:
    real = pd.Series(COLUMNS[name], name=name)
    mock = make_mock(real)
    assert isinstance(mock, pd.Series)
    assert (mock.name, mock.dtype, len(mock)) == (name, real.dtype, N)


@pytest.mark.parametrize(
    "real",
    [
        pd.DataFrame({"a": np.zeros(0)}),
        pd.DataFrame(index=range(3)),
        pd.DataFrame(np.random.default_rng(0).random((5, 2)), columns=["twin", "twin"]),
        pd.DataFrame(np.random.default_rng(0).random((5, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame({"lists": [[1], [2, 3]], "n": [1.5, 2.5]}),
        pd.DataFrame({"one": [4711]}),
    ],
    ids=["no rows", "no columns", "twin columns", "two levels", "lists", "one row"],
)
def test_odd_tables_have_mocks_too(real: pd.DataFrame) -> None:
    mock = make_mock(real)
    assert mock.columns.equals(real.columns)
    assert mock.shape == real.shape
    assert "4711" not in mock.to_csv()


def test_mock_json_keeps_its_form() -> None:
    real = {"name": "Jane", "age": 4711, "x": 0.5, "ok": True, "none": None, "more": [{"a": "secret"}, 10**30, 1e308]}
    mock = make_mock(real)
    assert [type(value) for value in mock.values()] == [type(value) for value in real.values()]
    assert list(mock) == list(real)
    assert mock["more"][0] == {"a": "value"}
    assert "Jane" not in repr(mock)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_has_a_mock(real: Any) -> None:
    assert type(make_mock(real)) is type(real)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        "text",
        (1, 2),
        object(),
        np.array([object()]),
        np.zeros(1, "i4,i4"),
        np.ma.masked_array([1], [1]),
        pd.Index([1]),
        pd.Series(pd.interval_range(0, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_schema_has_no_mock(value: Any) -> None:
    with pytest.raises(InvalidInput, match="No mock can be made"):
        make_mock(value)


def test_what_is_kept_as_it_is_has_no_mock(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    for path, kind in ((tmp_path, "folder"), (tmp_path / "a.bin", "file")):
        with pytest.raises(InvalidInput, match=rf"for a {kind} that is kept as it is\. Fix: .*--mock none"):
            make_mock(OnDisk(path))
