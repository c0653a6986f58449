"""The only door to a domain: one verb, one function, whichever transport calls."""

from __future__ import annotations

import asyncio
import logging
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
from p2pgrid.domain.fields import Args
from p2pgrid.domain.jobs import Ticket
from p2pgrid.domain.models import Account
from p2pgrid.domain.service import (
    choices,
    code,
    datasets,
    floors,
    jobs,
    log,
    logins,
    people,
    projects,
    ready,
    requests,
    reviews,
    revisions,
    uploads,
)
from p2pgrid.domain.service.door import Caller, CallerLike, CodeRunner, Domain, DomainLimits, Verb, Who, table
from p2pgrid.domain.service.post import Post, send_due
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.catalogue import some
from p2pgrid.domain.storage.tables import AccountRow
from p2pgrid.errors import InvalidInput, SessionEnded, StorageError

logger = logging.getLogger(__name__)

__all__ = ["VERBS", "Caller", "CallerLike", "CodeRunner", "DomainLimits", "DomainService", "Post"]

VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    dict(
        table(
            *(logins, people, choices, uploads, datasets, revisions, floors, projects),
            *(requests, reviews, code, ready, jobs, log),
        )
    )
)

SEARCHED: Final = 1000
"""Datasets that a search through the JSON door is answered with at most; the answer's size cuts it further."""


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
        post: Post | None = None,
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
        self._domain.post = post

    def __repr__(self) -> str:
        return f"<DomainService {self._domain.name!r}>"

    async def open(self) -> None:
        """Open the storage, clear what a crash left, and load the catalogue.  Raises ``StorageError``."""
        waiting = await asyncio.to_thread(self._open)
        self._domain.queue.open(lambda job, live: jobs.run_job(self._domain, job, live), waiting)

    def _open(self) -> list[Ticket]:
        storage = self._domain.storage
        storage.open(self._domain.identity.public)
        try:
            with storage.write() as session:
                requests.close_runs(session)
                self._domain.settings = choices.load_settings(session)
                waiting = jobs.close_jobs(self._domain, session)
                gone = revisions.sweep(session)
                self._domain.catalogue.load(session)
                if why := self._domain.anchor.open(session):
                    self._domain.record(session, "node", audit.GAP, "audit", why=why)
            storage.files.delete(gone)
            self._domain.anchor.write()
            return waiting
        except BaseException:
            storage.close()
            raise

    async def close(self) -> None:
        """End jobs and the runs on mocks that are under way, let every write end, then close the storage."""
        await self._domain.queue.close()
        await logins.tell_failures(self._domain)
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
        own_key = domain.home_key = verify_key.hex() if verify_key else None
        waiting = await domain.read(lambda session: _owner_is_open(session, own_key))
        hashed = await domain.hashing(lambda: accounts.hash_for(chosen)) if waiting else accounts.DEFAULT_HASH

        def work(session: Session) -> dict[str, Any]:
            row = _owner(session, own_key)
            if row is None:
                people.add_account(domain, session, "node", email, hashed, Role.ADMIN, name="Data Owner")
                row = _owner(session, own_key)
            elif row.password_hash == accounts.DEFAULT_HASH != hashed:
                people.change_password(domain, session, "node", row.value(), hashed)
            if own_key is not None and row.verify_key != own_key:
                row.verify_key = own_key
                session.flush()
                domain.record(session, "node", "account.key", row.id, key=own_key)
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
        if account is None:
            _tell_ended(caller, row.name)
        permit(row.name, account.role if account else None, self._domain.settings.guests)
        try:
            return await row.work(self._domain, Who(caller, account), Args(args, row.name))
        except StorageError as error:  # the caller is told too, but it is the node's owner who must act
            logger.error("%s failed: %s", row.name, error.cause)
            raise

    async def account(self, caller: CallerLike) -> Account | None:
        """The account that the caller is logged in to, if any."""
        return await logins.resolve(self._domain, caller)

    async def send_mail(self) -> int:
        """Send the e-mails that are due; how many left."""
        return await send_due(self._domain)

    async def search(self, tags: Iterable[str], match: str = "all", most: int = SEARCHED) -> list[dict[str, Any]]:
        """The first datasets for the JSON door.  Raises ``BadTag`` or ``InvalidInput``."""
        ids = self._domain.catalogue.index.matching(tags, match)[:most]
        found = await self._domain.read(lambda session: some(session, ids)) if ids else []
        return [dataset.to_public() for dataset in found]

    def tags(self) -> list[str]:
        """Every tag in use."""
        return self._domain.catalogue.index.tags()

    def listed(self) -> int:
        """How many datasets have a tag."""
        return self._domain.catalogue.index.listed()

    def listings(self) -> list[tuple[str, bytes, str]]:
        """(tag, 16 bytes of dataset id, title) for each listing that the node should announce."""
        return self._domain.catalogue.index.listings()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the event loop soon after a dataset was made, changed or deleted."""
        self._domain.watchers.append(callback)

    async def note_settings(self, settings: Mapping[str, Any]) -> None:
        """Record what the node was told, when it is not what it was told last."""
        await self._domain.write(lambda session: log.note_settings(self._domain, session, settings))

    async def verify_audit(self) -> audit.Flaw | None:
        """The first flaw of the audit log, or None when it is intact."""
        found = await log.findings(self._domain)
        return found.flaw or next(iter(found.gaps), None)


def _tell_ended(caller: CallerLike, verb: str) -> None:
    """Tell a caller whose session is over that it is, once; the ways in stay open."""
    held = caller.state.get(logins.SESSION)
    if held is not None and held.over and verb not in accounts.DOORSTEP:
        raise SessionEnded(f"Your session has ended: {held.over}.")


def _owner(session: Session, key: str | None) -> Any:
    """The account of who runs the node: the one that the node's owner key opens, else the first of the admins."""
    held = session.scalars(select(AccountRow).where(AccountRow.verify_key == key)).first() if key else None
    if held is not None:
        return held
    query = select(AccountRow).where(AccountRow.role == int(Role.ADMIN), AccountRow.active)
    return session.scalars(query.order_by(AccountRow.created_at, AccountRow.id)).first()


def _owner_is_open(session: Session, key: str | None) -> bool:
    """Whether a password that is handed in would be used."""
    row = _owner(session, key)
    return row is None or row.password_hash == accounts.DEFAULT_HASH


def _ensure_scientist(domain: Domain, session: Session) -> None:
    email = accounts.SCIENTIST_EMAIL
    if session.scalars(select(AccountRow.id).where(AccountRow.email == email)).first() is None:
        role = Role.DATA_SCIENTIST
        people.add_account(domain, session, "node", email, accounts.DEFAULT_HASH, role, name="Sheldon Cooper")
