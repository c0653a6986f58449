"""Rows of an asset in a result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from p2pgrid.domain.checks.parts import as_table, columns_of, nested, sequence, unused_categories
from p2pgrid.domain.checks.tables import Table, cell, cells

CHUNK = 10_000
"""Rows of an asset that are compared at a time."""
TEXT_LINE = 8
"""Characters from which a line of a text asset is told apart from a common word."""


def rows_of_asset(value: Any, tables: list[Table], asset: Any) -> str:
    """Why the result holds a row of this asset, or the empty text."""
    asset = as_table(asset)
    if isinstance(asset, pd.DataFrame) and asset.shape[1] > 1:
        return rows_of_frame(tables, asset)
    if isinstance(asset, str):
        return lines_of_text(value, asset)
    if not isinstance(asset, (pd.DataFrame, pd.Series, np.ndarray, np.generic, list, int, float, type(None))):
        return f"an asset of {type(asset).__name__} has no rows to compare with"
    flat = np.asarray(asset) if hasattr(asset, "shape") else np.asarray(asset, dtype=object)
    width = math.prod(flat.shape[1:])
    if width > 1:
        wanted = [row for _, rows in tables for row in rows if len(row) == width]
        return matched(flat.reshape(len(flat), -1), wanted)
    return values_of_column(tables, flat.ravel())


def rows_of_frame(tables: list[Table], frame: Any) -> str:
    """Rows as a whole by position, or as two or more columns by name."""
    names = [str(name) for name in frame.columns]
    for columns, rows in tables:
        if len(columns) != len(set(columns)) or not columns:
            continue
        shared = [name for name in names if name in columns]
        if len(shared) > 1:
            places, wanted = [columns.index(name) for name in shared], [names.index(name) for name in shared]
            why = matched_frame(frame.iloc[:, wanted], [tuple(row[place] for place in places) for row in rows])
            if why:
                return why
    return matched_frame(frame, [row for _, rows in tables for row in rows if len(row) == len(names)])


def matched_frame(frame: Any, rows: Sequence[tuple[Any, ...]]) -> str:
    """Whether one of ``rows`` is a row of the table; a row of gaps is none."""
    wanted = {row for row in rows if any(item is not None for item in row)}
    for start in range(0, len(frame) if wanted else 0, CHUNK):
        piece = frame.iloc[start : start + CHUNK].itertuples(index=False, name=None)
        if not wanted.isdisjoint(map(cells, piece)):
            return "a row of an asset stands in the result"
    return ""


def matched(array: Any, rows: Sequence[tuple[Any, ...]]) -> str:
    """The same for an array of two axes."""
    wanted = set(rows)
    for start in range(0, len(array) if wanted else 0, CHUNK):
        if not wanted.isdisjoint(map(cells, array[start : start + CHUNK].tolist())):
            return "a row of an asset stands in the result"
    return ""


def values_of_column(tables: list[Table], column: Any) -> str:
    """An asset of one column: a sequence of two or more of its values is told, a single number may be chance."""
    sequences = [seen for _, rows in tables for seen in (*rows, *zip(*rows, strict=True)) if len(seen) > 1]
    sequences = [seen for seen in sequences if any(item is not None for item in seen)]
    missing, held = {item for seen in sequences for item in seen if item is not None}, set()
    for start in range(0, len(column) if missing else 0, CHUNK):
        held.update(missing.intersection(map(cell, column[start : start + CHUNK].tolist())))
    whole_copy = any(all(item is None or item in held for item in seen) for seen in sequences)
    return "two or more values of an asset stand in the result" if whole_copy else ""


def lines_of_text(value: Any, text: Any) -> str:
    """A text's lines."""
    found = "\n".join(texts_in(value))
    lines = (line.strip() for line in text.splitlines())
    told = any(len(line) >= TEXT_LINE and line in found for line in lines)
    return "a line of an asset stands in the result" if told else ""


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a result, with its names and categories."""
    if isinstance(value, (str, bytes)):
        yield value if isinstance(value, str) else value.decode("utf-8", "replace")
    elif isinstance(value, (pd.DataFrame, pd.Series, pd.Index)):
        for column in columns_of(value):
            yield from texts_in(column.tolist())
            yield from texts_in(unused_categories(column))
            yield from texts_in(column.name)
    elif isinstance(value, dict):
        yield from texts_in([*value, *value.values()])
    elif nested(value):
        for item in sequence(value):
            yield from texts_in(item)
