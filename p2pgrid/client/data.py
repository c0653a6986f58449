"""Real data from files and well-known packages, and mocks that have its schema and none of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.errors import InvalidInput, MissingExtra

MOCK_SEED: Final = 20_190_821


@dataclass(frozen=True, slots=True)
class Loaded:
    """Data on its way into a dataset: what to call it, and each asset's name and value."""

    name: str
    description: str
    tags: tuple[str, ...]
    assets: tuple[tuple[str, Any], ...]


def load_source(source: str) -> Loaded:
    """Read a file by its suffix, or a bundled dataset such as ``sklearn:digits``.

    Files: ``.npy``, ``.npz`` (an asset an array), ``.csv``, ``.parquet``, ``.json``, ``.txt``; any other as bytes.
    Raises ``InvalidInput`` with the reason when the source is missing or not what its name says.
    """
    bundled = BUNDLED.get(source)
    if bundled is not None:
        return bundled()
    if source.startswith(("sklearn:", "statsmodels:")):
        raise InvalidInput(f"{source!r} is not known.", fix=f"Known are: {', '.join(sorted(BUNDLED))}.")
    path = Path(source).expanduser()
    if not path.is_file():
        raise InvalidInput(
            f"There is no file {source!r}.", fix=f"Give a file, or one of: {', '.join(sorted(BUNDLED))}."
        )
    reader = READERS.get(path.suffix.lower(), _read_bytes)
    try:
        assets = reader(path)
    except (MissingExtra, InvalidInput):
        raise
    except Exception as error:  # readers raise whatever they like on damaged files
        kind = path.suffix.lower().lstrip(".") or "data"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(
            f"{source!r} cannot be read as {kind}: {reason}.",
            fix="Check that the file is whole and that its suffix says what it is.",
        ) from error
    return Loaded(path.stem, "", (), tuple(assets.items()))


def _read_npy(path: Path) -> dict[str, Any]:
    import numpy as np

    return {path.stem: np.load(path, allow_pickle=False)}


def _read_npz(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        if not archive.files:
            raise InvalidInput(f"{path.name!r} holds no array.")
        return {name: archive[name] for name in archive.files}


def _read_csv(path: Path) -> dict[str, Any]:
    return {path.stem: _pandas().read_csv(path)}


def _read_parquet(path: Path) -> dict[str, Any]:
    return {path.stem: _pandas().read_parquet(path)}


def _read_json(path: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))}


def _read_text(path: Path) -> dict[str, Any]:
    return {path.stem: path.read_text(encoding="utf-8")}


def _read_bytes(path: Path) -> dict[str, Any]:
    return {path.stem: path.read_bytes()}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("Tables need pandas and pyarrow, which are not installed.") from error
    return pandas


READERS: Final[Mapping[str, Callable[[Path], dict[str, Any]]]] = MappingProxyType(
    {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".json": _read_json,
        ".txt": _read_text,
    }
)


