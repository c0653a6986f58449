"""Verbs on datasets and their assets: finding, making and reading them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid.domain.catalogue import MATCHES
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Dataset
from p2pgrid.domain.service.door import LIST_BYTES, Domain, Who, fit, verb
from p2pgrid.domain.service.uploads import (
    CHUNK,
    MAX_NAME,
    MAX_TAGS,
    About,
    Brought,
    check_size,
    checked,
    place,
    read_about,
    read_brought,
)
from p2pgrid.domain.storage import words
from p2pgrid.domain.storage.catalogue import find, some, some_briefly
from p2pgrid.domain.storage.files import file_name
from p2pgrid.domain.storage.tables import DatasetRow
from p2pgrid.errors import Conflict, InvalidInput, NoMock, PrivateData, TooLarge

MAX_QUERY: Final = 200
READS_NOTED: Final = 4096
READS: Final = "p2pgrid.reads"


@verb("dataset.list")
async def list_datasets(domain: Domain, who: Who, args: Args) -> Any:
    """Datasets in order of their making: ``limit`` (1000) from ``offset`` (0).

    What goes over the size of one answer comes without description and columns, marked ``cut``.
    """
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    ids = list(domain.catalogue.index.entries)[offset : offset + limit]
    found = await domain.read(lambda session: some(session, ids))
    rows = [dataset.to_wire(private=who.owns) for dataset in found]
    fit(rows, _weight, {"description": "", "citation": "", "contributors": [], "assets": []})
    return rows


@verb("dataset.search")
async def search_datasets(domain: Domain, who: Who, args: Args) -> Any:
    """A page of the datasets that have every word of ``text`` in name, tags or description, and the ``tags``.

    A word is found by its beginning; ``prefix`` is one of the id.  With none of the three all are found.  The answer
    has at most ``limit`` (100) rows from ``offset`` (0), fewer where they are long; ``total`` that match; ``next``:
    where to go on, or None.  ``brief`` rows have the first names of their assets, and the beginning of their
    description.
    """
    limit, offset = args.number("limit", 1, 1000, default=100), args.number("offset", 0, 2**31, default=0)
    text, chosen = args.text("text", MAX_QUERY, default=""), _chosen(domain, args)
    brief = args.flag("brief")

    def work(session: Session) -> tuple[int, list[dict[str, Any]]]:
        ids = chosen
        if text.strip():
            held = set(chosen)
            ids = [an_id for an_id in words.matching(session, text) if an_id in held]
        page = ids[offset : offset + limit]
        if brief:
            return len(ids), some_briefly(session, page)
        return len(ids), [dataset.to_wire(private=who.owns) for dataset in some(session, page)]

    total, found = await domain.read(work)
    rows = found[: _fitting(found)]
    end = offset + len(rows)
    return {"datasets": rows, "total": total, "next": end if rows and end < total else None}


def _chosen(domain: Domain, args: Args) -> list[str]:
    """Ids of the datasets with the tags, or whose id begins so."""
    index = domain.catalogue.index
    tags = args.texts("tags", MAX_TAGS, 256)
    ids = index.matching(tags, args.text("match", 8, default=MATCHES[0])) if tags else list(index.entries)
    prefix = args.text("prefix", 64, default="").lower().replace("-", "")
    return [an_id for an_id in ids if an_id.startswith(prefix)] if prefix else ids


def _fitting(rows: list[dict[str, Any]]) -> int:
    """How many of the first rows one answer holds; at least one."""
    left = LIST_BYTES
    for count, row in enumerate(rows):
        left -= _weight(row)
        if left < 0:
            return max(1, count)
    return len(rows)


@verb("dataset.get")
async def get_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """One dataset, by ``id`` or ``name``."""
    an_id, name = named(args)
    dataset = await domain.read(lambda session: find(session, an_id, name).value())
    return dataset.to_wire(private=who.owns)


@verb("dataset.create")
async def create_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Make a dataset of staged uploads: all of it or nothing."""
    args.label("name", MAX_NAME)
    about, brought = read_about(args), read_brought(domain, who, args)
    check_size(domain, about.size() + brought.size())
    async with checked(domain, brought):
        dataset = await domain.write(
            lambda session: _insert(domain, session, who, about, brought), lambda dataset: made(domain, dataset)
        )
    return dataset.to_wire(private=True)


