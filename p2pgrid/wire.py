"""Bytes <-> messages: msgpack with limits, and a closed set of extension types for values.

``pack`` and ``unpack`` carry protocol messages: plain msgpack, no extensions, bounded before anything is built.
``pack_value`` and ``unpack_value`` carry what people exchange (results, mocks, arguments): JSON-like values, bytes,
numpy arrays and scalars, pandas frames and series (as Arrow; of a run's results as plain columns), times and uuids.
Nothing is ever pickled.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgpack

from p2pgrid import columns
from p2pgrid.errors import BadValue, Malformed, MissingExtra, Oversized, RemoteError
from p2pgrid.tables import arrow as arrow
from p2pgrid.tables import frame_bytes, frame_from_bytes

if TYPE_CHECKING:
    import numpy as np

MAX_DEPTH: Final = 32
MAX_VALUE_BYTES: Final = 64 << 20
LARGE: Final = 64 << 10
MAX_LARGE_DEPTH: Final = 3
"""Levels of tuples and tables around more than ``LARGE`` bytes, where values are counted."""
MAX_TIME: Final = 40
"""Bytes of a moment's text."""
MAX_BIGINT: Final = 1780
"""Bytes of a whole number: Python shows 4300 digits."""

NDARRAY, SCALAR, FRAME, SERIES, TIME, UUID, TUPLE, BIGINT, COMPLEX, TABLE = range(1, 11)
"""Extension codes; they are part of the wire format and never reused."""

_WORTH: Final = {NDARRAY: 8, SCALAR: 6, TUPLE: 2, TABLE: 64}
"""Values that an extension counts as, by the time that it takes to build: 1 to 3 microseconds each."""
_ANY_WORTH: Final = 4
"""What every other extension counts as."""
DTYPE_KINDS: Final = "biufcMmSU"
"""numpy kinds that travel: no objects, no structs, no void."""


