"""Verbs on the audit log: reading, exporting and checking it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from p2pgrid.domain import audit
from p2pgrid.domain.audit import Entry, SealedEntry
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import moment
from p2pgrid.domain.service.door import LIST_BYTES, Domain, Who, verb
from p2pgrid.domain.storage.tables import AuditRow, MetaRow
from p2pgrid.errors import InvalidInput, RemoteError

MAX_FILTER: Final = 300
MAX_NOTED: Final = 100
PAGE: Final = 1000
MAX_SEQ: Final = 2**31 - 1
"""The highest number of an entry that a column of the table holds in every database."""
SETTINGS: Final = "settings"


@verb("audit.list")
async def list_entries(domain: Domain, who: Who, args: Args) -> Any:
    """The newest ``limit`` (100) entries, newest first; those ``before`` a number, to go further back.

    ``actor`` and ``subject`` keep entries of one, ``action`` those that begin with it (``auth`` keeps ``auth.login``);
    ``since`` and ``until`` are moments.
    """
    limit, wanted = args.number("limit", 1, 1000, default=100), _wanted(args)
    query = select(AuditRow).order_by(AuditRow.seq.desc())
    if args.has("before"):
        query = query.where(AuditRow.seq < min(args.number("before", 0, 2**62), MAX_SEQ))

    def work(session: Session) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with _sealed(session, query) as entries:
            for sealed in entries:
                entry = sealed.open()
                if wanted(entry):
                    found.append(_shown(sealed, entry))
                if len(found) == limit:
                    break
        return found

    return await domain.read(work)


@verb("audit.export")
async def export(domain: Domain, who: Who, args: Args) -> Any:
    """Sealed entries ``after`` a number (0), as many as fit; with the log's head as signed now, and whose log it is."""
    after = min(args.number("after", 0, 2**62, default=0), MAX_SEQ)

    def work(session: Session) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        left = LIST_BYTES
        query = select(AuditRow).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(PAGE)
        for row in session.scalars(query):
            sealed = row.value()
            left -= len(sealed.body) + 200
            if left < 0 and rows:
                break
            fields = {"seq": sealed.seq, "body": sealed.body, "hash": sealed.hash, "signature": sealed.signature}
            rows.append(fields)
        return rows

    head = await domain.read(lambda session: domain.anchor.sign(session))
    entries = await domain.read(work)
    return {"name": domain.name, "key": domain.identity.public.hex(), "head": head.to_wire(), "entries": entries}


@verb("audit.verify")
async def verify(domain: Domain, who: Who, args: Args) -> Any:
    """Check every entry against the node's key, and the log's length against the head that is kept apart from it.

    ``noted``: numbers and hashes (``57:3fa0...``) that the caller knows the log to have had.
    """
    noted = [audit.read_noted(text) for text in args.texts("noted", MAX_NOTED, 100)]
    async with domain.turn("audit.verify"):
        return (await findings(domain, noted)).to_wire()


async def findings(domain: Domain, noted: Sequence[tuple[int, bytes]] = ()) -> audit.Findings:
    """What a check of the whole log finds; it is read entry by entry."""

    def work(session: Session) -> audit.Findings:
        head, unreadable = None, ""
        try:
            head = domain.anchor.read()  # before the log's snapshot is taken, which may be longer
        except RemoteError as error:
            unreadable = error.cause
        check = audit.Check(domain.identity.public, [*noted, *([(head.count, head.hash)] if head else [])])
        with _sealed(session, select(AuditRow).order_by(AuditRow.seq)) as entries:
            for sealed in entries:
                if check.add(sealed):
                    break
        if unreadable:
            check.fail(unreadable)
        return check.end()

    return await domain.read(work)


def note_settings(domain: Domain, session: Session, settings: Mapping[str, Any]) -> None:
    """Record the node's settings when they are not those that were recorded last."""
    text = json.dumps(settings, sort_keys=True)
    row = session.get(MetaRow, SETTINGS)
    if row is not None and row.value == text:
        return
    before = json.loads(row.value) if row is not None else {}
    changed = {name: value for name, value in settings.items() if name not in before or before[name] != value}
    gone = sorted(set(before) - set(settings))
    session.merge(MetaRow(key=SETTINGS, value=text))
    domain.record(session, "node", "node.settings", "node", **changed, **({"unset": gone} if gone else {}))


@contextmanager
def _sealed(session: Session, query: Select[AuditRow]) -> Iterator[Iterator[SealedEntry]]:
    """Entries one by one, none of them held; who stops early leaves no cursor open at a database's server."""
    with session.scalars(query.execution_options(yield_per=PAGE)) as rows:

        def each() -> Iterator[SealedEntry]:
            for row in rows:
                yield row.value()
                session.expunge(row)

        yield each()


def _wanted(args: Args) -> Callable[[Entry], bool]:
    """Whether an entry passes the filters."""
    actor, action, subject = (args.text(name, MAX_FILTER, default="") for name in ("actor", "action", "subject"))
    since, until = _seconds(args, "since", float("-inf")), _seconds(args, "until", float("inf"))

    def fits(entry: Entry) -> bool:
        return (
            (not actor or entry.actor == actor)
            and (not action or entry.action == action or entry.action.startswith(f"{action}."))
            and (not subject or entry.subject == subject or (len(subject) >= 4 and entry.subject.startswith(subject)))
            and since <= entry.time < until
        )

    return fits


def _seconds(args: Args, name: str, default: float) -> float:
    value = args.raw(name)
    if value is None:
        return default
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise InvalidInput(f"audit.list: {name} must be a moment with a time zone.")
    return value.timestamp()


def _shown(sealed: SealedEntry, entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "time": moment(entry.time),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "details": dict(entry.details),
        "hash": sealed.hash.hex(),
    }
