"""Verbs on datasets, their assets, and the uploads they are made from."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid import wire
from p2pgrid.assets import AssetMeta
from p2pgrid.domain.accounts import normalise_email
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Dataset
from p2pgrid.domain.service.door import Domain, Who, fit, verb
from p2pgrid.domain.storage.database import names_of
from p2pgrid.domain.storage.files import file_name
from p2pgrid.domain.storage.tables import AssetRow, DatasetRow
from p2pgrid.errors import Conflict, InvalidInput, NoMock, PrivateData, TooLarge
from p2pgrid.ids import normalise_tags

CHUNK: Final = 1 << 20
"""Bytes of one piece of an upload or a read."""
MAX_NAME: Final = 200
MAX_TEXT: Final = 20_000
MAX_TAGS: Final = 32
MAX_CONTRIBUTORS: Final = 64
READS_NOTED: Final = 4096
IDLE_UPLOAD: Final = 6 * 3600.0
"""Seconds after which an upload that stopped growing is forgotten."""
READS: Final = "p2pgrid.reads"


@verb("dataset.list")
async def list_datasets(domain: Domain, who: Who, args: Args) -> Any:
    """Datasets in order of their making: ``limit`` (1000) from ``offset`` (0).

    What goes over the size of one answer comes without description and columns, marked ``cut``.
    """
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    rows = [dataset.to_wire(private=who.owns) for dataset in domain.catalogue.datasets[offset : offset + limit]]
    fit(rows, _weight, {"description": "", "citation": "", "contributors": [], "assets": []})
    return rows


@verb("dataset.get")
async def get_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """One dataset, by ``id`` or ``name``."""
    return _find(domain, args).to_wire(private=who.owns)


@verb("blob.put")
async def put_blob(domain: Domain, who: Who, args: Args) -> Any:
    """Stage a piece of an upload, in any order; nothing of it is seen before ``dataset.create``."""
    upload = f"{who.person.id}-{args.id('upload')}"
    offset, data = args.number("offset", 0, 2**46), args.blob("data", CHUNK)
    files = domain.storage.files
    if not offset:
        await asyncio.to_thread(_forget_idle, domain)
    return {"size": await asyncio.to_thread(files.stage, upload, offset, data)}


@verb("dataset.create")
async def create_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Make a dataset of staged uploads: all of it or nothing."""
    new = _read_new(domain, who, args)
    try:
        await asyncio.to_thread(_check_uploads, domain, new)
        dataset = await domain.write(
            lambda session: _insert(domain, session, who, new),
            lambda dataset: domain.changed(domain.catalogue.with_dataset(dataset)),
        )
    except Exception:
        # Not for a cancelled caller: the write may still be going on.
        await asyncio.to_thread(domain.storage.files.drop, set(new.uploads))
        raise
    return dataset.to_wire(private=True)


@verb("dataset.delete")
async def delete_dataset(domain: Domain, who: Who, args: Args) -> Any:
    """Delete a dataset and its files; what was released from it stays released."""
    dataset = _find(domain, args)

    def work(session: Session) -> set[str]:
        row = session.get(DatasetRow, dataset.id)
        names = {name for asset in row.assets for name in names_of(asset)} if row else set()
        if row is not None:
            session.delete(row)
            domain.record(session, who.label, "dataset.delete", dataset.id, name=dataset.name)
        return names

    names = await domain.write(work, lambda _: domain.changed(domain.catalogue.without(dataset.id)))
    await asyncio.to_thread(domain.storage.files.delete, names)
    return {"id": dataset.id}


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


@dataclass(frozen=True, slots=True)
class _NewAsset:
    id: str
    name: str
    description: str
    data: AssetMeta
    mock: AssetMeta | None


@dataclass(frozen=True, slots=True)
class _NewDataset:
    """``uploads``: staged upload -> (its description, the file it becomes)."""

    name: str
    description: str
    citation: str
    url: str
    tags: list[str]
    contributors: list[dict[str, str]]
    assets: list[_NewAsset]
    uploads: dict[str, tuple[AssetMeta, str]]


def _find(domain: Domain, args: Args) -> Dataset:
    if args.has("id"):
        return domain.catalogue.dataset(args.id("id"))
    return domain.catalogue.named(args.text("name", MAX_NAME))


