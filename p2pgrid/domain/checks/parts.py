"""What the values of a result and of an asset are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd


def is_numbered(index: Any) -> bool:
    """Whether an index is only the numbers of its entries, from 0."""
    return index.nlevels == 1 and index.dtype.kind in "iu" and list(index) == list(range(len(index)))


def unused_categories(column: Any) -> list[Any]:
    """Categories that no entry has: they travel all the same."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return []
    return list(column.dtype.categories.difference(pd.Index(column.dropna()).unique(), sort=False))


def columns_of(value: Any) -> list[Any]:
    """Every column and every level of the indexes of a table, a series or an index."""
    if isinstance(value, pd.Index):
        return [value.get_level_values(place) for place in range(value.nlevels)]
    if isinstance(value, pd.Series):
        return [value, *columns_of(value.index)]
    own = [value.iloc[:, place] for place in range(value.shape[1])]
    return [*own, *columns_of(value.index), *columns_of(value.columns)]


def nested(value: Any) -> bool:
    """Whether a value holds others."""
    return isinstance(value, (list, tuple, dict)) or getattr(value, "ndim", 0) > 0


def sequence(value: Any) -> list[Any]:
    """The values of a nested value, in order."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value.ravel().tolist() if hasattr(value, "tolist") else value)


def as_table(asset: Any) -> Any:
    """A table of any library, records and a dict as a frame; anything else as it is."""
    foreign = lists_of(asset)
    if foreign is not None:
        names, column = foreign
        return framed(names, [column(place) for place in range(len(names))])
    if isinstance(asset, list) and asset and all(isinstance(item, dict) for item in asset):
        return pd.DataFrame(asset)
    if not isinstance(asset, dict):
        return asset
    lists = all(isinstance(item, list) for item in asset.values())
    if lists and len({len(item) for item in asset.values()}) == 1:
        return framed(list(asset), list(asset.values()))
    return framed(list(asset), [[str(item) if nested(item) else item] for item in asset.values()])


def columns_named(asset: Any, names: list[str]) -> Any:
    """These columns of a table as a frame; ``None`` for no table, and for one that has not all of them.

    Raises ``LookupError`` where it has one of them more than once.
    """
    foreign = lists_of(asset)
    table: Any = as_table(asset) if foreign is None else None
    if foreign is None and not isinstance(table, pd.DataFrame):
        return None
    there = foreign[0] if foreign is not None else [str(name) for name in table.columns]
    if not set(names) <= set(there):
        return None
    if any(there.count(name) > 1 for name in names):
        raise LookupError("a column stands twice in an asset")
    places = [there.index(name) for name in names]
    if foreign is not None:
        return framed(names, [foreign[1](place) for place in places])
    return table.iloc[:, places].set_axis(names, axis=1)


def lists_of(asset: Any) -> tuple[list[str], Callable[[int], list[Any]]] | None:
    """The names of the columns of a table that is not pandas', and what gives each of them as a list."""
    kind = (type(asset).__module__.partition(".")[0], type(asset).__name__)
    if kind == ("polars", "DataFrame"):
        return list(asset.columns), lambda place: asset.to_series(place).to_list()
    if kind == ("pyarrow", "Table"):
        return list(asset.column_names), lambda place: asset.column(place).to_pylist()
    return None


def framed(names: list[Any], columns: list[list[Any]]) -> Any:
    """A frame of columns whose values stay what they are."""
    frame = pd.DataFrame({place: pd.Series(column, dtype=object) for place, column in enumerate(columns)})
    frame.columns = pd.Index(names, dtype=object)
    return frame
