"""What is brought to a domain: pieces that are staged, and the assets that a dataset is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.assets import AssetMeta
from p2pgrid.domain.accounts import normalise_email
from p2pgrid.domain.fields import Args
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.storage.files import file_name
from p2pgrid.domain.storage.tables import AssetRow
from p2pgrid.errors import InvalidInput, StorageError, TooLarge
from p2pgrid.ids import normalise_tags

CHUNK: Final = 1 << 20
"""Bytes of one piece of an upload or a read."""
MAX_NAME: Final = 200
MAX_TEXT: Final = 20_000
MAX_URL: Final = 2000
MAX_TAGS: Final = 32
MAX_CONTRIBUTORS: Final = 64
IDLE_UPLOAD: Final = 3600.0
"""Seconds after which an upload that stopped growing is forgotten, once another one begins."""


@verb("blob.put")
async def put_blob(domain: Domain, who: Who, args: Args) -> Any:
    """Stage a piece of an upload, in any order; nothing of it is seen before a dataset is made of it.

    One that the disk refuses is forgotten.
    """
    upload = f"{who.person.id}-{args.id('upload')}"
    offset, data = args.number("offset", 0, 2**46), args.blob("data", CHUNK)
    files = domain.storage.files
    if not offset:
        await asyncio.to_thread(_forget_idle, domain)
    async with domain.turn(upload):
        try:
            return {"size": await asyncio.to_thread(files.stage, upload, offset, data)}
        except StorageError as error:
            await asyncio.to_thread(files.refuse, upload, error)
            raise


@dataclass(frozen=True, slots=True)
class About:
    """What is said of a dataset; None where nothing is said."""

    name: str | None
    description: str | None
    citation: str | None
    url: str | None
    tags: list[str] | None
    contributors: list[dict[str, str]] | None

    def changes(self) -> dict[str, Any]:
        """What is said, by the column that it goes to."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in named.items() if value is not None}

    def size(self) -> int:
        """About as many bytes as it takes in an answer."""
        return len(wire.pack_value(list(self.changes().values())))


@dataclass(frozen=True, slots=True)
class NewAsset:
    """An asset that waits in staging."""

    id: str
    name: str
    description: str
    data: AssetMeta
    mock: AssetMeta | None

    def row(self, position: int, version: int) -> AssetRow:
        """As a row of a dataset's version."""
        return AssetRow(
            id=self.id,
            position=position,
            name=self.name,
            description=self.description,
            data=self.data.to_wire(),
            mock=self.mock.to_wire() if self.mock else None,
            version=version,
        )


@dataclass(frozen=True, slots=True)
class Brought:
    """The assets of a dataset, and ``uploads``: staged upload -> (its description, the file it becomes)."""

    assets: list[NewAsset] = field(default_factory=list)
    uploads: dict[str, tuple[AssetMeta, str]] = field(default_factory=dict)

    def size(self) -> int:
        """About as many bytes as its description takes in an answer."""
        metas = sum(len(wire.pack_value([meta.to_wire()])) + 100 for meta, _ in self.uploads.values())
        return metas + sum(len(asset.description.encode()) for asset in self.assets)


def read_about(args: Args) -> About:
    """What is said of a dataset.  Raises ``InvalidInput``."""
    return About(
        name=args.label("name", MAX_NAME) if args.has("name") else None,
        description=args.text("description", MAX_TEXT) if args.has("description") else None,
        citation=args.text("citation", MAX_TEXT) if args.has("citation") else None,
        url=args.text("url", MAX_URL) if args.has("url") else None,
        tags=list(normalise_tags(args.texts("tags", MAX_TAGS, 256))) if args.has("tags") else None,
        contributors=[_contributor(child) for child in args.children("contributors", MAX_CONTRIBUTORS)]
        if args.has("contributors")
        else None,
    )


def read_brought(domain: Domain, who: Who, args: Args) -> Brought:
    """The assets that are to become a dataset's.  Raises ``InvalidInput``."""
    brought = Brought()
    for child in args.children("assets", domain.limits.assets, least=1):
        an_id = domain.new_id()
        data = _upload(who, child.child("data"), an_id, "data", brought.uploads)
        mock = _upload(who, child.child("mock"), an_id, "mock", brought.uploads) if child.has("mock") else None
        name, about = child.label("name", MAX_NAME), child.text("description", MAX_TEXT, default="")
        if mock is not None and (mock.size, mock.digest) == (data.size, data.digest):
            fix = "Give another mock, or none."
            raise InvalidInput(f"The mock of {name!r} is the private data itself, which everybody would see.", fix=fix)
        brought.assets.append(NewAsset(an_id, name, about, data, mock))
    if len({asset.name for asset in brought.assets}) < len(brought.assets):
        raise InvalidInput("Two assets of the dataset have the same name.")
    return brought


def check_size(domain: Domain, size: int) -> None:
    """Raise ``TooLarge`` for a description that is over the domain's limit."""
    if size > domain.limits.dataset_bytes:
        raise TooLarge(f"The dataset's description has {size} bytes; {domain.limits.dataset_bytes} are taken.")


@asynccontextmanager
async def checked(domain: Domain, brought: Brought) -> AsyncIterator[None]:
    """The uploads are whole and on the disk within; they are dropped when what is done with them fails."""

    def check() -> None:
        for upload, (meta, _) in brought.uploads.items():
            domain.storage.files.check(upload, meta)

    try:
        await asyncio.to_thread(check)
        yield
    except Exception:
        # Not for a cancelled caller: the write may still be going on.
        await asyncio.to_thread(domain.storage.files.drop, set(brought.uploads))
        raise


def place(domain: Domain, brought: Brought) -> None:
    """Move the files while the rows wait to be committed: a crash leaves files without rows, never the reverse."""
    files, moves = domain.storage.files, {upload: name for upload, (_, name) in brought.uploads.items()}
    try:
        files.commit(moves)
    except BaseException:
        files.delete(set(moves.values()))
        raise


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


def _forget_idle(domain: Domain) -> None:
    staged = domain.storage.files.staged()
    now = max([domain.clock(), *staged.values()])
    domain.storage.files.drop({name for name, grown in staged.items() if now - grown > IDLE_UPLOAD})