def _read_new(domain: Domain, who: Who, args: Args) -> _NewDataset:
    uploads: dict[str, tuple[AssetMeta, str]] = {}
    assets: list[_NewAsset] = []
    for child in args.children("assets", domain.limits.assets, least=1):
        an_id = domain.new_id()
        data = _upload(who, child.child("data"), an_id, "data", uploads)
        mock = _upload(who, child.child("mock"), an_id, "mock", uploads) if child.has("mock") else None
        assets.append(
            _NewAsset(an_id, child.label("name", MAX_NAME), child.text("description", MAX_TEXT, default=""), data, mock)
        )
    if len({asset.name for asset in assets}) < len(assets):
        raise InvalidInput("Two assets of the dataset have the same name.")
    new = _NewDataset(
        name=args.label("name", MAX_NAME),
        description=args.text("description", MAX_TEXT, default=""),
        citation=args.text("citation", MAX_TEXT, default=""),
        url=args.text("url", 2000, default=""),
        tags=list(normalise_tags(args.texts("tags", MAX_TAGS, 256))),
        contributors=[_contributor(child) for child in args.children("contributors", MAX_CONTRIBUTORS)],
        assets=assets,
        uploads=uploads,
    )
    size = len(wire.pack_value([new.name, new.description, new.citation, new.tags, new.contributors]))
    size += sum(len(wire.pack_value([meta.to_wire()])) + 100 for meta, _ in uploads.values())
    size += sum(len(asset.description.encode()) for asset in assets)
    if size > domain.limits.dataset_bytes:
        raise TooLarge(f"The dataset's description has {size} bytes; {domain.limits.dataset_bytes} are taken.")
    return new


def _upload(who: Who, args: Args, asset: str, side: str, uploads: dict[str, tuple[AssetMeta, str]]) -> AssetMeta:
    upload, meta = f"{who.person.id}-{args.id('upload')}", args.meta("meta")
    if upload in uploads:
        raise InvalidInput("Two assets of the dataset are made from the same upload.")
    uploads[upload] = (meta, file_name(asset, side, meta.kind))
    return meta


def _contributor(args: Args) -> dict[str, str]:
    email = args.text("email", 508, default="")
    return {
        "role": args.text("role", 64, default=""),
        "name": args.label("name", MAX_NAME),
        "email": normalise_email(email) if email else "",
    }


def _check_uploads(domain: Domain, new: _NewDataset) -> None:
    for upload, (meta, _) in new.uploads.items():
        domain.storage.files.check(upload, meta)


def _insert(domain: Domain, session: Session, who: Who, new: _NewDataset) -> Dataset:
    if session.scalars(select(DatasetRow.id).where(DatasetRow.name == new.name)).first():
        raise Conflict(f"There is a dataset named {new.name!r} already.")
    if session.scalars(select(func.count()).select_from(DatasetRow)).one() >= domain.limits.datasets:
        raise TooLarge(f"The domain has {domain.limits.datasets} datasets already.")
    row = DatasetRow(
        id=domain.new_id(),
        position=(session.scalar(select(func.max(DatasetRow.position))) or 0) + 1,
        name=new.name,
        description=new.description,
        citation=new.citation,
        url=new.url,
        tags=new.tags,
        contributors=new.contributors,
        created_at=domain.clock(),
        created_by=who.person.email,
        assets=[
            AssetRow(
                id=asset.id,
                position=position,
                name=asset.name,
                description=asset.description,
                data=asset.data.to_wire(),
                mock=asset.mock.to_wire() if asset.mock else None,
            )
            for position, asset in enumerate(new.assets)
        ],
    )
    session.add(row)
    session.flush()
    domain.record(session, who.label, "dataset.create", row.id, name=new.name, assets=len(new.assets))
    _place(domain, new)
    return row.value()


def _place(domain: Domain, new: _NewDataset) -> None:
    """Move the files while the rows wait to be committed: a crash leaves files without rows, never the reverse."""
    files, moves = domain.storage.files, {upload: name for upload, (_, name) in new.uploads.items()}
    try:
        files.commit(moves)
    except BaseException:
        files.delete(set(moves.values()))
        raise


def _forget_idle(domain: Domain) -> None:
    staged = domain.storage.files.staged()
    newest = max(staged.values(), default=0.0)
    domain.storage.files.drop({name for name, grown in staged.items() if newest - grown > IDLE_UPLOAD})


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
