"""Counts in a result: none of a few, and each as the asset has it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from p2pgrid.domain.checks.parts import columns_named
from p2pgrid.domain.checks.tables import cell


def minimum_cell_count(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """Each count is 0 or at least ``least``; with ``by``, it is also what the asset says."""
    least = rule["least"]
    if rule["by"]:
        return recount(value, rule, assets)
    counts = list(counts_in(value, rule["column"]))
    if not counts or any(count is None for count in counts):
        return f"the result is no table of counts; it needs a column {rule['column']!r}, or whole numbers only"
    small = sum(1 for count in counts if count and count < least)
    return f"{small} counts are under {least}" if small else ""


def recount(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """The groups of a table, counted again in each asset that has the columns.

    Each count is that of one of them, and no group is a small one in any.
    """
    by, column = list(dict.fromkeys(rule["by"])), rule["column"]
    try:
        frames = [frame for asset in assets if (frame := columns_named(asset, by)) is not None]
    except LookupError as error:
        return str(error)
    if not frames:
        return f"no asset has the columns {', '.join(by)}"
    if not isinstance(value, pd.DataFrame):
        return "the result is no table"
    table = value.reset_index()
    table.columns = pd.Index([str(name) for name in table.columns], dtype=object)
    if table.columns.has_duplicates or not {*by, column} <= set(table.columns):
        return f"the result has no columns {', '.join([*by, column])}"
    counted = [group_sizes(frame, by) for frame in frames]
    for row in table[[*by, column]].itertuples(index=False, name=None):
        sizes = [group.get(group_key(row[:-1]), 0) for group in counted]
        if row[-1] not in sizes:
            return "a count in the result is not the asset's own"
        if any(0 < size < rule["least"] for size in sizes):
            return f"a group has under {rule['least']} rows"
    if len({group_key(row) for row in table[by].itertuples(index=False, name=None)}) < len(table):
        return "a group stands in the result twice"
    return ""


def group_sizes(frame: Any, by: list[str]) -> dict[tuple[Any, ...], int]:
    """The rows of each group."""
    return {group_key(key): size for key, size in frame.groupby(by, dropna=False, observed=True).size().items()}


def group_key(key: Any) -> tuple[Any, ...]:
    """A group's name, comparable."""
    return tuple(cell(item) for item in (key if isinstance(key, tuple) else (key,)))


def counts_in(value: Any, column: str) -> Iterator[int | None]:
    """Every count in a result; ``None`` for what is no count where one should be."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = pd.DataFrame(value)
    if isinstance(value, (dict, pd.DataFrame)) and column in value:
        yield from counts_in(value[column], column)
    elif isinstance(value, dict):
        for item in value.values():
            yield from counts_in(item, column)
    elif isinstance(value, pd.DataFrame):
        for place in range(value.shape[1]):
            yield from counts_in(value.iloc[:, place], column)
    elif isinstance(value, (pd.Series, np.ndarray, list, tuple)):
        for item in np.asarray(value, dtype=object).ravel().tolist():
            yield whole(item)
    else:
        yield whole(value)


def whole(value: Any) -> int | None:
    """A count, or ``None``: negative numbers, fractions and texts are none."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not math.isfinite(plain):
        return None
    return int(plain) if plain >= 0 and plain == int(plain) else None
