"""Rules applied to a result.  The text of this module is what runs, confined, beside the result and the assets.

It imports nothing of the project but ``wire``, which that run has, and looks at a stranger's result: it answers, or
fails, and a failure lets nothing out.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

CHUNK = 10_000
"""Rows of an asset that are compared at a time."""
TEXT_LINE = 8
"""Characters from which a line of a text asset is told apart from a common word."""


def judge(result: bytes, rules: list[dict[str, Any]], **assets: Any) -> list[list[str]]:
    """(kind of rule, why) for each rule that the packed ``result`` does not keep to."""
    from p2pgrid import wire

    value = wire.unpack_value(result, arrow=False)
    found = [(rule["kind"], CHECKS[rule["kind"]](value, rule, list(assets.values()))) for rule in rules]
    return [[kind, why] for kind, why in found if why]


def minimum_rows(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """At most one released value for each ``least`` rows."""
    rows, values = min((row_count(asset) for asset in assets), default=0), count_values(value, labels_of(assets))
    if values * rule["least"] <= rows:
        return ""
    return f"{values} values of an asset of {rows} rows; {rule['least']} rows must stand behind each"


def maximum_size(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """At most so many values; the bytes are counted where the result is packed."""
    values, most = count_values(value, labels_of(assets)), rule["values"]
    return "" if most is None or values <= most else f"{values} values; at most {most} may come out"


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
    """The groups of a table, counted again in the asset."""
    import pandas as pd

    by, column = list(rule["by"]), rule["column"]
    frame = next((asset for asset in assets if isinstance(asset, pd.DataFrame) and set(by) <= set(asset.columns)), None)
    if frame is None:
        return f"no asset has the columns {', '.join(by)}"
    if not isinstance(value, pd.DataFrame):
        return "the result is no table"
    table = value.reset_index()
    if table.columns.has_duplicates or not {*by, column} <= set(table.columns):
        return f"the result has no columns {', '.join([*by, column])}"
    sizes = {group_key(key): size for key, size in frame.groupby(by, dropna=False, observed=True).size().items()}
    for row in table[[*by, column]].itertuples(index=False, name=None):
        size = sizes.get(group_key(row[:-1]), 0)
        if size != row[-1]:
            return "a count in the result is not the asset's own"
        if 0 < size < rule["least"]:
            return f"a group has under {rule['least']} rows"
    if len({group_key(row) for row in table[by].itertuples(index=False, name=None)}) < len(table):
        return "a group stands in the result twice"
    return ""


def group_key(key: Any) -> tuple[Any, ...]:
    """A group's name, comparable."""
    return tuple(cell(item) for item in (key if isinstance(key, tuple) else (key,)))


