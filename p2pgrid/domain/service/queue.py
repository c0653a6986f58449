"""Jobs in memory: those that wait, those that run, what they print, and whoever watches them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from p2pgrid.domain.jobs import Ticket, next_ticket

log = logging.getLogger(__name__)

MAX_LOG: Final = 65_536
"""Characters kept of what a job prints; with the rest it only says that there was more."""
CUT: Final = "\n[cut: more was printed]\n"


class Live:
    """A job that waits or runs here."""

    def __init__(self) -> None:
        self.text, self.ended = "", False
        self._changed = asyncio.Event()

    def write(self, piece: str) -> None:
        """Keep what was printed, up to ``MAX_LOG``, and wake who watches."""
        if len(self.text) < MAX_LOG:
            whole = self.text + piece
            self.text = whole if len(whole) <= MAX_LOG else whole[:MAX_LOG] + CUT
            self.tell()

    def tell(self) -> None:
        """Wake who watches."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, seconds: float) -> None:
        """Wait until something changes, so long at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


Work = Callable[[str, Live], Coroutine[Any, Any, None]]


class Queue:
    """Starts jobs in their turn: ``at_once`` in all, ``each`` of one account.  Belongs to one event loop."""

    def __init__(self, *, at_once: int, each: int) -> None:
        self._at_once, self._each = at_once, each
        self._waiting: list[Ticket] = []
        self._running: dict[asyncio.Task[None], Ticket] = {}
        self._live: dict[str, Live] = {}
        self._work: Work | None = None

    def open(self, work: Work, waiting: Iterable[Ticket]) -> None:
        """Begin, with the jobs that waited when the node stopped."""
        self._work = work
        for ticket in waiting:
            self.add(ticket)

    def add(self, ticket: Ticket) -> None:
        """Queue a job."""
        self._live[ticket.job] = Live()
        self._waiting.append(ticket)
        self._pump()

    def live(self, job: str) -> Live | None:
        """What is known of a job that waits or runs."""
        return self._live.get(job)

    def ahead(self, job: str) -> int:
        """How many wait before it."""
        return next((place for place, ticket in enumerate(self._waiting) if ticket.job == job), 0)

    def drop(self, job: str) -> None:
        """Take a job that waits out of the queue, and end one that runs."""
        waiting = [ticket for ticket in self._waiting if ticket.job == job]
        for ticket in waiting:
            self._waiting.remove(ticket)
            self._forget(job, self._live[job])
        for task, ticket in tuple(self._running.items()):
            if ticket.job == job:
                task.cancel()

    async def close(self) -> None:
        """End what runs; what waits stays queued for the next start."""
        self._work, self._waiting = None, []
        tasks = tuple(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job, live in tuple(self._live.items()):
            self._forget(job, live)

    def _pump(self) -> None:
        while self._work is not None:
            accounts = [ticket.account for ticket in self._running.values()]
            ticket = next_ticket(self._waiting, accounts, at_once=self._at_once, each=self._each)
            if ticket is None:
                return
            self._waiting.remove(ticket)
            live = self._live[ticket.job]
            task = asyncio.create_task(_finished(self._work, ticket.job, live))
            self._running[task] = ticket
            task.add_done_callback(functools.partial(self._done, ticket.job, live))

    def _done(self, job: str, live: Live, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._forget(job, live)
        self._pump()

    def _forget(self, job: str, live: Live) -> None:
        if self._live.get(job) is live:  # else it was queued again while its last run ended
            del self._live[job]
        live.ended = True
        live.tell()


async def _finished(work: Work, job: str, live: Live) -> None:
    try:
        await work(job, live)
    except Exception:
        log.exception("a job could not be brought to its end")