def _head(first: int) -> tuple[int, int, int]:
    """What follows a msgpack value's first byte: (bytes, values, 1 for the code byte of an extension).

    Bytes below zero are the width of a number: that many bytes, or that many times the values, come after it.
    """
    if 0x80 <= first <= 0x8F:
        return 0, 2 * (first & 15), 0
    if 0x90 <= first <= 0x9F:
        return 0, first & 15, 0
    if 0xA0 <= first <= 0xBF:
        return first & 31, 0, 0
    long = {0xC4: -1, 0xC5: -2, 0xC6: -4, 0xD9: -1, 0xDA: -2, 0xDB: -4}  # bytes and texts
    fixed = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}  # numbers
    extensions = {0xC7: -1, 0xC8: -2, 0xC9: -4, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
    lists = {0xDC: (-2, 1), 0xDD: (-4, 1), 0xDE: (-2, 2), 0xDF: (-4, 2)}
    if first in lists:
        return *lists[first], 0
    if first in extensions:
        return extensions[first], 0, 1
    return long.get(first, fixed.get(first, 0)), 0, 0


_HEADS: Final = tuple(_head(first) for first in range(256))
_ARRAY_HEAD: Final = 512
"""Bytes in which an array's dtype and shape are found; numpy has at most 64 sides of 9 bytes, we take 32."""
_PAIR, _TEXT, _NO_SIDES = 0x92, 0xA0, b"\x90"
"""msgpack's heads of a list of two, of a short text, and a list of none."""
_DTYPE: Final = re.compile(rf"[<>|=][{DTYPE_KINDS}][0-9]{{0,7}}(\[[0-9]{{0,7}}[A-Za-z]{{1,2}}\])?")


def pack(message: Any) -> bytes:
    """A protocol message as msgpack.  Raises ``BadValue`` for what msgpack cannot carry."""
    try:
        return bytes(msgpack.packb(message, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadValue(f"This cannot be sent: {error}.") from error


def pack_canonical(message: Any) -> bytes:
    """``pack`` with map keys sorted, so that equal content has equal bytes."""
    try:
        return pack(_sorted_maps(message))
    except (TypeError, RecursionError) as error:
        raise BadValue("This cannot be sent: its map keys have no order, or it is nested too deep.") from error


def unpack(data: bytes | bytearray | memoryview, *, limit: int, items: int = 1024) -> Any:
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
            ext_hook=_no_extension,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, MemoryError) as error:
        raise Malformed("Bytes are no message.") from error


def pack_value(value: Any, *, arrow: bool = True) -> bytes:
    """A value as bytes; its tables as Arrow or, slower, as plain columns.

    Raises ``BadValue`` with the type that cannot travel.
    """
    try:
        return bytes(msgpack.packb(_plain(value, 0, arrow), use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadValue(f"This value cannot be sent: {error}.") from error


def unpack_value(
    data: bytes | memoryview,
    *,
    limit: int = MAX_VALUE_BYTES,
    items: int | None = None,
    arrow: bool = True,
    build: bool = True,
) -> Any:
    """The value that ``pack_value`` packed, from at most ``limit`` bytes; it holds at most ``items`` values if given.

    Without ``arrow`` a table in Arrow is ``Malformed``; without ``build`` too, and another one is checked and comes as
    its ``columns.Outline``: for a process that reads what strangers wrote.  Values are counted before any is built,
    those in lists, maps (keys too) and tuples; an array of numpy counts as 8, a table as 64 (``_WORTH``).
    Raises ``Oversized`` or ``Malformed`` for hostile bytes, ``MissingExtra`` for a frame where pandas is absent.
    """
    if len(data) > limit:
        raise Oversized(f"A value of {len(data)} bytes is over its limit of {limit}.")
    try:
        if items is None:
            _skim(data)
        else:
            _count(data, items)
        return _revive(_built(data), 0, arrow and build, build)
    except (RemoteError, MissingExtra):
        raise
    except Exception as error:  # any fault of hostile bytes in a decoder ends here, as the peer's
        raise Malformed("Bytes are no value.") from error


class _RawExt:
    """An extension as it came; revived after the whole message proved readable."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data


def _no_extension(code: int, _data: bytes) -> Any:
    raise Malformed(f"A message holds the extension {code}.")


def _whole(data: bytes | memoryview) -> Any:
    """What the bytes of a value within a value hold, extensions as they came."""
    _skim(data)
    return _built(data)


def _skim(data: bytes | memoryview) -> None:
    """Raise unless all that the heads of lists and maps claim is there, at the price of a copy.

    A list is made as long as its head says, and nested heads of lists that never come would claim far more than the
    message has.  Bytes whose values were counted claim no more than that.
    """
    skim = msgpack.Unpacker(max_buffer_size=len(data))
    skim.feed(data)
    skim.skip()


def _built(data: bytes | memoryview) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=_RawExt, object_pairs_hook=_map)


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map in which no key comes twice: what stood under the first one would travel unseen."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Malformed("A key of a map comes twice.")
    return found


def _count(data: bytes | memoryview, left: int, depth: int = 0) -> int:
    """``left`` less the values in ``data``.  Raises ``Oversized`` at the first head that claims too many."""
    if depth > MAX_DEPTH:
        raise Malformed("A value is nested too deep.")
    at, awaited = 0, 1
    while awaited:
        size, values, extension = _HEADS[data[at]]
        at += 1
        if size < 0:
            number = int.from_bytes(data[at : at - size], "big")
            at -= size
            size, values = (0, values * number) if values else (number + extension, 0)
        left -= _WORTH.get(data[at], _ANY_WORTH) if extension else 1
        awaited += values - 1
        if awaited > left:
            raise Oversized("A value holds more values than its sender may send.")
        if extension and data[at] in (TUPLE, SERIES, TABLE):
            if depth > MAX_LARGE_DEPTH and size > LARGE:
                raise Malformed("A large value is nested too deep.")  # each level holds a copy of it
            left = awaited + _count(memoryview(data)[at + 1 : at + size], left - awaited, depth + 1)
        at += size
    return left


def _sorted_maps(message: Any) -> Any:
    if isinstance(message, dict):
        return {key: _sorted_maps(message[key]) for key in sorted(message)}
    if isinstance(message, (list, tuple)):
        return [_sorted_maps(item) for item in message]
    return message


def _plain(value: Any, depth: int, arrow: bool) -> Any:
    """``value`` in msgpack's own types and ``ExtType``."""
    if depth > MAX_DEPTH:
        raise BadValue(f"A value is nested deeper than {MAX_DEPTH}.")
    if value is None or type(value) in (bool, float, str, bytes):
        return value
    if type(value) is int:
        if -(2**63) <= value < 2**64:
            return value
        if value.bit_length() >= 8 * MAX_BIGINT:
            raise BadValue(f"A whole number of over {MAX_BIGINT} bytes cannot be sent.")
        return msgpack.ExtType(BIGINT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int, float, bool, bytes)) and key is not None and not _is_scalar(key):
                raise BadValue(f"A dict key of type {type(key).__name__} cannot be sent.")
        return {_dict_key(key): _plain(item, depth + 1, arrow) for key, item in value.items()}
    if isinstance(value, tuple):
        inner = msgpack.packb([_plain(item, depth + 1, arrow) for item in value], use_bin_type=True)
        return msgpack.ExtType(TUPLE, inner)
    if isinstance(value, list):
        return [_plain(item, depth + 1, arrow) for item in value]
    if isinstance(value, (bytearray, memoryview)):
        return value if memoryview(value).c_contiguous else bytes(value)
    return _extension(value, depth, arrow)


def _dict_key(key: Any) -> Any:
    return key.item() if _is_scalar(key) else key


def _is_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def _extension(value: Any, depth: int, arrow: bool) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        return msgpack.ExtType(NDARRAY, _array_bytes(value))
    if isinstance(value, np.generic):
        return msgpack.ExtType(SCALAR, _array_bytes(np.asarray(value)))
    if isinstance(value, dt.datetime) and value == value:  # pandas' NaT is a datetime that is not itself
        return msgpack.ExtType(TIME, value.isoformat().encode())
    if isinstance(value, uuid.UUID):
        return msgpack.ExtType(UUID, value.bytes)
    if isinstance(value, complex):
        return msgpack.ExtType(COMPLEX, np.complex128(value).tobytes())
    pandas = sys.modules.get("pandas")
    if pandas is not None and value is pandas.NaT:
        return msgpack.ExtType(SCALAR, _array_bytes(np.asarray(np.datetime64("NaT"))))
    if not arrow and columns.is_table(value):
        inner = _plain(columns.take_apart(value), depth + 1, arrow)
        return msgpack.ExtType(TABLE, msgpack.packb(inner, use_bin_type=True))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return msgpack.ExtType(FRAME, frame_bytes(value))
    if pandas is not None and isinstance(value, pandas.Series):
        frame = value.to_frame(name="value")
        name = None if value.name is None else str(value.name)
        return msgpack.ExtType(SERIES, msgpack.packb([name, frame_bytes(frame)], use_bin_type=True))
    if isinstance(value, (int, float, str, bytes)):  # subclasses such as enums and numpy-like floats
        return _plain({int: int, float: float, str: str, bytes: bytes}[_base(value)](value), depth, arrow)
    raise BadValue(f"A value of type {type(value).__module__}.{type(value).__name__} cannot be sent.")


def _base(value: Any) -> type:
    return next(kind for kind in (int, float, str, bytes) if isinstance(value, kind))


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    import numpy as np

    if array.dtype.kind not in DTYPE_KINDS or array.dtype.hasobject:
        raise BadValue(f"An array of dtype {array.dtype} cannot be sent.")
    if isinstance(array, np.ma.MaskedArray):  # its mask would be lost, and what it hides be sent
        raise BadValue("A masked array cannot be sent.", fix="Send array.filled(...), or its data and mask apart.")
    head = msgpack.packb([array.dtype.str, list(array.shape)], use_bin_type=True)
    return bytes(head) + np.ascontiguousarray(array).tobytes()


def _revive(plain: Any, depth: int, arrow: bool, build: bool) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed("A value is nested too deep.")
    if isinstance(plain, list):
        return [_revive(item, depth + 1, arrow, build) for item in plain]
    if isinstance(plain, dict):
        if any(isinstance(key, (_RawExt, msgpack.Timestamp)) for key in plain):
            raise Malformed("A key of a map is an extension.")
        return {key: _revive(item, depth + 1, arrow, build) for key, item in plain.items()}
    if isinstance(plain, msgpack.Timestamp):  # msgpack's own extension, which no value uses
        raise Malformed("Extension type -1 is not known.")
    if not isinstance(plain, _RawExt):
        return plain
    code, data = plain.code, plain.data
    if code == NDARRAY:
        return _array(data)
    if code == SCALAR:
        scalar = _array(data)
        if scalar.shape:
            raise Malformed("A scalar has a shape.")
        return scalar[()]
    if code == TABLE:
        parts = _revive(_whole(data), depth + 1, arrow, build)
        return columns.put_together(parts) if build else columns.outline(parts)
    if code in (FRAME, SERIES) and not arrow:
        raise Malformed("A table came as Arrow, which is not taken here.")
    if code == FRAME:
        return frame_from_bytes(data)
    if code == SERIES:
        name, inner = _whole(data)
        if not (name is None or isinstance(name, str)):
            raise Malformed("A series has a name that is no text.")
        return frame_from_bytes(inner)["value"].rename(name)
    if code == TIME and len(data) <= MAX_TIME:
        return dt.datetime.fromisoformat(data.decode())
    if code == UUID:
        return uuid.UUID(bytes=data)
    if code == TUPLE:
        inner = _whole(data)
        if not isinstance(inner, list):
            raise Malformed("A tuple is no list.")
        return tuple(_revive(item, depth + 1, arrow, build) for item in inner)
    if code == BIGINT and len(data) <= MAX_BIGINT:
        return int.from_bytes(data, "big", signed=True)
    if code == COMPLEX and len(data) == 16:
        import numpy as np

        return complex(np.frombuffer(data, "<c16", count=1)[0])
    raise Malformed(f"An extension of type {code} and {len(data)} bytes is not known.")


def _array(data: bytes) -> np.ndarray[Any, Any]:
    import numpy as np

    dtype, shape, start = _array_head(data)
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise Malformed("An array's bytes do not fit its shape.")
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape).copy()


def _array_head(data: bytes) -> tuple[np.dtype[Any], Sequence[int], int]:
    """Its dtype and shape, and where its bytes begin."""
    if len(data) > 2 and data[0] == _PAIR and _TEXT <= data[1] < _TEXT + 32:
        end = 2 + data[1] - _TEXT
        if data[end : end + 1] == _NO_SIDES:  # a scalar: there may be many, and to make an unpacker takes its time
            return _dtype(data[2:end].decode("ascii")), (), end + 1
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=_ARRAY_HEAD, max_array_len=32, max_map_len=0)
    unpacker.feed(data[:_ARRAY_HEAD])
    text, shape = unpacker.unpack()
    if not (isinstance(text, str) and isinstance(shape, list)):
        raise Malformed("An array has a type that does not travel.")
    if any(type(side) is not int or side < 0 for side in shape):
        raise Malformed("An array has an impossible shape.")
    return _dtype(text), shape, unpacker.tell()


@functools.lru_cache(maxsize=256)
def _dtype(text: str) -> np.dtype[Any]:
    import numpy as np

    if not _DTYPE.fullmatch(text):
        raise Malformed("An array has a type that does not travel.")
    return np.dtype(text)