@verb("asset.read")
async def read_asset(domain: Domain, who: Who, args: Args) -> Any:
    """A piece of an asset's mock, or of its private data for an owner.  Raises ``PrivateData`` or ``NoMock``."""
    asset = domain.catalogue.asset(args.id("id"))
    side = args.text("side", 8)
    offset, limit = args.number("offset", 0, 2**46, default=0), args.number("limit", 1, CHUNK, default=CHUNK)
    if side == "data":
        if not who.owns:
            raise PrivateData(f"The asset {asset.name!r} is private: only its owner reads it.")
        await _note_read(domain, who, asset.id)
        meta = asset.data
    elif side == "mock":
        if asset.mock is None:
            raise NoMock(f"The asset {asset.name!r} has no mock.")
        meta = asset.mock
    else:
        raise InvalidInput(f"side is {side!r}; it must be mock or data.")
    name = file_name(asset.id, side, meta.kind)
    data, total = await asyncio.to_thread(domain.storage.files.read, name, offset, limit)
    return {"data": data, "total": total}


def named(args: Args) -> tuple[str | None, str | None]:
    """The id or the name that a verb is told."""
    return (args.id("id"), None) if args.has("id") else (None, args.text("name", MAX_NAME))


def made(domain: Domain, dataset: Dataset) -> None:
    """Take a dataset that was made or changed into the catalogue, and tell who watches."""
    domain.catalogue.put(dataset)
    domain.changed()


def index_words(session: Session, row: DatasetRow) -> None:
    """Let a dataset be found by its words."""
    words.put(session, row.position, row.name, *row.tags, row.description)


def refuse_taken(session: Session, name: str) -> None:
    """Raise ``Conflict`` when a dataset has the name."""
    if session.scalars(select(DatasetRow.id).where(DatasetRow.name == name)).first():
        raise Conflict(f"There is a dataset named {name!r} already.")


def _insert(domain: Domain, session: Session, who: Who, about: About, brought: Brought) -> Dataset:
    refuse_taken(session, about.name or "")
    if session.scalars(select(func.count()).select_from(DatasetRow)).one() >= domain.limits.datasets:
        raise TooLarge(f"The domain has {domain.limits.datasets} datasets already.")
    row = DatasetRow(
        id=domain.new_id(),
        position=(session.scalar(select(func.max(DatasetRow.position))) or 0) + 1,
        **{"description": "", "citation": "", "url": "", "tags": [], "contributors": [], **about.changes()},
        created_at=domain.clock(),
        created_by=who.person.email,
        version=1,
        assets=[asset.row(position, 1) for position, asset in enumerate(brought.assets)],
    )
    session.add(row)
    session.flush()
    index_words(session, row)
    domain.record(session, who.label, "dataset.create", row.id, name=row.name, assets=len(brought.assets))
    place(domain, brought)
    return row.value()


async def _note_read(domain: Domain, who: Who, asset: str) -> None:
    """One audit entry for each asset that a session reads, not one for each piece."""
    noted: set[str] = who.caller.state.setdefault(READS, set())
    if asset in noted:
        return
    await domain.write(lambda session: domain.record(session, who.label, "asset.read", asset, side="data"))
    if len(noted) >= READS_NOTED:
        noted.clear()
    noted.add(asset)


def _weight(row: dict[str, Any]) -> int:
    columns = sum(40 * len(asset["meta"]["columns"]) + 500 for asset in row["assets"])
    return len(row["description"]) + len(row["citation"]) + 2 * columns + 200 * len(row["contributors"]) + 500
