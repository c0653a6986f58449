"""Tables <-> plain values: a pandas frame or series as lists, texts and numpy arrays, and back.

A table that a stranger's code made travels like this, not as Arrow: what reads it knows every form that a column may
have, and none of them points into memory.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
import zoneinfo
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid.errors import BadValue, Malformed, MissingExtra

MAX_EMPTY_ROWS: Final = 1 << 22
"""Rows of a table without columns: they cost no byte."""

ARRAY_KINDS: Final = "biufcmM"
MAX_ZONE: Final = 64
_OFFSET: Final = re.compile(r"UTC(?:([+-])([01][0-9]|2[0-3]):([0-5][0-9]))?")
_NAMED: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")


def is_table(value: Any) -> bool:
    """Whether ``value`` is a pandas frame, series or index."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index))


def take_apart(table: Any) -> dict[str, Any]:
    """A frame, series or index as plain values.  Raises ``BadValue`` for a column that cannot travel."""
    import pandas as pd

    if isinstance(table, pd.Index):
        return {"kind": "index", "index": _index(table)}
    if isinstance(table, pd.Series):
        return {"kind": "series", "name": _label(table.name), "index": _index(table.index), "data": [_column(table)]}
    data = [_column(table.iloc[:, at]) for at in range(table.shape[1])]
    return {"kind": "frame", "index": _index(table.index), "columns": _index(table.columns), "data": data}


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a table without building it: its kind, and how many rows and columns it has."""

    kind: str
    rows: int
    columns: int

    def __str__(self) -> str:
        shape = f"({self.rows}, {self.columns})" if self.kind == "frame" else f"({self.rows},)"
        return f"{_CLASSES[self.kind]} {shape}"


_CLASSES: Final = {"frame": "DataFrame", "series": "Series", "index": "Index"}


def outline(parts: Any) -> Outline:
    """Check a table's parts, form by form, and build nothing: pandas would hash a stranger's objects for hours.

    Raises ``Malformed``, or ``LookupError`` or ``TypeError`` where parts are missing or of a wrong type.
    """
    kind = parts["kind"]
    rows = _index_length(parts["index"])
    if kind == "index":
        return Outline(kind, rows, 0)
    lengths = [_length(column) for column in parts["data"]]
    if any(length != rows for length in lengths) or (not lengths and rows > MAX_EMPTY_ROWS):
        raise Malformed("A table's columns are not as long as its index.")
    if kind == "series" and len(lengths) == 1:
        _read_label(parts["name"])
        return Outline(kind, rows, 1)
    if kind != "frame" or _index_length(parts["columns"]) != len(lengths):
        raise Malformed("A table has not as many names as columns, or is of no known kind.")
    return Outline(kind, rows, len(lengths))


def put_together(parts: Any) -> Any:
    """What ``take_apart`` took apart.

    Raises as ``outline``, or whatever pandas makes of hostile parts; ``MissingExtra`` without pandas.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("Tables need pandas, which is not installed.") from error
    kind = outline(parts).kind
    index = _read_index(parts["index"])
    if kind == "index":
        return index
    data = [_read_column(column) for column in parts["data"]]
    if kind == "series":
        return pd.Series(data[0], index=index, name=_read_label(parts["name"]))
    frame = pd.DataFrame(dict(enumerate(data)), index=index)
    frame.columns = _read_index(parts["columns"])
    return frame


def _index_length(parts: Any) -> int:
    if parts[0] == "range" and all(type(end) is int for end in parts[1:4]) and parts[3]:
        _read_label(parts[4])
        return len(range(*parts[1:4]))
    if parts[0] == "levels" and parts[1] and len(parts[1]) == len(parts[2]):
        lengths = {_length(level) for level in parts[1]}
        if len(lengths) == 1 and all(_read_label(name) is name or name is not None for name in parts[2]):
            return lengths.pop()
    if parts[0] == "column":
        _read_label(parts[2])
        return _length(parts[1])
    raise Malformed("A table has an index of no known kind.")


def _length(parts: Any) -> int:
    """How long a column is, if it is one.  What pandas would not show may not be there either."""
    form = parts[0]
    if form == "array" and len(parts) == 2 and _is_array(parts[1], ARRAY_KINDS):
        return len(parts[1])
    if form == "values" and len(parts) == 2 and isinstance(parts[1], list):
        return len(parts[1])
    if form == "text" and len(parts) == 2 and all(item is None or isinstance(item, str) for item in parts[1]):
        return len(parts[1])
    if form == "category" and len(parts) == 4 and _is_array(parts[2], "i") and isinstance(parts[1], bool):
        known = _length(parts[3])
        if not len(parts[2]) or (parts[2].max() < known and parts[2].min() >= -1):
            return len(parts[2])
    if form == "zone" and len(parts) == 3 and _is_array(parts[2], "M"):
        _zone(parts[1])
        return len(parts[2])
    if form == "masked" and len(parts) == 4 and _is_array(parts[2], "biuf") and _is_array(parts[3], "b"):
        _gapped(parts[1])
        if len(parts[2]) == len(parts[3]) and not parts[2][parts[3]].any():
            return len(parts[2])
    raise Malformed("A table has a column of no known form.")