def _sklearn(name: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        fix = "Install it with: pip install 'p2pgrid[demo]'"
        raise MissingExtra("The bundled datasets need scikit-learn, which is not installed.", fix=fix) from error
    return getattr(datasets, f"load_{name}")()


def _digits() -> Loaded:
    bunch = _sklearn("digits")
    about = (
        "1,797 handwritten digits of 8 x 8 pixels, from scikit-learn (UCI optical recognition of handwritten digits). "
        "Like MNIST in kind; it is not MNIST."
    )
    return Loaded("digits", about, ("digits", "mnist-like"), (("images", bunch.images), ("labels", bunch.target)))


def _breast_cancer() -> Loaded:
    bunch = _sklearn("breast_cancer")
    about = "569 breast tumours with 30 measures each, malignant (0) or benign (1), from scikit-learn (Wisconsin, UCI)."
    tags = ("breast-cancer", "medical")
    return Loaded("breast cancer", about, tags, (("features", bunch.data), ("diagnosis", bunch.target)))


def _diabetes() -> Loaded:
    bunch = _sklearn("diabetes")
    about = "442 diabetes patients: 10 scaled measures, and the disease's progression a year on, from scikit-learn."
    tags = ("diabetes", "medical")
    return Loaded("diabetes", about, tags, (("features", bunch.data), ("progression", bunch.target)))


def _randhie() -> Loaded:
    try:
        from statsmodels.datasets import randhie
    except ImportError as error:
        fix = "Install it with: pip install 'p2pgrid[demo]'"
        raise MissingExtra("This table needs statsmodels, which is not installed.", fix=fix) from error
    table = randhie.load_pandas().data
    about = "RAND Health Insurance Experiment: 20,190 people's doctor visits, coverage and health, from statsmodels."
    return Loaded("randhie", about, ("randhie", "health-insurance", "medical"), (("people", table),))


BUNDLED: Final[Mapping[str, Callable[[], Loaded]]] = MappingProxyType(
    {
        "sklearn:digits": _digits,
        "sklearn:breast_cancer": _breast_cancer,
        "sklearn:diabetes": _diabetes,
        "statsmodels:randhie": _randhie,
    }
)


def make_mock(value: Any, *, seed: int = MOCK_SEED) -> Any:
    """A fake twin: same type, shape, dtypes and column names; every number drawn anew within the real range.

    Numbers are uniform between a column's (or array's) smallest and largest value, so the range is told; texts become
    ``value 1``, ``value 2``, ...  No row of the real data is in the mock: a row that happens to be is drawn again.
    Raises ``InvalidInput`` for bytes and free text, which have no schema: give such a mock yourself.
    """
    import numpy as np

    chance = np.random.default_rng(seed)
    if isinstance(value, (np.ndarray, np.generic)):
        return _mock_array(np.asarray(value), chance)
    if type(value).__module__.split(".")[0] == "pandas":
        return _mock_frame(value, chance)
    if isinstance(value, (dict, list, int, float, bool)) or value is None:
        return _mock_json(value, chance)
    raise InvalidInput(
        f"No mock can be made for a value of type {type(value).__name__}.",
        fix="Give one with --mock FILE, or --mock none.",
    )


def _mock_array(real: Any, chance: Any) -> Any:
    if real.ndim == 0 or real.size == 0:
        return _draw(real.reshape(-1), chance).reshape(real.shape)
    if real.ndim == 1:
        return _draw(real, chance)
    mock = _draw(real.reshape(-1), chance).reshape(real.shape)
    rows = {row.tobytes() for row in real}
    for index, row in enumerate(mock):
        for _ in range(100):
            if row.tobytes() not in rows:
                break
            row = mock[index] = _draw(real.reshape(-1), chance)[: row.size].reshape(row.shape)
    return mock


def _draw(real: Any, chance: Any) -> Any:
    """As many values as ``real`` (one axis) has, of its dtype, within its range."""
    import numpy as np

    kind = real.dtype.kind
    if real.size == 0:
        return real.copy()
    if kind == "b":
        return chance.integers(0, 2, real.size).astype(bool)
    if kind in "iu":
        return chance.integers(int(real.min()), int(real.max()), real.size, dtype=real.dtype, endpoint=True)
    if kind in "mM":
        ticks = real.view("int64")
        return chance.integers(ticks.min(), ticks.max(), real.size, endpoint=True).view(real.dtype)
    if kind == "c":
        parts = _draw(real.real.copy(), chance) + 1j * _draw(real.imag.copy(), chance)
        return parts.astype(real.dtype)
    if kind == "f":
        finite = real[np.isfinite(real)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        drawn = chance.uniform(low, high, real.size)
        whole = finite.size and np.all(finite == np.round(finite))
        return (np.round(drawn) if whole else drawn).astype(real.dtype)
    distinct = max(2, min(real.size, 10))
    return np.array([f"value {number}" for number in chance.integers(1, distinct, real.size)], dtype=f"<{kind}16")


def _mock_frame(real: Any, chance: Any) -> Any:
    import pandas as pd

    columns = {name: _mock_column(real[name], chance) for name in real.columns}
    mock = pd.DataFrame(columns, columns=real.columns).reset_index(drop=True)
    known = set(map(tuple, real.astype(object).to_numpy().tolist()))
    for _ in range(100):
        same = [index for index, row in enumerate(mock.astype(object).to_numpy().tolist()) if tuple(row) in known]
        if not same:
            return mock
        for name in real.columns:
            fresh = _mock_column(real[name], chance).iloc[: len(same)].to_numpy()
            mock[name] = mock[name].where(~mock.index.isin(same), pd.Series(fresh, index=same).reindex(mock.index))
            mock[name] = mock[name].astype(real[name].dtype)
    raise InvalidInput(
        "No mock could be drawn: the table's columns take so few values that real rows keep coming.",
        fix="Give a mock of your own with --mock FILE.",
    )


def _mock_column(real: Any, chance: Any) -> Any:
    import pandas as pd

    if isinstance(real.dtype, pd.CategoricalDtype):  # its categories are part of its type
        codes = chance.integers(0, len(real.dtype.categories), len(real))
        return pd.Series(pd.Categorical.from_codes(codes, dtype=real.dtype))
    try:
        return pd.Series(_draw(real.to_numpy(dtype=real.dtype.type), chance)).astype(real.dtype)
    except (TypeError, ValueError, AttributeError):
        values = [f"value {number}" for number in chance.integers(1, 10, len(real))]
        return pd.Series(values, dtype=object if real.dtype == object else "str")


def _mock_json(real: Any, chance: Any) -> Any:
    if isinstance(real, dict):
        return {key: _mock_json(item, chance) for key, item in real.items()}
    if isinstance(real, list):
        return [_mock_json(item, chance) for item in real]
    if isinstance(real, bool):
        return bool(chance.integers(0, 2))
    if isinstance(real, int):
        return int(chance.integers(0, max(2, abs(real) * 2)))
    if isinstance(real, float):
        return float(chance.uniform(0, max(1.0, abs(real) * 2)))
    return "value" if isinstance(real, str) else None
