"""Asset bytes as files: staged while they arrive, checked, then moved to their place in one step.

``<root>/<asset id>.<side><suffix>`` are assets; ``<root>/staging/<upload>`` are uploads under way.  A file under
``root`` that the database does not know is what a crash left, and is removed at the next opening.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2pgrid.assets import SUFFIX, AssetMeta
from p2pgrid.errors import InvalidInput, NotFound, StorageError, TooLarge

MAX_ASSET: Final = 64 << 30
"""Bytes of one asset."""
MAX_UPLOADS: Final = 4096
"""Uploads under way in one domain."""
PIECE: Final = 1 << 20
MARK: Final = ".belongs-to"


class AssetFiles:
    """The only door to asset bytes.  Each method blocks on the disk: call it off the event loop.

    Raises ``StorageError`` when the disk refuses, with the folder's name and the system's words.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._staging = root / "staging"

    def open(self, owner: str, known: Set[str]) -> int:
        """Make the folders, clear what a crash left, and give how many files that were.

        ``owner``: the id of the database that ``known`` (names of files to keep) comes from.  A folder of another
        database is refused, so that a wrong database URL never costs anybody their data.
        """
        with _told(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_mark(owner)
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(mode=0o700, exist_ok=True)
            orphans = [path for path in self.root.iterdir() if path.is_file() and path.name not in {*known, MARK}]
            for path in orphans:
                path.unlink(missing_ok=True)
            return len(orphans)

    def stage(self, upload: str, offset: int, data: bytes) -> int:
        """Write a piece of an upload at its place; the answer is the upload's size so far."""
        if offset + len(data) > MAX_ASSET:
            raise TooLarge(f"An asset of over {MAX_ASSET} bytes cannot be kept.")
        path = self._staging / upload
        with _told(path):
            if not path.exists() and len(os.listdir(self._staging)) >= MAX_UPLOADS:
                raise TooLarge(f"{MAX_UPLOADS} uploads are under way already.")
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(handle, view, offset)
                    view, offset = view[written:], offset + written
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
        state = hashlib.blake2b(digest_size=32)
        with _told(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                raise NotFound(f"No upload {upload[-8:]} is under way.", fix="Send its bytes with blob.put.") from None
            with file:
                size = os.fstat(file.fileno()).st_size
                if size != meta.size:
                    raise InvalidInput(f"An upload has {size} bytes; its description says {meta.size}.")
                while piece := file.read(PIECE):
                    state.update(piece)
                if state.hexdigest() != meta.digest:
                    raise InvalidInput("An upload's bytes do not have the digest of its description.")
                os.fsync(file.fileno())

    def commit(self, moves: dict[str, str]) -> None:
        """Move checked uploads (upload -> name) to their places, and make that durable."""
        with _told(self.root):
            for upload, name in moves.items():
                os.replace(self._staging / upload, self.root / name)
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def drop(self, uploads: Set[str]) -> None:
        """Forget uploads, if they are still there."""
        for upload in uploads:
            with _told(self._staging):
                (self._staging / upload).unlink(missing_ok=True)

    def staged(self) -> dict[str, float]:
        """Uploads under way, and when each last grew."""
        with _told(self._staging):
            return {entry.name: entry.stat().st_mtime for entry in os.scandir(self._staging)}

    def path(self, name: str) -> Path:
        """Where a file of that name is."""
        return self.root / name

    def read(self, name: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most ``limit`` bytes from ``offset``, and the file's size."""
        with _told(self.root / name), open(self.root / name, "rb", buffering=0) as file:
            return os.pread(file.fileno(), limit, offset), os.fstat(file.fileno()).st_size

    def delete(self, names: Set[str]) -> None:
        """Remove files, if they are there."""
        for name in names:
            with _told(self.root / name):
                (self.root / name).unlink(missing_ok=True)

    def _check_mark(self, owner: str) -> None:
        mark = self.root / MARK
        if mark.exists():
            held = mark.read_text(encoding="utf-8").strip()
            if held == owner:
                return
            if held:  # an empty mark is one that a crash kept from being written
                raise StorageError(
                    f"The assets in {self.root} belong to another database.",
                    fix="Give the node the database they belong to, or another folder for its assets.",
                )
        if any(path.is_file() and path.name != MARK for path in self.root.iterdir()):
            raise StorageError(
                f"The files in {self.root} belong to no database that is known.",
                fix="Give the node an empty folder for its assets, or the database these belong to.",
            )
        mark.write_text(owner + "\n", encoding="utf-8")
        mark.chmod(0o600)


def file_name(asset: str, side: str, kind: str) -> str:
    """The name of an asset's file; ``side`` is ``data`` or ``mock``."""
    return f"{asset}.{side}{SUFFIX[kind]}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be used: {error.strerror or error}.") from error
