"""Assets as files: folders in one stream of bytes, and both read back from memory or from a mapped file.

A folder travels as an uncompressed tar (POSIX.1-2001, pax) whose bytes depend on names and contents alone, so that
equal folders have equal digests.  Nothing is ever unpacked: a member is a view of the whole.
"""

from __future__ import annotations

import ctypes
import functools
import io
import tarfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from p2pgrid.errors import BadValue, Malformed, Oversized

MAX_MEMBERS: Final = 100_000
"""Files of one folder."""
MAX_MEMBER_NAME: Final = 1024
PIECE: Final = 1 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_SYNC_WRITE: Final = 2
"""``SYNC_FILE_RANGE_WRITE``."""
_MAP_PRIVATE, _READ_WRITE = 2, 3
"""``MAP_PRIVATE`` and ``PROT_READ | PROT_WRITE``: the same numbers on Linux and macOS."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """The bytes of a file, read as they are needed."""

    path: Path
    size: int

    @classmethod
    def of(cls, path: Path) -> FilePart:
        """With its present size.  Raises ``BadValue`` when there is no such file."""
        try:
            return cls(path, path.stat().st_size)
        except OSError as error:
            raise _unread(path, error) from error

    def pieces(self, most: int) -> Iterator[bytes]:
        """Its bytes in order, in pieces of at most ``most``.  Raises ``BadValue`` when it changes meanwhile."""
        left = self.size
        try:
            with self.path.open("rb") as file:
                while left and (piece := file.read(min(most, left))):
                    left -= len(piece)
                    yield piece
                grown = not left and bool(file.read(1))
        except OSError as error:
            raise _unread(self.path, error) from error
        if left or grown:
            raise BadValue(f"{str(self.path)!r} changed while it was read.", fix="Try again when nothing writes to it.")


@dataclass(frozen=True, slots=True)
class FolderPart:
    """A folder as the bytes of a tar, made as they are needed."""

    files: tuple[tuple[str, FilePart], ...]

    @classmethod
    def of(cls, folder: Path) -> FolderPart:
        """All plain files below ``folder``, by name.  Raises ``BadValue`` for links, devices and too many files."""
        found = []
        try:
            for path in folder.rglob("*"):
                if path.is_symlink() or not (path.is_dir() or path.is_file()):
                    fix = "A folder of plain files can be kept: leave links and devices out."
                    raise BadValue(f"{str(path)!r} is no plain file.", fix=fix)
                if path.is_file():
                    found.append((path.relative_to(folder).as_posix(), FilePart.of(path)))
                if len(found) > MAX_MEMBERS:
                    raise BadValue(f"A folder of over {MAX_MEMBERS} files cannot be kept.", fix="Pack some together.")
        except OSError as error:
            raise _unread(folder, error) from error
        unfit = [name for name, _ in found if not _is_name(name)]
        if unfit:
            raise BadValue(f"A file's name cannot be kept: {unfit[0][:80]!r}.", fix="Rename it.")
        return cls(tuple(sorted(found, key=lambda pair: pair[0])))

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return sum(len(_head(name, part.size)) + _padded(part.size) for name, part in self.files) + 2 * _BLOCK

    def pieces(self, most: int) -> Iterator[bytes]:
        """The tar's bytes in order, in pieces of ``most``; small files share one."""
        waiting = bytearray()
        for part in self._parts(most):
            waiting += part
            while len(waiting) >= most:
                yield bytes(waiting[:most])
                del waiting[:most]
        if waiting:
            yield bytes(waiting)

    def _parts(self, most: int) -> Iterator[bytes]:
        for name, part in self.files:
            yield _head(name, part.size)
            yield from part.pieces(most)
            yield bytes(_padded(part.size) - part.size)
        yield bytes(2 * _BLOCK)


def _unread(path: Path, error: OSError) -> BadValue:
    return BadValue(f"{str(path)!r} cannot be read: {error.strerror or error}.", fix="Check path and permissions.")


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _is_name(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not name.startswith("/") and not {"..", "."} & set(name.split("/")) and "\0" not in name
    return plain and len(name) <= MAX_MEMBER_NAME and not any("\ud800" <= char <= "\udfff" for char in name)


class _View(io.RawIOBase):
    """A file's bytes that lie in memory, or in a mapping."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        if base + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        into = memoryview(buffer).cast("B")
        piece = self._view[self._at : self._at + len(into)]
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def as_file(data: bytes | memoryview) -> io.BufferedReader:
    """A binary file to read, without a copy of its bytes."""
    return io.BufferedReader(_View(memoryview(data).cast("B")), PIECE)


class Folder(Mapping[str, io.BufferedReader]):
    """The files of a folder by their path within it: ``folder["images/1.png"]`` is a file to read, from its start."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._places = view, _places(view)

    def __getitem__(self, name: str) -> io.BufferedReader:
        offset, size = self._places[name]
        return as_file(self._view[offset : offset + size])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        names = ", ".join(repr(name) for name in list(self)[:5])
        return f"<Folder of {len(self)} files: {names}{', ...' if len(self) > 5 else ''}>"

    def size_of(self, name: str) -> int:
        """Bytes of one file.  Raises ``KeyError``."""
        return self._places[name][1]


def _places(view: memoryview) -> dict[str, tuple[int, int]]:
    """Where each file lies.  Raises ``Malformed`` or ``Oversized`` for a tar that ``FolderPart`` never makes."""
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=as_file(view), mode="r:") as tar:
        while (member := tar.next()) is not None:
            plain = member.isreg() and not member.issparse() and _is_name(member.name)
            if not plain or member.name in places or not 0 <= member.size <= len(view) - member.offset_data:
                raise Malformed("A folder holds something that is no plain file of its own.")
            if len(places) >= MAX_MEMBERS:
                raise Oversized(f"A folder holds more than {MAX_MEMBERS} files.")
            places[member.name] = (member.offset_data, member.size)
    return places


def map_file(descriptor: int) -> memoryview:
    """The content of an open file, mapped: read as it is touched, and shared with whoever else maps it.

    It may be written to: what is written stays with this process (copy on write), and the file is never changed.  No
    descriptor is kept, unlike by Python's ``mmap``, which holds a duplicate for as long as it lives.
    Raises ``OSError``.
    """
    with io.FileIO(descriptor, closefd=False) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
    if not size:
        return memoryview(b"")
    address = _libc().mmap(None, size, _READ_WRITE, _MAP_PRIVATE, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "a file cannot be mapped")
    mapped = (ctypes.c_ubyte * size).from_address(address)
    # Not at the interpreter's end: an array may outlive it there, and the system takes the mapping back itself.
    weakref.finalize(mapped, _libc().munmap, address, size).atexit = False
    return memoryview(mapped).cast("B")


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Have the system begin to bring written bytes to the disk, where it can be told: a later fsync waits less."""
    begin = getattr(_libc(), "sync_file_range", None)
    if begin is not None:
        begin(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_WRITE)


@functools.lru_cache(maxsize=1)
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    integer, size, pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    libc.mmap.restype, libc.mmap.argtypes = pointer, (pointer, size, integer, integer, integer, ctypes.c_int64)
    libc.munmap.restype, libc.munmap.argtypes = integer, (pointer, size)
    return libc
