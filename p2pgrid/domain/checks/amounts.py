"""How much a value holds, and an asset."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import numpy as np
import pandas as pd

from p2pgrid.domain.checks.parts import as_table, is_numbered, unused_categories


def row_count(asset: Any) -> int:
    """Rows of a table, entries of an array or list, lines of a text; anything else is one."""
    if isinstance(asset, str):
        return asset.count("\n") + 1
    if isinstance(asset, (dict, bytes)):
        return 1
    try:
        return len(asset)
    except TypeError:
        return 1


def labels_of(assets: list[Any]) -> set[str]:
    """Column names, which everybody knows; as labels of a result they count for nothing."""
    return {str(name) for asset in map(as_table, assets) if isinstance(asset, pd.DataFrame) for name in asset.columns}


def count_values(value: Any, known: set[str]) -> int:
    """Values that a result holds: 8 bytes of a number or text are one, and what holds others is at least one.

    Names count too.  One of ``known`` is free the first time that it names something that counts, and is then taken
    out of ``known``.  Raises ``TypeError`` for what is not known here: nothing comes out uncounted.
    """
    if isinstance(value, pd.DataFrame):
        cells = sum(count_column(value.iloc[:, place], known) for place in range(value.shape[1]))
        free = known if len(value) else set()
        named = labels(value.columns, free, numbered=len(value) > 0)
        return max(1, cells + named + labels(value.index, free, numbered=value.shape[1] > 0))
    if isinstance(value, pd.Series):
        free = known if len(value) else set()
        return count_column(value, known) + labels(value.index, free) + label(value.name, free)
    if isinstance(value, pd.Index):
        return max(1, labels(value, set(), numbered=False))
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return count_array(value)
    if isinstance(value, dict):
        return max(1, sum(count_values(item, known) + label(key, known) for key, item in value.items()))
    if isinstance(value, (list, tuple, np.ndarray)):
        return max(1, sum(count_values(item, known) for item in value))
    return count_plain(value)


def count_plain(value: Any) -> int:
    """Values in what holds no others."""
    if isinstance(value, (str, bytes)):
        return max(1, -(-len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value) // 8))
    if isinstance(value, np.generic):
        return count_array(np.asarray(value))
    if isinstance(value, int):
        return max(1, -(-value.bit_length() // 64))
    if value is None or value is pd.NaT or value is pd.NA or isinstance(value, (float, dt.timedelta)):
        return 1
    if isinstance(value, dt.datetime):
        return 1 if value.tzinfo is None else 2
    if isinstance(value, (complex, uuid.UUID)):
        return 2
    raise TypeError(f"a value of type {type(value).__name__} cannot be counted")


def count_array(array: Any) -> int:
    """Values of an array; the sides of an empty one are values, and so is an odd unit of time."""
    size = int(array.size * max(1, -(-array.dtype.itemsize // 8))) or 2 + array.ndim
    return size + (1 if array.dtype.kind in "mM" and np.datetime_data(array.dtype)[1] != 1 else 0)


def count_column(column: Any, known: set[str]) -> int:
    """Values of a series, or of a level of an index, with the categories that none of them has."""
    zone = 1 if isinstance(column.dtype, pd.DatetimeTZDtype) else 0
    own = sum(count_values(name, known) for name in unused_categories(column))
    return max(1, count_values(column.to_numpy(), known) if len(column) else 1) + own + zone


def label(name: Any, known: set[str]) -> int:
    """What a name holds."""
    if name is None:
        return 0
    if type(name) in (str, int) and str(name) in known:
        known.discard(str(name))
        return 0
    return count_values(name, known)


def labels(index: Any, known: set[str], *, numbered: bool = True) -> int:
    """What an index holds; rows that are just numbered hold nothing, where they are ``numbered`` and there are any."""
    own = sum(label(name, known) for name in index.names)
    if numbered and len(index) and is_numbered(index):
        return own
    if isinstance(index, pd.RangeIndex):
        return own + 3
    levels = [index.get_level_values(place) for place in range(index.nlevels)]
    for level in levels:
        own += sum(label(name, known) for name in level.tolist())
        own += count_column(level[:0], known) - 1 if len(level) == 0 else 0
        own += sum(count_values(name, known) for name in unused_categories(level)) if len(level) else 0
        own += 1 if isinstance(level.dtype, pd.DatetimeTZDtype) else 0
    return own
