"""The composition root: makes every part of a node, owns every task, starts and stops."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from p2pgrid import __version__
from p2pgrid.config import NodeSettings
from p2pgrid.dht import DhtNode
from p2pgrid.dht.udp import inquiries
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.runner import TIERS, Runner
from p2pgrid.domain.runner.inside.confine import close_memory
from p2pgrid.domain.service import DomainLimits, DomainService, Post
from p2pgrid.domain.storage import Storage
from p2pgrid.environments import Environments
from p2pgrid.errors import DefaultPassword, GatewayRefused, HomeInUse, NoBootstrap, NotAllowed, P2PError, PortTaken
from p2pgrid.home import Home, RunState
from p2pgrid.ids import Tag, normalise_tag, parse_node_id
from p2pgrid.link.http import HttpServer, LinkPeer, LinkServer, MetricsDoor, fetch_json, raise_open_files
from p2pgrid.logs import LoopFaults

if TYPE_CHECKING:
    from p2pgrid.metrics import Metrics

log = logging.getLogger("p2pgrid.node")

PORT_TRIES: Final = 16
JOIN_INTERVAL: Final = 20.0
"""Seconds between joins at a gateway: it may have forgotten us, and it may be young."""
FIRST_SAVE: Final = 2.0
SAVE_INTERVAL: Final = 120.0
"""Seconds between saves of the routing table and of the listings held for others."""
MAIL_INTERVAL: Final = 10.0
"""Seconds between looks into the queue of e-mails."""
CONFLICT: Final = 409
DUTY_PAUSE: Final = 5.0
"""Seconds before a duty that failed is tried again."""
TOLD: Final = 200
"""Characters of a stranger's answer that a log line may hold."""
MOST_ASKED: Final = 1000
"""Tags, or nodes of one tag, that the owner is told at once."""
MOST_SECONDS: Final = 20.0
"""Seconds that one question of the owner to the grid takes at most; the link waits for 30."""
CLOSE_TIMEOUT: Final = 5.0
CONFINED: Final = ("strong", "kernel")
"""Tiers of confinement in which submitted code is run, unless the owner's settings say so."""


