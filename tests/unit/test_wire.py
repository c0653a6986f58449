"""Messages and values: round trips, and bytes made to hurt whoever reads them."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import struct
import tracemalloc
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from p2pgrid import wire
from p2pgrid.errors import BadValue, Malformed, MissingExtra, Oversized, RemoteError

LIMIT = 4096

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)


def nested(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=20,
    )


messages = nested(st.text() | st.binary())
dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes(endianness="?")
    | hnp.datetime64_dtypes(endianness="?")
    | hnp.timedelta64_dtypes(endianness="?")
    | hnp.unicode_string_dtypes(min_len=1, endianness="?")
    | hnp.byte_string_dtypes(min_len=1)
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.uuids()
    | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none(), inner, max_size=4)
    ),
    max_leaves=15,
)


def same(a: Any, b: Any) -> bool:
    """Equality that tells types apart and takes NaN for itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def around(value: Any) -> Any:
    return wire.unpack_value(wire.pack_value(value))


# ---------------------------------------------------------------- messages


@given(messages)
def test_a_message_comes_back_as_it_went(message: Any) -> None:
    assert same(wire.unpack(wire.pack(message), limit=1 << 20), message)


@given(st.dictionaries(st.text(), nested(st.text())))
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(message: dict[str, Any]) -> None:
    turned = dict(reversed(message.items()))
    assert wire.pack_canonical(message) == wire.pack_canonical(turned)


@given(st.binary(max_size=300))
@example(b"\xc7\x00\x05")
@example(b"\xd6\xff\x00\x00\x00\x01")
def test_any_bytes_are_a_plain_message_or_the_peers_fault(data: bytes) -> None:
    try:
        message = wire.unpack(data, limit=LIMIT)
    except RemoteError:
        return
    wire.pack(message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02",
        b"\x01\x01",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\x81\x90\x02",
        msgpack.packb(list(range(2000))),
        msgpack.packb(msgpack.ExtType(1, b"x")),
        msgpack.packb(msgpack.Timestamp(1)),
    ],
    ids=lambda data: data[:8].hex() or "nothing",
)
def test_malformed_deep_and_lying_messages_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.unpack(data, limit=LIMIT)


def test_a_message_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(Oversized):
        wire.unpack(b"\xc0" * (LIMIT + 1), limit=LIMIT)


@pytest.mark.parametrize("message", [object(), {1, 2}, 2**64, "\ud800", {"a": [object()]}])
def test_what_msgpack_cannot_carry_is_our_fault(message: Any) -> None:
    with pytest.raises(BadValue):
        wire.pack(message)


@pytest.mark.parametrize("message", [{1: 1, "a": 2}, {"a": object()}])
def test_keys_without_an_order_are_our_fault(message: Any) -> None:
    with pytest.raises(BadValue):
        wire.pack_canonical(message)


def test_a_message_nested_without_end_is_our_fault() -> None:
    message: list[Any] = []
    message.append(message)
    for pack in (wire.pack, wire.pack_canonical, wire.pack_value):
        with pytest.raises(BadValue):
            pack(message)


# ---------------------------------------------------------------- values


@settings(max_examples=200)
@given(values)
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    assert same(around(value), value)


@given(arrays)
def test_a_numpy_scalar_keeps_its_type(array: np.ndarray[Any, Any]) -> None:
    for scalar in array.reshape(-1)[:1]:
        back = around(scalar)
        assert type(back) is type(scalar)
        assert np.asarray(back).tobytes() == np.asarray(scalar).tobytes()


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((0, 3)),
        np.array(5),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::3],
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.broadcast_to(np.float32(1), (3, 4)),
        np.array(["", "é", "日本"]),
        np.array(["2020-01-01", "NaT"], dtype="M8[25s]"),
        np.float16(1.5),
        np.str_(""),
        2**200,
        -(2**200),
        -(2**63) - 1,
        2**64,
        (1, (2, [3, ()])),
        {None: 1, True: 2, 2: 3, "a": 4, b"b": 5, 1.5: 6},
        float("nan"),
        -0.0,
        1 + 2j,
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
        uuid.UUID(int=7),
    ],
    ids=lambda value: f"{type(value).__name__}-{value}"[:30],
)
def test_values_at_the_edges_come_back(value: Any) -> None:
    back = around(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value)
        assert (back.dtype, back.shape) == (value.dtype, value.shape)
        assert back.flags.writeable
    else:
        assert same(back, value)


