"""Assets: values and the bytes they are kept as."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from p2pgrid import assets
from p2pgrid.assets import AssetMeta, OnDisk
from p2pgrid.errors import BadValue, Malformed

arrays = hnp.arrays(
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes()
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
    | hnp.unicode_string_dtypes(min_len=1)
    | hnp.byte_string_dtypes(min_len=1),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner | st.text(), max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def around(value: Any) -> Any:
    dumped = assets.dump(value)
    return assets.load(dumped.meta.kind, dumped.tobytes())


@given(arrays)
def test_an_array_comes_back_as_it_went(array: np.ndarray[Any, Any]) -> None:
    back = around(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@given(arrays)
def test_numpy_itself_reads_what_was_written(array: np.ndarray[Any, Any]) -> None:
    raw = assets.dump(array).tobytes()
    assert np.load(io.BytesIO(raw), allow_pickle=False).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(20)[::3],
        np.arange(6).reshape(2, 3)[::-1],
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.asfortranarray(np.zeros((0, 3))),
        np.broadcast_to(np.int8(3), (2, 2)),
        np.array(7),
        np.float32(1.5),
        np.str_(""),
        np.zeros((0,)),
        np.array(["2020", "NaT"], "M8[D]"),
    ],
    ids=lambda array: f"{np.shape(array)}-{array.dtype}",
)
def test_arrays_of_any_layout_come_back(array: Any) -> None:
    np.testing.assert_array_equal(around(array), array)
    assert assets.dump(array).meta.shape == np.shape(array)


def test_equal_arrays_have_one_digest_whatever_their_layout() -> None:
    plain = np.arange(12, dtype="i4").reshape(3, 4)
    wide = np.zeros((3, 8), "i4")
    wide[:, ::2] = plain
    twins = [np.asfortranarray(plain), wide[:, ::2], plain.copy(), plain.T.copy().T]
    assert {assets.dump(twin).meta.digest for twin in twins} == {assets.dump(plain).meta.digest}


def test_values_that_differ_have_digests_that_differ() -> None:
    values = [np.arange(4), np.arange(4.0), np.arange(4).reshape(2, 2), [0, 1, 2, 3], "0123", b"0123", np.array([0, 1])]
    digests = [assets.dump(value).meta.digest for value in values]
    assert len(set(digests)) == len(values) - 1  # a text and the same bytes are told apart by their kind
    assert assets.dump("0123").meta.kind != assets.dump(b"0123").meta.kind


@given(json_values)
def test_json_comes_back_as_it_went(value: Any) -> None:
    assert around(value) == value
    assert assets.dump(value).meta.kind == "json"


def test_equal_json_has_one_digest_whatever_the_order_of_keys() -> None:
    assert assets.dump({"a": 1, "b": 2}).meta.digest == assets.dump({"b": 2, "a": 1}).meta.digest


@given(st.text(st.characters()))
def test_text_comes_back_as_it_went(value: str) -> None:
    assert around(value) == value
    assert assets.dump(value).meta.shape == (len(value),)


@given(st.binary(max_size=100), st.sampled_from([bytes, bytearray, memoryview]))
def test_bytes_come_back_as_they_went(value: bytes, kind: Any) -> None:
    assert around(kind(value)) == value


def test_a_table_comes_back_as_it_went() -> None:
    table = pd.DataFrame({"age": [40, 50], "name": ["a", None], "x": [1.5, np.nan]})
    dumped = assets.dump(table)
    pd.testing.assert_frame_equal(around(table), table)
    assert dumped.meta.shape == (2, 3)
    assert [name for name, _ in dumped.meta.columns] == ["age", "name", "x"]
    assert dumped.meta.digest == assets.dump(table.copy()).meta.digest


def test_a_series_becomes_a_table_of_one_column() -> None:
    assert around(pd.Series([1, 2], name="age"))["age"].tolist() == [1, 2]
    assert list(around(pd.Series([1, 2]))) == ["value"]


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array([(1, 2)], dtype="i4,i4"),
        np.ma.masked_array([1, 2], mask=[0, 1]),
        pd.Index([1]),
        pd.DataFrame({"a": [object()]}),
        object(),
        {1, 2},
        {"a": object()},
        {"a": np.zeros(1)},
        {1: 1, "a": 2},
        ["\ud800"],
        10**5000,
        lambda: None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_kept_is_refused_not_pickled(value: Any) -> None:
    with pytest.raises(BadValue):
        assets.dump(value)


def test_a_value_nested_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadValue):
        assets.dump(value)


@given(arrays, st.integers(1, 50))
def test_chunks_are_the_bytes_in_order(array: np.ndarray[Any, Any], size: int) -> None:
    dumped = assets.dump(array)
    chunks = list(dumped.chunks(size))
    assert b"".join(chunks) == dumped.tobytes()
    assert all(0 < len(chunk) <= size for chunk in chunks)
    assert sum(map(len, chunks)) == dumped.meta.size


def test_a_large_array_is_not_copied_to_be_sent() -> None:
    array = np.zeros(1_000_000)
    body = assets.dump(array).parts[1]
    array[0] = 1
    assert bytes(next(body.pieces(8))) == array[:1].tobytes()


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(1))
    return out.getvalue()


def objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}]), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"text",
        pickle.dumps([1]),
        objects(),
        npz(),
        npz()[:20],
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([1])),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
        npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy("(" * 300),
    ],
    ids=range(14),
)
def test_forged_arrays_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        assets.load("numpy", data)
    path = tmp_path / "asset.npy"
    path.write_bytes(data)
    with pytest.raises(Malformed):
        assets.load("numpy", str(path))


@given(st.binary(max_size=100))
def test_any_bytes_are_an_asset_or_refused(data: bytes) -> None:
    for kind in (*assets.KINDS, "pickle", ""):
        try:
            assets.load(kind, data)
        except Malformed:
            assert kind != "bytes"


@pytest.mark.parametrize("value", [np.arange(3), "text", b"bytes", {"a": [1]}], ids=lambda value: type(value).__name__)
def test_an_asset_is_read_from_its_file(value: Any, tmp_path: Path) -> None:
    dumped = assets.dump(value)
    path = tmp_path / f"asset{assets.SUFFIX[dumped.meta.kind]}"
    path.write_bytes(dumped.tobytes())
    np.testing.assert_equal(assets.load(dumped.meta.kind, str(path)), value)


def test_frames_of_other_packages_come_back_as_they_went() -> None:
    polars = pl.DataFrame({"age": [40, None], "name": ["a", "b"], "kind": pl.Series(["x", "y"], dtype=pl.Categorical)})
    assert around(polars).equals(polars)
    assert assets.dump(polars).meta.columns[0] == ("age", "Int64")
    table = pa.table({"age": [40, 50], "name": ["a", None]})
    assert around(table).equals(table)
    assert around(table.to_batches()[0]).equals(table)
    assert {assets.dump(value).kind for value in (polars, table)} == {"polars", "arrow"}
    assert around(pl.Series("age", [1])).columns == ["age"]
    with pytest.raises(BadValue, match="LazyFrame"):
        assets.dump(polars.lazy())


def test_an_image_comes_back_as_it_went(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 3), (1, 2, 3))
    assert assets.dump(image).meta.shape == (3, 4, 3)
    assert list(np.asarray(around(image))[0, 0]) == [1, 2, 3]
    path = tmp_path / "scan.bmp"
    image.save(path)
    dumped = assets.dump(path)
    assert (dumped.kind, dumped.shape, dumped.tobytes()) == ("image", (3, 4, 3), path.read_bytes())
    assert around(path).size == (4, 3)
    path.write_bytes(b"no image")
    with pytest.raises(BadValue, match="no image"):
        assets.dump(path)
    assert assets.dump(OnDisk(path, "file")).kind == "file"
    with pytest.raises(BadValue, match="CMYK"):
        assets.dump(image.convert("CMYK"))


def test_a_forged_image_that_unfolds_to_a_great_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = assets.dump(Image.new("1", (2000, 2000))).tobytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)
    with pytest.raises(Malformed):
        assets.load("image", raw)


def test_an_array_from_a_file_is_mapped_and_changes_stay_with_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "asset.npy"
    path.write_bytes(assets.dump(np.arange(1000)).tobytes())
    before = sorted(os.listdir("/dev/fd"))
    with path.open("rb") as file:
        mapped = assets.load_file("numpy", file.fileno())
    assert sorted(os.listdir("/dev/fd")) == before  # a mapping by Python's mmap would hold a descriptor
    mapped[0] = 7
    assert mapped.flags.writeable
    assert not mapped.flags.owndata
    assert np.load(path)[0] == 0
    with path.open("r+b") as file:  # read as it is touched, not before
        file.seek(-8, io.SEEK_END)
        file.write(np.int64(99).tobytes())
    assert mapped[-1] == 99


@pytest.mark.parametrize("kind", ["frame", "polars", "arrow"])
def test_forged_arrow_in_a_file_is_validated_in_full(kind: str, tmp_path: Path) -> None:
    raw = bytearray(assets.dump(pa.table({"name": ["first", "second", "third"]})).tobytes())
    at = raw.index(bytes([5, 0, 0, 0, 11, 0, 0, 0]))  # offsets of the texts: one beyond all bytes crashes a reader
    raw[at : at + 4] = (2**30).to_bytes(4, "little")
    path = tmp_path / "asset.arrow"
    path.write_bytes(raw)
    with path.open("rb") as file, pytest.raises(Malformed):
        assets.load_file(kind, file.fileno())


@given(arrays | json_values | st.text())
def test_a_description_comes_back_as_it_went(value: Any) -> None:
    meta = assets.dump(value).meta
    assert AssetMeta.from_wire(json.loads(json.dumps(meta.to_wire()))) == meta


GOOD = assets.dump(np.arange(3)).meta.to_wire()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {**GOOD, "kind": "pickle"},
        {**GOOD, "size": -1},
        {**GOOD, "size": None},
        {**GOOD, "digest": "00"},
        {**GOOD, "shape": None},
        {**GOOD, "shape": ["x"]},
        {**GOOD, "columns": [1]},
        {**GOOD, "columns": None},
        {key: value for key, value in GOOD.items() if key != "dtype"},
    ],
)
def test_a_description_that_is_none_is_refused(raw: Any) -> None:
    with pytest.raises(Malformed):
        AssetMeta.from_wire(raw)


def test_a_description_is_bounded() -> None:
    meta = AssetMeta.from_wire({**GOOD, "columns": [["a", "b"]] * 10_000, "shape": [1] * 1000, "dtype": "x" * 1000})
    assert (len(meta.columns), len(meta.shape), len(meta.dtype)) == (assets.MAX_COLUMNS, 32, 64)
