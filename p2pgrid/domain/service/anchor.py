"""The head of the audit log, kept apart from the database, so that a log that lost its newest entries is found out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain.audit import Head, Newest
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.tables import AuditRow
from p2pgrid.errors import RemoteError, StorageError

log = logging.getLogger(__name__)

PAUSE: Final = 0.5
"""Seconds after an entry until the head is written: many entries share one write, and no answer waits for it."""


class Anchor:
    """Writes the head soon after each entry.  It may lag behind the log, and is never ahead of it."""

    def __init__(self, storage: Storage, identity: crypto.Identity, clock: Callable[[], float]) -> None:
        self._storage, self._identity, self._clock = storage, identity, clock
        self._last: Head | None = None
        self._task: asyncio.Task[None] | None = None
        self._grown, self._hurry = False, asyncio.Event()

    def read(self) -> Head | None:
        """The head as it was written last; None when there is none.  Raises ``RemoteError`` when it is not ours."""
        raw = self._storage.head.read()
        if raw is None:
            return None
        try:
            head = Head.from_wire(json.loads(raw))
        except (ValueError, RecursionError) as error:
            raise RemoteError("The head of the audit log cannot be read.") from error
        if not head.is_from(self._identity.public):
            raise RemoteError("The head of the audit log is not signed by this node.")
        return head

    def open(self, session: Session) -> str:
        """What the log has lost since its head was written; nothing when they agree."""
        try:
            head = self.read()
        except RemoteError as error:
            return error.cause
        if head is not None:
            return _lost(session, head)
        return "The head of the audit log was gone from the node's home." if newest(session) else ""

    def write(self) -> None:
        """Write the head of the log as it is now, unless that has lost something: the old head is the proof of it."""
        with self._storage.read() as session:
            why = _lost(session, self._last) if self._last else ""
            head = self.sign(session)
        if why:
            log.error("the audit log was changed under the running node: %s", why)
            return
        self._storage.head.write(json.dumps(head.to_wire()).encode())
        self._last = head

    def sign(self, session: Session) -> Head:
        """The head of the log as it is now."""
        return Head.sign(self._identity, newest(session), self._clock())

    def note(self) -> None:
        """The log may have grown: write the head soon."""
        self._grown = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._soon())

    async def settle(self) -> None:
        """Write now what was to be written soon."""
        self._hurry.set()
        if self._task is not None:
            await self._task

    async def _soon(self) -> None:
        while self._grown:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), PAUSE)
            self._grown = False
            await self._written()

    async def _written(self) -> None:
        try:
            await asyncio.to_thread(self.write)
        except StorageError as error:
            log.warning("the head of the audit log was not written: %s", error.cause)


def _lost(session: Session, head: Head) -> str:
    last = newest(session)
    found = last.seq if last else 0
    if head.count > found:
        return f"The log had {head.count} entries and has {found}: its newest were cut off."
    row = session.get(AuditRow, head.count) if head.count else None
    if head.count and (row is None or bytes(row.hash) != head.hash):
        return f"Entry {head.count} is not the one that was the newest when the node last wrote it down."
    return ""


def newest(session: Session) -> Newest | None:
    """The log's last entry."""
    query = select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)
    found = session.connection().execute(query).first()
    return Newest(found.seq, bytes(found.hash)) if found else None
