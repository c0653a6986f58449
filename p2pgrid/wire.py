"""Bytes <-> messages: msgpack with limits, and a closed set of extension types for values.

``pack`` and ``unpack`` carry protocol messages: plain msgpack, no extensions, bounded before anything is built.
``pack_value`` and ``unpack_value`` carry what people exchange (results, mocks, arguments): JSON-like values, bytes,
numpy arrays and scalars, pandas frames and series (as Arrow), times and uuids.  Nothing is ever pickled.
"""

from __future__ import annotations

import datetime as dt
import io
import math
import sys
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgpack

from p2pgrid.errors import BadValue, Malformed, MissingExtra, Oversized, RemoteError

if TYPE_CHECKING:
    import numpy as np

MAX_DEPTH: Final = 32
MAX_VALUE_BYTES: Final = 64 << 20

NDARRAY, SCALAR, FRAME, SERIES, TIME, UUID, TUPLE, BIGINT, COMPLEX = range(1, 10)
"""Extension codes; they are part of the wire format and never reused."""

DTYPE_KINDS: Final = "biufcMmSU"
"""numpy kinds that travel: no objects, no structs, no void."""


def pack(message: Any) -> bytes:
    """A protocol message as msgpack.  Raises ``BadValue`` for what msgpack cannot carry."""
    try:
        return bytes(msgpack.packb(message, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadValue(f"This cannot be sent: {error}.") from error


def pack_canonical(message: Any) -> bytes:
    """``pack`` with map keys sorted, so that equal content has equal bytes."""
    return pack(_sorted_maps(message))


def unpack(data: bytes | memoryview, *, limit: int, items: int = 1024) -> Any:
    """One protocol message from at most ``limit`` bytes, with at most ``items`` entries in any list or map.

    Raises ``Oversized`` or ``Malformed``; never anything else, whatever the bytes.
    """
    if len(data) > limit:
        raise Oversized(f"A message of {len(data)} bytes is over its limit of {limit}.")
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_bin_len=limit,
            max_str_len=limit,
            max_array_len=items,
            max_map_len=items,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, MemoryError) as error:
        raise Malformed("Bytes are no message.") from error


def pack_value(value: Any) -> bytes:
    """A value as bytes.  Raises ``BadValue`` with the type that cannot travel."""
    try:
        return bytes(msgpack.packb(_plain(value, 0), use_bin_type=True))
    except (ValueError, OverflowError, UnicodeEncodeError) as error:
        raise BadValue(f"This value cannot be sent: {error}.") from error


def unpack_value(data: bytes | memoryview, *, limit: int = MAX_VALUE_BYTES) -> Any:
    """The value that ``pack_value`` packed, from at most ``limit`` bytes.

    Raises ``Oversized`` or ``Malformed`` for hostile bytes, ``MissingExtra`` for a frame where pandas is absent.
    """
    if len(data) > limit:
        raise Oversized(f"A value of {len(data)} bytes is over its limit of {limit}.")
    try:
        plain = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_bin_len=limit,
            max_str_len=limit,
            max_array_len=limit,
            max_map_len=limit,
            max_ext_len=limit,
            ext_hook=_RawExt,
        )
        return _revive(plain, 0, limit)
    except (RemoteError, MissingExtra):
        raise
    except Exception as error:  # any fault of hostile bytes in a decoder ends here, as the peer's
        raise Malformed("Bytes are no value.") from error


class _RawExt:
    """An extension as it came; revived after the whole message proved readable."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data


def _sorted_maps(message: Any) -> Any:
    if isinstance(message, dict):
        return {key: _sorted_maps(message[key]) for key in sorted(message)}
    if isinstance(message, (list, tuple)):
        return [_sorted_maps(item) for item in message]
    return message


def _plain(value: Any, depth: int) -> Any:
    """``value`` in msgpack's own types and ``ExtType``."""
    if depth > MAX_DEPTH:
        raise BadValue(f"A value is nested deeper than {MAX_DEPTH}.")
    if value is None or type(value) in (bool, float, str, bytes):
        return value
    if type(value) is int:
        if -(2**63) <= value < 2**64:
            return value
        return msgpack.ExtType(BIGINT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int, float, bool, bytes)) and key is not None and not _is_scalar(key):
                raise BadValue(f"A dict key of type {type(key).__name__} cannot be sent.")
        return {_dict_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, tuple):
        inner = msgpack.packb([_plain(item, depth + 1) for item in value], use_bin_type=True)
        return msgpack.ExtType(TUPLE, inner)
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return _extension(value)


