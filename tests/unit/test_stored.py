"""Files and folders as assets: equal content has equal bytes, and a forged folder is refused, not unpacked."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import assets
from p2pgrid.errors import BadValue, Malformed, RemoteError
from p2pgrid.stored import Folder, as_file

FILES = {"b.txt": b"second", "a/deep/ä.csv": b"x" * 1025, "a/empty": b""}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_comes_back_file_by_file(tmp_path: Path) -> None:
    dumped = assets.dump(fill(tmp_path, FILES))
    assert (dumped.kind, dumped.shape, dumped.size) == ("folder", (3,), len(dumped.tobytes()))
    folder = assets.load("folder", dumped.tobytes())
    assert {name: file.read() for name, file in folder.items()} == FILES
    assert folder.size_of("b.txt") == 6
    assert "deep" in repr(folder)
    with pytest.raises(KeyError):
        folder["c"]
    with tarfile.open(fileobj=io.BytesIO(dumped.tobytes())) as tar:  # an ordinary tar to everybody else
        assert sorted(tar.getnames()) == sorted(FILES)


def test_equal_folders_have_one_digest_whenever_they_were_written(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", FILES)
    two = fill(tmp_path / "two", dict(reversed(FILES.items())))
    (two / "b.txt").chmod(0o600)
    assert assets.dump(one).meta.digest == assets.dump(two).meta.digest
    (two / "b.txt").write_bytes(b"other!")
    assert assets.dump(one).meta.digest != assets.dump(two).meta.digest


@given(st.integers(1, 5000))
def test_pieces_of_a_folder_are_its_bytes_in_order(size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        dumped = assets.dump(fill(Path(name), FILES))
        pieces = list(dumped.chunks(size))
        assert b"".join(pieces) == dumped.tobytes()
        assert all(len(piece) == size for piece in pieces[:-1])


def test_a_link_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("/etc/passwd")
    with pytest.raises(BadValue, match="no plain file"):
        assets.dump(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"), [("missing", ""), ("missing", "folder"), ("file", "folder"), ("file", "numpy"), ("", "file")]
)
def test_what_is_not_there_is_told(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BadValue):
        assets.dump(assets.OnDisk(tmp_path / name, kind))


@pytest.mark.parametrize("content", [b"", b"longer than it was"])
def test_a_file_that_changes_while_it_is_read_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"some bytes")
    dumped = assets.dump(path)
    path.write_bytes(content)
    with pytest.raises(BadValue, match="changed"):
        dumped.tobytes()


def test_a_large_file_is_never_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    dumped = assets.dump(path)
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in dumped.chunks(1 << 20)) == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_is_read_like_any_other() -> None:
    file = as_file(b"one\ntwo\nthree")
    assert [file.readline(), file.tell(), file.seek(-5, io.SEEK_END), file.read(), file.read()] == [
        b"one\n", 4, 8, b"three", b"",
    ]  # fmt: skip
    assert file.seek(100) == 100
    assert file.read(1) == b""
    with pytest.raises(ValueError, match="before"):
        file.seek(-1)
    with pytest.raises(io.UnsupportedOperation):
        file.fileno()
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.PAX_FORMAT)


END = bytes(1024)


@pytest.mark.parametrize(
    "tar",
    [
        b"no tar",
        member("../up") + END,
        member("/etc/passwd") + END,
        member("a/../../b") + END,
        member("link", tarfile.SYMTYPE, link="/etc/passwd") + END,
        member("hard", tarfile.LNKTYPE, link="/etc/passwd") + END,
        member("device", tarfile.CHRTYPE) + END,
        member("folder", tarfile.DIRTYPE) + END,
        member("twice") + member("twice") + END,
        member("huge", size=1 << 40) + END,
        member("x" * 2000) + END,
    ],
    ids=range(11),
)
def test_a_forged_folder_is_refused(tar: bytes) -> None:
    with pytest.raises(RemoteError):
        assets.load("folder", tar)


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_folder_or_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert isinstance(assets.load("folder", data), Folder)
