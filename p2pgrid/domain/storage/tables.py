"""The tables, and how a row becomes a value of ``p2pgrid.domain.models``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from p2pgrid.assets import AssetMeta
from p2pgrid.domain import models, policies
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.audit import SealedEntry
from p2pgrid.domain.states import Status
from p2pgrid.errors import P2PError, StorageError

SCHEMA: Final = 1
"""Raised with each change of the tables."""

ID: Final = String(32)
DAMAGED: Final = "Put back the newest backup of the node's home folder."


T = TypeVar("T")
Row = TypeVar("Row", bound="Base")


def readable(value: Callable[[Row], T]) -> Callable[[Row], T]:
    """A row whose content is no value, because the file was damaged or edited, is told as ``StorageError``."""

    @functools.wraps(value)
    def told(row: Row) -> T:
        try:
            return value(row)
        except (P2PError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StorageError(f"A row of the table {row.__tablename__} cannot be read.", fix=DAMAGED) from error

    return told


def read_json(text: str | bytes) -> Any:
    """A JSON column.  Raises ``StorageError``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError("A row of the database cannot be read: it is damaged.", fix=DAMAGED) from error


class Base(DeclarativeBase):
    """Root of the tables."""


class MetaRow(Base):
    """Facts on the database itself: its schema, its own id, the node that it belongs to."""

    __tablename__ = "p2pgrid_meta"

    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class AccountRow(Base):
    """A person; the only place where a password's hash is."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    role: Mapped[int] = mapped_column(Integer)
    institution: Mapped[str] = mapped_column(Text)
    website: Mapped[str] = mapped_column(Text)
    verify_key: Mapped[str | None] = mapped_column(String(64), unique=True)
    created_at: Mapped[float] = mapped_column(Float)
    epoch: Mapped[int] = mapped_column(Integer)
    password_hash: Mapped[str] = mapped_column(Text)

    @readable
    def value(self) -> models.Account:
        """Without the hash."""
        return models.Account(
            id=self.id,
            name=self.name,
            email=self.email,
            role=Role(self.role),
            institution=self.institution,
            website=self.website,
            verify_key=self.verify_key,
            created_at=self.created_at,
            epoch=self.epoch,
        )


class DatasetRow(Base):
    """A dataset."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, unique=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    description: Mapped[str] = mapped_column(Text)
    citation: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON)
    contributors: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(Text)
    assets: Mapped[list[AssetRow]] = relationship(
        order_by="AssetRow.position", cascade="all, delete-orphan", lazy="selectin", passive_deletes=True
    )

    @readable
    def value(self) -> models.Dataset:
        """With its assets."""
        return models.Dataset(
            id=self.id,
            name=self.name,
            description=self.description,
            citation=self.citation,
            url=self.url,
            tags=_texts(self.tags),
            contributors=tuple(models.Contributor(**person) for person in self.contributors),
            created_at=self.created_at,
            created_by=self.created_by,
            assets=tuple(asset.value() for asset in self.assets),
        )


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("no texts")
    return tuple(value)


class AssetRow(Base):
    """An asset; its bytes are files named after its id."""

    __tablename__ = "assets"
    __table_args__ = (UniqueConstraint("dataset", "name"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    mock: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    @readable
    def value(self) -> models.AssetInfo:
        """Without bytes."""
        mock = AssetMeta.from_wire(self.mock) if self.mock is not None else None
        return models.AssetInfo(self.id, self.name, self.description, AssetMeta.from_wire(self.data), mock)


class ProjectRow(Base):
    """A project; its name is its maker's own."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("account", "name"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float)

    @readable
    def value(self) -> models.Project:
        """As a value."""
        return models.Project(self.id, self.name, self.description, self.created_by, self.created_at)


class RequestRow(Base):
    """A code request, with the state of its output policy (``spent``, ``runnable``)."""

    __tablename__ = "requests"
    __table_args__ = (Index("requests_by_account", "account", "position"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, unique=True)
    code_id: Mapped[str] = mapped_column(ID, unique=True)
    project: Mapped[str | None] = mapped_column(ForeignKey("projects.id"), index=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    function: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    runnable_source: Mapped[str] = mapped_column(Text)
    uses: Mapped[dict[str, Any]] = mapped_column(JSON)
    inputs: Mapped[dict[str, str]] = mapped_column(JSON)
    output_policy: Mapped[Any] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(Text)
    denial: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    verify_key: Mapped[str] = mapped_column(String(64))
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    requested_at: Mapped[float] = mapped_column(Float)
    updated_at: Mapped[float | None] = mapped_column(Float)
    mock_run: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    private_run: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    spent: Mapped[int] = mapped_column(Integer)
    runnable: Mapped[bool] = mapped_column()
    failures: Mapped[int] = mapped_column(Integer)
    deposit: Mapped[str | None] = mapped_column(ID)
    """The execution that waits to be released."""

    @readable
    def value(self) -> models.CodeRequest:
        """As a value."""
        return models.CodeRequest(
            id=self.id,
            code_id=self.code_id,
            project=self.project,
            function=self.function,
            source=self.source,
            runnable=self.runnable_source,
            uses=self.uses,
            input_policy=policies.ExactMatch(self.inputs),
            output_policy=policies.parse_output(self.output_policy),
            status=Status(self.status),
            purpose=self.purpose,
            denial=self.denial,
            account=self.account,
            requested_by=self.requested_by,
            verify_key=self.verify_key,
            requested_at=self.requested_at,
            updated_at=self.updated_at,
            mock_run=self.mock_run,
            private_run=self.private_run,
            spending=policies.Spending(self.spent, self.deposit is not None, self.runnable),
            failures=self.failures,
        )


class ExecutionRow(Base):
    """A result.  No two of a request have the same serial: a release cannot be spent twice, whoever tries."""

    __tablename__ = "executions"
    __table_args__ = (UniqueConstraint("request", "serial"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    request: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    source: Mapped[str] = mapped_column(String(16))
    serial: Mapped[int | None] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[float] = mapped_column(Float)
    result: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)

    @readable
    def value(self) -> models.Execution:
        """Without the result."""
        return models.Execution(self.id, self.request, self.source, self.serial, self.size, self.created_at)


class AuditRow(Base):
    """An entry of the audit log, sealed."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)

    @readable
    def value(self) -> SealedEntry:
        """As a value."""
        return SealedEntry(self.seq, bytes(self.body), bytes(self.hash), bytes(self.signature))
