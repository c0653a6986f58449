"""A client's end of a link: the verbs of a domain, and bytes in chunks either way."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final, Protocol

from p2pgrid import assets, crypto, wire
from p2pgrid.errors import Malformed

CHUNK: Final = 1 << 20
AHEAD: Final = 4
"""Chunks under way at once: enough to fill a link, few enough to hold."""
VERB_TIMEOUT: Final = 30.0
RUN_TIMEOUT: Final = 600.0


class Channel(Protocol):
    """What a link offers to its client."""

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float = ...) -> Any:
        """One verb, answered within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Say goodbye and let go."""
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

    async def send(self, value: Any, progress: Callable[[int], None] = lambda size: None) -> dict[str, Any]:
        """Stage a value at the domain, in chunks; the answer names it for ``dataset.create``."""
        dumped = await asyncio.to_thread(assets.dump, value)
        upload, offset = secrets.token_hex(16), 0
        under_way: set[asyncio.Task[Any]] = set()
        try:
            for chunk in dumped.chunks(CHUNK):
                if len(under_way) >= AHEAD:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                put = self.call("blob.put", upload=upload, offset=offset, data=bytes(chunk))
                under_way.add(asyncio.create_task(put))
                offset += len(chunk)
                progress(len(chunk))
            for task in under_way:
                await task
        finally:
            for task in under_way:
                task.cancel()
        return {"upload": upload, "meta": dumped.meta.to_wire()}

    async def read_asset(self, asset: str, side: str, meta: dict[str, Any]) -> Any:
        """The value of one side of an asset, checked against its digest.  Raises ``PrivateData``, ``Malformed``."""
        data = await self._read("asset.read", id=asset, side=side)
        expected = meta.get("digest")
        if expected and hashlib.blake2b(data, digest_size=32).hexdigest() != expected:
            raise Malformed("An asset's bytes are not those that the domain described.")
        return await asyncio.to_thread(assets.load, str(meta["kind"]), data)

    async def read_result(self, execution: str) -> Any:
        """The value that a released run gave."""
        return wire.unpack_value(await self._read("result.read", execution=execution))

    async def _read(self, verb: str, **what: Any) -> bytes:
        first = await self.call(verb, **what, offset=0, limit=CHUNK)
        parts, size, total = [first["data"]], len(first["data"]), int(first["total"])
        while size < total:
            part = (await self.call(verb, **what, offset=size, limit=CHUNK))["data"]
            if not part:
                raise Malformed("A transfer ended before its announced size.")
            parts.append(part)
            size += len(part)
        return b"".join(parts)