class Node:
    """One running node: DHT, direct links and a domain, under one key and one port."""

    def __init__(self, settings: NodeSettings, home: Home) -> None:
        self.settings = settings
        self.home = home
        self.name = settings.name
        self.started = time.time()
        self.stopping = asyncio.Event()
        self._held = contextlib.AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._joined_gateway = False
        self._gateway_name = settings.name
        self._saved = False
        self._metrics: Metrics | None = None

    @classmethod
    async def start(cls, settings: NodeSettings, home: Home) -> Node:
        """Bring a node up; it is healthy when this returns.

        Raises ``HomeInUse``, ``PortTaken``, ``DefaultPassword``, ``BadHome`` or ``StorageError``; then nothing is left.
        """
        node, fresh = cls(settings, home), not home.exists
        try:
            await node._start()
        except BaseException as error:
            await node.close()
            if fresh and not isinstance(error, HomeInUse):
                home.discard()
            raise
        return node

    async def _start(self) -> None:
        self._held.enter_context(self.home.lock())
        self.identity = self.home.identity()
        self.domain = await self._open_domain()
        self.http, self.dht = await self._listen()
        self._held.push_async_callback(self.dht.close)
        self._held.push_async_callback(self.http.close)
        self.home.save_run(self._run_state())
        self._held.callback(self.home.clear_run)
        if self.settings.allow_unsandboxed:
            log.warning("approved code may run without confinement: allow_unsandboxed is set")
        self.domain.on_change(self._changed.set)
        self._changed.set()
        duties = [self._announce, self._save]
        if self.settings.smtp_url:
            duties.append(self._send_mail)
        if self.settings.gateway:
            duties.append(self._join_gateway)
        for duty in duties:
            self._own(self._keep_at(duty))
        if self.settings.bootstrap and not self.dht.joined:
            log.warning("%s", NoBootstrap(f"No node answered at {', '.join(self.settings.bootstrap)}; trying on."))
            self._own(self._tell_when_joined())
        log.info("%s is up at %s, DHT %s, id %s", self.name, self.url, self.dht_address, self.id)

    async def _open_domain(self) -> DomainService:
        settings = self.settings
        # The keys of sibling nodes lie in the base folder too.
        runner = self._runner = Runner(
            hide=[self.home.path.parent],
            accept=TIERS if settings.allow_unsandboxed else CONFINED,
            environments=Environments(self.home.environments),
        )
        self._held.push_async_callback(runner.close)
        assets = settings.assets_url
        database = settings.database_url.get_secret_value() if settings.database_url else self.home.database_url
        usual = DomainLimits()
        limits = replace(
            usual,
            mock_run=usual.mock_run.changed(settings.mock_run),
            private_run=usual.private_run.changed(settings.private_run),
        )
        domain = DomainService(
            Storage(database, self.home.assets, assets_url=assets.get_secret_value() if assets else None),
            runner,
            identity=self.identity,
            name=self.name,
            dev_mode=settings.dev_mode,
            loopback=settings.on_loopback,
            limits=limits,
            post=Post.parse(settings.smtp_url.get_secret_value(), settings.smtp_from) if settings.smtp_url else None,
        )
        await domain.open()
        self._held.push_async_callback(domain.close)
        password = settings.owner_password.get_secret_value() if settings.owner_password else None
        await domain.ensure_owner(settings.owner_email, password, self.home.owner().public)
        await domain.note_settings(self._noted_settings())
        if not settings.on_loopback and await asyncio.to_thread(domain.has_default_password):
            raise DefaultPassword(
                f"{self.name} is told to listen at {settings.host}, where others can reach it, and still has the"
                " default password."
            )
        return domain

    def _noted_settings(self) -> dict[str, Any]:
        """What the audit log keeps of the settings: all but addresses of others, and no secret."""
        noted = {"name", "host", "dev_mode", "owner_email", "allow_unsandboxed", "metrics"}
        return {"version": __version__, **self.settings.model_dump(mode="json", include=noted)}

    async def _listen(self) -> tuple[HttpServer, DhtNode]:
        """HTTP and DHT on one port number; with port 0 the last one, so that others find us again, or a free one."""
        settings = self.settings
        links = self._links = LinkServer(self.identity, self._dispatch)
        wanted = settings.port or self.home.last_port()
        for left in reversed(range(PORT_TRIES)):
            http = HttpServer(self, links, self._metrics_door())
            try:
                await http.start(settings.host, wanted)
            except PortTaken:
                if settings.port or not wanted:
                    raise
                wanted = 0  # somebody took the number that we had by chance last time
                continue
            try:
                dht = await DhtNode.start(
                    settings.host,
                    http.port,
                    bootstrap=settings.bootstrap,
                    identity=self.identity,
                    name=self.name,
                    http_port=http.port,
                    saved=self.home.load_peers(),
                    holdings=self.home.load_holdings(),
                    advertise=settings.advertise,
                )
            except PortTaken:
                await http.close()
                if settings.port or not left:
                    raise
                wanted = 0
                continue
            except BaseException:
                await http.close()
                raise
            self.home.keep_port(http.port)
            return http, dht
        raise PortTaken("No number was free for both UDP and TCP.")

    def tell_confinement(self) -> None:
        """Find out, beside everything else, how well submitted code is confined here, and log it."""
        self._own(self._tell_confinement())

    async def _tell_confinement(self) -> None:
        tier = await self._runner.tier()
        if tier.name == "strong":
            log.info("submitted code is confined: tier strong")
        else:
            log.warning("submitted code is confined less than it could be: tier %s. %s", tier.name, tier.why)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("a task of the node failed", exc_info=task.exception())

    async def close(self) -> None:
        """Stop serving, let go of everything, and free the home.  Safe to call twice."""
        self.stopping.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "dht"):
            with contextlib.suppress(P2PError):
                self.home.save_peers(self.dht.snapshot())
                self.home.save_holdings(self.dht.holdings())
        await self._held.aclose()

    # ------------------------------------------------------------ what it is

    @property
    def id(self) -> str:
        """The node id, in hexadecimal."""
        return self.identity.id.hex()

    @property
    def port(self) -> int:
        """The port of both doors."""
        return int(self.http.port)

    @property
    def url(self) -> str:
        """The address of the HTTP door, as others should use it."""
        return f"http://{_bracketed(self.dht.address.ip)}:{self.port}"

    @property
    def dht_address(self) -> str:
        """host:port of the DHT, as others bootstrap from."""
        return f"{_bracketed(self.dht.address.ip)}:{self.dht.address.udp}"

    def _run_state(self) -> RunState:
        import os

        # This machine's programs come in by the address that is bound, whatever others are told.
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104
        place = f"{_bracketed(here)}:{self.port}"
        return RunState(os.getpid(), "domain", self.name, self.id, f"http://{place}", place, self.started)

    # ------------------------------------------------------------ the JSON door

    def health(self) -> dict[str, Any]:
        """What ``GET /health-check`` answers."""
        return {
            "status": "online",
            "node-id": self.id,
            "name": self.name,
            "version": __version__,
            "uptime-seconds": round(time.time() - self.started, 1),
            "dht": self.dht_address,
            "peers": sum(peer.state != "offline" for peer in self.dht.peers()),
            "datasets": self.domain.listed(),
        }

    def identity_record(self) -> dict[str, Any]:
        """The node's signed record: base64 of its body and of its signature."""
        pair = [base64.b64encode(part).decode() for part in self.dht.record.to_wire()]
        return {"node-id": self.id, "name": self.name, "record": pair}

    def dataset_tags(self) -> list[str]:
        """The tags that the grid may know."""
        return [f"#{tag}" for tag in self.domain.tags()]

    async def search(self, tags: list[Tag], match: str) -> dict[str, Any]:
        """What ``POST /search`` answers."""
        datasets = await self.domain.search(tags, match)
        return {"content": bool(datasets), "node-id": self.id, "name": self.name, "datasets": datasets}

    def _metrics_door(self) -> MetricsDoor | None:
        if self.settings.metrics == "off":
            return None
        return MetricsDoor(self._scrape, local_only=self.settings.metrics == "local")

    async def _scrape(self, accept: str) -> tuple[bytes, str]:
        if self._metrics is None:
            kind = await asyncio.to_thread(_metrics_class)  # the first scrape pays for the import, 0.1 s in a thread
            self._metrics = kind(lambda: self.dht.figures, self._counts)
        return self._metrics.text(accept)

    def _counts(self) -> list[tuple[str, str, float]]:
        """What a scrape is told beside the DHT."""
        connections, links = self.http.connections, self._links
        return [
            ("p2pgrid_uptime_seconds", "Seconds since the node came up.", time.time() - self.started),
            ("p2pgrid_datasets", "Datasets with a tag.", self.domain.listed()),
            ("p2pgrid_links", "Links that are open.", links.links),
            ("p2pgrid_link_offences_total", "Links refused or cut by a fault of the peer.", links.counters.total()),
            ("p2pgrid_http_refused_connections_total", "TCP connections that were one too many.", connections.refused),
            ("p2pgrid_http_unread_connections_total", "TCP connections cut as nobody read.", connections.unread),
            ("p2pgrid_http_broken_requests_total", "Requests that were no HTTP or broke off.", self.http.broken),
        ]

    # ------------------------------------------------------------ links

    async def _dispatch(self, peer: LinkPeer, verb: str, args: dict[str, Any]) -> Any:
        own = OWN_VERBS.get(verb)
        if own is None:
            answer = await self.domain.call(peer, verb, args)
            if verb in ("auth.login", "auth.key"):
                peer.trust()
            elif verb == "auth.logout":
                peer.distrust()
            return answer
        account = await self.domain.account(peer)
        if account is None or account.role < Role.DATA_OWNER:
            raise NotAllowed("Only the node's owner may ask it about itself.")
        return await own(self, args)

    async def _status(self, args: dict[str, Any]) -> dict[str, Any]:
        return {**self.health(), "counters": dict(self.dht.counters), "home": str(self.home.path)}

    async def _peers(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        return inquiries.peer_rows(self.dht)

    async def _ping(self, args: dict[str, Any]) -> dict[str, Any]:
        return await inquiries.ping_row(self.dht, str(args.get("target", "")))

    async def _ping_tag(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        tag = normalise_tag(str(args.get("tag", "")))
        return await inquiries.ping_tag_rows(self.dht, tag, limit=_limit(args), timeout=_seconds(args))

    async def _tags(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        text = str(args.get("text", ""))
        return await inquiries.tag_rows(self.dht, text, limit=_limit(args), timeout=_seconds(args))

    async def _find(self, args: dict[str, Any]) -> dict[str, Any] | None:
        found = await self.dht.find(parse_node_id(str(args.get("id", ""))))
        if found is None:
            return None
        record = found.record
        addresses = [{"ip": a.ip, "udp": a.udp, "http": a.http} for a in record.addresses]
        return {"id": record.id.hex(), "name": record.name, "addresses": addresses}

    async def _land(self, args: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, self.stopping.set)  # the answer leaves first
        return {"id": self.id, "name": self.name}

    # ------------------------------------------------------------ what it keeps doing

    async def _keep_at(self, duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do one duty over and over for as long as the node lives; a fault is told once and does not end it."""
        told = ""
        while True:
            try:
                await duty()
                told = ""
            except P2PError as error:
                if error.cause != told:
                    log.warning("%s", error)
                told = error.cause
                await asyncio.sleep(DUTY_PAUSE)
            except Exception as error:  # a fault of ours must not silence the node for the rest of its life
                if repr(error) != told:
                    log.exception("a duty of the node failed and is tried again")
                told = repr(error)
                await asyncio.sleep(DUTY_PAUSE)

    async def _announce(self) -> None:
        """Make the DHT's listings equal to the domain's tags, once they differ."""
        await self._changed.wait()
        wanted = {(normalise_tag(tag), dataset): title for tag, dataset, title in self.domain.listings()}
        self._changed.clear()
        known = {(tag, dataset): title for tag, dataset, title in self.dht.announced}
        for tag, dataset in known.keys() - wanted.keys():
            self.dht.withdraw(tag, dataset)
        for (tag, dataset), title in wanted.items():
            if known.get((tag, dataset)) == title:
                continue
            try:
                await self.dht.announce(tag, dataset, title)
            except P2PError as error:  # one listing too many must not stop the others
                log.warning("#%s of %r is not listed on the grid: %s", tag, title, error.cause)

    async def _tell_when_joined(self) -> None:
        while all(peer.state == "offline" for peer in self.dht.peers()):  # noqa: ASYNC110 - the DHT has no event for it
            await asyncio.sleep(1.0)
        log.info("%s has joined the grid", self.name)

    async def _save(self) -> None:
        await asyncio.sleep(SAVE_INTERVAL if self._saved else FIRST_SAVE)
        await asyncio.to_thread(self.home.save_peers, self.dht.snapshot())
        await asyncio.to_thread(self.home.save_holdings, self.dht.holdings())
        self._saved = True

    async def _send_mail(self) -> None:
        if not await self.domain.send_mail():
            await asyncio.sleep(MAIL_INTERVAL)

    async def _join_gateway(self) -> None:
        """Join, and again: it keeps the address alive and outlives the gateway's restarts."""
        body = {"node-id": self._gateway_name, "node-address": self.url, "record": self.identity_record()["record"]}
        status, answer = await fetch_json("POST", f"{self.settings.gateway}/join", body, timeout=5.0)
        if status == CONFLICT and self._gateway_name == self.name:
            self._gateway_name = self.id  # a name is a label that others may bear too; an id is nobody else's
            log.warning("the gateway knows another node named %s; joining it under the id", self.name)
            return
        if status != 200:
            raise GatewayRefused(f"The gateway {self.settings.gateway} answered {status}: {str(answer)[:TOLD]}")
        if not self._joined_gateway:
            log.info("joined the gateway %s", self.settings.gateway)
        self._joined_gateway = True
        await asyncio.sleep(JOIN_INTERVAL)


OWN_VERBS: Final[dict[str, Callable[[Node, dict[str, Any]], Coroutine[Any, Any, Any]]]] = {
    "node.status": Node._status,
    "node.peers": Node._peers,
    "node.ping": Node._ping,
    "node.ping_tag": Node._ping_tag,
    "node.tags": Node._tags,
    "node.find": Node._find,
    "node.land": Node._land,
}
"""Verbs about the node itself, for its owner; all others are the domain's."""


async def serve(settings: NodeSettings, home: Home, *, ready: Callable[[Node], None] | None = None) -> None:
    """Run a node until SIGTERM, SIGINT or its owner's ``land``, then close it gracefully.

    The process becomes the node's: no other process may read its memory from here on.
    """
    close_memory()
    raise_open_files()
    node = await Node.start(settings, home)
    node.tell_confinement()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopFaults(log))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stopping.set)
    try:
        if ready is not None:
            ready(node)
        await node.stopping.wait()
        log.info("%s is landing", node.name)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await asyncio.wait_for(node.close(), CLOSE_TIMEOUT + 5)


def _metrics_class() -> type[Metrics]:
    from p2pgrid.metrics import Metrics

    return Metrics


def _limit(args: dict[str, Any]) -> int:
    """How many the owner asks for, within bounds."""
    value = args.get("limit")
    return min(max(1, value), MOST_ASKED) if isinstance(value, int) else MOST_ASKED


def _seconds(args: dict[str, Any]) -> float:
    """How long the owner would wait, within bounds."""
    value = args.get("timeout")
    return min(max(0.1, float(value)), MOST_SECONDS) if isinstance(value, (int, float)) else MOST_SECONDS


def _bracketed(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
