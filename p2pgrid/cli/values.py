"""Values at the command line: results as text, JSON and files; literals and files as values."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.errors import CannotWrite, InvalidInput

MAX_JSON_ITEMS: Final = 1_000_000
"""Numbers that a JSON document may hold; a larger array is described, and goes to a file with --out."""
TEXT_ROWS: Final = 20
TEXT_SIZE: Final = 20_000
SHOWN_BYTES: Final = 200
"""Bytes that are printed whole."""
FIRST_BYTES: Final = 40
"""Bytes that are printed of more."""
NOTHING: Final = ("NaTType", "NAType")
"""What pandas calls a gap."""


def as_text(value: Any, rest: str = "write it with --out FILE") -> str:
    """A value as a person reads it, shortened when it is long; ``rest`` tells how to get all of it."""
    if isinstance(value, (bytes, bytearray)) and len(value) > SHOWN_BYTES:
        return f"{len(value):,} bytes, the first: {bytes(value[:FIRST_BYTES])!r}; {rest}"
    text = _whole_text(value)
    return (
        text
        if _is_frame(value) or len(text) <= TEXT_SIZE
        else f"{text[:TEXT_SIZE]}... ({len(text)} characters; {rest})"
    )


def _whole_text(value: Any) -> str:
    """A value in the words of its type."""
    if _is_frame(value):
        return str(value.to_string(max_rows=TEXT_ROWS))
    return value if isinstance(value, str) else repr(value)


def as_json(value: Any) -> dict[str, Any]:
    """A value as ``{"kind": ..., "value": ...}`` with what JSON cannot say beside it.

    Arrays bring ``dtype`` and ``shape``; tables are lists of rows; bytes are base64; NaN and infinities are ``null``.
    An index that is not just the rows' numbers comes as ``index``.
    The value of an array over ``MAX_JSON_ITEMS`` is left out: ``"omitted": true``.
    """
    if _is_frame(value):
        about = {"kind": "frame", "columns": [str(name) for name in value.columns], "shape": list(value.shape)}
        if value.size > MAX_JSON_ITEMS:
            return {**about, "omitted": True}
        return {**about, **_index(value), "value": _rows(value)}
    if _is_series(value):
        return {"kind": "Series", **_index(value), "value": plain(value.tolist())}
    if _is_array(value):
        about = {"kind": "numpy", "dtype": str(value.dtype), "shape": list(value.shape)}
        return {**about, "omitted": True} if value.size > MAX_JSON_ITEMS else {**about, "value": plain(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"kind": "bytes", "value": base64.b64encode(value).decode()}
    return {"kind": type(value).__name__, "value": plain(value)}


def plain(value: Any) -> Any:
    """A value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if _is_series(value) and _index(value):
        return {**_index(value), "value": plain(value.tolist())}
    if hasattr(value, "tolist"):  # numpy's arrays and scalars, and pandas' series
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if _is_frame(value):
        return as_json(value)
    if type(value).__name__ in NOTHING:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of a table, each number as exact as it is."""
    columns = [plain(frame.iloc[:, place].tolist()) for place in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _index(table: Any) -> dict[str, Any]:
    """``index`` and, when they have any, ``index_names``; nothing for rows that are just numbered."""
    if not _has_index(table):
        return {}
    names = list(table.index.names)
    told = {} if names == [None] * len(names) else {"index_names": plain(names)}
    return {"index": plain(table.index.tolist()), **told}


def _has_index(table: Any) -> bool:
    """Whether the index of a table or series says more than the rows' numbers."""
    index = table.index
    if index.nlevels > 1 or index.name is not None:
        return True
    return index.dtype.kind not in "iu" or index.tolist() != list(range(len(index)))


def literal_or_file(text: str) -> Any:
    """What an owner deposits: a file's value, or a JSON literal.  Raises ``InvalidInput``."""
    from p2pgrid.assets import OnDisk
    from p2pgrid.client.data import load_source

    if Path(text).expanduser().is_file():
        read = load_source(text).assets
        assets = {name: value.path.read_bytes() if isinstance(value, OnDisk) else value for name, value in read}
        return next(iter(assets.values())) if len(assets) == 1 else assets
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r} is no file and no JSON value.",
            fix="Give a file such as result.npy, or a value such as 3.14.",
        ) from None


def check_writable(path: Path) -> None:
    """Raise ``CannotWrite`` before any work is done for a file that cannot be made."""
    if path.suffix.lower() not in WRITERS:
        raise CannotWrite(f"{path.suffix or 'A name without suffix'} is no kind of file here.", fix=_fix())
    folder = path.expanduser().absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        raise CannotWrite(f"{path} cannot be written: its folder does not exist or is not yours.")


def save(value: Any, path: Path) -> None:
    """Write a value to a file, whole or not at all.  Raises ``CannotWrite`` when the two do not fit."""
    data = WRITERS[path.suffix.lower()](value)
    target = path.expanduser().absolute()
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}.") from error


def _npy(value: Any) -> bytes:
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)  # rows of different lengths
    if array.dtype.hasobject or _is_frame(value):
        raise CannotWrite(
            f"A value of type {type(value).__name__} like this is no array.", fix="Choose a file that ends in .json."
        )
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(plain(value), indent=2).encode() + b"\n"


def _csv(value: Any) -> bytes:
    frame = _frame(value)
    if not _has_index(frame):
        return str(frame.to_csv(index=False)).encode()
    names = frame.index.names
    labels = [name or ("index" if len(names) == 1 else f"index {place}") for place, name in enumerate(names)]
    return str(frame.to_csv(index_label=labels)).encode()


def _parquet(value: Any) -> bytes:
    out = io.BytesIO()
    _frame(value).to_parquet(out)
    return out.getvalue()


def _txt(value: Any) -> bytes:
    return _whole_text(value).encode("utf-8", "surrogatepass")


def _bin(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise CannotWrite(
            f"A value of type {type(value).__name__} is no bytes.", fix="Choose a file that ends in .json or .npy."
        )
    return bytes(value)


def _frame(value: Any) -> Any:
    """A table, or a series as a table of one column."""
    if _is_series(value):
        return value.to_frame(str(value.name or "value"))
    if not _is_frame(value):
        raise CannotWrite(
            f"A value of type {type(value).__name__} is no table.", fix="Choose a file that ends in .json or .npy."
        )
    return value


WRITERS: Final[Mapping[str, Callable[[Any], bytes]]] = MappingProxyType(
    {".npy": _npy, ".json": _json, ".csv": _csv, ".parquet": _parquet, ".txt": _txt, ".bin": _bin}
)


def _fix() -> str:
    return f"Choose a file that ends in {', '.join(WRITERS)}."


def _is_frame(value: Any) -> bool:
    return type(value).__name__ == "DataFrame" and type(value).__module__.split(".")[0] == "pandas"


def _is_series(value: Any) -> bool:
    return type(value).__name__ == "Series" and type(value).__module__.split(".")[0] == "pandas"


def _is_array(value: Any) -> bool:
    return type(value).__name__ == "ndarray" and type(value).__module__.split(".")[0] == "numpy"
