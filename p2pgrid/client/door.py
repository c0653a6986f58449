"""A client's end of a link: the verbs of a domain, and bytes in chunks either way."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, Protocol

from p2pgrid import assets, crypto, wire
from p2pgrid.client.bridge import Bridge
from p2pgrid.client.transfer import Digest, in_order, room_for
from p2pgrid.errors import Malformed, Oversized
from p2pgrid.ids import node_id

CHUNK: Final = 1 << 20
ON_DISK: Final = frozenset({"file", "folder"})
"""Kinds that may be larger than memory."""
PAGE: Final = 100
MOST: Final = 1000
"""Datasets that are asked for at first, and at once afterwards."""
AHEAD: Final = 4
"""Chunks under way at once: enough to fill a link, few enough to hold."""
VERB_TIMEOUT: Final = 30.0
RUN_TIMEOUT: Final = 600.0


WHOLE: Final = MappingProxyType(
    {
        "code.list": ("request.get", "request"),
        "request.list": ("request.get", "id"),
    }
)
"""Where the rest of a row comes from: the verb, and the row's field that names it."""


class Channel(Protocol):
    """What a link offers to its client."""

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float = ...) -> Any:
        """One verb, answered within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Say goodbye and let go."""
        ...


class Holder(Protocol):
    """Whoever holds a door: the client of one domain, as its objects see it."""

    @property
    def _bridge(self) -> Bridge: ...

    @property
    def door(self) -> Door:
        """The way to the domain."""
        ...

    @property
    def email(self) -> str:
        """Who is logged in; empty for a guest."""
        ...

    @property
    def is_owner(self) -> bool:
        """Whether private data may be read."""
        ...


class Door:
    """Calls to one domain over one link, made by the holder of one key."""

    def __init__(self, channel: Channel, identity: crypto.Identity, peer: bytes = b"") -> None:
        self._channel = channel
        self.identity = identity
        self.peer = peer
        """The key that the other end has proven."""
        self.node = node_id(peer).hex() if peer else ""
        """Its node id, in hexadecimal."""

    async def call(self, verb: str, *, timeout: float = VERB_TIMEOUT, **args: Any) -> Any:
        """The answer to a verb.  Raises the error that the domain answered with, or ``Unreachable``."""
        return await self._channel.call(verb, args, timeout=timeout)

    async def close(self) -> None:
        """Close the link."""
        await self._channel.close()

    async def rows(self, verb: str, **args: Any) -> list[dict[str, Any]]:
        """A list, whole: rows that the domain cut to keep its answer short are asked for one by one."""
        rows: list[dict[str, Any]] = await self.call(verb, **args)
        for row in rows:
            if row.pop("cut", False):
                one, name = WHOLE[verb]
                whole = await self.call(one, id=row[name])
                row.update({key: whole[key] for key in row.keys() & whole.keys() if key != "id"})
        return rows

    async def datasets(self, *, brief: bool, **wanted: Any) -> list[dict[str, Any]]:
        """All datasets that ``dataset.search`` finds; ``brief`` rows after the first page, if they will do."""
        page = _page(await self.call("dataset.search", **wanted, limit=PAGE))
        rows = list(page["datasets"])
        while page["next"] is not None:
            page = _page(
                await self.call(
                    "dataset.search", **wanted, limit=MOST if brief else PAGE, offset=len(rows), brief=brief
                )
            )
            if not page["datasets"]:
                break
            rows += page["datasets"]
        return rows

    async def send(self, value: Any, progress: Callable[[int], None] = lambda size: None) -> dict[str, Any]:
        """Stage a value at the domain, in chunks; the answer names it for ``dataset.create``.

        Its bytes are hashed while they go out, and a file is never in memory as a whole.
        """
        dumped = await asyncio.to_thread(assets.dump, value)
        upload, digest, chunks = secrets.token_hex(16), Digest(), dumped.chunks(CHUNK)

        async def puts() -> AsyncIterator[Coroutine[Any, Any, Any]]:
            offset = 0
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                await digest.take(chunk)
                yield self.call("blob.put", upload=upload, offset=offset, data=chunk)
                offset += len(chunk)
                progress(len(chunk))

        async with aclosing(in_order(puts(), AHEAD)) as answers:
            async for _ in answers:  # each raises what its call raised
                pass
        return {"upload": upload, "meta": dumped.described(await digest.hexdigest()).to_wire()}

    async def read_asset(self, asset: str, side: str, meta: dict[str, Any]) -> Any:
        """The value of one side of an asset, checked against its digest.  Raises ``PrivateData``, ``Malformed``.

        A file or a folder lies in a temporary file, which ends with the value.
        """
        kind, size, expected = str(meta.get("kind")), meta.get("size"), meta.get("digest")
        if type(size) is not int:
            raise Malformed("An asset's description has no size.")
        digest = Digest()
        data = await self._read("asset.read", size, digest, on_disk=kind in ON_DISK, id=asset, side=side)
        if expected and await digest.hexdigest() != expected:
            raise Malformed("An asset's bytes are not those that the domain described.")
        return await asyncio.to_thread(assets.load, kind, data)

    async def read_result(self, execution: str) -> Any:
        """The value that a released run gave."""
        return wire.unpack_value(await self._read("result.read", wire.MAX_VALUE_BYTES, Digest(), execution=execution))

    async def _read(self, verb: str, most: int, digest: Digest, *, on_disk: bool = False, **what: Any) -> memoryview:
        """All bytes behind a verb, at most ``most``.  Raises ``Malformed`` or ``Oversized`` on a false answer."""
        first, total = _part(await self.call(verb, **what, offset=0, limit=CHUNK))
        if total > most:
            raise Oversized(f"A transfer of {total} bytes is over its limit of {most}.")
        if len(first) != min(total, CHUNK):
            raise Malformed("A transfer does not have its announced size.")
        whole = room_for(total, on_disk=on_disk)

        async def fetch(offset: int) -> int:
            part = await self.call(verb, **what, offset=offset, limit=CHUNK) if offset else None
            data, again = _part(part) if part is not None else (first, total)
            if again != total or len(data) != min(CHUNK, total - offset):
                raise Malformed("A transfer does not have its announced size.")
            whole[offset : offset + len(data)] = data
            return offset

        async def fetches() -> AsyncIterator[Coroutine[Any, Any, int]]:
            for offset in range(0, total, CHUNK):
                yield fetch(offset)

        async with aclosing(in_order(fetches(), AHEAD)) as offsets:
            async for offset in offsets:
                await digest.take(whole[offset : offset + CHUNK])
        return whole


def _page(answer: Any) -> dict[str, Any]:
    rows = answer.get("datasets") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or "next" not in answer:
        raise Malformed("A page of datasets cannot be read.")
    return dict(answer)


def _part(answer: Any) -> tuple[bytes, int]:
    data, total = (answer.get("data"), answer.get("total")) if isinstance(answer, dict) else (None, None)
    if not isinstance(data, bytes) or type(total) is not int:
        raise Malformed("A part of a transfer cannot be read.")
    return data, total
