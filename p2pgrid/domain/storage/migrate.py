"""Bringing a database's tables to those of this p2pgrid, with Alembic; a newer database is refused untouched.

``versions/`` holds one step a change of the tables; ``scripts/new_revision.py`` writes them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, inspect, text

from p2pgrid.domain.storage import words
from p2pgrid.domain.storage.tables import Base, MetaRow
from p2pgrid.errors import StorageError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "p2pgrid_schema"


def _ours(obj: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Leave the search's tables to ``words``: FTS5 makes some that no model knows."""
    return not (kind == "table" and name is not None and words.is_ours(name))


CONFIGURED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "target_metadata": Base.metadata,
        "version_table": VERSION_TABLE,
        "render_as_batch": True,
        "include_object": _ours,
        "compare_type": True,
    }
)
"""How Alembic sees the tables, here and in ``migrations/env.py``."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings, for this connection."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def steps() -> list[str]:
    """The revisions that this p2pgrid knows, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def present(connection: Connection) -> str | None:
    """The database's revision; None for one without tables.  Raises ``StorageError`` for one that is not ours."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
        if found:
            return str(found)
    if not tables & set(Base.metadata.tables):
        return None
    if MetaRow.__tablename__ in tables:
        raise StorageError(
            "The database is of a time before the first release; this p2pgrid cannot read it.",
            fix="Launch with --reset to begin anew, and publish the datasets again.",
        )
    raise StorageError("The database was not made by p2pgrid.", fix="Choose another database.")


def needs_steps(revision: str) -> bool:
    """Whether a database of that revision is older than the tables.  Raises ``StorageError`` for a newer one."""
    known = steps()
    if revision not in known:
        raise StorageError(
            f"The database has the schema {revision[:40]!r}, which this p2pgrid does not know: it is newer.",
            fix="Use the version of p2pgrid that made it or a later one, or launch with --reset to begin anew.",
        )
    return revision != known[-1]


def create(connection: Connection) -> None:
    """Make all tables as they are after the last step; a test holds the two ways against each other."""
    Base.metadata.create_all(connection)
    words.create(connection)
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:last)"), {"last": steps()[-1]})  # noqa: S608


def upgrade(connection: Connection) -> None:
    """Take all steps to the newest revision, within the connection's transaction."""
    from alembic import command

    command.upgrade(config(connection), "head")


def keep_copy(database: Path, revision: str) -> Path:
    """A whole copy of a SQLite database beside it, named after its revision, before its tables change."""
    copy, part = database.with_name(f"{database.name}.before-{revision}"), database.with_name(f"{database.name}.part")
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(database)) as here, contextlib.closing(sqlite3.connect(part)) as there:
        here.backup(there)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, copy)
    return copy
