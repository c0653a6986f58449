"""Asking many nodes one question under one deadline."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.asking import Asker
from gateway.book import Book, Member
from gateway.settings import ASKS_AT_ONCE, MAX_TAGS, OWN_LAG, SEARCHES_AT_ONCE
from p2pgrid.errors import GatewayFull, P2PError, RemoteError

_LOG = logging.getLogger("gateway")
T = TypeVar("T")


class Searcher:
    """Broadcasts questions to the nodes that are up.

    A node that is dead, slow, lying or too talkative is left out and counted in ``left_out``; the others' answers are
    there when all have answered, or at the deadline.  Made inside a running loop, ended by ``close``.
    """

    def __init__(self, book: Book, asker: Asker, *, deadline: float, lost: Callable[[], None]) -> None:
        self._book = book
        self._asker = asker
        self._deadline = deadline
        self._lost = lost
        self._asks = asyncio.Semaphore(ASKS_AT_ONCE)
        self._searches = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self._trials: set[asyncio.Task[None]] = set()
        self.left_out: Counter[str] = Counter()

    async def close(self) -> None:
        """End the trials under way."""
        for task in self._trials:
            task.cancel()
        await asyncio.gather(*self._trials, return_exceptions=True)

    async def search(self, query: list[str], match: str) -> list[tuple[str, str]]:
        """Names and addresses of the nodes that say they hold it, by name.

        The tags go to the nodes as they were written: nodes of the first Grid compare them letter by letter.
        """
        body = {"query": query} if match == "all" else {"query": query, "match": match}
        raw = json.dumps(body).encode()
        answers = await self._ask_all(lambda member: self._asker.search(member.address, member.ips[0], raw))
        return sorted((member.row.name, member.row.address) for member, content in answers if content)

    async def tags(self) -> list[str]:
        """All tags of all nodes, each with its ``#``, sorted."""
        found: set[str] = set()
        for _, tags in await self._ask_all(lambda member: self._asker.tags(member.address, member.ips[0])):
            found |= tags
        return sorted(found)[:MAX_TAGS]

    async def _ask_all(self, ask: Callable[[Member], Awaitable[T]]) -> list[tuple[Member, T]]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline
        answers: list[tuple[Member, T]] = []
        try:
            async with asyncio.timeout_at(end):
                await self._searches.acquire()
        except TimeoutError:
            raise GatewayFull(f"{SEARCHES_AT_ONCE} searches are under way.") from None
        try:
            async with asyncio.TaskGroup() as group:
                for member in self._book.askable(loop.time()):
                    if member.suspect:
                        self._try(member, ask, end, answers)
                    else:
                        group.create_task(self._ask_one(member, ask, end, answers))
        finally:
            self._searches.release()
        return [(member, answer) for member, answer in answers if self._book.holds(member)]

    def _try(
        self,
        member: Member,
        ask: Callable[[Member], Awaitable[T]],
        end: float,
        answers: list[tuple[Member, T]],
    ) -> None:
        """Ask a suspect beside the search; its answer counts if it comes before the others are done."""
        if member.on_trial:
            return
        member.on_trial = True
        task = asyncio.create_task(self._ask_one(member, ask, end, answers))
        self._trials.add(task)

        def over(task: asyncio.Task[None]) -> None:
            member.on_trial = False
            self._trials.discard(task)

        task.add_done_callback(over)

    async def _ask_one(
        self,
        member: Member,
        ask: Callable[[Member], Awaitable[T]],
        end: float,
        answers: list[tuple[Member, T]],
    ) -> None:
        loop = asyncio.get_running_loop()
        began: float | None = None
        try:
            async with asyncio.timeout_at(end), self._asks:
                if not member.ips:
                    return
                began = loop.time()
                answers.append((member, await ask(member)))
            member.did_answer()
        except TimeoutError:
            self.left_out["no-turn-in-time" if began is None else "no-answer-in-time"] += 1
            # Whoever got its turn late, or was heard late, is not to blame.
            now = loop.time()
            if began is not None and end - began >= self._deadline / 2 and now - end < OWN_LAG:
                member.let_wait(began=began, now=now)
        except P2PError as error:
            member.did_answer()
            if isinstance(error, RemoteError):
                self.left_out[error.reason] += 1
            else:
                self.left_out["unreachable"] += 1
                # It is gone or going: look now instead of at the next regular probe.
                member.due = min(member.due, loop.time())
                self._lost()
        except Exception:
            # A fault of ours with one node's answer must not cost the searcher all the others'.
            self.left_out["internal"] += 1
            _LOG.exception("asking %s failed", member.row.name)