def test_subclasses_of_plain_types_travel_as_these() -> None:
    pair = namedtuple("pair", "a b")
    colour = enum.IntEnum("colour", "RED")
    assert around(pair(1, 2)) == (1, 2)
    assert around(colour.RED) == 1
    assert around(OrderedDict(a=1)) == {"a": 1}
    assert around({np.int64(1): np.bool_(True)}) == {1: True}
    assert around(bytearray(b"x")) == around(memoryview(b"x")) == b"x"
    assert np.isnat(around(pd.NaT))


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        lambda: None,
        np.array([object()]),
        np.array([(1, 2)], dtype="i4,i4"),
        np.zeros(2, dtype="V8"),
        {(1, 2): 3},
        {2**70: 1},
        {np.datetime64("2020-01-01"): 1},
        "\ud800",
        dt.date(2020, 1, 1),
        pd.Index([1]),
        [[[object()]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_travel_is_named_not_pickled(value: Any) -> None:
    with pytest.raises(BadValue):
        wire.pack_value(value)


def test_what_a_mask_hides_is_never_sent() -> None:
    with pytest.raises(BadValue):
        wire.pack_value(np.ma.masked_array([1, 2], mask=[False, True]))


def test_a_value_nested_too_deep_is_refused_both_ways() -> None:
    deep: Any = 1
    for _ in range(wire.MAX_DEPTH):
        deep = [deep]
    assert around(deep) == deep
    with pytest.raises(BadValue):
        wire.pack_value([deep])
    with pytest.raises(Malformed):
        wire.unpack_value(b"\x91" + wire.pack_value(deep))


FRAMES = {
    "plain": pd.DataFrame({"a": [1, 2], "b": [1.5, np.nan], "c": ["x", None]}),
    "no rows": pd.DataFrame({"a": np.zeros(0, "i4")}),
    "no columns": pd.DataFrame(index=range(3)),
    "named columns by number": pd.DataFrame(np.eye(2)),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["r", "s"], name="who")),
    "two levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    "categories": pd.DataFrame({"a": pd.Categorical(["u", "v", None])}),
    "nullable": pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
    "times": pd.DataFrame({"t": pd.date_range("2020", periods=2, tz="UTC"), "d": pd.to_timedelta([1, 2], "s")}),
    "periods": pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}),
    "nested": pd.DataFrame({"s": [{"a": 1}, {"a": 2}]}),
    "nothing": pd.DataFrame({"n": pd.Series([None, None], dtype=object)}),
    "unsigned": pd.DataFrame({"n": np.array([0, 2**64 - 1], "u8"), "h": np.array([1, 2], "f2")}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_as_it_went(name: str) -> None:
    pd.testing.assert_frame_equal(around(FRAMES[name]), FRAMES[name], check_freq=False)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2], name="a"),
        pd.Series([1.5, np.nan]),
        pd.Series(["x", "y"], index=[5, 7], name="text"),
        pd.Series(pd.Categorical(["a", "b"]), name="value"),
    ],
    ids=str,
)
def test_a_series_comes_back_as_it_went(series: pd.Series[Any]) -> None:
    pd.testing.assert_series_equal(around(series), series)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [object()]}),
        pd.DataFrame({"a": [1, "x"]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": [1j]}),
    ],
    ids=["object", "mixed", "twins", "complex"],
)
def test_a_frame_that_arrow_cannot_carry_is_our_fault(frame: pd.DataFrame) -> None:
    with pytest.raises(BadValue):
        wire.pack_value(frame)


# ---------------------------------------------------------------- hostile bytes


def ext(code: int, data: bytes) -> bytes:
    return bytes(msgpack.packb(msgpack.ExtType(code, data)))


def array_ext(dtype: Any, shape: Any, body: bytes = b"", code: int = wire.NDARRAY) -> bytes:
    return ext(code, msgpack.packb([dtype, shape]) + body)


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_value_or_the_peers_fault(data: bytes) -> None:
    with contextlib.suppress(RemoteError, MissingExtra):
        wire.unpack_value(data, limit=LIMIT)


@settings(max_examples=300)
@given(st.sampled_from(range(1, 12)), st.binary(max_size=200))
def test_any_bytes_in_an_extension_are_a_value_or_the_peers_fault(code: int, data: bytes) -> None:
    with contextlib.suppress(RemoteError, MissingExtra):
        wire.unpack_value(ext(code, data))


