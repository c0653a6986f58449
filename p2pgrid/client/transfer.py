"""Bytes on their way: several pieces at once, hashed while they go by, and room for what arrives."""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from p2pgrid import assets

T = TypeVar("T")

SMALL: Final = 1 << 20
"""Bytes up to which a transfer is kept in ordinary memory."""


async def in_order(works: AsyncIterator[Coroutine[Any, Any, T]], most: int) -> AsyncGenerator[T, None]:
    """What the works give, in their order, with at most ``most`` of them under way; close it to end them all."""
    under_way: deque[asyncio.Task[T]] = deque()
    try:
        async for work in works:
            under_way.append(asyncio.create_task(work))
            if len(under_way) >= most:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


class Digest:
    """An asset's digest of pieces in their order, computed on a thread while the caller goes on."""

    def __init__(self) -> None:
        self._state = assets.hasher()
        self._under_way: asyncio.Future[None] | None = None

    async def take(self, piece: bytes | memoryview) -> None:
        """Hash a piece, once the one before is done; it must not change meanwhile."""
        await self._ready()
        self._under_way = asyncio.get_running_loop().run_in_executor(None, self._state.update, piece)

    async def hexdigest(self) -> str:
        """Of all that was taken."""
        await self._ready()
        return self._state.hexdigest()

    async def _ready(self) -> None:
        if self._under_way is not None:
            await self._under_way


def room_for(size: int, *, on_disk: bool) -> memoryview:
    """Place for ``size`` bytes that costs nothing before it is written to; ``on_disk``: in a file without a name."""
    if size <= SMALL:
        return memoryview(bytearray(size))
    if not on_disk:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memoryview(memory)
    with tempfile.TemporaryFile(prefix="p2pgrid-") as file:
        file.truncate(size)
        return memoryview(mmap.mmap(file.fileno(), size))
