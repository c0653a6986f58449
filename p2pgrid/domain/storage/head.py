"""The newest entry's number and hash, in a file of its own beside the database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from p2pgrid.errors import StorageError

MAX_HEAD: Final = 4096


class HeadFile:
    """Where the head of the audit log is kept.  Each method blocks on the disk.  Raises ``StorageError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """The file's bytes; None when there is no file."""
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_HEAD)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._told(error) from error

    def write(self, head: bytes) -> None:
        """Replace the file in one step; afterwards it is safely on the disk."""
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(handle, head)
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(new, self.path)
        except OSError as error:
            raise self._told(error) from error

    def _told(self, error: OSError) -> StorageError:
        return StorageError(f"The file {self.path} cannot be used: {error.strerror or error}.")
