"""Mocks: fake twins that have the schema of real data and none of its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from p2pgrid.assets import OnDisk
from p2pgrid.errors import InvalidInput
from p2pgrid.wire import DTYPE_KINDS

MOCK_SEED: Final = 20_190_821
REDRAWS: Final = 100
"""How often a row that happens to be real is drawn again before giving up."""
MOST_BYTES: Final = 1 << 30
"""An array that may be larger than memory gets no twin of its size."""
FIX: Final = "Give one with --mock FILE, or --mock none."
WORDS: Final = 10
"""How many different texts a mock has at most."""


def make_mock(value: Any, *, seed: int = MOCK_SEED) -> Any:
    """A fake twin: same type, shape, dtypes and column names; every number drawn anew within the real range.

    Numbers are uniform between a column's (or array's) smallest and largest value, so the range is told, except where
    that would tell a constant; texts become ``value 1``, ``value 2``, ...  The index of a table is not kept.  No row
    of the real data is in the mock: a row that happens to be is drawn again.  In an array of one axis, a series and
    JSON each value stands alone, and small whole numbers are bound to come again.
    Raises ``InvalidInput`` for what has no schema (bytes, free text), or where real rows keep coming: give such a
    mock yourself.
    """
    import numpy as np

    if getattr(value, "nbytes", 0) > MOST_BYTES:
        raise InvalidInput(
            f"No mock is drawn for data of over {MOST_BYTES >> 20} MiB.",
            fix=FIX,
        )
    if isinstance(value, (Path, OnDisk)):
        kind = "folder" if (value.path if isinstance(value, OnDisk) else value).is_dir() else "file"
        raise InvalidInput(f"No mock can be made for a {kind} that is kept as it is.", fix=FIX)
    chance = np.random.default_rng(seed)
    if isinstance(value, np.ma.MaskedArray):  # what the mask hides would shape the mock
        raise _no_mock("masked array")
    if isinstance(value, (np.ndarray, np.generic)):
        return _mock_array(np.asarray(value), chance)
    if type(value).__module__.split(".")[0] == "pandas":
        return _mock_pandas(value, chance)
    if isinstance(value, (dict, list, int, float, bool)) or value is None:
        return _mock_json(value, chance)
    raise _no_mock(type(value).__name__)


def _no_mock(what: str) -> InvalidInput:
    return InvalidInput(f"No mock can be made for a value of type {what}.", fix=FIX)


def _mock_array(real: Any, chance: Any) -> Any:
    if real.dtype.kind not in DTYPE_KINDS:
        raise _no_mock(f"array of {real.dtype}")
    if real.ndim == 1 or real.size == 0:
        return _draw(real, chance, real.size).reshape(real.shape)
    flat = real.reshape(-1)
    mock = _draw(flat, chance, flat.size).reshape(real.shape)
    if real.ndim == 0:
        return _redrawn(mock.reshape(1, 1), real.reshape(1, 1), chance).reshape(())
    return _redrawn(mock, real, chance)


def _redrawn(mock: Any, real: Any, chance: Any) -> Any:
    """``mock`` without the rows (along its first axis) that are in ``real``."""
    known = {row.tobytes() for row in (real + 0 if real.dtype.kind in "fc" else real)}  # one zero, as in ``_floats``
    flat = real.reshape(-1)
    for _ in range(REDRAWS):
        same = [index for index, row in enumerate(mock) if row.tobytes() in known]
        if not same:
            return mock
        mock[same] = _draw(flat, chance, mock[same].size).reshape(mock[same].shape)
    raise _too_few()


def _too_few() -> InvalidInput:
    cause = "No mock could be drawn: the data takes so few values that real rows keep coming."
    return InvalidInput(cause, fix="Give a mock of your own with --mock FILE.")


def _draw(real: Any, chance: Any, size: int) -> Any:
    """``size`` values of the dtype of ``real`` (one axis) and within its range."""
    import numpy as np

    kind, dtype = real.dtype.kind, real.dtype
    if real.size == 0:
        return np.zeros(size, dtype)
    if kind == "b":
        return chance.integers(0, 2, size).astype(dtype)
    if kind in "iu":
        bounds = np.iinfo(dtype)
        return _integers(int(real.min()), int(real.max()), int(bounds.min), int(bounds.max), chance, size).astype(dtype)
    if kind in "mM":
        ticks = real[~np.isnat(real)].astype("int64")
        low, high = (int(ticks.min()), int(ticks.max())) if ticks.size else (0, 1)
        return _integers(low, high, -(2**63) + 1, 2**63 - 1, chance, size).astype("int64").astype(dtype)
    if kind == "c":
        return (_draw(real.real, chance, size) + 1j * _draw(real.imag, chance, size)).astype(dtype)
    if kind == "f":
        return _floats(real, chance, size)
    return np.array([_word(number, dtype) for number in chance.integers(0, WORDS, size)], dtype=dtype)


def _integers(low: int, high: int, least: int, most: int, chance: Any, size: int) -> Any:
    if low == high:  # one value would be told, and every draw be real
        low, high = max(least, low - abs(low) - 1), min(most, high + abs(high) + 1)
    kind = "uint64" if most >= 2**63 else "int64"
    return chance.integers(low, high, size, dtype=kind, endpoint=True)


def _floats(real: Any, chance: Any, size: int) -> Any:
    import numpy as np

    finite = real[np.isfinite(real)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        most = float(np.finfo(real.dtype).max)
        low, high = max(-most, low - abs(low) - 1), min(most, high + abs(high) + 1)
    share = chance.random(size)
    drawn = low * (1 - share) + high * share  # high - low may be no finite number
    whole = finite.size and np.all(finite == np.round(finite))
    return ((np.round(drawn) if whole else drawn) + 0.0).astype(real.dtype)  # + 0.0: no negative zero


def _word(number: int, dtype: Any) -> str:
    """A made-up text that fits a fixed width: a letter where ``value 1`` does not."""
    width = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    return f"value {number}" if width >= len("value 0") else chr(ord("a") + int(number))[:width]


def _mock_pandas(value: Any, chance: Any) -> Any:
    import pandas as pd

    if isinstance(value, pd.Series):
        return _mock_column(value, chance, len(value)).rename(value.name)
    if isinstance(value, pd.DataFrame):
        return _mock_frame(value, chance)
    raise _no_mock(type(value).__name__)


def _mock_frame(real: Any, chance: Any) -> Any:
    import pandas as pd

    if not real.size:
        return real.reset_index(drop=True).copy()
    known, found, missing = set(_rows(real)), [], len(real)
    for _ in range(REDRAWS):
        columns = [_mock_column(real.iloc[:, place], chance, missing) for place in range(real.shape[1])]
        drawn = pd.concat(columns, axis=1)
        fresh = drawn[[row not in known for row in _rows(drawn)]]
        if len(fresh):
            found.append(fresh)
            missing -= len(fresh)
        if not missing:
            mock = pd.concat(found, ignore_index=True)
            mock.columns = real.columns
            return mock
    raise _too_few()


def _rows(frame: Any) -> list[tuple[str, ...]]:
    """Each row in a form that can be compared, whatever its cells are."""
    return [tuple(map(repr, row)) for row in frame.astype(object).to_numpy().tolist()]


def _mock_column(real: Any, chance: Any, size: int) -> Any:
    """A series of ``size`` values with the dtype of ``real``; gaps are filled."""
    import pandas as pd

    known = real.dropna()
    if known.empty:
        return pd.Series([None] * size, dtype=real.dtype)
    return pd.Series(_cells(known, chance)(size), dtype=real.dtype)


def _cells(known: Any, chance: Any) -> Callable[[int], Any]:
    """How to draw cells like those of a column without gaps."""
    import pandas as pd
    from pandas.api import types

    dtype = known.dtype
    if isinstance(dtype, pd.CategoricalDtype):  # its categories are part of its type
        return lambda size: pd.Categorical.from_codes(chance.integers(0, len(dtype.categories), size), dtype=dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = known.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return lambda size: pd.DatetimeIndex(_draw(moments, chance, size)).tz_localize("UTC").tz_convert(dtype.tz)
    if isinstance(dtype, pd.PeriodDtype):
        ordinals = known.array.asi8
        periods: Any = pd.PeriodIndex  # its stubs lack from_ordinals
        return lambda size: periods.from_ordinals(_draw(ordinals, chance, size), freq=dtype.freq)
    if types.is_numeric_dtype(dtype) or types.is_datetime64_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        values = known.to_numpy()
        plain = values if values.dtype.kind != "O" else known.to_numpy(dtype=dtype.type)
        return lambda size: _draw(plain, chance, size)
    if types.is_string_dtype(dtype) or types.is_object_dtype(dtype):
        return lambda size: [f"value {number}" for number in chance.integers(0, WORDS, size)]
    raise _no_mock(f"column of {dtype}")


def _mock_json(real: Any, chance: Any) -> Any:
    if isinstance(real, dict):
        return {key: _mock_json(item, chance) for key, item in real.items()}
    if isinstance(real, list):
        return [_mock_json(item, chance) for item in real]
    if isinstance(real, bool):
        return bool(chance.integers(0, 2))
    if isinstance(real, int):
        return int(chance.integers(0, min(2**62, max(2, abs(real) * 2))))
    if isinstance(real, float):
        return float(chance.uniform(0, max(1.0, abs(real) * 2))) if abs(real) < 1e300 else float(chance.random())
    return "value" if isinstance(real, str) else None
