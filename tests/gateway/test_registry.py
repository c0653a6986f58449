"""The registry on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.registry import NodeRow, Registry
from p2pgrid.errors import StorageError

BOB = NodeRow("Bob", "http://bob.example", b"k" * 32, 2**63 - 1, 5.0, None)


def reopened(path: Path) -> list[NodeRow]:
    registry = Registry(path)
    try:
        return registry.load(100)
    finally:
        registry.close()


def test_rows_come_back_after_reopening(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.db")
    registry.put(BOB)
    registry.put(NodeRow("Ann", "http://ann.example", None, 0, 4.0, None))
    registry.saw({"Ann": 9.5, "nobody": 1.0})
    registry.close()
    assert reopened(tmp_path / "r.db") == [NodeRow("Ann", "http://ann.example", None, 0, 4.0, 9.5), BOB]


def test_put_replaces_and_makes_room_in_one_stroke(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.db")
    registry.put(BOB)
    moved = NodeRow("Bob", "http://elsewhere.example", None, 0, 6.0, None)
    registry.put(moved)
    registry.put(NodeRow("Ann", "http://ann.example", None, 0, 4.0, None), instead_of="Bob")
    registry.drop(["nobody"])
    registry.close()
    assert [row.name for row in reopened(tmp_path / "r.db")] == ["Ann"]


def test_load_keeps_to_its_limit_and_prefers_who_was_seen_last(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.db")
    for number in range(10):
        registry.put(NodeRow(f"n{number}", f"http://n{number}.example", None, 0, float(number), None))
    assert [row.name for row in registry.load(3)] == ["n9", "n8", "n7"]
    registry.close()


@pytest.mark.parametrize("junk", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_broken_file_is_set_aside_and_an_empty_registry_begun(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(junk)
    registry = Registry(path)
    assert registry.load(10) == []
    registry.put(BOB)
    registry.close()
    assert reopened(path) == [BOB]
    assert (tmp_path / "r.db.broken").read_bytes() == junk


def test_a_registry_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.db")
    with pytest.raises(StorageError):
        registry.put(NodeRow("Bob", "http://bob.example", None, 2**63, 0.0, None))
    registry.close()
    with pytest.raises(StorageError):
        Registry(tmp_path / "no" / "such" / "folder" / "r.db")
