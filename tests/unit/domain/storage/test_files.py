"""Asset files: staged, checked, moved."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from p2pgrid import assets
from p2pgrid.domain.storage import AssetFiles, shelves
from p2pgrid.domain.storage import files as files_module
from p2pgrid.domain.storage.files import KEPT_FREE, file_name, free_bytes
from p2pgrid.errors import InvalidInput, MissingExtra, NotFound, StorageError, TooLarge

META = assets.dump(b"0123456789").meta


@pytest.fixture(params=["folder", "file", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> AssetFiles:
    """Files in the folder itself, in another one, and in what fsspec calls memory."""
    far = f"memory://{tmp_path.name}-{secrets.token_hex(4)}"
    url = {"folder": None, "file": f"file://{tmp_path}/elsewhere", "memory": far}[request.param]
    held = AssetFiles(tmp_path / "assets", url)
    held.open("owner", set())
    return held


def test_staged_in_pieces_checked_and_moved(files: AssetFiles) -> None:
    assert files.stage("up", 5, b"56789") == 10
    assert files.stage("up", 0, b"01234") == 10
    files.check("up", META)
    files.commit({"up": "a.data.bin"})
    assert files.read("a.data.bin", 2, 3) == (b"234", 10)
    assert files.read("a.data.bin", 50, 3) == (b"", 10)
    assert files.staged() == {}
    files.delete({"a.data.bin", "never there"})
    with pytest.raises(StorageError, match=r"a\.data\.bin"):
        files.read("a.data.bin", 0, 1)


def test_a_hole_in_an_upload_is_found(files: AssetFiles) -> None:
    files.stage("up", 5, b"56789")
    with pytest.raises(InvalidInput, match="digest"):
        files.check("up", META)


def test_an_upload_that_never_came(files: AssetFiles) -> None:
    with pytest.raises(NotFound):
        files.check("up", META)
    empty = assets.dump(b"").meta
    files.check("none", empty)
    files.commit({"none": "e.data.bin"})
    assert files.read("e.data.bin", 0, 10) == (b"", 0)


def test_a_link_in_the_staging_folder_is_not_followed(files: AssetFiles, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    (files.root / "staging" / "up").symlink_to(target)
    with pytest.raises(StorageError):
        files.stage("up", 0, b"over")
    assert target.read_bytes() == b"kept"


def test_uploads_are_bounded(files: AssetFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_UPLOADS", 2)
    files.stage("a", 0, b"x")
    files.stage("b", 0, b"x")
    with pytest.raises(TooLarge, match="2 uploads"):
        files.stage("c", 0, b"x")
    files.stage("a", 1, b"y")
    files.drop({"a", "never there"})
    files.stage("c", 0, b"x")


def test_opening_keeps_what_is_known_and_clears_the_rest(files: AssetFiles) -> None:
    for name in ("known.data.npy", f"{'a' * 32}.data.npy", "orphan.data.npy"):
        files._shelf.write(name, b"k")
    files.stage("half", 0, b"x")
    assert files.open("owner", {"known.data.npy", "a" * 32}) == 1
    assert sorted(files._shelf.names()) == [".belongs-to", f"{'a' * 32}.data.npy", "known.data.npy"]
    assert files.staged() == {}
    with pytest.raises(StorageError, match="another database"):
        files.open("somebody else", set())


def test_names_tell_asset_side_and_kind() -> None:
    assert file_name("a" * 32, "mock", "frame") == "a" * 32 + ".mock.arrow"


PIECES = ((0, b"0123"), (4, b"4567"), (8, b"89"))


@pytest.mark.parametrize(
    "pieces",
    [PIECES, PIECES[::-1], (*PIECES, (0, b"0123")), ((0, b"xxxx"), *PIECES), (*PIECES[1:], *PIECES)],
    ids=["in order", "backwards", "once more", "mended", "twice"],
)
def test_the_digest_is_of_what_lies_on_the_disk_however_it_came(files: AssetFiles, pieces: Any) -> None:
    for offset, data in pieces:
        files.stage("up", offset, data)
    files.check("up", META)


def test_a_piece_changed_after_it_was_hashed_is_noticed(files: AssetFiles) -> None:
    for offset, data in (*PIECES, (2, b"!")):
        files.stage("up", offset, data)
    with pytest.raises(InvalidInput, match="digest"):
        files.check("up", META)


def test_a_piece_whose_write_failed_is_not_taken_for_written(
    files: AssetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest was known meanwhile; the disk was full, and there is a hole."""
    with monkeypatch.context() as full:
        full.setattr("p2pgrid.domain.storage.files._write_at", _refuse)
        with pytest.raises(StorageError):
            files.stage("up", 0, b"0123")
    files.stage("up", 4, b"456789")
    with pytest.raises(InvalidInput, match="digest"):
        files.check("up", META)


def _refuse(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def placed(files: AssetFiles, content: bytes = b"0123456789") -> str:
    files.stage("up", 0, content)
    files.commit({"up": "a.data.bin"})
    return "a.data.bin"


def test_a_run_gets_a_local_file_wherever_the_asset_lies(files: AssetFiles) -> None:
    name = placed(files)
    assert files.path(name, META.digest).read_bytes() == b"0123456789"
    assert files.path(name).read_bytes() == b"0123456789"
    files.delete({name})
    assert not list(files.root.rglob("a.data.bin"))


def test_a_far_file_that_was_changed_is_not_run_on(tmp_path: Path) -> None:
    files = AssetFiles(tmp_path, f"memory://{secrets.token_hex(8)}")
    files.open("owner", set())
    name = placed(files)
    files._shelf.write(name, b"9876543210")
    with pytest.raises(StorageError, match="digest"):
        files.path(name, META.digest)
    assert list((tmp_path / "cache").iterdir()) == []


def test_far_files_used_longest_ago_give_room_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MAX_CACHE", 250)
    files = AssetFiles(tmp_path, f"memory://{secrets.token_hex(8)}")
    files.open("owner", set())
    for age, name in enumerate(("first", "second", "third")):
        files._shelf.write(name, bytes(100))
        near = files.path(name)
        os.utime(near, (age, age))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["second", "third"]
    assert files.path("first").read_bytes() == bytes(100)


def test_a_far_place_that_needs_a_package_says_which(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra) as caught:
        AssetFiles(tmp_path, "gs://bucket/assets").open("owner", set())  # s3fs is there for other tests
    assert "p2pgrid[s3]" in caught.value.fix
    with pytest.raises(StorageError, match="nowhere") as told:
        AssetFiles(tmp_path, "nowhere://user:hunter2@host").open("owner", set())
    assert "hunter2" not in str(told.value)
    with pytest.raises(StorageError, match="whole path"):
        AssetFiles(tmp_path, "file:")


def test_a_far_place_that_loses_bytes_is_noticed_before_a_dataset_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = AssetFiles(tmp_path, f"memory://{secrets.token_hex(8)}")
    files.open("owner", set())
    files.stage("up", 0, b"0123456789")
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, source, name, **more: self.pipe_file(name, b"01"))
    with pytest.raises(StorageError, match="whole"):
        files.commit({"up": "a.data.bin"})


def test_an_upload_stops_before_the_disk_is_full(files: AssetFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.stage("up", 0, b"0123")
    monkeypatch.setattr("p2pgrid.domain.storage.files.free_bytes", lambda _: KEPT_FREE + 5)
    files.stage("up", 4, b"45678")
    with pytest.raises(StorageError, match="34 MB left") as caught:
        files.stage("up", 9, b"9abcde")
    assert "delete datasets" in caught.value.fix
    assert 0 < free_bytes(files.root) < 1 << 60
