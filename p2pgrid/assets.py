"""An asset's value <-> the bytes it is kept and sent as: ``.npy``, Arrow stream, text, JSON, a file or raw bytes.

The digest of those bytes names the content: an input policy compares digests, so a value and the asset that it
came from are the same thing to it.  A file and a folder are read piece by piece, never whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Protocol

from p2pgrid import tables, wire
from p2pgrid.errors import BadValue, Malformed, MissingExtra, RemoteError
from p2pgrid.stored import FilePart, Folder, FolderPart, as_file, map_file

SUFFIX: Final = MappingProxyType(
    {
        "numpy": ".npy",
        "frame": ".arrow",
        "polars": ".arrow",
        "arrow": ".arrow",
        "text": ".txt",
        "bytes": ".bin",
        "json": ".json",
        "image": ".image",
        "file": ".file",
        "folder": ".tar",
    }
)
KINDS: Final = tuple(SUFFIX)
IMAGES: Final = MappingProxyType(
    {
        ".png": "PNG",
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".gif": "GIF",
        ".bmp": "BMP",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".webp": "WEBP",
    }
)
"""Suffixes of image files, and the format that each is read as."""
MAX_COLUMNS: Final = 4096
PIECE: Final = 1 << 20
_NPY_HEAD: Final = 1 << 16
_NPY_HEADERS: Final = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


@dataclass(frozen=True, slots=True)
class AssetMeta:
    """What may be known about an asset without its values.

    ``shape``: array or table shape, ``[size]`` for bytes and text, ``[]`` for JSON.  ``dtype``: numpy's name, or the
    kind.  ``columns``: (name, type) of a table.  ``size``: bytes as stored.  ``digest``: SHA-256, hexadecimal.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[tuple[str, str], ...]
    size: int
    digest: str

    def to_wire(self) -> dict[str, Any]:
        """As JSON values."""
        raw = asdict(self)
        raw["shape"], raw["columns"] = list(self.shape), [list(pair) for pair in self.columns]
        return raw

    @classmethod
    def from_wire(cls, raw: Any) -> AssetMeta:
        """Read what ``to_wire`` wrote.  Raises ``Malformed``."""
        try:
            columns = tuple((str(name), str(dtype)) for name, dtype in raw["columns"][:MAX_COLUMNS])
            meta = cls(
                kind=str(raw["kind"]),
                shape=tuple(int(side) for side in raw["shape"][:32]),
                dtype=str(raw["dtype"])[:64],
                columns=columns,
                size=int(raw["size"]),
                digest=str(raw["digest"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("An asset's description cannot be read.") from error
        if meta.kind not in KINDS or meta.size < 0 or len(meta.digest) != 64:
            raise Malformed("An asset's description has an impossible value.")
        return meta


class Part(Protocol):
    """Some of a value's bytes."""

    @property
    def size(self) -> int:
        """How many."""

    def pieces(self, most: int) -> Iterator[bytes | memoryview]:
        """The bytes in order, in pieces of at most ``most``."""


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """Bytes that lie in memory, and are not copied."""

    view: memoryview

    @property
    def size(self) -> int:
        """How many."""
        return len(self.view)

    def pieces(self, most: int) -> Iterator[memoryview]:
        """Slices."""
        for start in range(0, len(self.view), most):
            yield self.view[start : start + most]


@dataclass(frozen=True, slots=True)
class Dumped:
    """A value ready to be written: what it is, and its bytes in a few parts that were not copied or not read yet."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def described(self, digest: str) -> AssetMeta:
        """The description, for somebody who hashed the chunks while they went by."""
        return AssetMeta(self.kind, self.shape, self.dtype, self.columns, self.size, digest)

    @property
    def meta(self) -> AssetMeta:
        """The description; reads and hashes every byte, each time."""
        state = hasher()
        for piece in self.chunks(PIECE):
            state.update(piece)
        return self.described(state.hexdigest())

    def chunks(self, size: int) -> Iterator[bytes | memoryview]:
        """The bytes in order, in pieces of at most ``size``."""
        for part in self.parts:
            yield from part.pieces(size)

    def tobytes(self) -> bytes:
        """All of it in one piece."""
        return b"".join(self.chunks(PIECE))


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file or a folder as an asset: its bytes are read when it is sent, and never lie in memory as a whole.

    ``kind``: ``file``, ``folder`` or ``image``; by itself a folder is one, and a file is an image by its suffix.
    """

    path: Path
    kind: str = ""


def hasher() -> hashlib._Hash:
    """What makes an asset's digest: SHA-256."""
    return hashlib.sha256()


def digest_of(file: BinaryIO) -> str:
    """The digest of what is left of an open file."""
    state = hasher()
    while piece := file.read(PIECE):
        state.update(piece)
    return state.hexdigest()


def dump(value: Any) -> Dumped:
    """Bytes and description of a value.  Raises ``BadValue`` for a type that cannot be kept.

    Takes numpy arrays; pandas and polars frames and series; Arrow tables; bytes; text; images of PIL; a ``Path`` or
    ``OnDisk`` for a file or a folder; everything else must be JSON.
    """
    dumper = next((DUMPERS[root] for root in _roots(value) if root in DUMPERS), None)
    if dumper is not None:
        return dumper(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        return _dumped("bytes", (len(raw),), "bytes", raw)
    if isinstance(value, str):
        return _dumped("text", (len(value),), "text", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (Path, OnDisk)):
        return _dump_path(value if isinstance(value, OnDisk) else OnDisk(value))
    try:
        raw = json.dumps(value, ensure_ascii=False, allow_nan=True, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.") from error
    return _dumped("json", (), "json", raw)


def load(kind: str, source: str | bytes | memoryview) -> Any:
    """The value kept under ``source``: a path, or the bytes themselves.

    An array over a ``memoryview`` that may be written to is not copied.  A file is a binary file object, a folder a
    ``Folder``, whose bytes stay where they are.
    Raises ``Malformed`` when the bytes are not of that kind, ``MissingExtra`` without the package that it needs.
    """
    if isinstance(source, str):
        with open(source, "rb") as file:
            return load_file(kind, file.fileno())
    loader = LOADERS.get(kind)
    if loader is None:
        raise Malformed(f"{str(kind)[:40]!r} is no kind of asset.")
    try:
        return loader(memoryview(source))
    except (RemoteError, MissingExtra, MemoryError):
        raise
    except Exception as error:  # whatever a reader throws at bad bytes
        raise Malformed(f"An asset's bytes are no {kind}.") from error


def load_file(kind: str, descriptor: int) -> Any:
    """The value kept in an open file, which is mapped: neither an array, a file nor a folder is read before it is used.

    The mapping is copy on write: code may sort an array in place, and the file stays as it was; what is changed costs
    memory.  Tables are validated in full first.  The descriptor may be closed afterwards, and no other is left open.
    Raises like ``load``, and ``OSError``.
    """
    return load(kind, map_file(descriptor))


def _roots(value: Any) -> Iterator[str]:
    """The packages of a value's class and of those it inherits from."""
    for each in type(value).__mro__:
        yield each.__module__.partition(".")[0]


def _dump_path(value: OnDisk) -> Dumped:
    path = Path(value.path).expanduser()
    kind = value.kind or ("folder" if path.is_dir() else "image" if path.suffix.lower() in IMAGES else "file")
    if kind == "folder":
        if not path.is_dir():
            raise BadValue(f"{str(path)!r} is no folder.", fix="Check the path.")
        folder = FolderPart.of(path)
        return Dumped(kind, (len(folder.files),), "folder", (), (folder,))
    if kind not in ("file", "image") or not path.is_file():
        raise BadValue(f"{str(path)!r} is no file.", fix="Check the path.")
    part = FilePart.of(path)
    return Dumped(kind, (part.size,) if kind == "file" else _image_shape(path), kind, (), (part,))


def _image_shape(path: Path) -> tuple[int, ...]:
    """Height, width and channels, where PIL can tell."""
    try:
        with path.open("rb") as file, _pil().open(file, formats=sorted(set(IMAGES.values()))) as image:
            return (image.height, image.width, len(image.getbands()))
    except MissingExtra:
        return ()
    except Exception as error:  # PIL raises whatever it likes on damaged files
        raise BadValue(f"{str(path)!r} is no image.", fix="Keep it as a file: --as file.") from error


def _dump_numpy(value: Any) -> Dumped:
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):  # its mask would be lost, and what it hides be kept
        raise BadValue("A masked array cannot be kept as an asset.", fix="Use array.filled(...), or two assets.")
    if not isinstance(value, (np.ndarray, np.generic)):
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.")
    array = np.asarray(value)
    if array.dtype.kind not in wire.DTYPE_KINDS or array.dtype.hasobject:
        raise BadValue(f"An array of dtype {array.dtype} cannot be kept as an asset.")
    plain = np.asarray(array, order="C")
    if not plain.flags.c_contiguous:
        plain = np.ascontiguousarray(plain)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(plain))
    # A flat byte view: datetimes have no buffer of their own, and a 0-d array no length.
    body = memoryview(plain.reshape(-1).view(np.uint8).data) if plain.size else memoryview(b"")
    return _dumped("numpy", tuple(plain.shape), str(plain.dtype), head.getvalue(), body)


def _dump_pandas(value: Any) -> Dumped:
    import pandas as pd

    if isinstance(value, pd.Series):
        value = value.to_frame(name=str(value.name) if value.name is not None else "value")
    if not isinstance(value, pd.DataFrame):
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.")
    columns = tuple((str(name), str(dtype)) for name, dtype in value.dtypes.items())
    return _dumped("frame", tuple(value.shape), "table", tables.frame_bytes(value), columns=columns)


def _dump_polars(value: Any) -> Dumped:
    import polars as pl

    if isinstance(value, pl.Series):
        value = value.to_frame(value.name or "value")
    if not isinstance(value, pl.DataFrame):
        fix = "Collect it first: frame.collect()." if isinstance(value, pl.LazyFrame) else ""
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.", fix=fix)
    columns = tuple((name, str(dtype)) for name, dtype in value.schema.items())
    raw = tables.table_bytes(tables.polars_table(value))
    return _dumped("polars", tuple(value.shape), "table", raw, columns=columns)


def _dump_arrow(value: Any) -> Dumped:
    pyarrow = tables.arrow()
    if isinstance(value, pyarrow.RecordBatch):
        value = pyarrow.Table.from_batches([value])
    if not isinstance(value, pyarrow.Table):
        raise BadValue(f"A value of type {type(value).__name__} cannot be kept as an asset.")
    columns = tuple((field.name, str(field.type)) for field in value.schema)
    return _dumped("arrow", tuple(value.shape), "table", tables.table_bytes(value), columns=columns)


def _dump_image(value: Any) -> Dumped:
    file = io.BytesIO()
    try:
        value.save(file, format="PNG")
    except (AttributeError, OSError, ValueError) as error:
        fix = "Convert it first: image.convert('RGB'). Or give the image's file."
        raise BadValue(f"This image cannot be kept: {error}.", fix=fix) from error
    return _dumped("image", (value.height, value.width, len(value.getbands())), "image", file.getvalue())


DUMPERS: Final[Mapping[str, Callable[[Any], Dumped]]] = MappingProxyType(
    {
        "numpy": _dump_numpy,
        "pandas": _dump_pandas,
        "polars": _dump_polars,
        "pyarrow": _dump_arrow,
        "PIL": _dump_image,
    }
)
"""By the package that a value comes from."""


def _load_numpy(view: memoryview) -> Any:
    import numpy as np

    head = io.BytesIO(view[:_NPY_HEAD])
    name = _NPY_HEADERS[np.lib.format.read_magic(head)]
    shape, fortran, dtype = getattr(np.lib.format, name)(head)
    if dtype.kind not in wire.DTYPE_KINDS or dtype.hasobject:
        raise Malformed(f"An array of dtype {dtype} is no asset.")
    start, count = head.tell(), math.prod(shape)
    if count < 0 or count * dtype.itemsize != len(view) - start:
        raise Malformed("An array's bytes do not fit its shape.")
    if not count * dtype.itemsize:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(view, dtype, count, start)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array if array.flags.writeable else array.copy()


def _load_image(view: memoryview) -> Any:
    pil = _pil()
    with warnings.catch_warnings():
        warnings.simplefilter("error", pil.DecompressionBombWarning)
        image = pil.open(as_file(view), formats=sorted(set(IMAGES.values())))
        image.load()
    return image


def _pil() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        fix = "Install it with: pip install 'p2pgrid[images]'"
        raise MissingExtra("Images need Pillow, which is not installed.", fix=fix) from error
    return Image


LOADERS: Final[Mapping[str, Callable[[memoryview], Any]]] = MappingProxyType(
    {
        "numpy": _load_numpy,
        "frame": tables.frame_from_bytes,
        "polars": tables.polars_from_bytes,
        "arrow": tables.table_from_bytes,
        "text": lambda view: str(view, "utf-8", "surrogatepass"),
        "json": lambda view: json.loads(bytes(view)),
        "bytes": bytes,
        "image": _load_image,
        "file": as_file,
        "folder": Folder,
    }
)


def _dumped(
    kind: str, shape: tuple[int, ...], dtype: str, *parts: bytes | memoryview, columns: tuple[tuple[str, str], ...] = ()
) -> Dumped:
    return Dumped(kind, shape, dtype, columns, tuple(MemoryPart(memoryview(part)) for part in parts))