@settings(max_examples=150)
@given(values, st.data())
def test_a_damaged_value_is_a_value_or_the_peers_fault(value: Any, data: st.DataObject) -> None:
    raw = bytearray(wire.pack_value(value))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RemoteError, MissingExtra):
        wire.unpack_value(bytes(raw))


@pytest.mark.parametrize(
    "data",
    [
        array_ext("<f8", [2**40]),
        array_ext("<f8", [2**62, 2**62]),
        array_ext("<f8", [0, 2**62]),
        array_ext("<f8", [-1], bytes(8)),
        array_ext("<f8", [1.0], bytes(8)),
        array_ext("<f8", [True], bytes(8)),
        array_ext("<f8", [1] * 33, bytes(8)),
        array_ext("<f8", "8", bytes(8)),
        array_ext("<f8", [2], bytes(8)),
        array_ext("<f8", [1], bytes(9)),
        array_ext("|O", [1], bytes(8)),
        array_ext("|V8", [1], bytes(8)),
        array_ext("i4,i4", [1], bytes(8)),
        array_ext("(1000000,1000000)f8", [1], bytes(8)),
        array_ext("<U999999999", [0]),
        array_ext([["a", "<f8"]], [1], bytes(8)),
        array_ext(None, [1], bytes(8)),
        array_ext("<f8", [1], bytes(8), code=wire.SCALAR),
        ext(wire.NDARRAY, b"\x92" * 600),
        ext(wire.NDARRAY, b"\xdd\xff\xff\xff\xff" * 100),
        ext(wire.TIME, b"yesterday"),
        ext(wire.TIME, b"\xff"),
        ext(wire.UUID, b"short"),
        ext(wire.TUPLE, b"\x01"),
        ext(wire.COMPLEX, b"1"),
        ext(wire.SERIES, b"\x92\xa1a\xc4\x00"),
        ext(99, b""),
        bytes(msgpack.packb(msgpack.Timestamp(1))),
        b"\x81\x90\x01",
    ],
    ids=lambda data: data[:24].hex(),
)
def test_forged_extensions_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.unpack_value(data)


def peak(data: bytes, **how: Any) -> int:
    """Bytes that Python held at most while it refused ``data``."""
    tracemalloc.start()
    try:
        with pytest.raises(RemoteError):
            wire.unpack_value(data, **how)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\x03\xff\xff\xff" * 1000,
        b"\xdf\x01\xff\xff\xff" * 1000,
        ext(wire.TUPLE, b"\xdd\x00\x00\x0f\xff" * 800),
        ext(wire.SERIES, b"\xdd\x00\x00\x0f\xff" * 800),
        ext(wire.NDARRAY, b"\xdd\x00\x00\x0f\xff" * 800),
        b"\xc6\x03\xff\xff\xff",
        b"\xc9\x03\xff\xff\xff\x01",
        array_ext("<f8", [2**33]),
    ],
    ids=["lists", "maps", "tuple", "series", "array head", "bytes", "extension", "shape"],
)
def test_a_few_bytes_that_claim_gigabytes_take_no_memory(data: bytes) -> None:
    wire.pack_value(np.zeros(1))  # imports are not what is measured
    assert peak(data) < 1 << 20


def test_extension_bombs_do_not_unfold() -> None:
    """A tuple in a tuple in a tuple ...: depth ends it long before memory does."""
    bomb = msgpack.packb([])
    for _ in range(200):
        bomb = ext(wire.TUPLE, msgpack.packb([msgpack.ExtType(wire.TUPLE, bomb)] * 1))
    assert peak(bomb) < 1 << 20


def test_memory_grows_no_faster_than_what_was_sent() -> None:
    """The worst a byte can claim is an empty map."""
    data = b"\xdd" + (1 << 17).to_bytes(4, "big") + b"\x80" * (1 << 17)
    tracemalloc.start()
    wire.unpack_value(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 200 * len(data)


def test_a_value_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(Oversized):
        wire.unpack_value(bytes(11), limit=10)


def test_a_pickle_is_no_value() -> None:
    import pickle

    with pytest.raises(Malformed):
        wire.unpack_value(pickle.dumps([1, 2, 3]))


# ---------------------------------------------------------------- counted values


def counted(value: Any) -> int:
    """How many values ``value`` is counted as."""
    if isinstance(value, (list, tuple)):  # a tuple is an extension, which counts as two, with a list in it
        return 1 + 2 * isinstance(value, tuple) + sum(map(counted, value))
    if isinstance(value, dict):
        return 1 + sum(counted(key) + counted(item) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return 8
    return 4 if isinstance(value, int) and not -(2**63) <= value < 2**64 else 1


PARTS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300)
NESTED = st.recursive(
    PARTS,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), inner, max_size=20)
    ),
    max_leaves=40,
)


