"""Who is alive: one task that probes every node in its time, and whoever has just joined at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.addresses import AddressPolicy, IPAddress
from gateway.asking import Asker
from gateway.book import Book, Member
from gateway.resolving import Resolver
from gateway.settings import PIN_FRESH, PIN_STALE, PROBES_AT_ONCE
from p2pgrid.errors import P2PError, Unreachable

_LOG = logging.getLogger("gateway")


class Prober:
    """Keeps each member's state, latency and checked addresses up to date."""

    def __init__(
        self,
        book: Book,
        asker: Asker,
        resolver: Resolver,
        policy: AddressPolicy,
        *,
        interval: float,
        deadline: float,
        wall: Callable[[], float],
    ) -> None:
        self._book = book
        self._asker = asker
        self._resolver = resolver
        self._policy = policy
        self._interval = interval
        self._deadline = deadline
        self._wall = wall
        self._wake = asyncio.Event()
        self._running = 0

    def wake(self) -> None:
        """Look again at who is due."""
        self._wake.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for member in self._book.due(loop.time(), PROBES_AT_ONCE - self._running):
                    self._running += 1
                    member.probing = True
                    group.create_task(self._one(member))
                pause = None if self._running >= PROBES_AT_ONCE else max(0.01, self._book.next_due() - loop.time())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if pause is None else min(pause, 3600.0)):
                        await self._wake.wait()

    async def _one(self, member: Member) -> None:
        try:
            await self.probe(member)
        except Exception:
            # A fault of ours in one probe must not end the probing of all the others.
            _LOG.exception("probing %s failed", member.row.name)
            member.missed(now=asyncio.get_running_loop().time(), interval=self._interval)
        finally:
            member.probing = False
            self._running -= 1
            self._wake.set()

    async def probe(self, member: Member) -> None:
        """Ask ``member`` for its health, within the deadline, and note the answer; no answer is an answer too."""
        loop = asyncio.get_running_loop()
        before = member.state
        try:
            async with asyncio.timeout(self._deadline):
                seconds = await self._health(member)
        except (P2PError, TimeoutError) as error:
            member.missed(now=loop.time(), interval=self._interval)
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            _LOG.debug("%s is offline: %s", member.row.name, why)
        else:
            member.answered(seconds, now=loop.time(), wall=self._wall(), interval=self._interval)
        if before != member.state and self._book.holds(member):
            _LOG.info("node %s is %s", member.row.name, member.state)

    async def _health(self, member: Member) -> float:
        error: P2PError | None = None
        for ip in await self._ips(member):
            try:
                seconds = await self._asker.health(member.address, ip)
            except Unreachable as failure:
                error = failure
                continue
            # The one that answers goes first, and is the one that searches use.
            member.ips = (ip, *(other for other in member.ips if other != ip))
            return seconds
        raise error or Unreachable(f"{member.address.text} has no address.")

    async def _ips(self, member: Member) -> tuple[IPAddress, ...]:
        """Checked addresses: the pinned ones while they are fresh, or while the name system is silent."""
        age = asyncio.get_running_loop().time() - member.looked_up
        if member.ips and age < PIN_FRESH:
            return member.ips
        try:
            found = await self._resolver.checked(member.address, timeout=self._deadline / 2)
        except Unreachable:
            if member.ips and age < PIN_STALE:
                return member.ips
            raise
        except P2PError:
            member.ips = ()
            raise
        pin(member, found, self._policy, now=asyncio.get_running_loop().time())
        return member.ips


def pin(member: Member, ips: tuple[IPAddress, ...], policy: AddressPolicy, *, now: float) -> None:
    """Note the checked addresses of ``member``; a known good one stays first."""
    kept = tuple(ip for ip in member.ips if ip in ips)
    member.ips = kept + tuple(ip for ip in ips if ip not in kept)
    member.looked_up = now
    member.group = policy.group(ips[0])
