"""Asset bytes as files: staged while they arrive, checked, then moved to their place in one step.

``<root>/<asset id>.<side><suffix>`` are assets; ``<root>/staging/<upload>`` are uploads under way.  A file under
``root`` that the database does not know is what a crash left, and is removed at the next opening.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2pgrid.assets import SUFFIX, AssetMeta, digest_of, hasher
from p2pgrid.domain.storage.shelves import shelf_at
from p2pgrid.errors import InvalidInput, NotFound, StorageError, TooLarge
from p2pgrid.stored import start_writing

MAX_ASSET: Final = 64 << 30
"""Bytes of one asset."""
MAX_UPLOADS: Final = 4096
"""Uploads under way in one domain."""
MAX_REFUSED: Final = 256
"""Uploads that the disk refused, of which further pieces are known."""
KEPT_FREE: Final = 32 << 20
"""Bytes of the disk that no upload may take: the database must be able to grow, if only to delete something."""
MARK: Final = ".belongs-to"
_HASHING: Final = ThreadPoolExecutor(2, "p2pgrid-hash")
"""A piece is hashed while it is written."""


class AssetFiles:
    """The only door to asset bytes.  Each method blocks on the disk: call it off the event loop.

    Raises ``StorageError`` when the disk refuses, with the folder's name and the system's words.
    """

    def __init__(self, root: Path, url: str | None = None) -> None:
        """``url``: where finished files lie, in ``root`` itself unless it is given."""
        self.root, self._shelf = shelf_at(url, root)
        self._staging = self.root / "staging"
        self._growing: dict[str, _Growing] = {}
        self._refused: OrderedDict[str, StorageError] = OrderedDict()

    def open(self, owner: str, known: Set[str]) -> int:
        """Make the folders, clear what a crash left, and give how many files that were.

        ``owner``: the id of the database that ``known`` (ids of assets to keep) comes from.  A folder of another
        database is refused, so that a wrong database URL never costs anybody their data.
        """
        with _told(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._shelf.open()
            names = self._check_mark(owner)
            shutil.rmtree(self._staging, ignore_errors=True)
            self._growing.clear()
            self._staging.mkdir(mode=0o700, exist_ok=True)
            orphans = [name for name in names if name != MARK and not known & {name, name[:32]}]
            for name in orphans:
                self._shelf.delete(name)
            return len(orphans)

    def stage(self, upload: str, offset: int, data: bytes) -> int:
        """Write a piece of an upload at its place; the answer is the upload's size so far.

        One piece of an upload at a time.  Pieces that come in order are hashed as they come.
        """
        if offset + len(data) > MAX_ASSET:
            raise TooLarge(f"An asset of over {MAX_ASSET} bytes cannot be kept.")
        if upload in self._refused:
            raise self._refused[upload]
        path = self._staging / upload
        with _told(path):
            if not path.exists() and len(os.listdir(self._staging)) >= MAX_UPLOADS:
                raise TooLarge(f"{MAX_UPLOADS} uploads are under way already.")
            room = free_bytes(self._staging)
            if room < len(data) + KEPT_FREE:
                raise StorageError(
                    f"The node's disk has {room / 1e6:.0f} MB left; an upload stops at {KEPT_FREE / 1e6:.0f} MB.",
                    fix="Make room on the disk of the node's home, or delete datasets there.",
                )
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            growing = self._growing.setdefault(upload, _Growing())
            try:
                with growing.taking(offset, data):
                    _write_at(handle, data, offset)
                    start_writing(handle, offset, len(data))
                return os.fstat(handle).st_size
            finally:
                os.close(handle)

    def check(self, upload: str, meta: AssetMeta) -> None:
        """Raise ``InvalidInput`` unless the upload is whole and right; afterwards it is safely on the disk.

        An upload of no bytes needs no piece.
        """
        path = self._staging / upload
        if meta.size == 0:
            self.stage(upload, 0, b"")
        with _told(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                raise NotFound(f"No upload {upload[-8:]} is under way.", fix="Send its bytes with blob.put.") from None
            with file:
                size = os.fstat(file.fileno()).st_size
                if size != meta.size:
                    raise InvalidInput(f"An upload has {size} bytes; its description says {meta.size}.")
                growing = self._growing.get(upload)
                digest = growing.digest(size) if growing else None
                if (digest or digest_of(file)) != meta.digest:
                    raise InvalidInput("An upload's bytes do not have the digest of its description.")
                os.fsync(file.fileno())

    def commit(self, moves: dict[str, str]) -> None:
        """Move checked uploads (upload -> name) to their places, and make that durable."""
        with _told(self.root):
            for upload, name in moves.items():
                self._shelf.take(self._staging / upload, name)
                self._growing.pop(upload, None)
            self._shelf.settle()

    def drop(self, uploads: Set[str]) -> None:
        """Forget uploads, if they are still there."""
        for upload in uploads:
            self._growing.pop(upload, None)
            with _told(self._staging):
                (self._staging / upload).unlink(missing_ok=True)

    def refuse(self, upload: str, why: StorageError) -> None:
        """Forget an upload, and refuse its further pieces: those that are on their way would begin it anew."""
        self._refused[upload] = StorageError(why.cause, fix=why.fix)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        self.drop({upload})

    def staged(self) -> dict[str, float]:
        """Uploads under way, and when each last grew."""
        with _told(self._staging):
            return {entry.name: entry.stat().st_mtime for entry in os.scandir(self._staging)}

    def path(self, name: str, digest: str | None = None) -> Path:
        """A local file with the content of that name; it is brought near, and its digest checked, if it lies far."""
        with _told(self.root / name):
            return self._shelf.path(name, digest)

    def read(self, name: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most ``limit`` bytes from ``offset``, and the file's size."""
        with _told(self.root / name):
            return self._shelf.read(name, offset, limit)

    def delete(self, names: Set[str]) -> None:
        """Remove files, if they are there."""
        for name in names:
            with _told(self.root / name):
                self._shelf.delete(name)

    def _check_mark(self, owner: str) -> list[str]:
        """Every name on the shelf, which is this database's.  Raises ``StorageError`` when it is another's."""
        names = self._shelf.names()
        if MARK in names:
            held = self._shelf.read(MARK, 0, 64)[0].decode("utf-8", "replace").strip()
            if held == owner:
                return names
            if held:  # an empty mark is one that a crash kept from being written
                raise StorageError(
                    f"The assets in {self.root} belong to another database.",
                    fix="Give the node the database they belong to, or another folder for its assets.",
                )
        if any(name != MARK for name in names):
            raise StorageError(
                f"The files in {self.root} belong to no database that is known.",
                fix="Give the node an empty folder for its assets, or the database these belong to.",
            )
        self._shelf.write(MARK, f"{owner}\n".encode())
        return names


class _Growing:
    """The digest of an upload so far, as long as its pieces come in order."""

    __slots__ = ("_at", "_state")

    def __init__(self) -> None:
        self._state, self._at = hasher(), 0

    @contextmanager
    def taking(self, offset: int, data: bytes) -> Iterator[None]:
        """Note a piece while it is written; one that was not ends it."""
        under_way = _HASHING.submit(self.take, offset, data)
        try:
            yield
        except BaseException:
            under_way.result()
            self._at = -1
            raise
        under_way.result()

    def take(self, offset: int, data: bytes) -> None:
        """Note a piece; one that overwrites what was hashed ends it."""
        if offset == self._at:
            self._state.update(data)
            self._at += len(data)
        elif offset < self._at:
            self._at = -1

    def digest(self, size: int) -> str | None:
        """Of the whole upload of ``size`` bytes, unless a piece came out of order."""
        return self._state.hexdigest() if self._at == size else None


def free_bytes(folder: Path) -> int:
    """How much more the disk of a folder takes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _write_at(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def file_name(asset: str, side: str, kind: str) -> str:
    """The name of an asset's file; ``side`` is ``data`` or ``mock``."""
    return f"{asset}.{side}{SUFFIX[kind]}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be used: {error.strerror or error}.") from error
