"""Verbs that change a dataset after it was made, and what becomes of the requests that were written for it.

| what the owner does | a pending request | an approved request | what was released or deposited |
|---|---|---|---|
| updates name, tags, description ... | goes on | goes on | stays |
| replaces an asset | goes on, on the asset that it names; noted | the same | stays |
| deletes the dataset | is denied, with that as reason | cannot run; noted | stays |

An asset that was replaced is kept, unseen by new requests, while a pending or an approved request names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Session

from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Dataset
from p2pgrid.domain.service.datasets import index_words, made, named, refuse_taken
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.service.requests import next_status
from p2pgrid.domain.service.uploads import Brought, NewAsset, check_size, checked, place, read_about, read_brought
from p2pgrid.domain.states import Status, Verdict
from p2pgrid.domain.storage import words
from p2pgrid.domain.storage.catalogue import find
from p2pgrid.domain.storage.database import names_of
from p2pgrid.domain.storage.tables import AssetRow, DatasetRow, FloorRow, RequestRow
from p2pgrid.errors import Conflict, InvalidInput

OPEN: Final = (Status.PENDING.value, Status.APPROVED.value)
"""Requests that may still run."""


@verb("dataset.update")
async def update_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Change what is said of a dataset; what is not given stays.  Its assets and version stay too."""
    an_id, about = args.id("id"), read_about(args)
    changes = about.changes()
    if not changes:
        raise InvalidInput("Nothing was said that could be changed.", fix="Give a name, a description, tags ...")
    check_size(domain, about.size())

    def work(session: Session) -> Dataset:
        row = find(session, an_id)
        if about.name not in (None, row.name):
            refuse_taken(session, about.name or "")
        for column, value in changes.items():
            setattr(row, column, value)
        row.updated_at = domain.clock()
        session.flush()
        index_words(session, row)
        domain.record(session, who.label, "dataset.update", row.id, changed=sorted(changes))
        return row.value()

    return (await domain.write(work, lambda dataset: made(domain, dataset))).to_wire(private=True)


@verb("dataset.replace")
async def replace_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Make a new version of a dataset of staged uploads: all of it or nothing.

    An asset whose name and bytes, private and mock, are as before stays the same asset; every other one gets a new id,
    and requests go on naming the one that they were written for.
    """
    (an_id, name), brought = named(args), read_brought(domain, who, args)
    check_size(domain, brought.size())
    async with checked(domain, brought):
        dataset, gone = await domain.write(
            lambda session: _replace(domain, session, who, find(session, an_id, name), brought),
            lambda done: made(domain, done[0]),
        )
    await asyncio.to_thread(domain.storage.files.delete, gone)
    await asyncio.to_thread(domain.storage.files.drop, set(brought.uploads))
    return dataset.to_wire(private=True)


@verb("dataset.delete")
async def delete_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Delete a dataset and its files; what was released from it stays released."""
    an_id, name = named(args)

    def work(session: Session) -> tuple[str, set[str]]:
        row = find(session, an_id, name)
        _tell_deleted(domain, session, who, row)
        names = {name for asset in row.assets for name in names_of(asset)}
        words.drop(session, row.position)
        session.delete(row)
        domain.record(session, who.label, "dataset.delete", row.id, name=row.name)
        return row.id, names

    def gone(done: tuple[str, set[str]]) -> None:
        domain.catalogue.drop(done[0])
        domain.changed()

    deleted, names = await domain.write(work, gone)
    await asyncio.to_thread(domain.storage.files.delete, names)
    return {"id": deleted}


def sweep(session: Session, dataset: str | None = None) -> set[str]:
    """Delete replaced assets that no open request names; the names of their files, to be removed after the commit."""
    query = select(AssetRow).where(AssetRow.retired.is_not(None))
    if dataset is not None:
        query = query.where(AssetRow.dataset == dataset)
    gone = [row for row in session.scalars(query) if not _requests(session, [row.id], OPEN)]
    for row in gone:
        session.delete(row)
    session.flush()
    return {name for row in gone for name in names_of(row)}


def _replace(domain: Domain, session: Session, who: Who, row: DatasetRow, brought: Brought) -> tuple[Dataset, set[str]]:
    """The new version, and the files that nothing needs any more."""
    _keep_floors(session, row, brought)
    version = row.version + 1
    present = {asset.name: asset for asset in row.assets if asset.retired is None}
    kept = {asset.id: present[asset.name] for asset in brought.assets if _same(present.get(asset.name), asset)}
    fresh = Brought(
        [asset for asset in brought.assets if asset.id not in kept],
        {upload: made for upload, made in brought.uploads.items() if made[1][:32] not in kept},
    )
    staying = {asset.id for asset in kept.values()}
    retired = [asset for asset in present.values() if asset.id not in staying]
    for asset in retired:
        asset.retired = version
    for position, new in enumerate(brought.assets):
        if new.id in kept:
            kept[new.id].position, kept[new.id].description = position, new.description
        else:
            row.assets.append(new.row(position, version))
    row.version, row.updated_at = version, domain.clock()
    session.flush()
    note = f"The dataset {row.name!r} was replaced by version {version}; this request is on the asset that it names."
    _note(session, [asset.id for asset in retired], note)
    gone = sweep(session, row.id)
    domain.record(session, who.label, "dataset.replace", row.id, version=version, assets=len(fresh.assets))
    place(domain, fresh)
    session.refresh(row)
    return row.value(), gone


def _keep_floors(session: Session, row: DatasetRow, brought: Brought) -> None:
    """Refuse a version in which an asset with rules of its own is gone: under another name they would not hold."""
    ruled = session.scalars(select(FloorRow.asset).where(FloorRow.dataset == row.id, FloorRow.asset != ""))
    present = {asset.name for asset in row.assets if asset.retired is None}
    lost = sorted(present.intersection(ruled) - {asset.name for asset in brought.assets})
    if lost:
        raise Conflict(
            f"Rules are set for the asset {lost[0]!r}, which the new version of {row.name!r} lacks.",
            fix="Name the asset as before, or take its rules away first.",
        )


def _same(held: AssetRow | None, new: NewAsset) -> bool:
    if held is None:
        return False
    mock = new.mock.to_wire() if new.mock else None
    return (held.data, held.mock) == (new.data.to_wire(), mock)


def _tell_deleted(domain: Domain, session: Session, who: Who, row: DatasetRow) -> None:
    assets = [asset.id for asset in row.assets]
    reason = f"The dataset {row.name!r} was deleted."
    _note(session, assets, reason)
    for request in _requests(session, assets, (Status.PENDING.value,)):
        request.status = next_status(request, Verdict.DENY).value
        request.denial, request.updated_at = reason, domain.clock()
        domain.record(session, who.label, "request.deny", request.id, reason=reason)


def _note(session: Session, assets: Iterable[str], note: str) -> None:
    for request in _requests(session, assets, OPEN):
        request.note = note


def _requests(session: Session, assets: Iterable[str], statuses: Iterable[str]) -> list[RequestRow]:
    """Requests of these statuses that name one of the assets among their inputs."""
    named = [cast(RequestRow.inputs, Text).contains(an_id) for an_id in assets]
    if not named:
        return []
    query = select(RequestRow).where(RequestRow.status.in_(tuple(statuses)), or_(*named))
    return list(session.scalars(query.order_by(RequestRow.position)))
