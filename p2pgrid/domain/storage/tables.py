"""The tables, and how a row becomes a value of ``p2pgrid.domain.models``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from p2pgrid.assets import AssetMeta
from p2pgrid.domain import jobs, models, policies
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.audit import SealedEntry
from p2pgrid.domain.notices import Notice
from p2pgrid.domain.states import Status
from p2pgrid.errors import P2PError, StorageError

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
    """Root of the tables.  After a change of any write a step: ``scripts/new_revision.py``."""

    # A constraint without a name could not be changed later in SQLite.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


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
    active: Mapped[bool] = mapped_column(default=True)
    mail: Mapped[bool] = mapped_column(default=True)
    last_login: Mapped[float | None] = mapped_column(Float)
    deleted_at: Mapped[float | None] = mapped_column(Float)
    """Of a deleted account the row stays, without what tells of a person: requests and the audit log name it."""
    reset_hash: Mapped[str | None] = mapped_column(String(64))
    reset_until: Mapped[float | None] = mapped_column(Float)

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
            active=self.active,
            mail=self.mail,
            last_login=self.last_login,
        )


class LoginPlaceRow(Base):
    """Where an account logged in from before: guesses from elsewhere do not keep its person out from there."""

    __tablename__ = "login_places"

    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Float)


class SettingRow(Base):
    """A setting that an owner changed."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)


class NoticeRow(Base):
    """Something that a person is told."""

    __tablename__ = "notices"
    __table_args__ = (Index("notices_by_account", "account", "position"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, unique=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float)
    read_at: Mapped[float | None] = mapped_column(Float)

    @readable
    def value(self) -> Notice:
        """As a value."""
        return Notice(self.id, self.kind, self.subject, self.created_at, self.read_at)


class MailRow(Base):
    """An e-mail that waits to be sent."""

    __tablename__ = "mails"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    email: Mapped[str] = mapped_column(String(254))
    kind: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[float] = mapped_column(Float, index=True)


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
    version: Mapped[int] = mapped_column(Integer, default=1)
    updated_at: Mapped[float | None] = mapped_column(Float)
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
            assets=tuple(asset.value() for asset in self.assets if asset.retired is None),
            version=self.version,
            updated_at=self.updated_at,
        )


def read_texts(value: Any) -> tuple[str, ...]:
    """A JSON column that is a list of texts.  Raises ``StorageError``."""
    try:
        return _texts(value)
    except TypeError as error:
        raise StorageError("A row of the database cannot be read: it is damaged.", fix=DAMAGED) from error


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("no texts")
    return tuple(value)


class AssetRow(Base):
    """An asset; its bytes are files named after its id.  One that was replaced stays while open requests name it."""

    __tablename__ = "assets"
    __table_args__ = (UniqueConstraint("dataset", "name", "version"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    mock: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    version: Mapped[int] = mapped_column(Integer, default=1)
    retired: Mapped[int | None] = mapped_column(Integer)

    @readable
    def value(self) -> models.AssetInfo:
        """Without bytes."""
        mock = AssetMeta.from_wire(self.mock) if self.mock is not None else None
        data = AssetMeta.from_wire(self.data)
        return models.AssetInfo(self.id, self.name, self.description, data, mock, self.version, self.retired)


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
    input_policy: Mapped[Any] = mapped_column(JSON)
    output_policy: Mapped[Any] = mapped_column(JSON)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Rules that the owner set at the approval, besides those of the output policy and of the assets."""
    policy_state: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    status: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(Text)
    environment: Mapped[str] = mapped_column(String(64))
    denial: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    verify_key: Mapped[str] = mapped_column(String(64))
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    statement: Mapped[bytes] = mapped_column(LargeBinary)
    """What was signed, byte for byte; empty when the author's account was deleted, whose e-mail it holds."""
    requested_at: Mapped[float] = mapped_column(Float)
    updated_at: Mapped[float | None] = mapped_column(Float)
    mock_run: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    private_run: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    spent: Mapped[int] = mapped_column(Integer)
    runnable: Mapped[bool] = mapped_column()
    failures: Mapped[int] = mapped_column(Integer)
    deposit: Mapped[str | None] = mapped_column(ID)
    """The execution that waits to be released: a deposit, or the run at the approval."""
    note: Mapped[str] = mapped_column(Text, default="")

    @readable
    def value(self) -> models.CodeRequest:
        """As a value."""
        state = policies.PolicyState.from_row(self.policy_state) if self.policy_state else None
        return models.CodeRequest(
            id=self.id,
            code_id=self.code_id,
            project=self.project,
            function=self.function,
            source=self.source,
            runnable=self.runnable_source,
            uses=self.uses,
            input_policy=policies.parse_input(self.input_policy, self.inputs),
            output_policy=policies.parse_output(self.output_policy),
            rules=policies.parse_rules(self.rules),
            policy_state=state,
            status=Status(self.status),
            purpose=self.purpose,
            environment=self.environment,
            denial=self.denial,
            account=self.account,
            requested_by=self.requested_by,
            verify_key=self.verify_key,
            requested_at=self.requested_at,
            updated_at=self.updated_at,
            mock_run=self.mock_run,
            private_run=self.private_run,
            spending=policies.Spending(
                self.spent, self.deposit is not None, self.runnable, state is None or state.open
            ),
            failures=self.failures,
            ready=self.deposit,
            note=self.note,
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
    given: Mapped[str] = mapped_column(String(64), default="")
    """The digest of the values that its author handed in, if any."""
    state: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The state of a custom output policy once this is released."""
    result: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)

    @readable
    def value(self) -> models.Execution:
        """Without the result."""
        return models.Execution(self.id, self.request, self.source, self.serial, self.size, self.created_at)


class FloorRow(Base):
    """Output rules under every request on an asset (by its name), or on all of a dataset (the empty name)."""

    __tablename__ = "floors"

    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    asset: Mapped[str] = mapped_column(String(200), primary_key=True)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    set_at: Mapped[float] = mapped_column(Float)
    set_by: Mapped[str] = mapped_column(Text)


class JobRow(Base):
    """A job.  ``inputs``: what its call was given, as ``wire.pack_value`` has it."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_account", "account", "position"), Index("jobs_by_state", "state", "position"))

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, unique=True)
    request: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    code_id: Mapped[str] = mapped_column(ID)
    function: Mapped[str] = mapped_column(Text)
    side: Mapped[str] = mapped_column(String(8))
    inputs: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    state: Mapped[str] = mapped_column(String(16))
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    requested_by: Mapped[str] = mapped_column(Text)
    queued_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    execution: Mapped[str | None] = mapped_column(ID)
    error: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    output: Mapped[str] = mapped_column(Text, default="")
    tries: Mapped[int] = mapped_column(Integer, default=0)

    @readable
    def value(self) -> jobs.Job:
        """Without the inputs."""
        return jobs.Job(
            id=self.id,
            request=self.request,
            code_id=self.code_id,
            function=self.function,
            side=jobs.Side(self.side),
            state=jobs.State(self.state),
            account=self.account,
            requested_by=self.requested_by,
            queued_at=self.queued_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            execution=self.execution,
            error=self.error,
            output=self.output,
            tries=self.tries,
        )


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
