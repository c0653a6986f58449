"""The only door to a domain: one verb, one function, whichever transport calls."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain import accounts, audit
from p2pgrid.domain.accounts import Role, permit
from p2pgrid.domain.catalogue import Catalogue
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Account
from p2pgrid.domain.service import code, datasets, log, people, projects, requests
from p2pgrid.domain.service.door import Caller, CallerLike, CodeRunner, Domain, DomainLimits, Verb, Who, table
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.tables import AccountRow, AuditRow, DatasetRow
from p2pgrid.errors import InvalidInput

__all__ = ["VERBS", "Caller", "CallerLike", "CodeRunner", "DomainLimits", "DomainService"]

VERBS: Final[Mapping[str, Verb]] = MappingProxyType(dict(table(people, datasets, projects, requests, code, log)))


class DomainService:
    """A domain, opened with ``open`` and called with ``call``.

    ``loopback``: only this machine can reach the node; default passwords work only then.
    """

    def __init__(
        self,
        storage: Storage,
        runner: CodeRunner,
        *,
        identity: crypto.Identity,
        name: str,
        clock: Callable[[], float] = time.time,
        random: crypto.Random = secrets.token_bytes,
        dev_mode: bool = False,
        loopback: bool = True,
        limits: DomainLimits | None = None,
    ) -> None:
        self._domain = Domain(
            storage,
            runner,
            identity=identity,
            name=name,
            clock=clock,
            random=random,
            loopback=loopback,
            dev_mode=dev_mode,
            limits=limits or DomainLimits(),
        )

    def __repr__(self) -> str:
        return f"<DomainService {self._domain.name!r}>"

    async def open(self) -> None:
        """Open the storage, clear what a crash left, and load the catalogue.  Raises ``StorageError``."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        storage = self._domain.storage
        storage.open(self._domain.identity.public)
        try:
            with storage.write() as session:
                requests.close_runs(session)
                rows = session.scalars(select(DatasetRow).order_by(DatasetRow.position))
                self._domain.catalogue = Catalogue(tuple(row.value() for row in rows))
        except BaseException:
            storage.close()
            raise

    async def close(self) -> None:
        """End the runs on mocks that are under way, let every write end, then close the storage."""
        await self._domain.settle()
        await asyncio.to_thread(self._domain.storage.close)

    async def ensure_owner(
        self, email: str | None = None, password: str | None = None, verify_key: bytes | None = None
    ) -> dict[str, Any]:
        """Make the owner's account (and in dev mode the default data scientist's) unless there is one.

        ``email`` names a new owner; an account that exists keeps its own.  ``password`` replaces a default password
        but never one that was chosen.  ``verify_key`` is the key that logs the owner in without a password.
        """
        domain = self._domain
        email = accounts.normalise_email(email or accounts.OWNER_EMAIL)
        chosen = accounts.check_new_password(password) if password else accounts.DEFAULT_PASSWORD
        waiting = await domain.read(_owner_is_open)
        hashed = await domain.hashing(lambda: accounts.hash_for(chosen)) if waiting else accounts.DEFAULT_HASH

        def work(session: Session) -> dict[str, Any]:
            row = _owner(session)
            if row is None:
                people.add_account(domain, session, "node", email, hashed, Role.DATA_OWNER, name="Data Owner")
                row = _owner(session)
            elif row.password_hash == accounts.DEFAULT_HASH != hashed:
                people.change_password(domain, session, "node", row.value(), hashed)
            if verify_key is not None and row.verify_key != verify_key.hex():
                row.verify_key = verify_key.hex()
                domain.record(session, "node", "account.key", row.id, key=verify_key.hex())
            if domain.dev_mode:
                _ensure_scientist(domain, session)
            session.flush()
            account: dict[str, Any] = row.value().to_wire()
            return account

        return await domain.write(work)

    def has_default_password(self) -> bool:
        """Whether somebody who may see private data still has the default password.  Blocks for one small read."""
        query = select(AccountRow.id).where(AccountRow.password_hash == accounts.DEFAULT_HASH)
        with self._domain.storage.read() as session:
            return session.scalars(query.where(AccountRow.role >= int(Role.DATA_OWNER))).first() is not None

    async def call(self, caller: CallerLike, verb: str, args: Any) -> Any:
        """The answer to one verb.  Raises a ``P2PError`` that may be shown to the caller."""
        row = VERBS.get(verb)
        if row is None:
            raise InvalidInput(f"{str(verb)[:60]!r} is no verb of a domain.")
        account = await self.account(caller)
        permit(row.name, account.role if account else None)
        return await row.work(self._domain, Who(caller, account), Args(args, row.name))

    async def account(self, caller: CallerLike) -> Account | None:
        """The account that the caller is logged in to, if any."""
        if people.SESSION not in caller.state:
            return None
        return await self._domain.read(lambda session: people.resolve(session, caller))

    def search(self, tags: Iterable[str], match: str = "all") -> list[dict[str, Any]]:
        """Datasets for the JSON door.  Raises ``BadTag`` or ``InvalidInput``."""
        return self._domain.catalogue.search(tags, match)

    def tags(self) -> list[str]:
        """Every tag in use."""
        return self._domain.catalogue.tags()

    def listings(self) -> list[tuple[str, bytes, str]]:
        """(tag, 16 bytes of dataset id, title) for each listing that the node should announce."""
        return self._domain.catalogue.listings()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the event loop soon after a dataset was created or deleted."""
        self._domain.watchers.append(callback)

    async def verify_audit(self) -> audit.Flaw | None:
        """The first flaw of the audit log, or None when it is intact."""

        def work(session: Session) -> audit.Flaw | None:
            rows = session.scalars(select(AuditRow).order_by(AuditRow.seq).execution_options(yield_per=500))
            return audit.verify_chain((row.value() for row in rows), self._domain.identity.public)

        return await self._domain.read(work)


def _owner(session: Session) -> Any:
    """The first account that may see private data."""
    query = select(AccountRow).where(AccountRow.role >= int(Role.DATA_OWNER))
    return session.scalars(query.order_by(AccountRow.created_at, AccountRow.id)).first()


def _owner_is_open(session: Session) -> bool:
    """Whether a password that is handed in would be used."""
    row = _owner(session)
    return row is None or row.password_hash == accounts.DEFAULT_HASH


def _ensure_scientist(domain: Domain, session: Session) -> None:
    email = accounts.SCIENTIST_EMAIL
    if session.scalars(select(AccountRow.id).where(AccountRow.email == email)).first() is None:
        role = Role.DATA_SCIENTIST
        people.add_account(domain, session, "node", email, accounts.DEFAULT_HASH, role, name="Sheldon Cooper")
