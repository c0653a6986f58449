"""An asset's value <-> the bytes it is kept and sent as: ``.npy``, Arrow stream, text, JSON or raw bytes.

The digest of those bytes names the content: an input policy compares digests, so a value and the asset that it
came from are the same thing to it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from p2pgrid import tables, wire
from p2pgrid.errors import BadValue, Malformed, MissingExtra, RemoteError

KINDS: Final = ("numpy", "frame", "text", "bytes", "json")
SUFFIX: Final = {"numpy": ".npy", "frame": ".arrow", "text": ".txt", "bytes": ".bin", "json": ".json"}
MAX_COLUMNS: Final = 4096


@dataclass(frozen=True, slots=True)
class AssetMeta:
    """What may be known about an asset without its values.

    ``shape``: array or table shape, ``[size]`` for bytes and text, ``[]`` for JSON.  ``dtype``: numpy's name, or the
    kind.  ``columns``: (name, type) of a table.  ``size``: bytes as stored.  ``digest``: BLAKE2b-256, hexadecimal.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[tuple[str, str], ...]
    size: int
    digest: str

    def to_wire(self) -> dict[str, Any]:
        """As JSON values."""
        raw = asdict(self)
        raw["shape"], raw["columns"] = list(self.shape), [list(pair) for pair in self.columns]
        return raw

    @classmethod
    def from_wire(cls, raw: Any) -> AssetMeta:
        """Read what ``to_wire`` wrote.  Raises ``Malformed``."""
        try:
            columns = tuple((str(name), str(dtype)) for name, dtype in raw["columns"][:MAX_COLUMNS])
            meta = cls(
                kind=str(raw["kind"]),
                shape=tuple(int(side) for side in raw["shape"][:32]),
                dtype=str(raw["dtype"])[:64],
                columns=columns,
                size=int(raw["size"]),
                digest=str(raw["digest"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("An asset's description cannot be read.") from error
        if meta.kind not in KINDS or meta.size < 0 or len(meta.digest) != 64:
            raise Malformed("An asset's description has an impossible value.")
        return meta


@dataclass(frozen=True, slots=True)
class Dumped:
    """A value ready to be written: its description, and its bytes in a few parts that were not copied."""

    meta: AssetMeta
    parts: tuple[memoryview, ...]

    def chunks(self, size: int) -> Iterator[memoryview]:
        """The bytes in order, in pieces of at most ``size``."""
        for part in self.parts:
            for start in range(0, len(part), size):
                yield part[start : start + size]

    def tobytes(self) -> bytes:
        """All of it in one piece."""
        return b"".join(self.parts)


def dump(value: Any) -> Dumped:
    """Bytes and description of a value.  Raises ``BadValue`` for a type that cannot be kept."""
    import numpy as np

    if isinstance(value, (np.ndarray, np.generic)):
        if isinstance(value, np.ma.MaskedArray):  # its mask would be lost, and what it hides be kept
            raise BadValue("A masked array cannot be kept as an asset.", fix="Use array.filled(...), or two assets.")
        return _dump_array(np.asarray(value))
    if type(value).__module__.split(".")[0] == "pandas":
        return _dump_frame(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        return _dumped("bytes", (len(raw),), "bytes", (), [raw])
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return _dumped("text", (len(value),), "text", (), [raw])
    try:
        raw = json.dumps(value, ensure_ascii=False, allow_nan=True, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.") from error
    return _dumped("json", (), "json", (), [raw])


def load(kind: str, source: str | bytes) -> Any:
    """The value kept under ``source``: a path, or the bytes themselves.

    Raises ``Malformed`` when the bytes are not of that kind, ``MissingExtra`` for a table without pandas.
    """
    try:
        return _load(kind, source)
    except (RemoteError, MissingExtra, OSError):
        raise
    except Exception as error:  # whatever a reader throws at bad bytes
        raise Malformed(f"An asset's bytes are no {kind}.") from error


def _load(kind: str, source: str | bytes) -> Any:
    import numpy as np

    if kind == "numpy":
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):  # an archive of arrays, which np.load opens as well
            array.close()
            raise Malformed("An asset's bytes are no single array.")
        if array.dtype.kind not in wire.DTYPE_KINDS:
            raise Malformed(f"An array of dtype {array.dtype} is no asset.")
        return array
    if isinstance(source, str):
        with open(source, "rb") as file:
            source = file.read()
    if kind == "frame":
        return tables.frame_from_bytes(source)
    if kind == "text":
        return source.decode("utf-8", "surrogatepass")
    if kind == "json":
        return json.loads(source)
    if kind == "bytes":
        return source
    raise Malformed(f"{kind!r} is no kind of asset.")


def _dump_array(array: Any) -> Dumped:
    import numpy as np

    if array.dtype.kind not in wire.DTYPE_KINDS or array.dtype.hasobject:
        raise BadValue(f"An array of dtype {array.dtype} cannot be kept as an asset.")
    plain = np.asarray(array, order="C")
    if not plain.flags.c_contiguous:
        plain = np.ascontiguousarray(plain)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(plain))
    # A flat byte view: datetimes have no buffer of their own, and a 0-d array no length.
    body = memoryview(plain.reshape(-1).view(np.uint8).data) if plain.size else memoryview(b"")
    return _dumped("numpy", tuple(plain.shape), str(plain.dtype), (), [head.getvalue(), body])


def _dump_frame(value: Any) -> Dumped:
    import pandas as pd

    if isinstance(value, pd.Series):
        value = value.to_frame(name=str(value.name) if value.name is not None else "value")
    if not isinstance(value, pd.DataFrame):
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.")
    columns = tuple((str(name), str(dtype)) for name, dtype in value.dtypes.items())
    shape = (len(value), len(value.columns))
    return _dumped("frame", shape, "table", columns, [tables.frame_bytes(value)])


def _dumped(
    kind: str,
    shape: tuple[int, ...],
    dtype: str,
    columns: tuple[tuple[str, str], ...],
    parts: list[bytes | memoryview],
) -> Dumped:
    state = hashlib.blake2b(digest_size=32)
    for part in parts:
        state.update(part)
    size = sum(len(part) for part in parts)
    meta = AssetMeta(kind, shape, dtype, columns, size, state.hexdigest())
    return Dumped(meta, tuple(memoryview(part) for part in parts))
