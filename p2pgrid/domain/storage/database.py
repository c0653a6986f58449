"""The database of a domain: SQLite unless told otherwise, one writer at a time, every verb one transaction."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from p2pgrid.crypto import Random
from p2pgrid.domain.storage import migrate
from p2pgrid.domain.storage.files import AssetFiles, file_name
from p2pgrid.domain.storage.head import HeadFile
from p2pgrid.domain.storage.tables import DAMAGED, AssetRow, MetaRow, read_json
from p2pgrid.errors import MissingExtra, StorageError

log = logging.getLogger(__name__)

BUSY_SECONDS: Final = 10
"""How long a writer waits for another one."""
CONNECT_SECONDS: Final = 10
"""How long a database server may take to answer a new connection; a server that is silent would be waited for."""
CACHE_KIB: Final = 512
"""SQLite's page cache a connection: hundreds of domains may share a process."""
WRITES: Final = "p2pgrid_writes"
URLS: Final = "Write it as sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME."
SERVER: Final = "Check that the database's server runs and is reached from here, and the settings in database_url."


class DatabaseAway(StorageError):
    """The database is not to be had now, and may be later: a server that is down, a lock, a full disk."""


class Storage:
    """A database and its asset files.  Nothing is touched before ``open``; every method blocks."""

    def __init__(
        self, url: str, assets: Path, *, assets_url: str | None = None, random: Random = secrets.token_bytes
    ) -> None:
        """``assets_url``: where finished asset files lie, by fsspec; in the folder ``assets`` unless it is given."""
        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):  # their words may hold a piece of the password
            raise StorageError("The database URL cannot be read.", fix=URLS) from None
        self.files = AssetFiles(assets, assets_url)
        self.head = HeadFile(assets.parent / "audit.head")
        self._random = random
        self._engine: Engine | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> Storage:
        """A SQLite database and the asset files in one folder."""
        return cls(f"sqlite:///{folder / 'domain.sqlite'}", folder / "assets")

    def __repr__(self) -> str:
        return f"<Storage {self._url.set(query={}).render_as_string(hide_password=True)}>"  # one may name a password

    def open(self, node_key: bytes | None = None) -> None:
        """Make or check the tables, and clear what a crash left.  Raises ``StorageError``.

        ``node_key``: the node that the database must belong to; another one's costs the asset files nothing.
        """
        if self._engine is not None:
            return
        self._engine = self._make_engine()
        try:
            instance = self._check_schema()
            if node_key is not None:
                self.belongs_to(node_key)
            with self.read() as session:
                known = set(session.scalars(select(AssetRow.id)))
            self.files.open(instance, known)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that reads one consistent state."""
        with self._told(), Session(self._open_engine()) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, or leaves nothing."""
        engine = self._open_engine().execution_options(**{WRITES: True})
        with self._told(), Session(engine) as session, session.begin():
            yield session

    def belongs_to(self, node_key: bytes) -> None:
        """Bind a new database to a node; raise ``StorageError`` when it is another node's.

        The audit log is signed by one key, so a database moves together with its node's key file.
        """
        with self.write() as session:
            row = session.get(MetaRow, "node")
            if row is None:
                session.add(MetaRow(key="node", value=node_key.hex()))
            elif row.value != node_key.hex():
                raise StorageError(
                    "The database belongs to a node with another key.",
                    fix="Put that node's key file back, or launch with --reset to begin anew.",
                )

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise StorageError("The domain's storage is closed.", fix="Start the node first.")
        return self._engine

    def _make_engine(self) -> Engine:
        with self._told():
            try:
                return self._sqlite() if self._url.get_backend_name() == "sqlite" else self._server()
            except NoSuchModuleError:
                kind = self._url.drivername
                raise StorageError(f"The database URL names no kind of database: {kind!r}.", fix=URLS) from None
            except ImportError as error:
                raise MissingExtra(
                    f"A database at {self._url.drivername}:// needs a package that is not installed ({error.name}).",
                    fix="For PostgreSQL: pip install 'p2pgrid[postgres]', and begin the URL with postgresql+psycopg://.",
                ) from error

    def _server(self) -> Engine:
        patient = self._url.get_driver_name() not in ("psycopg", "psycopg2") or "connect_timeout" in self._url.query
        return create_engine(
            self._url,
            isolation_level="SERIALIZABLE",
            hide_parameters=True,
            json_deserializer=read_json,
            pool_size=1,
            max_overflow=8,
            pool_pre_ping=True,  # a server that was started again costs no call its answer
            connect_args={} if patient else {"connect_timeout": CONNECT_SECONDS},
        )

    def _sqlite(self) -> Engine:
        path = self._url.database
        if path and path != ":memory:":
            _make_private(Path(path))
        engine = create_engine(
            self._url,
            json_deserializer=read_json,
            hide_parameters=True,  # an error must not carry a row's values into a log
            pool_size=1,
            max_overflow=8,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
        return engine

    def _check_schema(self) -> str:
        """The database's own id, after its tables were made or brought to this version."""
        with self.write() as session:
            revision = migrate.present(session.connection())
            if revision is None:
                migrate.create(session.connection())
                instance = self._random(16).hex()
                session.add(MetaRow(key="instance", value=instance))
                return instance
        if migrate.needs_steps(revision):
            self._upgrade(revision)
        with self.read() as session:
            row = session.get(MetaRow, "instance")
            if row is None:
                raise StorageError("The database has no id: it is damaged.", fix=DAMAGED)
            return row.value

    def _upgrade(self, revision: str) -> None:
        """Bring the tables of an older p2pgrid to ours in one transaction; a SQLite file is copied first."""
        database = self._url.database
        with self._told(), self._open_engine().connect() as connection:
            if self._url.get_backend_name() == "sqlite":
                if database and database != ":memory:":
                    kept = migrate.keep_copy(Path(database), revision)
                    log.warning("the database is brought to a newer schema; a copy of the old one is %s", kept)
                # A table that is made anew is dropped once: its rows must not take those of others along.
                connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
            try:
                with connection.execution_options(**{WRITES: True}).begin():
                    migrate.upgrade(connection)
            finally:
                connection.invalidate()  # the next connection has its keys on again

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0][:200]
            fix = None if self._url.get_backend_name() == "sqlite" else SERVER
            name = self._url.database or ""
            kind = DatabaseAway if _passes(error) else StorageError
            raise kind(f"The database {name} cannot be used: {cause.rstrip('.')}.", fix=fix) from error
        except OSError as error:
            raise StorageError(f"The database cannot be opened: {error.strerror or error}.") from error


def _passes(error: Exception) -> bool:
    """Whether the same may go well later."""
    passing = (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError)
    return isinstance(error, passing) or bool(getattr(error, "connection_invalidated", False))


def names_of(row: AssetRow) -> set[str]:
    """The files of an asset."""
    names = {file_name(row.id, "data", str(row.data["kind"]))}
    if row.mock is not None:
        names.add(file_name(row.id, "mock", str(row.mock["kind"])))
    return names


def _make_private(path: Path) -> None:
    """Create the file with the owner's permissions only; SQLite gives its side files the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _set_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    # SQLAlchemy sends BEGIN itself (below); the driver must not begin or end transactions on its own.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, because a verdict or a spent policy that was acknowledged must outlive a power cut, not only a crash.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA secure_delete = ON")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: one that began as a reader could not be let in later without a failure.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
