"""The verb on the audit log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from p2pgrid.domain.audit import SealedEntry
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import moment
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.storage.tables import AuditRow


@verb("audit.list")
async def list_entries(domain: Domain, who: Who, args: Args) -> Any:
    """The newest ``limit`` (100) entries, newest first; those ``before`` a number, to go further back."""
    limit = args.number("limit", 1, 1000, default=100)
    query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(limit)
    if args.has("before"):
        query = query.where(AuditRow.seq < args.number("before", 0, 2**62))
    found = await domain.read(lambda session: [row.value() for row in session.scalars(query)])
    return [_shown(sealed) for sealed in found]


def _shown(sealed: SealedEntry) -> dict[str, Any]:
    entry = sealed.open()
    return {
        "seq": entry.seq,
        "time": moment(entry.time),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "details": dict(entry.details),
        "hash": sealed.hash.hex(),
    }