def _zone(name: Any) -> dt.tzinfo:
    """A time zone by its name in the IANA database, or by its offset: never by a path, which would open that file."""
    if not isinstance(name, str) or len(name) > MAX_ZONE:
        raise Malformed("A table has a time zone of no known name.")
    if fixed := _OFFSET.fullmatch(name):
        sign, hours, minutes = fixed.groups(default="00")
        span = dt.timedelta(hours=int(hours), minutes=int(minutes))
        return dt.timezone(-span if sign == "-" else span) if span else dt.UTC
    try:
        if _NAMED.fullmatch(name):
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise Malformed("A table has a time zone of no known name.")


def _index(index: Any) -> list[Any]:
    import pandas as pd

    if isinstance(index, pd.RangeIndex):
        return ["range", index.start, index.stop, index.step, _label(index.name)]
    if isinstance(index, pd.MultiIndex):
        levels = [_column(index.get_level_values(at)) for at in range(index.nlevels)]
        return ["levels", levels, [_label(name) for name in index.names]]
    return ["column", _column(index), _label(index.name)]


def _read_index(parts: list[Any]) -> Any:
    import pandas as pd

    if parts[0] == "range":
        return pd.RangeIndex(parts[1], parts[2], parts[3], name=_read_label(parts[4]))
    if parts[0] == "levels":
        names = [_read_label(name) for name in parts[2]]
        return pd.MultiIndex.from_arrays([_level(level) for level in parts[1]], names=names)
    return _level(parts[1]).rename(_read_label(parts[2]))


def _level(parts: list[Any]) -> Any:
    """A column as an index, of its own type: pandas would guess another one."""
    import pandas as pd

    column = _read_column(parts)
    return pd.Index(column, dtype=column.dtype, tupleize_cols=False)


def _column(column: Any) -> list[Any]:
    """One column or level: a word that names its form, then its parts."""
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = column.cat.codes if isinstance(column, pd.Series) else column.codes
        return ["category", dtype.ordered is True, _plain_array(codes), _column(dtype.categories)]
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = pd.DatetimeIndex(column)
        return ["zone", str(dtype.tz), _plain_array(moments.tz_convert("UTC").tz_localize(None))]
    if isinstance(dtype, pd.StringDtype):
        return ["text", [None if item is pd.NA or item != item else str(item) for item in column.array]]
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        return _masked(column)
    if dtype.kind in ARRAY_KINDS:
        return ["array", _plain_array(column)]
    if dtype.kind in "OUS":
        return ["values", list(column)]
    raise BadValue(f"A table cannot be sent: a column is of type {dtype}.")


def _masked(column: Any) -> list[Any]:
    """A column of numbers or truths with gaps: values, and where there are none."""
    array, dtype = column.array, column.dtype
    kind = getattr(getattr(dtype, "numpy_dtype", None), "kind", "")
    if kind not in "biuf" or not kind or not hasattr(array, "isna"):
        raise BadValue(f"A table cannot be sent: a column is of type {dtype}.")
    gaps = array.isna()
    return ["masked", str(dtype), array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0)), gaps]


def _plain_array(column: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.asarray(column))


def _read_column(parts: list[Any]) -> Any:
    import numpy as np
    import pandas as pd

    form = parts[0]
    if form == "array":
        return parts[1]
    if form == "values":
        column = np.empty(len(parts[1]), dtype=object)
        column[:] = parts[1]
        return column
    if form == "text":
        return pd.array(parts[1], dtype="str")
    if form == "category":
        return pd.Categorical.from_codes(parts[2], categories=_level(parts[3]), ordered=parts[1])
    if form == "zone":
        return pd.DatetimeIndex(parts[2]).tz_localize(dt.UTC).tz_convert(_zone(parts[1]))
    return pd.Series(parts[2]).astype(_gapped(parts[1])).mask(parts[3]).array


def _gapped(name: Any) -> Any:
    """A pandas type with gaps from its name, and no other type."""
    names = {"boolean", "Float32", "Float64", *(f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64))}
    if name not in names:
        raise Malformed("A table has a column of no known type.")
    return name


def _is_array(value: Any, kinds: str) -> bool:
    import numpy as np

    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds


def _label(name: Any) -> Any:
    """A name of a column or index, as it may travel."""
    if isinstance(name, tuple):
        return [_label(part) for part in name]
    if name is None or isinstance(name, (str, int, float)):
        return name
    return name.item() if hasattr(name, "item") else str(name)


def _read_label(name: Any) -> Any:
    if isinstance(name, list):
        return tuple(_read_label(part) for part in name)
    if name is None or isinstance(name, (str, int, float)):
        return name
    raise Malformed("A table has a name that is none.")
