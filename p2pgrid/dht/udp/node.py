"""A node of the DHT, as a program uses it: start, announce, search, ping, close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from p2pgrid import crypto
from p2pgrid.dht.contacts import Contact, Endpoint, Peer, written
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.figures import Figures, figures_of
from p2pgrid.dht.health import State, probe_interval, state_of
from p2pgrid.dht.holdings import pack, unpack
from p2pgrid.dht.limits import DEFAULT, Limits
from p2pgrid.dht.messages import BUSY
from p2pgrid.dht.messages import Pong as PongMessage
from p2pgrid.dht.sampling import TagSample, best
from p2pgrid.dht.trips import median
from p2pgrid.dht.udp.hunt import Finds, Hunt
from p2pgrid.dht.udp.shell import Shell
from p2pgrid.dht.udp.sockets import bind, likely_ip, resolve
from p2pgrid.errors import InvalidInput, NoBootstrap, RemoteError, Unreachable
from p2pgrid.ids import NodeId, Tag, normalise_tag, normalise_tags, parse_node_id
from p2pgrid.records import Address, NodeRecord, Verified

JOIN_WAIT: Final = 2.0
"""``start`` waits at most this long for a bootstrap address; the node goes on trying by itself."""
JOIN_GRACE: Final = 0.3
"""And this long for the rest of the join, once somebody answered."""
RESTORED_AT_ONCE: Final = 100
"""Listings verified at one turn of the loop after a start: 7 ms."""

log = logging.getLogger(__name__)

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A peer as a person wants to see it.

    ``latency_ms``: the median of its last nine round trips, None before the first.  ``last_seen``: when a packet of
    it came last, in seconds since the epoch.
    """

    id: NodeId
    name: str
    address: Address
    state: State
    latency_ms: float | None
    last_seen: float


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer to a ping."""

    id: NodeId
    name: str
    rtt_ms: float
    state: State


class DhtNode:
    """A node of the DHT on one UDP port.  Made by ``start``, ended by ``close``."""

    def __init__(self, shell: Shell, clock: Callable[[], float], mode: str) -> None:
        self._shell, self._engine, self._clock, self.mode = shell, shell.engine, clock, mode
        self._flush, self._tell = shell.flush, shell.tell
        self._loop = asyncio.get_running_loop()
        self._ending: set[asyncio.Future[Any]] = set()
        self._hunts: set[Hunt] = set()
        self.joined = False
        self._restoring: Sequence[object] = ()
        """What was held before and is not verified yet."""

    # ------------------------------------------------------------ life

    @classmethod
    async def start(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        bootstrap: Sequence[str | Address] = (),
        identity: crypto.Identity | None = None,
        mode: Literal["server", "client"] = "server",
        name: str = "",
        http_port: int = 0,
        saved: Sequence[bytes] = (),
        holdings: bytes = b"",
        advertise: str | None = None,
        limits: Limits = DEFAULT,
        clock: Callable[[], float] = time.time,
        random: crypto.Random = secrets.token_bytes,
    ) -> DhtNode:
        """Bind, and join by ``bootstrap`` ("host:port" each) and ``saved`` (an earlier ``snapshot``).

        ``holdings``: what was held for others (an earlier ``holdings()``); what is still valid is held again.

        A bootstrap address that does not answer prevents nothing: see ``joined``.  ``mode="client"`` asks without
        entering anybody's table.  ``advertise``: the IP address to tell others, when it is not the one bound.
        Raises ``PortTaken``, ``BadAddress``, ``InvalidInput``.
        """
        if identity is not None and type(identity) is not crypto.Identity:
            raise InvalidInput("Real nodes take no other identity than a real one.")  # a simulation's keeps no secret
        sock = await bind(host, port)
        ip, bound = sock.getsockname()[:2]
        ip = advertise or ip
        fixed = ip not in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        engine = Engine(
            identity or crypto.Identity.generate(random),
            address=(ip if fixed else likely_ip(sock.family), bound),
            now=time.monotonic(),  # uvloop's own clock has steps of a millisecond
            wall=clock,
            random=random,
            fixed_address=fixed,
            server=mode == "server",
            name=name,
            http=http_port,
            limits=limits,
        )
        node = cls(await Shell.open(engine, sock), clock, mode)
        node._restore(_rows(holdings, limits), 0)
        try:
            endpoints = [point for text in bootstrap for point in await resolve(text, sock.family)]
            contacts = _contacts(saved)
            if endpoints or contacts:
                await node._join(endpoints, contacts, JOIN_WAIT)
            else:
                node._flush()
        except BaseException:
            await node.close()
            raise
        return node

    async def close(self) -> None:
        """Stop and free the port.  Whoever still waits for an answer gets ``Unreachable``; a search ends."""
        if self._shell.closed:
            return
        self._shell.closed = True
        for future in list(self._ending):
            if not future.done():
                future.set_exception(Unreachable("The DHT node was closed."))
                future.exception()  # retrieved: not everybody who began something still waits for it
        for hunt in list(self._hunts):
            hunt.end()
        await self._shell.close()

    async def __aenter__(self) -> DhtNode:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def join(self, addresses: Sequence[str | Address], timeout: float = 5.0) -> None:
        """Join by these addresses.  Raises ``NoBootstrap`` when none answered in time, ``BadAddress``."""
        endpoints = [point for text in addresses for point in await resolve(text, self._shell.family)]
        if not await self._join(endpoints, [], timeout):
            shown = ", ".join(_shown(a) for a in addresses)
            raise NoBootstrap(f"No node answered at {shown or 'no address at all'} within {timeout:g} s.")

    # ------------------------------------------------------------ who we are

    @property
    def identity(self) -> crypto.Identity:
        """Our key pair."""
        return self._engine.identity

    @property
    def id(self) -> NodeId:
        """Our node id."""
        return self._engine.identity.id

    @property
    def address(self) -> Address:
        """Where others reach us, as far as is known."""
        return self._engine.profile.addresses()[0]

    @property
    def record(self) -> Verified[NodeRecord]:
        """Our signed node record."""
        return self._engine.profile.record()

    @property
    def counters(self) -> dict[str, int]:
        """Datagrams sent and received, time-outs, and what was dropped, by reason."""
        return dict(self._engine.counters)

    @property
    def figures(self) -> Figures:
        """The node in numbers, counted now."""
        return figures_of(self._engine, time.monotonic(), self.probe_interval)

    @property
    def announced(self) -> list[tuple[Tag, bytes, str]]:
        """Tag, dataset id and title of each listing that is kept announced."""
        return [(one.tag, one.dataset, one.title) for one in self._engine.publisher.announcements.all()]

    def describe(self, *, name: str | None = None, http_port: int | None = None) -> None:
        """Change the name or the HTTP port that we tell others."""
        self._engine.profile.describe(name=name, http=http_port)
        self._flush()

    def snapshot(self) -> list[bytes]:
        """Contacts to hand to the next ``start`` as ``saved``."""
        return self._engine.snapshot()

    def holdings(self) -> bytes:
        """What is held for others, to hand to the next ``start``; one document of at most a few MiB."""
        return pack([*self._engine.store.dump(), *self._restoring])

    def peers(self) -> list[PeerInfo]:
        """Everybody in the table, nearest first; then who left it lately without a word, as ``offline``.

        A state is true within three ``probe_interval``; in ``mode="client"`` nobody is probed, and what is told is as
        old as ``last_seen``.
        """
        now, wall = time.monotonic(), self._clock()
        table = self._engine.table
        found = table.nearest(int.from_bytes(self.id, "big"), len(table))
        return [self._info(peer, now, wall) for peer in (*found, *self._engine.gone_peers.since(now))]

    @property
    def probe_interval(self) -> float:
        """Seconds within which every peer is asked whether it is there: more of them take longer, not more packets."""
        return probe_interval(len(self._engine.table), self._engine.limits)

    # ------------------------------------------------------------ what one asks of it

    async def announce(self, tag: str, dataset_id: bytes, title: str = "", *, timeout: float = 10.0) -> int:
        """Tell the grid that we hold a dataset with this tag, until ``withdraw`` or ``close``.

        Returns how many other nodes hold the listing: as soon as half of the 16 nearest to the tag do (the rest of the
        round goes on), or when all were asked (0 in a grid of one).  Raises ``BadTag``, ``InvalidInput``, ``TooLarge``;
        after ``timeout`` seconds the round goes on and 0 is returned.
        """
        held: asyncio.Future[int] = self._future()
        self._engine.counters["announces"] += 1
        self._engine.publisher.announce(
            normalise_tag(tag), dataset_id, title, lambda count, at: _settle(held, count), time.monotonic()
        )
        self._flush()
        try:
            return await self._wait(held, timeout)
        except TimeoutError:
            return 0

    def withdraw(self, tag: str, dataset_id: bytes) -> bool:
        """Stop announcing, and tell the holders at once.  False when it was not announced."""
        done = self._engine.publisher.withdraw(normalise_tag(tag), dataset_id, time.monotonic())
        self._flush()
        return done

    def search(
        self,
        *tags: str,
        match: Literal["all", "any"] = "all",
        limit: int = 100,
        timeout: float = 5.0,
    ) -> Finds:
        """Listings as they arrive, one a node and dataset; again when a newer one tells another address, name or title.

        Keep the last of each (node id, dataset).  The search begins with the call, and stops when the iterator is
        closed (``aclose``) or let go.

        ``match="all"``: the same dataset of the same node is listed under every tag.  Ends when everybody near was
        asked, after ``limit`` listings, or after ``timeout`` seconds.  Raises ``BadTag``, ``InvalidInput``.
        """
        wanted = normalise_tags(tags)
        if not wanted or match not in ("all", "any") or limit < 1:
            raise InvalidInput("A search needs a tag, match 'all' or 'any', and a limit of at least 1.")
        if self._shell.closed:
            raise Unreachable("The DHT node was closed.")
        self._engine.counters["searches"] += 1
        hunt = Hunt(self._engine, wanted, match, limit, self._tell, time.monotonic())
        finds = Finds(hunt, self._loop.time() + timeout, self._hunts)
        self._flush()
        return finds

    async def sample_tags(self, text: str = "", *, limit: int = 100, timeout: float = 5.0) -> list[TagSample]:
        """Tags of the grid that ``text`` may begin or mean, the likeliest first; the most seen ones without a text.

        A sample: a few peers across the grid are asked, and what they name is unproven until a search finds a listing.
        What is known after ``timeout`` seconds is returned.  Raises ``BadTag``, ``InvalidInput``.
        """
        text = normalise_tag(text) if text.strip().strip("#") else ""
        if limit < 1:
            raise InvalidInput("A sample of tags needs a limit of at least 1.")
        drawn: asyncio.Future[None] = self._future()
        sample = self._engine.sample_tags(lambda at: _settle(drawn, None), time.monotonic())
        self._flush()
        try:
            with contextlib.suppress(TimeoutError):
                await self._wait(drawn, timeout)
        finally:
            sample.close()
        return await asyncio.to_thread(best, sample.named, text, limit)  # 0.1 s for as many tags as there can be

    async def ping(self, peer: NodeId | str | Address | PeerInfo, timeout: float = 3.0) -> Pong:
        """Ask a node whether it is there: by id (bytes or 40 hex digits), "host:port", ``Address`` or ``PeerInfo``.

        Raises ``Unreachable``, ``BadAddress``, ``BadNodeId``.
        """
        peer = peer.id if isinstance(peer, PeerInfo) else peer
        try:
            async with asyncio.timeout(timeout):
                contact = await self._contact(peer)
                known = self._engine.peer(contact)
                if known is None or known.srtt == 0.0:
                    await self._ping(contact, False)  # the first one pays for the handshake
                pong, rtt = await self._ping(contact, False)
        except TimeoutError:
            raise Unreachable(f"{_shown(peer)} did not answer within {timeout:g} s.") from None
        state: State = "busy" if pong.state == BUSY or rtt > self._engine.limits.busy else "online"
        return Pong(contact.id, pong.name, rtt * 1000, state)

    async def find(self, node_id: NodeId, timeout: float = 5.0) -> Verified[NodeRecord] | None:
        """The signed record of the node with this id, from that node itself; None when it cannot be found."""
        if node_id == self.id:
            return self.record
        try:
            async with asyncio.timeout(timeout):
                contact = await self._locate(node_id)
                if contact is None:
                    return None
                pong, _ = await self._ping(contact, True)
        except (TimeoutError, Unreachable):
            return None
        try:
            record = self._engine.check_record(pong.record) if pong.record else None
        except RemoteError as error:
            self._engine.blame(error)
            return None
        return record if record is not None and record.record.id == node_id else None

    # ------------------------------------------------------------ inside

    def _restore(self, rows: Sequence[object], good: int) -> None:
        """Hold again what was held before, a few at each turn of the loop: thousands take half a second to verify."""
        if self._shell.closed or not rows:
            return
        good += self._engine.store.load(rows[:RESTORED_AT_ONCE], self._clock())
        self._restoring = rows[RESTORED_AT_ONCE:]
        if self._restoring:
            self._loop.call_soon(self._restore, self._restoring, good)
        else:
            log.info("%d listings of others are still held from the last run", good)

    async def _join(self, endpoints: Sequence[Endpoint], saved: Sequence[Contact], timeout: float) -> bool:
        ended: asyncio.Future[bool] = self._future()
        first: asyncio.Future[None] = self._future()

        def met() -> None:
            self.joined = True
            _settle(first, None)

        def over(joined: bool, at: float) -> None:
            _settle(first, None)
            _settle(ended, joined)

        self._engine.upkeep.join(endpoints, saved, over, time.monotonic(), met)
        self._flush()
        try:
            await self._wait(first, timeout)
            # A client has somebody to ask as soon as one answered; a server first gets to know its neighbourhood.
            return await self._wait(ended, JOIN_GRACE if self.mode == "server" else 0.0)
        except TimeoutError:
            # Known to somebody is joined; the rest of the neighbourhood is still being asked.
            return first.done() and not first.cancelled()
        finally:
            ended.cancel()

    async def _contact(self, peer: NodeId | str | Address) -> Contact:
        if isinstance(peer, bytes):
            found = await self._locate(peer)
        elif isinstance(peer, str) and ":" not in peer:
            found = await self._locate(parse_node_id(peer))
        else:
            endpoints = await resolve(peer, self._shell.family)
            if not endpoints:
                raise Unreachable(f"{_shown(peer)} is no address that this node can reach.")
            greeted: asyncio.Future[Contact | None] = self._future()
            self._engine.greet(endpoints[0], lambda contact, at: _settle(greeted, contact), time.monotonic())
            self._flush()
            found = await self._wait(greeted, None)
        if found is None:
            raise Unreachable(f"{_shown(peer)} was not found, or did not answer.")
        return found

    async def _locate(self, node_id: bytes) -> Contact | None:
        known = self._engine.table.get(node_id)
        if known is not None and not known.fails:
            return known
        walked: asyncio.Future[list[Contact]] = self._future()
        walk = self._engine.walk(node_id, lambda found, at: _settle(walked, found), time.monotonic())
        self._flush()
        try:
            nearest = await self._wait(walked, None)
        finally:
            walk.close()
        return next((contact for contact in nearest if contact.id == node_id), None)

    async def _ping(self, contact: Contact, want: bool) -> tuple[PongMessage, float]:
        answered: asyncio.Future[tuple[PongMessage | None, float]] = self._future()
        self._engine.ping(contact, want, lambda pong, rtt: _settle(answered, (pong, rtt)), time.monotonic())
        self._flush()
        pong, rtt = await self._wait(answered, None)
        if pong is None:
            raise Unreachable(f"{written(*contact.endpoint)} did not answer.")
        return pong, rtt

    def _future(self) -> asyncio.Future[Any]:
        if self._shell.closed:
            raise Unreachable("The DHT node was closed.")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._ending.add(future)
        future.add_done_callback(self._ending.discard)
        return future

    async def _wait(self, future: asyncio.Future[V], timeout: float | None) -> V:
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            future.cancel()

    def _info(self, peer: Peer, now: float, wall: float) -> PeerInfo:
        latency = median(peer.trips)
        return PeerInfo(
            id=peer.id,
            name=peer.name,
            address=Address(peer.ip, peer.port, peer.http),
            state=state_of(peer, self._engine.limits),
            latency_ms=None if latency is None else latency * 1000,
            last_seen=wall - (now - peer.heard),
        )


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _contacts(saved: Sequence[bytes]) -> list[Contact]:
    """Those of a snapshot that can be read; a damaged one costs nobody a start."""
    found = []
    for packed in saved:
        with contextlib.suppress(RemoteError, TypeError):
            found.append(Contact.unpack(packed))
    return found


def _rows(holdings: bytes, limits: Limits) -> list[object]:
    """What a document of holdings tells; a damaged one costs nobody a start."""
    try:
        return unpack(holdings, limits)
    except RemoteError as error:
        log.warning("what was held for others before cannot be read and is dropped: %s", error)
        return []


def _shown(peer: NodeId | str | Address) -> str:
    if isinstance(peer, bytes):
        return peer.hex()
    return written(peer.ip, peer.udp) if isinstance(peer, Address) else peer
