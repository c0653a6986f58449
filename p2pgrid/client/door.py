"""A client's end of a link: the verbs of a domain, and bytes in chunks either way."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final, Protocol

from p2pgrid import assets, crypto, wire
from p2pgrid.client.bridge import Bridge
from p2pgrid.errors import Malformed, Oversized

CHUNK: Final = 1 << 20
AHEAD: Final = 4
"""Chunks under way at once: enough to fill a link, few enough to hold."""
VERB_TIMEOUT: Final = 30.0
RUN_TIMEOUT: Final = 600.0


WHOLE: Final = MappingProxyType(
    {
        "code.list": ("request.get", "request"),
        "dataset.list": ("dataset.get", "id"),
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

    def __init__(self, channel: Channel, identity: crypto.Identity) -> None:
        self._channel = channel
        self.identity = identity

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

    async def send(self, value: Any, progress: Callable[[int], None] = lambda size: None) -> dict[str, Any]:
        """Stage a value at the domain, in chunks; the answer names it for ``dataset.create``."""
        dumped = await asyncio.to_thread(assets.dump, value)
        upload, offset = secrets.token_hex(16), 0
        under_way: list[asyncio.Task[Any]] = []
        try:
            for chunk in dumped.chunks(CHUNK):
                if len(under_way) >= AHEAD:
                    await under_way.pop(0)
                put = self.call("blob.put", upload=upload, offset=offset, data=bytes(chunk))
                under_way.append(asyncio.create_task(put))
                offset += len(chunk)
                progress(len(chunk))
            while under_way:
                await under_way.pop(0)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return {"upload": upload, "meta": dumped.meta.to_wire()}

    async def read_asset(self, asset: str, side: str, meta: dict[str, Any]) -> Any:
        """The value of one side of an asset, checked against its digest.  Raises ``PrivateData``, ``Malformed``."""
        kind, size, expected = str(meta.get("kind")), meta.get("size"), meta.get("digest")
        if type(size) is not int:
            raise Malformed("An asset's description has no size.")
        data = await self._read("asset.read", size, id=asset, side=side)
        if expected and hashlib.blake2b(data, digest_size=32).hexdigest() != expected:
            raise Malformed("An asset's bytes are not those that the domain described.")
        return await asyncio.to_thread(assets.load, kind, data)

    async def read_result(self, execution: str) -> Any:
        """The value that a released run gave."""
        return wire.unpack_value(await self._read("result.read", wire.MAX_VALUE_BYTES, execution=execution))

    async def _read(self, verb: str, most: int, **what: Any) -> bytes:
        """All bytes behind a verb, at most ``most``.  Raises ``Malformed`` or ``Oversized`` on a false answer."""
        parts: list[bytes] = []
        size, total = 0, 1
        while size < total:
            answer = await self.call(verb, **what, offset=size, limit=CHUNK)
            part, total = _part(answer)
            if total > most:
                raise Oversized(f"A transfer of {total} bytes is over its limit of {most}.")
            if size + len(part) > total or not (part or size == total):
                raise Malformed("A transfer does not have its announced size.")
            parts.append(part)
            size += len(part)
        return b"".join(parts)


def _part(answer: Any) -> tuple[bytes, int]:
    data, total = (answer.get("data"), answer.get("total")) if isinstance(answer, dict) else (None, None)
    if not isinstance(data, bytes) or type(total) is not int:
        raise Malformed("A part of a transfer cannot be read.")
    return data, total
