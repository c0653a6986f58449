"""Asset files: staged, checked, moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pgrid import assets
from p2pgrid.domain.storage import AssetFiles
from p2pgrid.domain.storage import files as files_module
from p2pgrid.domain.storage.files import file_name
from p2pgrid.errors import InvalidInput, NotFound, StorageError, TooLarge

META = assets.dump(b"0123456789").meta


@pytest.fixture
def files(tmp_path: Path) -> AssetFiles:
    held = AssetFiles(tmp_path / "assets")
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
    (files.root / "known.data.npy").write_bytes(b"k")
    (files.root / "orphan.data.npy").write_bytes(b"o")
    files.stage("half", 0, b"x")
    assert AssetFiles(files.root).open("owner", {"known.data.npy"}) == 1
    assert (files.root / "known.data.npy").exists()
    assert files.staged() == {}
    with pytest.raises(StorageError, match="another database"):
        AssetFiles(files.root).open("somebody else", set())


def test_names_tell_asset_side_and_kind() -> None:
    assert file_name("a" * 32, "mock", "frame") == "a" * 32 + ".mock.arrow"