def _dict_key(key: Any) -> Any:
    return key.item() if _is_scalar(key) else key


def _is_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def _extension(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        return msgpack.ExtType(NDARRAY, _array_bytes(value))
    if isinstance(value, np.generic):
        return msgpack.ExtType(SCALAR, _array_bytes(np.asarray(value)))
    if isinstance(value, dt.datetime):
        return msgpack.ExtType(TIME, value.isoformat().encode())
    if isinstance(value, uuid.UUID):
        return msgpack.ExtType(UUID, value.bytes)
    if isinstance(value, complex):
        return msgpack.ExtType(COMPLEX, np.complex128(value).tobytes())
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return msgpack.ExtType(FRAME, frame_bytes(value))
    if pandas is not None and isinstance(value, pandas.Series):
        frame = value.to_frame(name="value")
        name = None if value.name is None else str(value.name)
        return msgpack.ExtType(SERIES, msgpack.packb([name, frame_bytes(frame)], use_bin_type=True))
    if isinstance(value, (int, float, str, bytes)):  # subclasses such as enums and numpy-like floats
        return _plain({int: int, float: float, str: str, bytes: bytes}[_base(value)](value), 0)
    raise BadValue(f"A value of type {type(value).__module__}.{type(value).__name__} cannot be sent.")


def _base(value: Any) -> type:
    return next(kind for kind in (int, float, str, bytes) if isinstance(value, kind))


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    import numpy as np

    if array.dtype.kind not in DTYPE_KINDS or array.dtype.hasobject:
        raise BadValue(f"An array of dtype {array.dtype} cannot be sent.")
    head = msgpack.packb([array.dtype.str, list(array.shape)], use_bin_type=True)
    return bytes(head) + np.ascontiguousarray(array).tobytes()


def _revive(plain: Any, depth: int, limit: int) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed("A value is nested too deep.")
    if isinstance(plain, list):
        return [_revive(item, depth + 1, limit) for item in plain]
    if isinstance(plain, dict):
        return {key: _revive(item, depth + 1, limit) for key, item in plain.items()}
    if not isinstance(plain, _RawExt):
        return plain
    code, data = plain.code, plain.data
    if code == NDARRAY:
        return _array(data)
    if code == SCALAR:
        return _array(data)[()]
    if code == FRAME:
        return frame_from_bytes(data)
    if code == SERIES:
        name, inner = msgpack.unpackb(data, raw=False)
        return frame_from_bytes(inner)["value"].rename(name)
    if code == TIME:
        return dt.datetime.fromisoformat(data.decode())
    if code == UUID:
        return uuid.UUID(bytes=data)
    if code == TUPLE:
        inner = msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=_RawExt)
        if not isinstance(inner, list):
            raise Malformed("A tuple is no list.")
        return tuple(_revive(item, depth + 1, limit) for item in inner)
    if code == BIGINT:
        return int.from_bytes(data, "big", signed=True)
    if code == COMPLEX:
        import numpy as np

        return complex(np.frombuffer(data, "<c16", count=1)[0])
    raise Malformed(f"Extension type {code} is not known.")


def _array(data: bytes) -> np.ndarray[Any, Any]:
    import numpy as np

    unpacker = msgpack.Unpacker(io.BytesIO(data), raw=False, max_buffer_size=len(data) + 1)
    dtype_text, shape = unpacker.unpack()
    dtype = np.dtype(dtype_text)
    if dtype.kind not in DTYPE_KINDS or dtype.hasobject or len(shape) > 32:
        raise Malformed("An array has a type that does not travel.")
    if any(type(side) is not int or side < 0 for side in shape):
        raise Malformed("An array has an impossible shape.")
    start = unpacker.tell()
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise Malformed("An array's bytes do not fit its shape.")
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape).copy()


def frame_bytes(frame: Any) -> bytes:
    """A pandas frame as an Arrow IPC stream.  Raises ``BadValue`` for columns that Arrow cannot carry."""
    pyarrow = arrow()
    try:
        table = pyarrow.Table.from_pandas(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise BadValue(f"A table cannot be sent: {error}.") from error
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def frame_from_bytes(data: bytes | memoryview) -> Any:
    """A pandas frame from an Arrow IPC stream, validated in full: forged Arrow can crash its reader otherwise."""
    pyarrow = arrow()
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(data)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table.to_pandas()


def arrow() -> Any:
    """pyarrow with its ipc module.  Raises ``MissingExtra``."""
    try:
        import pandas  # noqa: F401
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MissingExtra("Tables need pandas and pyarrow, which are not installed.") from error
    return pyarrow
