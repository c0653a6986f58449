"""The gateway as a whole: makes every part, owns every task, starts and stops."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

from gateway.addresses import AddressPolicy, IPAddress, parse_address
from gateway.app import Api
from gateway.asking import Asker
from gateway.bodies import JoinCall
from gateway.book import Book, Claim, Member, NodeStatus, may_replace
from gateway.probes import Prober, pin
from gateway.registry import NodeRow, Registry
from gateway.resolving import Lookup, Resolver, system_lookup
from gateway.search import Searcher
from gateway.settings import BACKLOG, HOUSEKEEPING, JOINS_AT_ONCE, MAX_NODES, SHUTDOWN, GatewaySettings
from p2pgrid.errors import BadConfig, BadHome, GatewayFull, HomeInUse, InvalidInput, NameTaken, PortTaken, Unreachable
from p2pgrid.link.connections import Connections

_LOG = logging.getLogger("gateway")
T = TypeVar("T")


class Gateway:
    """A running gateway.  Made by ``start``, ended by ``close``."""

    def __init__(
        self, settings: GatewaySettings, registry: Registry, lock: int, lookup: Lookup, wall: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._registry = registry
        self._lock_file = lock
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-registry")
        self._policy = AddressPolicy(
            loopback=settings.on_loopback or settings.allow_private, private=settings.allow_private
        )
        self._book = Book()
        self._saved: dict[str, float] = {}
        self._joining = asyncio.Lock()
        self._join_slots = asyncio.Semaphore(JOINS_AT_ONCE)
        self._asker = Asker(self._policy)
        self._resolver = Resolver(self._policy, lookup)
        self._prober = Prober(
            self._book,
            self._asker,
            self._resolver,
            self._policy,
            interval=settings.probe_interval,
            deadline=settings.deadline,
            wall=wall,
        )
        self._searcher = Searcher(self._book, self._asker, deadline=settings.deadline, lost=self._prober.wake)
        self._tasks: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.connections = Connections(self._handler)
        self.port = settings.port

    @classmethod
    async def start(
        cls, settings: GatewaySettings, *, lookup: Lookup = system_lookup, wall: Callable[[], float] = time.time
    ) -> Gateway:
        """Open the home, read the registry, begin to listen and to probe.

        Raises ``BadHome``, ``HomeInUse``, ``StorageError``, ``PortTaken`` or ``BadConfig``.  ``lookup`` turns host
        names into IP addresses; ``wall`` is the time of day in seconds since the epoch.
        """
        folder = settings.folder()
        lock = await asyncio.to_thread(_own, folder)
        try:
            registry = await asyncio.to_thread(Registry, folder / "registry.db")
        except BaseException:
            os.close(lock)
            raise
        gateway = cls(settings, registry, lock, lookup, wall)
        try:
            await gateway._remember()
            await gateway._listen()
        except BaseException:
            await gateway.close()
            raise
        gateway._tasks = asyncio.create_task(gateway._run(), name="gateway")
        _LOG.info("gateway at %s knows %d nodes", gateway.url, len(gateway._book))
        return gateway

    @property
    def url(self) -> str:
        """Where it answers."""
        host = self._settings.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def nodes(self) -> list[NodeStatus]:
        """Every node it knows, by name."""
        return [member.status for member in self._book.members()]

    async def close(self) -> None:
        """Stop listening, end every task, write what is new, let go of the home."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._tasks is not None:
            self._tasks.cancel()
            await asyncio.gather(self._tasks, return_exceptions=True)
            self._tasks = None
        if self._lock_file < 0:
            return
        await self._searcher.close()
        await self._asker.close()
        try:
            await self._save_seen()
        finally:
            await self._on_disk(self._registry.close)
            self._disk.shutdown()
            os.close(self._lock_file)
            self._lock_file = -1

    async def join(self, call: JoinCall) -> NodeStatus:
        """Take a node in, on disk first, and probe it at once.

        Raises ``AddressRefused``, ``NameTaken``, ``GatewayFull`` or ``StorageError``.
        """
        if self._join_slots.locked():
            raise GatewayFull(f"{JOINS_AT_ONCE} joins are under way.")
        async with self._join_slots:
            ips = await self._look_up(call)
            claim = self._claim(call, ips)
            await self._doubt_holder(claim)
            async with self._joining:
                member = await self._admit(claim)
            if ips:
                pin(member, ips, self._policy, now=asyncio.get_running_loop().time())
            if member.ips:
                await self._prober.probe(member)
            else:
                member.missed(now=asyncio.get_running_loop().time(), interval=self._settings.probe_interval)
            self._prober.wake()
            return member.status

    async def _look_up(self, call: JoinCall) -> tuple[IPAddress, ...]:
        try:
            return await self._resolver.checked(call.address, timeout=self._settings.deadline)
        except Unreachable:
            # Its name may not be known yet.  It is taken in as offline, and checked before anybody connects.
            return ()

    def _claim(self, call: JoinCall, ips: tuple[IPAddress, ...]) -> Claim:
        group = self._policy.group(ips[0]) if ips else None
        record = call.record
        if record is None or not call.vouched(ips):
            return Claim(call.name, call.address, group)
        return Claim(call.name, call.address, group, record.key, record.seq, call.name == record.id.hex())

    async def _doubt_holder(self, claim: Claim) -> None:
        """Before a name is refused, ask whether the node that has it still answers: it may just have moved."""
        old = self._book.get(claim.name)
        if old is None or old.row.key is not None:
            return
        try:
            may_replace(old, claim)
        except NameTaken:
            await self._prober.probe(old)

    async def _admit(self, claim: Claim) -> Member:
        row, victim = self._book.admit(claim, wall=self._wall())
        old = self._book.get(claim.name)
        if old is None or old.row != row:
            await self._on_disk(lambda: self._registry.put(row, instead_of=victim))
        if victim is not None:
            self._book.drop(victim)
            self._saved.pop(victim, None)
        if old is not None and old.row.address == row.address:
            old.row = row
            return old
        member = Member(row, claim.address, claim.group)
        self._book.add(member)
        self._saved.pop(row.name, None)
        _LOG.info("node %s joined from %s%s", row.name, row.address, " with a signed record" if row.key else "")
        return member

    async def _remember(self) -> None:
        for row in await self._on_disk(lambda: self._registry.load(MAX_NODES)):
            member = _member(row)
            if member is not None:
                self._book.add(member)

    async def _listen(self) -> None:
        api = Api(
            self._book,
            self._searcher,
            self,
            settings=self._settings,
            clock=asyncio.get_running_loop().time,
            wall=self._wall,
        )
        # aiohttp would log a traceback for every line of garbage that a stranger sends; the app logs its own faults.
        silent = logging.Logger("gateway.http", level=logging.CRITICAL)
        self._runner = web.AppRunner(
            api.app(),
            access_log=None,
            logger=silent,
            shutdown_timeout=SHUTDOWN,
            lingering_time=SHUTDOWN,
            auto_decompress=False,
            keepalive_timeout=30,
        )
        await self._runner.setup()
        settings = self._settings
        backlog = max(1, min(BACKLOG, self.connections.most // 4))
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self.connections.protocol, settings.host, settings.port, backlog=backlog
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(f"Port {self._settings.port} is in use.") from error
            raise BadConfig(f"Cannot listen on {self._settings.host}:{self._settings.port}: {error}") from error
        self.port = int(self._listener.sockets[0].getsockname()[1])

    def _handler(self) -> asyncio.Protocol | None:
        return self._runner.server() if self._runner is not None and self._runner.server is not None else None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prober.run())
            group.create_task(self._keep_house())

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            try:
                await self.tidy()
            except Exception:
                _LOG.exception("housekeeping failed")

    async def tidy(self) -> None:
        """Forget nodes that have been away for too long, and write down when the others answered last."""
        async with self._joining:
            gone = [member.row.name for member in self._book.members() if member.forgotten(wall=self._wall())]
            if gone:
                await self._on_disk(lambda: self._registry.drop(gone))
            for name in gone:
                self._book.drop(name)
                self._saved.pop(name, None)
                _LOG.info("node %s was away for too long and is forgotten", name)
            await self._save_seen()

    async def _save_seen(self) -> None:
        new = {
            member.row.name: member.last_seen
            for member in self._book.members()
            if member.last_seen is not None and member.last_seen != self._saved.get(member.row.name)
        }
        if new:
            await self._on_disk(lambda: self._registry.saw(new))
            self._saved.update(new)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def _member(row: NodeRow) -> Member | None:
    try:
        address = parse_address(row.address)
    except InvalidInput:
        return None
    return Member(row, address, last_seen=row.seen)


def _own(folder: os.PathLike[str]) -> int:
    """Make the folder, private to its user, and lock it.  Returns the lock's descriptor."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, "gateway.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadHome(f"{folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise HomeInUse(f"Another gateway runs in {folder}.", fix="Stop it, or give this one another --home.") from None
    return lock