def no_asset_rows(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """No row of an asset stands in the result."""
    tables = list(tables_in(value))
    for asset in assets:
        why = rows_of_asset(value, tables, asset)
        if why:
            return why
    return ""


CHECKS = {
    "MinimumRows": minimum_rows,
    "MinimumCellCount": minimum_cell_count,
    "MaximumResultSize": maximum_size,
    "NoAssetRows": no_asset_rows,
}


# How much a value holds


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
    import pandas as pd

    return {str(name) for asset in map(as_table, assets) if isinstance(asset, pd.DataFrame) for name in asset.columns}


def count_values(value: Any, known: set[str]) -> int:
    """Values that a result holds: 8 bytes of a number or text are one, and what holds others is at least one.

    Names count too.  One of ``known`` is free the first time that it names something that counts, and is then taken
    out of ``known``.  Raises ``TypeError`` for what is not known here: nothing comes out uncounted.
    """
    import numpy as np
    import pandas as pd

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
    import numpy as np
    import pandas as pd

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
    import numpy as np

    size = int(array.size * max(1, -(-array.dtype.itemsize // 8))) or 2 + array.ndim
    return size + (1 if array.dtype.kind in "mM" and np.datetime_data(array.dtype)[1] != 1 else 0)


def count_column(column: Any, known: set[str]) -> int:
    """Values of a series, or of a level of an index, with the categories that none of them has."""
    import pandas as pd

    zone = 1 if isinstance(column.dtype, pd.DatetimeTZDtype) else 0
    own = sum(count_values(name, known) for name in unused_categories(column))
    return max(1, count_values(column.to_numpy(), known) if len(column) else 1) + own + zone


def unused_categories(column: Any) -> list[Any]:
    """Categories that no entry has: they travel all the same."""
    import pandas as pd

    if not isinstance(column.dtype, pd.CategoricalDtype):
        return []
    return list(column.dtype.categories.difference(pd.Index(column.dropna()).unique(), sort=False))


def label(name: Any, known: set[str]) -> int:
    """What a name holds."""
    if name is None:
        return 0
    if type(name) in (str, int) and str(name) in known:
        known.discard(str(name))
        return 0
    return count_values(name, known)


def is_numbered(index: Any) -> bool:
    """Whether an index is only the numbers of its entries, from 0."""
    return index.nlevels == 1 and index.dtype.kind in "iu" and list(index) == list(range(len(index)))


def labels(index: Any, known: set[str], *, numbered: bool = True) -> int:
    """What an index holds; rows that are just numbered hold nothing, where they are ``numbered`` and there are any."""
    import pandas as pd

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


# Counts


def counts_in(value: Any, column: str) -> Iterator[int | None]:
    """Every count in a result; ``None`` for what is no count where one should be."""
    import numpy as np
    import pandas as pd

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


# Rows


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
    import numpy as np
    import pandas as pd

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
    import pandas as pd

    for column in columns_of(value):
        if isinstance(column.dtype, pd.CategoricalDtype):
            yield (), [cells(column.dtype.categories.tolist())]


def columns_of(value: Any) -> list[Any]:
    """Every column and every level of the indexes of a table, a series or an index."""
    import pandas as pd

    if isinstance(value, pd.Index):
        return [value.get_level_values(place) for place in range(value.nlevels)]
    if isinstance(value, pd.Series):
        return [value, *columns_of(value.index)]
    own = [value.iloc[:, place] for place in range(value.shape[1])]
    return [*own, *columns_of(value.index), *columns_of(value.columns)]


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
    import numpy as np

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


def nested(value: Any) -> bool:
    """Whether a value holds others."""
    return isinstance(value, (list, tuple, dict)) or getattr(value, "ndim", 0) > 0


def sequence(value: Any) -> list[Any]:
    """The values of a nested value, in order."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value.ravel().tolist() if hasattr(value, "tolist") else value)


def rows_of_asset(value: Any, tables: list[Table], asset: Any) -> str:
    """Why the result holds a row of this asset, or the empty text."""
    import numpy as np
    import pandas as pd

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


def as_table(asset: Any) -> Any:
    """A table of any library, records and a dict as a frame; anything else as it is."""
    import pandas as pd

    kind = (type(asset).__module__.partition(".")[0], type(asset).__name__)
    if kind == ("polars", "DataFrame"):
        return framed(asset.columns, [column.to_list() for column in asset.get_columns()])
    if kind == ("pyarrow", "Table"):
        return framed(asset.column_names, [column.to_pylist() for column in asset.columns])
    if isinstance(asset, list) and asset and all(isinstance(item, dict) for item in asset):
        return pd.DataFrame(asset)
    if not isinstance(asset, dict):
        return asset
    lists = all(isinstance(item, list) for item in asset.values())
    if lists and len({len(item) for item in asset.values()}) == 1:
        return framed(list(asset), list(asset.values()))
    return framed(list(asset), [[str(item) if nested(item) else item] for item in asset.values()])


def framed(names: list[Any], columns: list[list[Any]]) -> Any:
    """A frame of columns whose values stay what they are."""
    import pandas as pd

    frame = pd.DataFrame({place: pd.Series(column, dtype=object) for place, column in enumerate(columns)})
    frame.columns = pd.Index(names, dtype=object)
    return frame


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
    import pandas as pd

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
