"""Verbs on the domain's settings, and on what people were told."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from p2pgrid.domain.fields import Args
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.settings import DomainSettings
from p2pgrid.domain.storage.tables import NoticeRow, SettingRow
from p2pgrid.errors import InvalidInput, StorageError

MOST_MARKED: Final = 1000


@verb("settings.get")
async def get_settings(domain: Domain, who: Who, args: Args) -> Any:
    """Every setting and its value."""
    return domain.settings.to_wire()


@verb("settings.set")
async def set_setting(domain: Domain, who: Who, args: Args) -> Any:
    """Change the setting ``name`` to ``value``, from now on and after a restart."""
    name, value = args.text("name", 64), args.raw("value")

    def work(session: Session) -> DomainSettings:
        before = domain.settings
        after = before.changed(name, value)
        kept = after.to_wire()[name]
        session.merge(SettingRow(name=name, value=kept))
        domain.record(session, who.label, "settings.set", name, value=kept, before=before.to_wire()[name])
        return after

    def take(settings: DomainSettings) -> None:
        domain.settings = settings

    return (await domain.write(work, take)).to_wire()


@verb("notification.list")
async def list_notices(domain: Domain, who: Who, args: Args) -> Any:
    """What one was told, newest first: ``limit`` (100) from ``offset`` (0), or ``unread`` only; and how many are."""
    limit, offset = args.number("limit", 1, 1000, default=100), args.number("offset", 0, 2**31, default=0)
    own = select(NoticeRow).where(NoticeRow.account == who.person.id)
    query = own.where(NoticeRow.read_at.is_(None)) if args.raw("unread") is True else own
    query = query.order_by(NoticeRow.position.desc()).limit(limit).offset(offset)
    count = select(func.count()).select_from(NoticeRow)
    count = count.where(NoticeRow.account == who.person.id, NoticeRow.read_at.is_(None))

    def work(session: Session) -> dict[str, Any]:
        rows = [row.value().to_wire() for row in session.scalars(query)]
        return {"unread": session.scalars(count).one(), "notifications": rows}

    return await domain.read(work)


@verb("notification.read")
async def mark_read(domain: Domain, who: Who, args: Args) -> Any:
    """Mark ``ids`` as read, or all without; those of others are left alone.  The answer: how many still are unread."""
    ids = [Args({"id": one}, "notification.read").id("id") for one in args.texts("ids", MOST_MARKED, 64)]
    if args.has("ids") and not ids:
        raise InvalidInput("notification.read: ids names nothing; leave it out to mark all.")
    own = NoticeRow.account == who.person.id, NoticeRow.read_at.is_(None)

    def work(session: Session) -> int:
        change = update(NoticeRow).where(*own).values(read_at=domain.clock())
        session.execute(change.where(NoticeRow.id.in_(ids)) if ids else change)
        return session.scalars(select(func.count()).select_from(NoticeRow).where(*own)).one()

    return {"unread": await domain.write(work)}


def load_settings(session: Session) -> DomainSettings:
    """The settings that the database keeps, over the defaults.  Raises ``StorageError``."""
    settings = DomainSettings()
    for row in session.scalars(select(SettingRow)):
        try:
            settings = settings.changed(row.name, row.value)
        except InvalidInput as error:
            raise StorageError(f"The setting {row.name!r} cannot be used: {error.cause}") from error
    return settings
