"""Migrations: they make the tables that the models say, keep every row, and refuse what is newer."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, select

from p2pgrid.assets import dump
from p2pgrid.domain.storage import Storage, migrate
from p2pgrid.domain.storage.tables import AssetRow, Base, DatasetRow, MetaRow
from p2pgrid.errors import StorageError

STEP = """
from alembic import op
import sqlalchemy as sa

revision, down_revision, branch_labels, depends_on = "9999", "{last}", None, None


def upgrade() -> None:
    with op.batch_alter_table("datasets", recreate="always") as table:
        table.add_column(sa.Column("licence", sa.Text(), server_default="none"))
    {more}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'tables.sqlite'}")


def schema(path: Path) -> set[tuple[str, str]]:
    """Tables with their columns, keys and indexes, whatever the order and the spelling of their making."""
    connection = sqlite3.connect(path)
    found = set()
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        for pragma in ("table_info", "foreign_key_list", "index_list"):
            rows = sorted(str(row[1:]) for row in connection.execute(f"PRAGMA {pragma}({name})"))
            found.add((f"{name} {pragma}", "".join(rows).replace("FLOAT", "REAL")))
    connection.close()
    return found


def test_the_steps_make_the_tables_that_the_models_say(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection, opts=dict(migrate.CONFIGURED))
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == [], "write a step: scripts/new_revision.py"


def test_a_new_database_is_as_one_that_took_every_step(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        migrate.upgrade(connection)
    engine.dispose()
    storage = Storage.in_folder(tmp_path)
    storage.open()
    storage.close()
    assert schema(tmp_path / "tables.sqlite") == schema(tmp_path / "domain.sqlite")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with a database that holds a dataset and its asset."""
    storage = Storage.in_folder(tmp_path)
    storage.open()
    meta = dump([1]).meta.to_wire()
    told = {"description": "", "citation": "", "url": "", "tags": [], "contributors": [], "created_by": "o@x"}
    asset = AssetRow(id="a" * 32, position=0, name="a", description="", data=meta, mock=None)
    with storage.write() as session:
        session.add(DatasetRow(id="d" * 32, position=1, name="d", created_at=1.0, assets=[asset], **told))
    storage.close()
    (tmp_path / "assets" / f"{'a' * 32}.data.json").write_bytes(b"[1]")
    return tmp_path


def with_step(monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "pass") -> None:
    """A p2pgrid that is one step further."""
    last = migrate.steps()[-1]
    shutil.copytree(migrate.FOLDER, folder / "migrations")
    (folder / "migrations" / "versions" / "9999_a_licence.py").write_text(STEP.format(last=last, more=more))
    monkeypatch.setattr(migrate, "FOLDER", folder / "migrations")


def test_an_older_database_takes_the_steps_and_keeps_every_row_and_a_copy(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = migrate.steps()[-1]
    with_step(monkeypatch, tmp_path)
    storage = Storage.in_folder(old)
    storage.open()
    with storage.read() as session:
        connection = session.connection()
        assert migrate.present(connection) == "9999"
        assert connection.exec_driver_sql("SELECT licence FROM datasets").scalar_one() == "none"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert session.scalars(select(AssetRow.id)).all() == ["a" * 32]  # no row went with the table made anew
    storage.close()
    copy = old / f"domain.sqlite.before-{before}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert str(copy) in caplog.text
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT name FROM datasets").fetchall() == [("d",)]
    kept.close()
    assert (old / "assets" / f"{'a' * 32}.data.json").exists()
    storage.open()  # the second time there is nothing to do
    storage.close()


def test_a_step_that_fails_leaves_the_database_as_it_was(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schema(old / "domain.sqlite")
    with_step(monkeypatch, tmp_path, more="op.execute('no statement')")
    with pytest.raises(StorageError):
        Storage.in_folder(old).open()
    assert schema(old / "domain.sqlite") == before


def test_a_newer_database_is_refused_untouched(old: Path) -> None:
    connection = sqlite3.connect(old / "domain.sqlite")
    connection.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '7777'")
    connection.commit()
    connection.close()
    content = (old / "domain.sqlite").read_bytes()
    with pytest.raises(StorageError, match="newer") as caught:
        Storage.in_folder(old).open()
    assert "later" in caught.value.fix
    assert (old / "domain.sqlite").read_bytes() == content


def test_a_database_from_before_the_first_release_is_refused(old: Path) -> None:
    connection = sqlite3.connect(old / "domain.sqlite")
    connection.execute(f"DROP TABLE {migrate.VERSION_TABLE}")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="first release"):
        Storage.in_folder(old).open()


def test_a_database_without_its_id_is_damaged(old: Path) -> None:
    storage = Storage.in_folder(old)
    storage.open()
    with storage.write() as session:
        session.delete(session.get_one(MetaRow, "instance"))
    storage.close()
    with pytest.raises(StorageError, match="damaged"):
        storage.open()
