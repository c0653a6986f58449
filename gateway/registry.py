"""The registry on disk: which node is where, in one SQLite file.  Addresses and names only."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import StaticPool

from p2pgrid.errors import StorageError

_LOG = logging.getLogger("gateway")
_META = sql.MetaData()
_NODES = sql.Table(
    "nodes",
    _META,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("address", sql.Text, nullable=False),
    sql.Column("key", sql.LargeBinary, nullable=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
    sql.Column("joined", sql.Float, nullable=False),
    sql.Column("seen", sql.Float, nullable=True),
)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One entry.  ``key`` is the Ed25519 key that owns the name, if one does, and ``seq`` its newest record's number.

    ``joined`` and ``seen`` (the last answer) are seconds since the epoch.
    """

    name: str
    address: str
    key: bytes | None
    seq: int
    joined: float
    seen: float | None


class Registry:
    """The file.  Its methods block and are called from one thread at a time.

    An entry that ``put`` returned for survives a kill of the process at any moment after (write-ahead log, full
    synchronisation).  A file that is no database any more is set aside as ``*.broken`` and an empty one begun: nodes
    join again by themselves, so nothing is lost that does not come back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = self._connect()

    def _connect(self) -> sql.Engine:
        try:
            return self._open()
        except sql.exc.OperationalError as error:
            # Locked, no permission, no space: the file may be sound, so it stays.
            raise StorageError(f"{self._path} cannot be opened: {error.orig}") from error
        except sql.exc.DatabaseError as error:
            _LOG.error("%s cannot be read (%s); set aside, beginning an empty one", self._path.name, error.orig)
        try:
            self._path.replace(self._path.with_name(self._path.name + ".broken"))
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._open()
        except (OSError, sql.exc.SQLAlchemyError) as error:
            raise StorageError(f"{self._path} cannot be opened: {error}") from error

    def _open(self) -> sql.Engine:
        engine = sql.create_engine(
            f"sqlite:///{self._path}",
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "timeout": 5},
        )
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql("PRAGMA synchronous=FULL")
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if verdict != "ok":
                    raise sql.exc.DatabaseError("PRAGMA quick_check", None, ValueError(str(verdict)))
            _META.create_all(engine)
            with engine.connect() as connection:
                connection.execute(sql.select(_NODES).limit(1)).all()
        except BaseException:
            engine.dispose()
            raise
        return engine

    def load(self, most: int) -> list[NodeRow]:
        """The entries seen last, at most ``most``."""
        order = sql.func.coalesce(_NODES.c.seen, _NODES.c.joined).desc()
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(sql.select(_NODES).order_by(order).limit(most)).all()
        except sql.exc.SQLAlchemyError as error:
            raise StorageError(f"{self._path} cannot be read: {error}") from error
        return [NodeRow(*row) for row in rows]

    def put(self, row: NodeRow, *, instead_of: str | None = None) -> None:
        """Add or replace one entry, and drop ``instead_of`` with the same stroke."""
        values = {name: getattr(row, name) for name in NodeRow.__slots__}
        statement = insert(_NODES).values(values)
        steps: list[Any] = [statement.on_conflict_do_update(index_elements=["name"], set_=values)]
        if instead_of is not None:
            steps.insert(0, sql.delete(_NODES).where(_NODES.c.name == instead_of))
        self._write(steps)

    def drop(self, names: Iterable[str]) -> None:
        """Forget entries."""
        self._write([sql.delete(_NODES).where(_NODES.c.name == name) for name in names])

    def saw(self, seen: Mapping[str, float]) -> None:
        """Note when nodes answered last."""
        self._write([sql.update(_NODES).where(_NODES.c.name == name).values(seen=when) for name, when in seen.items()])

    def _write(self, steps: list[Any]) -> None:
        try:
            with self._engine.begin() as connection:
                for step in steps:
                    connection.execute(step)
        except (sql.exc.SQLAlchemyError, OverflowError) as error:
            raise StorageError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()
