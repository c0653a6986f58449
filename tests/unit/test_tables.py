"""Arrow streams made to hurt whoever reads them."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgrid import tables, wire
from p2pgrid.errors import BadValue, Malformed, MissingExtra, Oversized, RemoteError


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def framed(data: bytes) -> bytes:
    import msgpack

    return bytes(msgpack.packb(msgpack.ExtType(wire.FRAME, data)))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_stream_may_not_unfold(codec: str) -> None:
    bomb = stream(pa.table({"a": np.zeros(5_000_000, "i1")}), compression=codec)
    assert len(bomb) < 50_000
    before = pa.total_allocated_bytes()
    with pytest.raises(Malformed, match="compressed"):
        tables.frame_from_bytes(bomb)
    assert pa.total_allocated_bytes() <= before + 100_000


def test_a_compressed_dictionary_may_not_unfold() -> None:
    words = pa.array(["x" * 100_000]).dictionary_encode()
    with pytest.raises(Malformed, match="compressed"):
        tables.frame_from_bytes(stream(pa.table({"a": words}), compression="zstd"))


def test_columns_of_nothing_may_not_unfold() -> None:
    bomb = stream(pa.table({"a": pa.nulls(50_000_000)}))
    assert len(bomb) < 1_000
    with pytest.raises(Oversized):
        tables.frame_from_bytes(bomb)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x" * 100] * 3, pa.string_view()),
        pa.array([b"x" * 100] * 3, pa.binary_view()),
        pa.RunEndEncodedArray.from_arrays([2**30], [1]),
        pa.array([[None] * 9] * 3, pa.list_(pa.null())),
        pa.array([[]] * 3, pa.list_(pa.int8(), 0)),
        pa.array([{}] * 3, pa.struct([])),
        pa.array([[1]] * 3, pa.list_view(pa.int8())),
        pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int8())),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_types_whose_values_cost_no_bytes_of_their_own_are_refused(column: pa.Array) -> None:
    with pytest.raises(Malformed, match="does not travel"):
        tables.frame_from_bytes(stream(pa.table({"a": column})))


def test_such_types_are_our_fault_when_we_send_them() -> None:
    views = pd.DataFrame({"a": pd.array(["x"], dtype=pd.ArrowDtype(pa.string_view()))})
    with pytest.raises(BadValue, match="string_view"):
        tables.frame_bytes(views)
    nothing = pd.DataFrame({"a": pd.Series([None] * (tables.MAX_NULL_CELLS + 1), dtype=object)})
    with pytest.raises(BadValue):
        tables.frame_bytes(nothing)


def test_a_forged_extension_type_runs_no_pickle() -> None:
    """CVE-2023-47248: Arrow once unpickled what a stream's metadata holds."""
    payload = b"cbuiltins\nprint\n(S'escaped'\ntR."
    field = pa.field(
        "a",
        pa.int64(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": payload,
        },
    )
    data = stream(pa.Table.from_arrays([pa.array([1])], schema=pa.schema([field])))
    frame = wire.unpack_value(framed(data))
    assert frame["a"].tolist() == [1]


def test_offsets_that_point_outside_are_refused() -> None:
    data = bytearray(stream(pa.table({"a": pa.array(["abc", "def"])})))
    place = data.index((6).to_bytes(4, "little"), data.index(b"abcdef") - 24)
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(RemoteError):
        wire.unpack_value(framed(bytes(data)))


REAL = tables.frame_bytes(
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": [[1], [2, 3]]})
)


@settings(max_examples=300)
@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
def test_a_damaged_stream_is_a_frame_or_the_peers_fault(place: int, flip: int) -> None:
    raw = bytearray(REAL)
    raw[place] ^= flip
    with contextlib.suppress(RemoteError):
        wire.unpack_value(framed(bytes(raw)))


@given(st.integers(0, len(REAL) - 1))
def test_a_stream_cut_short_is_a_frame_or_the_peers_fault(size: int) -> None:
    with contextlib.suppress(RemoteError):
        wire.unpack_value(framed(REAL[:size]))


@given(st.binary(max_size=200))
def test_any_bytes_for_a_frame_are_the_peers_fault(data: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.unpack_value(framed(data))


@pytest.mark.parametrize("absent", ["pandas", "pyarrow"])
def test_a_table_without_its_packages_is_a_clear_error(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra, match="not installed"):
        wire.unpack_value(framed(REAL))
