"""Verbs on projects."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Project
from p2pgrid.domain.service.door import Domain, Who, fit, verb
from p2pgrid.domain.storage.tables import ProjectRow
from p2pgrid.errors import Conflict, NotFound, TooLarge

MAX_NAME: Final = 200
MAX_TEXT: Final = 20_000


@verb("project.create")
async def create_project(domain: Domain, who: Who, args: Args) -> Any:
    """Start a project under the id its maker chose; asked again with the same id, it is the same project."""
    an_id, name = args.id("id"), args.label("name", MAX_NAME)
    description = args.text("description", MAX_TEXT, default="")

    def work(session: Session) -> Project:
        held = session.get(ProjectRow, an_id)
        if held is not None:
            if held.account == who.person.id and held.name == name:
                return held.value()
            raise Conflict(f"There is a project {an_id} already.")
        own = select(func.count()).select_from(ProjectRow).where(ProjectRow.account == who.person.id)
        if session.scalars(own.where(ProjectRow.name == name)).one():
            raise Conflict(f"You have a project named {name!r} already.")
        if session.scalars(own).one() >= domain.limits.projects_each:
            raise TooLarge(f"You have {domain.limits.projects_each} projects already.")
        row = ProjectRow(
            id=an_id,
            account=who.person.id,
            name=name,
            description=description,
            created_by=who.person.email,
            created_at=domain.clock(),
        )
        session.add(row)
        session.flush()
        return row.value()

    return (await domain.write(work)).to_wire()


@verb("project.list")
async def list_projects(domain: Domain, who: Who, args: Args) -> Any:
    """Projects in order of their making, all of them for an owner: ``limit`` (1000) from ``offset`` (0)."""
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    query = select(ProjectRow).order_by(ProjectRow.created_at, ProjectRow.id).limit(limit).offset(offset)
    if not who.owns:
        query = query.where(ProjectRow.account == who.person.id)
    found = await domain.read(lambda session: [row.value().to_wire() for row in session.scalars(query)])
    fit(found, lambda row: len(row["description"]) + 500, {"description": ""})
    return found


@verb("project.get")
async def get_project(domain: Domain, who: Who, args: Args) -> Any:
    """One project, by ``id`` or ``name`` (one's own first, then the oldest).  Raises ``NotFound``."""
    an_id, name = args.maybe_id("id"), None if args.has("id") else args.text("name", MAX_NAME)
    found = await domain.read(lambda session: find_project(session, who, an_id, name))
    return found.to_wire()


def find_project(session: Session, who: Who, an_id: str | None, name: str | None) -> Project:
    """A project that the caller may know of.  Raises ``NotFound``."""
    by = ProjectRow.id == an_id if an_id is not None else ProjectRow.name == name
    query = select(ProjectRow).where(by).order_by(ProjectRow.account != who.person.id, ProjectRow.created_at)
    if not who.owns:
        query = query.where(ProjectRow.account == who.person.id)
    row = session.scalars(query).first()
    if row is None:
        raise NotFound(f"There is no project {(an_id or name or '')[:80]!r} here.")
    return row.value()
