"""Tables <-> bytes: frames of pandas and polars as Arrow IPC streams, and what a hostile stream may not do.

Arrow lets a few bytes claim a lot of memory: compressed buffers, columns of nothing, views that share one text.
A stream that uses such a thing is refused before it is read.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from typing import Any, Final

from p2pgrid.errors import BadValue, Malformed, MissingExtra, Oversized, RemoteError

MAX_NULL_CELLS: Final = 1 << 22
"""Cells in columns that hold nothing but gaps: they cost no byte in a stream and eight in a frame."""

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
"""``MessageHeader`` of Arrow's format/Message.fbs."""


def frame_bytes(frame: Any) -> bytes:
    """A pandas frame as an Arrow IPC stream.  Raises ``BadValue`` for columns that cannot travel."""
    pyarrow = arrow()
    try:
        table = pyarrow.Table.from_pandas(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise BadValue(f"A table cannot be sent: {error}.") from error
    return bytes(table_bytes(table))


def polars_table(frame: Any) -> Any:
    """A polars frame as an Arrow table.  Raises ``BadValue`` for columns of Python objects."""
    import polars

    arrow()
    try:
        return frame.to_arrow(compat_level=polars.CompatLevel.oldest())
    except Exception as error:  # polars has its own tree of errors, and panics besides
        raise BadValue(f"A table cannot be sent: {error}.") from error


def table_bytes(table: Any) -> memoryview:
    """An Arrow table as an Arrow IPC stream.  Raises ``BadValue`` for columns that cannot travel."""
    pyarrow = arrow()
    unfit = [field for field in table.schema if not _travels(field.type)]
    if unfit:
        raise BadValue(f"A table cannot be sent: its column {unfit[0].name!r} is of Arrow type {unfit[0].type}.")
    if _null_cells(table) > MAX_NULL_CELLS:
        raise BadValue(f"A table cannot be sent: over {MAX_NULL_CELLS} cells lie in columns without any value.")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def frame_from_bytes(data: bytes | memoryview) -> Any:
    """A pandas frame from an Arrow IPC stream, validated in full: forged Arrow can crash its reader otherwise.

    Raises ``Malformed`` or ``Oversized`` for what ``frame_bytes`` never writes, ``MissingExtra`` without pandas.
    """
    _need("pandas", "frames")
    return _of(data, lambda table: table.to_pandas())


def polars_from_bytes(data: bytes | memoryview) -> Any:
    """A polars frame; as ``frame_from_bytes``."""
    polars = _need("polars", "polars")
    return _of(data, polars.from_arrow)


def table_from_bytes(data: bytes | memoryview) -> Any:
    """An Arrow table; as ``frame_from_bytes``."""
    return _of(data, lambda table: table)


def _of(data: bytes | memoryview, make: Callable[[Any], Any]) -> Any:
    pyarrow = arrow()
    try:
        return make(_read(pyarrow, data))
    except RemoteError:
        raise
    except Exception as error:  # readers raise whatever they like on damaged streams, OSError as well
        raise Malformed("Bytes are no table.") from error


def _read(pyarrow: Any, data: bytes | memoryview) -> Any:
    buffer = pyarrow.py_buffer(data)
    for message in pyarrow.ipc.MessageReader.open_stream(buffer):
        if _compressed(message.metadata.to_pybytes()):
            raise Malformed("A table is compressed: it may unfold to any size.")
    with pyarrow.ipc.open_stream(buffer) as reader:
        if not all(_travels(field.type) for field in reader.schema):
            raise Malformed("A table has a column of a type that does not travel.")
        table = reader.read_all()
    if _null_cells(table) > MAX_NULL_CELLS:
        raise Oversized("A table has too many cells without any value.")
    table.validate(full=True)
    return table


def arrow() -> Any:
    """pyarrow with its ipc module.  Raises ``MissingExtra``."""
    pyarrow = _need("pyarrow", "frames")
    _need("pyarrow.ipc", "frames")
    return pyarrow


def _need(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        fix = f"Install it with: pip install 'p2pgrid[{extra}]'"
        raise MissingExtra(f"Tables need {package}, which is not installed.", fix=fix) from error


def _travels(kind: Any, inside: bool = False) -> bool:
    """Whether each value of an Arrow type costs bytes of its own in a stream."""
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return _travels(kind.storage_type, inside)
    if types.is_null(kind):
        return not inside
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _travels(kind.value_type, inside=True)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_travels(field.type, inside=True) for field in kind)
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return types.is_primitive(kind) or types.is_decimal(kind) or any(fits(kind) for fits in texts)


def _null_cells(table: Any) -> int:
    from pyarrow import types

    return int(table.num_rows * sum(types.is_null(field.type) for field in table.schema))


def _compressed(metadata: bytes) -> bool:
    """Whether a message's batch names a compression (format/Message.fbs, read as FlatBuffers lay it out)."""
    (message,) = struct.unpack_from("<I", metadata, 0)
    kind = _field(metadata, message, 1)
    header = _follow(metadata, message, 2)
    if kind is None or header is None or metadata[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return False
    batch = _follow(metadata, header, 1) if metadata[kind] == _DICTIONARY_BATCH else header
    return batch is not None and _field(metadata, batch, 3) is not None


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a FlatBuffers table keeps a field; ``None`` when it has none."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot + 2 <= size else 0
    return table + int(offset) if offset else None


def _follow(data: bytes, table: int, number: int) -> int | None:
    place = _field(data, table, number)
    return None if place is None else place + int(struct.unpack_from("<I", data, place)[0])
