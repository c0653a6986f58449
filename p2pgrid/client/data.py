"""Real data from files and well-known packages, ready to be published."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.assets import OnDisk, dump
from p2pgrid.client.mocks import make_mock as make_mock
from p2pgrid.errors import InvalidInput, MissingExtra
from p2pgrid.tables import arrow

KEPT: Final = ("file", "folder", "image")
"""Ways to keep a source as it is."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Data on its way into a dataset: what to call it, and each asset's name and value."""

    name: str
    description: str
    tags: tuple[str, ...]
    assets: tuple[tuple[str, Any], ...]


def load_source(source: str) -> Loaded:
    """Read a file by its suffix, or a bundled dataset such as ``sklearn:digits``.

    Files: ``.npy`` (mapped, not loaded), ``.npz`` (an asset an array), ``.csv``, ``.parquet``, ``.arrow``, ``.json``,
    ``.txt``.  An image, any other file and a folder are kept as they are, and never loaded.
    Raises ``InvalidInput`` with the reason when the source is missing or not what its name says.
    """
    bundled = BUNDLED.get(source)
    if bundled is not None:
        return bundled()
    if source.startswith(("sklearn:", "statsmodels:")):
        raise InvalidInput(f"{source!r} is not known.", fix=f"Known are: {', '.join(sorted(BUNDLED))}.")
    path = Path(source).expanduser()
    if source and _is(path.is_dir):
        return keep_source(source, "folder")
    if not _is(path.is_file):
        raise InvalidInput(
            f"There is no file {source!r}.", fix=f"Give a file, or one of: {', '.join(sorted(BUNDLED))}."
        )
    reader = READERS.get(path.suffix.lower(), _keep)
    try:
        assets = reader(path)
    except (MissingExtra, InvalidInput):
        raise
    except Exception as error:  # readers raise whatever they like on damaged files
        kind = path.suffix.lower().lstrip(".") or "data"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "Object arrays" in reason or "Python objects" in reason:
            raise InvalidInput(
                f"{source!r} cannot be read: it is an array of objects, whose loading could run any code.",
                fix="Save it with a plain type, such as array.astype(float), or a table as .csv or .parquet.",
            ) from error
        if "allow_pickle" in reason:  # numpy's hint, and the last thing to do with a file of unknown origin
            reason = "it is no plain array"
        raise InvalidInput(
            f"{source!r} cannot be read as {kind}: {reason}.",
            fix="Check that the file is whole and that its suffix says what it is.",
        ) from error
    return Loaded(path.stem, "", (), tuple(assets.items()))


def keep_source(source: str, kind: str) -> Loaded:
    """A file or a folder as it is: its bytes are read when they are sent.  ``kind``: ``file``, ``folder``, ``image``.

    Raises ``InvalidInput``.
    """
    if kind not in KEPT:
        raise InvalidInput(f"{kind[:20]!r} is no way to keep a source.", fix=f"Choose one of: {', '.join(KEPT)}.")
    path = Path(source).expanduser().absolute()
    value = OnDisk(path, kind)
    dump(value)
    return Loaded(path.stem if kind != "folder" else path.name, "", (), ((path.stem or path.name, value),))


def _is(what: Callable[[], bool]) -> bool:
    try:
        return what()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _read_npy(path: Path) -> dict[str, Any]:
    import numpy as np

    with path.open("rb") as file:
        if file.read(2) == b"PK":  # an archive of arrays, which np.load opens as well
            raise InvalidInput(f"{path.name!r} is an archive of arrays.", fix="Rename it so that it ends in .npz.")
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}


def _read_npz(path: Path) -> dict[str, Any]:
    import numpy as np

    # numpy leaves a file open that it opened itself and could not read
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if not archive.files:
            raise InvalidInput(f"{path.name!r} holds no array.")
        return {name: archive[name] for name in archive.files}


def _read_csv(path: Path) -> dict[str, Any]:
    # Without index_col=False a row that is too long would move every value one column to the left, in silence.
    pandas = _pandas()
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        return {path.stem: pandas.read_csv(path, index_col=False)}


def _read_parquet(path: Path) -> dict[str, Any]:
    return {path.stem: _pandas().read_parquet(path)}


def _read_json(path: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))}


def _read_text(path: Path) -> dict[str, Any]:
    return {path.stem: path.read_text(encoding="utf-8")}


def _read_arrow(path: Path) -> dict[str, Any]:
    ipc = arrow().ipc
    with path.open("rb") as file:
        reader = ipc.open_file(file) if file.peek(6)[:6] == b"ARROW1" else ipc.open_stream(file)
        return {path.stem: reader.read_all()}


def _keep(path: Path) -> dict[str, Any]:
    value = OnDisk(path.absolute())
    dump(value)
    return {path.stem: value}


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
        ".arrow": _read_arrow,
        ".feather": _read_arrow,
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
