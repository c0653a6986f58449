"""Links over aiohttp's WebSockets: ``connect`` and ``LinkServer``."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Final

import aiohttp
import yarl
from aiohttp import web

from p2pgrid.crypto import Identity, Random
from p2pgrid.errors import (
    BadAddress,
    LimitReached,
    LinkClosed,
    Malformed,
    Oversized,
    P2PError,
    RemoteError,
    Unreachable,
)
from p2pgrid.ids import NodeId
from p2pgrid.link.fetch import client_session
from p2pgrid.link.frames import MAX_MESSAGE
from p2pgrid.link.links import HANDSHAKE_TIMEOUT, STRANGER_IDLE, Link, accept_link, open_link
from p2pgrid.link.session import CLOSE_TIMEOUT, Dispatch, Session, goodbye

log = logging.getLogger(__name__)

LINK_PATH: Final = "/link"
HEARTBEAT: Final = 20.0
"""Seconds of silence after which the other side is asked for a sign of life; half of it later the link ends."""
_SOCKET_LIMIT: Final = MAX_MESSAGE + 1
"""aiohttp refuses a message of exactly its limit."""

_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
_ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


class WebSocketStream:
    """A ``MessageStream`` over one WebSocket; ``owned`` is closed with it."""

    def __init__(self, socket: _Socket, owned: aiohttp.ClientSession | None = None) -> None:
        self._socket, self._owned = socket, owned

    async def send(self, message: bytes) -> None:
        """See ``MessageStream``."""
        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise LinkClosed("The connection of a link broke.") from error

    async def receive(self) -> bytes:
        """See ``MessageStream``."""
        try:
            message = await self._socket.receive()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise LinkClosed("The connection of a link broke.") from error
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        if message.type in _ENDS:
            raise goodbye(str(message.extra or ""))
        if isinstance(message.data, aiohttp.WebSocketError):
            if message.data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                raise Oversized(f"A message is over the {MAX_MESSAGE} bytes of a link.")
            raise Malformed("A message is none of the WebSocket protocol.")
        if message.type is aiohttp.WSMsgType.ERROR:
            raise LinkClosed("The connection of a link broke.")
        raise Malformed("A message on a link is no bytes.")

    async def close(self) -> None:
        """See ``MessageStream``."""
        try:
            await self._socket.close()
        finally:
            if self._owned is not None:
                await self._owned.close()


async def connect(
    url: str,
    identity: Identity,
    *,
    expect: NodeId | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
    session: aiohttp.ClientSession | None = None,
    random: Random = secrets.token_bytes,
) -> Link:
    """A link to the node at ``url`` (``http://host:port``), proven both ways; ``expect`` pins its node id.

    Without ``session`` it has its own, closed with the link; a given one should come from ``fetch.client_session``,
    which refuses redirects.  Raises ``BadAddress``, ``Unreachable``, ``WrongIdentity``, ``LinkClosed``, or another
    ``RemoteError`` for a handshake that is wrong.
    """
    where = link_url(url)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    owned = None
    if session is None:
        session = owned = client_session()
    try:
        async with asyncio.timeout_at(deadline):
            socket = await session.ws_connect(
                where,
                heartbeat=HEARTBEAT,
                max_msg_size=_SOCKET_LIMIT,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
    except BaseException as error:
        if owned is not None:
            await owned.close()
        raise _no_link(url, timeout, error) from error
    stream = WebSocketStream(socket, owned)
    return await open_link(stream, identity, expect=expect, timeout=deadline - loop.time(), random=random)


def link_url(url: str) -> yarl.URL:
    """The address of the link at a node's address.  Raises ``BadAddress``."""
    try:
        parsed = yarl.URL(url)
        port = parsed.port
    except ValueError:
        raise BadAddress(f"{url[:200]!r} is no address.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or not port or parsed.user:
        raise BadAddress(f"{url[:200]!r} is no http address.", fix="Write it as http://HOST:PORT.")
    return parsed if parsed.path == LINK_PATH else parsed / LINK_PATH[1:]


def _no_link(url: str, timeout: float, error: BaseException) -> BaseException:
    match error:
        case TimeoutError():
            return Unreachable(f"{url} did not answer within {timeout:g} s.")
        case aiohttp.WSServerHandshakeError(status=503):
            return Unreachable(f"{url} has no free link at present.", fix="Try again in a few seconds.")
        case aiohttp.WSServerHandshakeError(status=403):
            return Unreachable(
                f"{url} answered 403: it does not go by that name.",
                fix="On its own machine call it by 127.0.0.1 or localhost, elsewhere by the address it listens at.",
            )
        case aiohttp.WSServerHandshakeError(status=status):
            return Unreachable(f"{url} answered {status}: there is no node's link.")
        case aiohttp.ClientError() | OSError() | ValueError():
            return Unreachable(f"{url} cannot be reached: {str(error)[:200] or type(error).__name__}.")
    return error


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What all strangers together, and one address of them, may hold of a node's links."""

    links: int = 256
    links_per_ip: int = 128
    handshakes: int = 64
    handshakes_per_ip: int = 32
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    stranger_idle: float = STRANGER_IDLE
    strangers_served: int = 32
    """Calls of all strangers together that are served at once; further ones wait."""


class LinkServer:
    """Serves links: one aiohttp handler, and the table of those that run."""

    def __init__(
        self,
        identity: Identity,
        dispatch: Dispatch,
        *,
        limits: LinkLimits | None = None,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._identity, self._dispatch, self._random = identity, dispatch, random
        self.limits = limits or LinkLimits()
        self.counters: Counter[str] = Counter()
        """How many links ended by which offence of their peer, by ``RemoteError.reason``."""
        self._links: dict[Session, asyncio.Task[None] | None] = {}
        self._links_by_ip: Counter[str] = Counter()
        self._handshakes: dict[asyncio.Task[None] | None, str] = {}
        self._gate = asyncio.Semaphore(self.limits.strangers_served)
        self._closing = False

    @property
    def links(self) -> int:
        """How many links run."""
        return len(self._links)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The handler of ``GET /link``: returns when the link has ended."""
        remote = request.remote or ""
        refusal = self._refusal(remote)
        if refusal is not None:
            self.counters[refusal.reason] += 1
            return web.json_response({"error": refusal.to_wire()}, status=503, headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, max_msg_size=_SOCKET_LIMIT, compress=False, timeout=CLOSE_TIMEOUT
        )
        task = asyncio.current_task()
        self._handshakes[task] = remote
        try:
            await socket.prepare(request)
            session = await self._greet(socket, remote)
        finally:
            del self._handshakes[task]
        if session is not None:
            await self._run(session, task)
        return socket

    def _refusal(self, remote: str) -> LimitReached | None:
        limits = self.limits
        greeting = sum(ip == remote for ip in self._handshakes.values())
        if self._closing:
            return LimitReached("The node is going down.")
        if len(self._links) >= limits.links or self._links_by_ip[remote] >= limits.links_per_ip:
            return LimitReached("The node has as many links as it may have.", fix="Close one, or try again later.")
        if len(self._handshakes) >= limits.handshakes or greeting >= limits.handshakes_per_ip:
            return LimitReached("The node greets as many strangers as it may.", fix="Try again in a few seconds.")
        return None

    async def _greet(self, socket: web.WebSocketResponse, remote: str) -> Session | None:
        stream = WebSocketStream(socket)
        try:
            return await accept_link(
                stream,
                self._identity,
                self._dispatch,
                remote=remote,
                timeout=self.limits.handshake_timeout,
                idle=self.limits.stranger_idle,
                gate=self._gate,
                random=self._random,
            )
        except P2PError as error:
            self.counters[error.reason if isinstance(error, RemoteError) else "slow-handshake"] += 1
            await socket.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION, message=error.code.encode())
            return None

    async def _run(self, session: Session, task: asyncio.Task[None] | None) -> None:
        remote = session.peer.remote
        self._links[session] = task
        self._links_by_ip[remote] += 1
        try:
            await session.run()
        finally:
            del self._links[session]
            self._links_by_ip[remote] -= 1
            if not self._links_by_ip[remote]:
                del self._links_by_ip[remote]
            if isinstance(session.ended_by, RemoteError) and not isinstance(session.ended_by, LinkClosed):
                self.counters[session.ended_by.reason] += 1

    def open(self) -> None:
        """Take new links; needed only after ``close``."""
        self._closing = False

    async def close(self, grace: float = 2.0) -> None:
        """Take no new links, let calls that are being served finish for ``grace`` seconds, then end every link."""
        self._closing = True
        tasks = {task for task in (*self._links.values(), *self._handshakes) if task is not None}
        for task in self._handshakes:
            if task is not None:
                task.cancel()
        try:
            async with asyncio.timeout(grace):
                for session in tuple(self._links):
                    await session.quiet()
        except TimeoutError:
            log.info("Calls were still being served when the node's links closed.")
        for session in tuple(self._links):
            session.stop()
        tasks.discard(asyncio.current_task())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2 * CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
