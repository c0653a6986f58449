"""Opening a database: a new one, an old one, a wrong one, one that a crash left."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from p2pgrid.assets import dump
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.tables import AssetRow, AuditRow, DatasetRow
from p2pgrid.errors import MissingExtra, StorageError


def opened(folder: Path) -> Storage:
    storage = Storage.in_folder(folder)
    storage.open()
    return storage


def entry(seq: int) -> AuditRow:
    return AuditRow(seq=seq, body=b"b", hash=b"h", signature=b"s")


def count(storage: Storage) -> int:
    with storage.read() as session:
        return len(session.scalars(select(AuditRow)).all())


def test_nothing_is_touched_before_it_is_opened(tmp_path: Path) -> None:
    storage = Storage.in_folder(tmp_path / "home")
    assert not (tmp_path / "home").exists()
    with pytest.raises(StorageError, match="closed"), storage.read():
        pass


def test_only_the_owner_of_the_account_can_read_the_files(tmp_path: Path) -> None:
    storage = opened(tmp_path / "home")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").rglob("*")}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    storage.close()


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    with storage.write() as session:
        session.add(entry(1))
    storage.close()
    storage = opened(tmp_path)
    assert count(storage) == 1
    storage.close()


def test_a_block_that_fails_writes_nothing(tmp_path: Path) -> None:
    storage = opened(tmp_path)

    def fail(session: Session) -> None:
        session.add(entry(1))
        session.flush()
        raise KeyError("on purpose")

    with pytest.raises(KeyError), storage.write() as session:
        fail(session)
    assert count(storage) == 0
    storage.close()


def test_the_database_is_as_durable_as_it_promises(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    with storage.read() as session:
        ask = session.connection().exec_driver_sql
        assert ask("PRAGMA journal_mode").scalar_one() == "wal"
        assert ask("PRAGMA synchronous").scalar_one() == 2
        assert ask("PRAGMA foreign_keys").scalar_one() == 1
    storage.close()


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "domain.sqlite") as connection:
        connection.execute("CREATE TABLE accounts (id TEXT)")
    connection.close()
    with pytest.raises(StorageError, match="not made by p2pgrid"):
        opened(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "domain.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(StorageError, match="not a database"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        opened(tmp_path / "file" / "home")


def test_a_url_that_is_none_is_a_storage_error(tmp_path: Path) -> None:
    for url in ("no url", "postgresql+psycopg://jane:word@db:secret/grid"):
        with pytest.raises(StorageError, match="URL") as caught:
            Storage(url, tmp_path)
        assert "secret" not in str(caught.value)


def test_a_url_of_no_database_that_can_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="'postgres'") as caught:
        Storage("postgres://jane:hunter2secret@db/grid", tmp_path).open()
    assert "postgresql+psycopg" in caught.value.fix
    with pytest.raises(MissingExtra, match="pg8000") as missing:
        Storage("postgresql+pg8000://jane:hunter2secret@db/grid", tmp_path).open()
    assert "hunter2secret" not in f"{caught.value} {missing.value}"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://jane:hunter2secret@db/grid?password=hunter2secret"
    assert "hunter2secret" not in repr(Storage(url, tmp_path))


def test_a_database_belongs_to_one_node(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.belongs_to(b"k" * 32)
    storage.belongs_to(b"k" * 32)
    with pytest.raises(StorageError, match="another key"):
        storage.belongs_to(b"x" * 32)
    storage.close()


def test_another_nodes_database_leaves_no_mark_on_the_assets(tmp_path: Path) -> None:
    first = Storage.in_folder(tmp_path / "a")
    first.open(b"a" * 32)
    first.close()
    wrong = Storage(f"sqlite:///{tmp_path / 'a' / 'domain.sqlite'}", tmp_path / "b" / "assets")
    with pytest.raises(StorageError, match="another key"):
        wrong.open(b"b" * 32)
    assert not (tmp_path / "b").exists()
    right = Storage.in_folder(tmp_path / "b")
    right.open(b"b" * 32)
    right.close()


def test_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "assets" / ("0" * 32 + ".data.npy")).write_bytes(b"orphan")
    (tmp_path / "assets" / "staging" / "upload").write_bytes(b"half")
    storage = opened(tmp_path)
    assert sorted(path.name for path in (tmp_path / "assets").rglob("*")) == [".belongs-to", "staging"]
    storage.close()


def test_a_wrong_database_never_costs_the_assets_of_another(tmp_path: Path) -> None:
    opened(tmp_path / "one").close()
    data = tmp_path / "one" / "assets" / ("0" * 32 + ".data.npy")
    data.write_bytes(b"precious")
    for database in ("fresh.sqlite", "other.sqlite"):
        storage = Storage(f"sqlite:///{tmp_path / database}", tmp_path / "one" / "assets")
        with pytest.raises(StorageError, match="another database"):
            storage.open()
    (tmp_path / "one" / "assets" / ".belongs-to").unlink()
    with pytest.raises(StorageError, match="no database that is known"):
        storage.open()
    assert data.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "damage", ["{", "[1, 2]", "7", '"text"', "[" * 100_000], ids=["cut", "numbers", "number", "text", "deep"]
)
@pytest.mark.parametrize("column", ["assets.data", "assets.mock", "datasets.tags", "datasets.contributors"])
def test_a_damaged_row_is_a_storage_error(tmp_path: Path, column: str, damage: str) -> None:
    storage = opened(tmp_path)
    data = dump([1]).meta.to_wire()
    asset = AssetRow(id="a" * 32, position=0, name="a", description="", data=data, mock=data)
    words = {"name": "d", "description": "", "citation": "", "url": "", "created_by": "o", "created_at": 0.0}
    table, _, name = column.partition(".")
    with storage.write() as session:
        session.add(DatasetRow(id="d" * 32, position=1, tags=[], contributors=[], assets=[asset], **words))
        session.flush()
        session.connection().exec_driver_sql(f"UPDATE {table} SET {name} = ?", (damage,))
    with pytest.raises(StorageError, match="cannot be read"), storage.read() as session:
        session.scalars(select(DatasetRow)).one().value()
    storage.close()


def test_an_error_of_the_database_carries_no_row_values(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    secret = b"a secret value"
    with pytest.raises(StorageError) as caught, storage.write() as session:
        session.add_all([entry(1), AuditRow(seq=1, body=secret, hash=b"h", signature=b"s")])
    assert "a secret value" not in str(caught.value)
    assert "a secret value" not in str(caught.value.__cause__)
    storage.close()


def test_opening_twice_is_opening_once(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.open()
    assert count(storage) == 0
    storage.close()
    storage.close()