@given(NESTED)
def test_exactly_as_many_values_pass_as_may(value: Any) -> None:
    packed, number = wire.pack_value(value), counted(value)
    assert wire.unpack_value(packed, items=number) == value
    with pytest.raises(Oversized):
        wire.unpack_value(packed, items=number - 1)


def test_what_takes_long_to_build_counts_for_more() -> None:
    """A million of the smallest arrays took eight seconds to build, of a run that took a tenth of one."""
    for value, worth in ((np.zeros(0), 8), (np.float64(1), 6), (uuid.UUID(int=1), 4), (2**70, 4), ((), 3)):
        packed = wire.pack_value([value] * 100)
        assert len(wire.unpack_value(packed, items=1 + 100 * worth)) == 100
        with pytest.raises(Oversized):
            wire.unpack_value(packed, items=100 * worth)


def test_a_whole_number_that_python_would_not_show_does_not_travel() -> None:
    longest = 10**4285
    assert str(wire.unpack_value(wire.pack_value(-longest))) == str(-longest)
    for far in (10**4300, -(10**4300)):
        with pytest.raises(BadValue, match="whole number"):
            wire.pack_value(far)
    with pytest.raises(Malformed):
        wire.unpack_value(msgpack.packb(msgpack.ExtType(wire.BIGINT, b"\x7f" * (wire.MAX_BIGINT + 1))))


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_every_length_of_every_kind_is_counted(size: int) -> None:
    for value in (
        "x" * size,
        bytes(size),
        np.arange(size, dtype="u1"),
        [0] * size,
        dict.fromkeys(range(size)),
        (0,) * size,
    ):
        number = counted(value)
        wire.unpack_value(wire.pack_value([value, 1.5, -70_000]), items=number + 3)
        with pytest.raises(Oversized):
            wire.unpack_value(wire.pack_value([value, 1.5, -70_000]), items=number + 2)


@pytest.mark.parametrize(
    "bomb",
    [
        wire.pack_value([[]] * 1_000_000),
        wire.pack_value(tuple([[]] * 1_000_000)),
        msgpack.packb(msgpack.ExtType(wire.SERIES, msgpack.packb([[[]] * 1_000_000, b""]))),
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xdf\xff\xff\xff\xff",
    ],
)
def test_millions_of_empty_lists_are_refused_before_one_is_made(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Oversized):
            wire.unpack_value(bomb, items=65_536)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_counting_any_bytes_is_an_error_of_the_peer_at_worst(data: bytes) -> None:
    with contextlib.suppress(RemoteError):
        wire.unpack_value(data, items=50)


def test_tuples_in_tuples_without_end_are_refused() -> None:
    nested = b"\x90"
    for _ in range(2_000):
        nested = msgpack.packb(msgpack.ExtType(wire.TUPLE, b"\x91" + nested))
    with pytest.raises(Malformed):
        wire.unpack_value(nested, items=65_536)


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb(msgpack.ExtType(wire.COMPLEX, bytes(16) + b"hidden")),
        msgpack.packb(msgpack.ExtType(wire.TIME, b"2026-01-01T00:00:00." + b"1" * 6000)),
        msgpack.packb(msgpack.ExtType(wire.BIGINT, bytes(5000))),
        b"\x82" + (b"\xa1k" + b"\x01") * 2,
        b"\x81" + bytes(msgpack.packb(msgpack.ExtType(wire.UUID, bytes(16)))) + b"\x01",
    ],
    ids=["complex", "time", "number", "same-keys", "extension-as-key"],
)
def test_bytes_hidden_beside_what_a_value_shows(packed: bytes) -> None:
    with pytest.raises(RemoteError):
        wire.unpack_value(packed)


def test_large_values_nested_deep_take_no_memory() -> None:
    value = bytes(msgpack.packb(bytes(1 << 20)))
    for _ in range(20):
        value = bytes(msgpack.packb(msgpack.ExtType(wire.TUPLE, b"\x91" + value)))
    with pytest.raises(RemoteError):
        wire.unpack_value(value, items=1000)
