"""Where the finished files of assets lie: a local folder, or whatever fsspec reaches by a URL.

A file appears whole or not at all, and is never changed afterwards: its name is an asset's, made once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from p2pgrid.assets import digest_of
from p2pgrid.errors import MissingExtra, StorageError

MAX_CACHE: Final = 16 << 30
"""Bytes of far files that are kept near; those used longest ago go first."""
LOCAL: Final = frozenset({"file", "local"})


class Shelf(Protocol):
    """Named files.  Each method blocks, and raises ``OSError`` or ``StorageError``."""

    def open(self) -> None:
        """Make the place, if it is not there."""

    def names(self) -> list[str]:
        """What lies there."""

    def take(self, source: Path, name: str) -> None:
        """Have a local file's bytes under a name; ``source`` is gone afterwards."""

    def settle(self) -> None:
        """Let what was taken outlive a power cut."""

    def read(self, name: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most ``limit`` bytes from ``offset``, and the file's size."""

    def path(self, name: str, digest: str | None) -> Path:
        """A local file with the bytes of that name, which have the digest if it had to be brought near."""

    def write(self, name: str, content: bytes) -> None:
        """A small file, whole."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""


class Folder:
    """A folder on this machine: files are moved in, and mapped where they lie."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self) -> None:
        """See ``Shelf``."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """See ``Shelf``."""
        return [path.name for path in self._root.iterdir() if path.is_file()]

    def take(self, source: Path, name: str) -> None:
        """See ``Shelf``; in one step where both are on one file system."""
        os.replace(source, self._root / name)

    def settle(self) -> None:
        """See ``Shelf``."""
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self, name: str, offset: int, limit: int) -> tuple[bytes, int]:
        """See ``Shelf``."""
        with open(self._root / name, "rb", buffering=0) as file:
            return os.pread(file.fileno(), limit, offset), os.fstat(file.fileno()).st_size

    def path(self, name: str, digest: str | None) -> Path:
        """See ``Shelf``."""
        return self._root / name

    def write(self, name: str, content: bytes) -> None:
        """See ``Shelf``."""
        path = self._root / name
        path.write_bytes(content)
        path.chmod(0o600)

    def delete(self, name: str) -> None:
        """See ``Shelf``."""
        (self._root / name).unlink(missing_ok=True)


class Far:
    """What fsspec reaches: ``memory://``, ``s3://`` with s3fs installed, and others.

    Runs need files on this machine: one that is asked for is brought into ``cache``, and its digest checked.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url, self._cache = url, cache
        self._sizes: dict[str, int] = {}
        self._opened: tuple[Any, str] | None = None

    def open(self) -> None:
        """See ``Shelf``.  Raises ``MissingExtra`` when the URL needs a package that is not installed."""
        import fsspec

        scheme = urlsplit(self._url).scheme
        try:
            system, root = fsspec.core.url_to_fs(self._url)
        except ImportError as error:
            fix = f"Install the package that fsspec uses for it; for s3: pip install 'p2pgrid[s3]' ({error})."
            raise MissingExtra(f"Assets at {scheme}:// need a package that is not installed.", fix=fix) from error
        except ValueError as error:
            raise StorageError(f"The assets' URL cannot be used: {scheme!r} is no file system of fsspec.") from error
        self._opened = (system, str(root).rstrip("/"))
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._cache.glob("*.part"):
            left.unlink(missing_ok=True)
        with self._told():
            system.makedirs(root, exist_ok=True)

    def names(self) -> list[str]:
        """See ``Shelf``."""
        with self._told():
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._root, detail=True)
            except FileNotFoundError:  # an object store has no empty folders
                return []
        return [str(entry["name"]).rpartition("/")[2] for entry in found if entry["type"] == "file"]

    def take(self, source: Path, name: str) -> None:
        """See ``Shelf``.  Nobody asks for the name before all of it is there: its row is committed afterwards."""
        size = source.stat().st_size
        with self._told(name):
            self._system.put_file(str(source), self._at(name))
            self._system.invalidate_cache()
            if self._system.size(self._at(name)) != size:
                raise StorageError(f"The asset file {name} did not arrive whole at its place.")
        source.unlink()

    def settle(self) -> None:
        """See ``Shelf``: what was put is there, as far as the far side promises it."""

    def read(self, name: str, offset: int, limit: int) -> tuple[bytes, int]:
        """See ``Shelf``."""
        with self._told(name):
            size = self._sizes.get(name)
            if size is None:
                size = self._sizes[name] = int(self._system.size(self._at(name)))
            if offset >= size:
                return b"", size
            return self._system.cat_file(self._at(name), start=offset, end=min(size, offset + limit)), size

    def path(self, name: str, digest: str | None) -> Path:
        """See ``Shelf``.  Raises ``StorageError`` for bytes of another digest."""
        near = self._cache / name
        if near.exists():
            os.utime(near)
            return near
        part = self._cache / f"{name}.{os.urandom(4).hex()}.part"
        try:
            with self._told(name):
                self._system.get_file(self._at(name), str(part))
            if digest is not None and _digest(part) != digest:
                raise StorageError(f"The asset file {name} is not what was stored: its digest is another.")
            self._make_room(part.stat().st_size)
            os.replace(part, near)
        finally:
            part.unlink(missing_ok=True)
        return near

    def write(self, name: str, content: bytes) -> None:
        """See ``Shelf``."""
        with self._told(name):
            self._system.pipe_file(self._at(name), content)

    def delete(self, name: str) -> None:
        """See ``Shelf``."""
        (self._cache / name).unlink(missing_ok=True)
        self._sizes.pop(name, None)
        with self._told(name):
            if self._system.exists(self._at(name)):
                self._system.rm_file(self._at(name))

    @property
    def _system(self) -> Any:
        return self._place()[0]

    @property
    def _root(self) -> str:
        return self._place()[1]

    def _place(self) -> tuple[Any, str]:
        if self._opened is None:
            raise StorageError("The domain's storage is closed.", fix="Start the node first.")
        return self._opened

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_room(self, size: int) -> None:
        held = sorted(((entry.stat().st_mtime, entry) for entry in self._cache.iterdir()), key=lambda pair: pair[0])
        total = size + sum(entry.stat().st_size for _, entry in held if entry.suffix != ".part")
        for _, entry in held:
            if total <= MAX_CACHE:
                return
            if entry.suffix != ".part":
                total -= entry.stat().st_size
                entry.unlink(missing_ok=True)

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """Whatever a far side's library raises; the URL may hold a secret, and is not told."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            scheme = urlsplit(self._url).scheme
            raise StorageError(
                f"{name or 'The assets'} at {scheme}:// cannot be used: {type(error).__name__}.",
                fix="Check that the place in assets_url is reached from here, and what it asks of a login.",
            ) from error


def shelf_at(url: str | None, folder: Path) -> tuple[Path, Shelf]:
    """The local folder to work in, and the shelf: a local one in that folder, unless the URL says otherwise."""
    if url is None:
        return folder, Folder(folder)
    parts = urlsplit(url)
    if parts.scheme in LOCAL or not parts.scheme:
        root = Path(parts.path)
        if not root.is_absolute():
            raise StorageError("The assets' URL names no whole path.", fix="Write it as file:///PATH.")
        return root, Folder(root)
    return folder, Far(url, folder / "cache")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return digest_of(file)
