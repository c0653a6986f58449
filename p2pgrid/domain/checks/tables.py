"""Every table, row and sequence in a result, in a form in which copies with rounded or retyped numbers are the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from p2pgrid.domain.checks.parts import columns_of, is_numbered, nested, sequence


def cell(value: Any) -> Any:
    """A value in a form in which a rounded or cast copy of it is the same: six digits of a fraction."""
    plain = value.item() if hasattr(value, "item") and not isinstance(value, (dt.datetime, dt.date)) else value
    if plain is None or type(plain).__name__ in ("NAType", "NaTType") or plain != plain:
        return None
    if isinstance(plain, (bool, int)):
        return int(plain)
    if isinstance(plain, float):
        return int(plain) if abs(plain) < 2**53 and plain == int(plain) else f"{plain:.6g}"
    return plain if isinstance(plain, (str, bytes)) else str(plain)


def cells(row: Iterable[Any]) -> tuple[Any, ...]:
    """A row, comparable."""
    return tuple(map(cell, row))


Table = tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]
"""Column names (none: not named) and rows."""


def tables_in(value: Any) -> Iterator[Table]:
    """Every table, row and sequence in a result."""
    if isinstance(value, pd.DataFrame):
        whole_table = value if is_numbered(value.index) else value.reset_index(allow_duplicates=True)
        for table in (value, whole_table) if whole_table is not value else (value,):
            yield tuple(map(str, table.columns)), [cells(row) for row in table.itertuples(index=False, name=None)]
        yield tuple(map(str, value.index)), [cells(value.iloc[:, place].tolist()) for place in range(value.shape[1])]
        yield (), [cells((value.columns[place], *value.iloc[:, place].tolist())) for place in range(value.shape[1])]
        yield from categories_in(value)
    elif isinstance(value, pd.Series):
        yield tuple(map(str, value.index)), [cells(value.tolist())]
        yield (), [cells(value.tolist())]
        yield (), [cells(row) for row in value.to_frame("").reset_index(allow_duplicates=True).to_numpy().tolist()]
        yield from categories_in(value)
    elif isinstance(value, pd.Index):
        levels = columns_of(value)
        frame = pd.DataFrame(dict(enumerate(levels)), index=range(len(value)))
        yield from tables_in(frame.set_axis([level.name for level in levels], axis=1))
    elif isinstance(value, np.ndarray):
        yield from array_tables(value)
    elif isinstance(value, dict):
        yield from dict_tables(value)
    elif isinstance(value, (list, tuple)):
        plain = [item for item in value if not nested(item)]
        if plain:
            yield (), [cells(plain)]
        for item in value:
            if nested(item):
                yield from tables_in(item)
        if not plain and value and not any(isinstance(item, (dict, pd.DataFrame)) for item in value):
            yield from array_tables(regular(value))


def categories_in(value: Any) -> Iterator[Table]:
    """The categories of a table's columns, as rows of their own."""
    for column in columns_of(value):
        if isinstance(column.dtype, pd.CategoricalDtype):
            yield (), [cells(column.dtype.categories.tolist())]


def array_tables(array: Any) -> Iterator[Table]:
    """An array is rows along its last axis, along its first one, one row as a whole, and its columns are rows."""
    if array.ndim and array.size:
        shapes = {
            (array.size // array.shape[-1], array.shape[-1]),
            (len(array), array.size // len(array)),
            (1, array.size),
        }
        for shape in sorted(shapes):
            yield (), [cells(row) for row in array.reshape(shape).tolist()]
        if array.ndim == 2:
            yield (), [cells(row) for row in array.T.tolist()]


def regular(value: Any) -> Any:
    """Lists of lists as an array; an empty one when their lengths differ."""
    try:
        return np.asarray(value, dtype=object)
    except ValueError:
        return np.empty(0)


def dict_tables(value: dict[Any, Any]) -> Iterator[Table]:
    """A dict is a row of its plain values, a table of its sequences of one length, and a row for each entry."""
    plain = {str(key): item for key, item in value.items() if not nested(item)}
    if plain:
        yield tuple(plain), [cells(plain.values())]
        yield (), [cells(pair) for pair in value.items() if not nested(pair[1])]
    yield (), [cells((key, *sequence(item))) for key, item in value.items() if nested(item)]
    columns = {str(key): list(sequence(item)) for key, item in value.items() if nested(item)}
    for length in {len(column) for column in columns.values()} - {0}:
        names = [name for name, column in columns.items() if len(column) == length]
        if not any(nested(item) for name in names for item in columns[name]):
            yield tuple(names), [cells(row) for row in zip(*(columns[name] for name in names), strict=True)]
    for item in value.values():
        if nested(item):
            yield from tables_in(item)
