"""One search over several tags, between the engine that finds and whoever reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from p2pgrid.dht.engine import Engine
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified

Key = tuple[bytes, bytes]
"""Publisher's key and dataset id."""
MOST_EACH: Final = 4096
"""Listings collected per tag when several tags must meet in one dataset."""


class Hunt:
    """One search over several tags: which datasets are complete, and who reads them.

    A dataset comes again when a newer listing of it arrives that was not known when it came first.
    """

    def __init__(
        self, engine: Engine, tags: Sequence[Tag], match: str, limit: int, told: Callable[[], None], now: float
    ) -> None:
        """``told`` is called whenever whoever reads has something to do."""
        self._limit, self._tell = limit, told
        self._needed = len(tags) if match == "all" else 1
        self._seen: dict[Key, set[Tag]] = {}
        self._newest: dict[Key, Verified[Listing]] = {}
        self._queue: deque[Verified[Listing]] = deque()  # as many as ``limit`` lets be found
        self._reads: asyncio.Future[None] | None = None
        """Whoever waits for the next one."""
        self._open = len(tags)
        self._given: set[Key] = set()
        each = limit if self._needed == 1 else MOST_EACH
        self._searches = [engine.search(tag, each, self._found, self._ended, now) for tag in tags]

    def _found(self, listing: Verified[Listing]) -> None:
        key = (listing.record.key, listing.record.dataset)
        tags = self._seen.setdefault(key, set())
        before = len(tags)
        tags.add(listing.record.tag)
        known = self._newest.get(key)
        news = known is None or (listing.record.seq > known.record.seq and _told(listing) != _told(known))
        if known is None or listing.record.seq > known.record.seq:
            self._newest[key] = listing
        if before < self._needed <= len(tags) or (news and len(tags) >= self._needed):
            self._queue.append(self._newest[key])
            self._wake()
            self._tell()

    def _ended(self, at: float) -> None:
        self._open -= 1
        if self._open <= 0:
            self._wake()

    def _wake(self) -> None:
        if self._reads is not None and not self._reads.done():
            self._reads.set_result(None)

    @property
    def reading(self) -> bool:
        """Whether somebody waits for the next one."""
        return self._reads is not None

    async def next(self, deadline: float) -> Verified[Listing] | None:
        """The next listing; None at the end, or when it is past the deadline (the loop's time)."""
        if len(self._given) >= self._limit:
            return None
        loop = asyncio.get_running_loop()
        while not self._queue:
            if self._open <= 0 or loop.time() >= deadline:
                return None
            self._reads = loop.create_future()
            timer = loop.call_at(deadline, self._wake)
            try:
                await self._reads
            finally:
                timer.cancel()
                self._reads = None
        listing = self._queue.popleft()
        self._given.add((listing.record.key, listing.record.dataset))
        return listing

    def end(self) -> None:
        """Nothing more will come."""
        self._open = 1
        self._ended(0.0)

    def stop(self) -> None:
        """Nobody reads any more."""
        for search in self._searches:
            search.close()
        self._searches.clear()
        self._queue.clear()
        self.end()


class Finds:
    """What a search finds, as it arrives: an asynchronous iterator.

    It ends when everybody was asked, when nothing has come until the deadline, with ``aclose``, or when nobody has it
    any more.  Not an asynchronous generator, as the loop keeps account of each of those in a weak set, which costs more
    than all else here.
    """

    __slots__ = ("_deadline", "_hunt", "_hunts", "_loop")

    def __init__(self, hunt: Hunt, deadline: float, hunts: set[Hunt]) -> None:
        """``deadline``: the loop's time.  It is for the search alone: whoever reads may take longer over a listing."""
        self._hunt, self._deadline, self._hunts = hunt, deadline, hunts
        self._loop = asyncio.get_running_loop()
        hunts.add(hunt)

    def __aiter__(self) -> Finds:
        return self

    async def __anext__(self) -> Verified[Listing]:
        if self._hunt.reading:
            raise RuntimeError("a search is read by one task at a time")
        try:
            listing = await self._hunt.next(self._deadline)
        except BaseException:
            self._stop()
            raise
        if listing is None:
            self._stop()
            raise StopAsyncIteration
        return listing

    async def aclose(self) -> None:
        """Stop, and forget what was not read."""
        self._stop()

    def _stop(self) -> None:
        _end(self._hunt, self._hunts)

    def __del__(self) -> None:
        if asyncio._get_running_loop() is self._loop:
            self._stop()
        elif not self._loop.is_closed():  # collected in another thread, or between two runs of the loop
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_end, self._hunt, self._hunts)


def _end(hunt: Hunt, hunts: set[Hunt]) -> None:
    hunts.discard(hunt)
    hunt.stop()


def _told(listing: Verified[Listing]) -> tuple[object, ...]:
    """What a person is told; the same again, only signed later, is no news."""
    record = listing.record
    return record.addresses, record.name, record.title
