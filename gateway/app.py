"""The gateway's HTTP calls: seed 003's three, two that the first Grid gateway had, and a page for people."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from gateway import pages
from gateway.bodies import JoinCall, read_join, read_query
from gateway.book import Book, NodeStatus
from gateway.rates import RateTable
from gateway.search import Searcher
from gateway.settings import BODY_DEADLINE, MAX_BODY, PAGE, GatewaySettings
from p2pgrid.errors import (
    BadGatewayCall,
    CallTooLarge,
    ForeignPage,
    GatewayFull,
    InternalError,
    InvalidInput,
    NameTaken,
    NoSuchCall,
    P2PError,
    StorageError,
    TooManyCalls,
)

if TYPE_CHECKING:
    from gateway.metrics import Metrics

_LOG = logging.getLogger("gateway")
_STATUS: Final[tuple[tuple[type[P2PError], int], ...]] = (
    (InvalidInput, 400),
    (ForeignPage, 403),
    (NoSuchCall, 404),
    (NameTaken, 409),
    (CallTooLarge, 413),
    (TooManyCalls, 429),
    (GatewayFull, 503),
    (StorageError, 503),
)
_HEADERS: Final = {
    "Server": "p2pgrid-gateway",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Joins(Protocol):
    """What ``POST /join`` needs of the gateway."""

    async def join(self, call: JoinCall) -> NodeStatus:
        """Take the node in, probe it, say how it is.  Raises a ``LocalError``."""
        ...


class Api:
    """The handlers.  ``clock`` is monotonic, ``wall`` is the time of day; both in seconds."""

    def __init__(
        self,
        book: Book,
        searcher: Searcher,
        joins: Joins,
        *,
        settings: GatewaySettings,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._book = book
        self._searcher = searcher
        self._joins = joins
        self._on_loopback = settings.on_loopback
        self._clock = clock
        self._wall = wall
        self._started = clock()
        self._metrics: Metrics | None = None
        self._join_rate = RateTable(settings.join_rate, settings.loopback_rate)
        self._search_rate = RateTable(settings.search_rate, settings.loopback_rate)

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/", self._index),
                web.post("/join", self._join),
                web.post("/search", self._search),
                web.get("/health-check", self._health),
                web.get("/metrics", self._scrape),
                web.get("/connected-nodes", self._connected),
                web.get("/search-available-tags", self._tags),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every answer that is no success is JSON with cause, fix and code; nothing else gets out."""
        await request.writer.drain()  # one unread answer a connection
        try:
            if self._on_loopback:
                refuse_foreign_pages(request)
            response = await handler(request)
        except P2PError as error:
            response = _refusal(error, next((status for kind, status in _STATUS if isinstance(error, kind)), 500))
        except web.HTTPException as error:
            response = _http_refusal(request, error)
        except Exception:
            _LOG.exception("%s %s failed", request.method, request.path[:80])
            response = _refusal(InternalError("The gateway failed at this call."), 500)
        response.headers.update(_HEADERS)
        return response

    async def _join(self, request: web.Request) -> web.Response:
        call = read_join(await _body(request), wall=self._wall())
        self._join_rate.take(request.remote, self._clock())
        status = await self._joins.join(call)
        return _json({"status": "joined", **_node(status)})

    async def _search(self, request: web.Request) -> web.Response:
        query, match = read_query(await _body(request))
        self._search_rate.take(request.remote, self._clock())
        found = await self._searcher.search(query, match)
        return _json({"node-addresses": [[name, address] for name, address in found]})

    async def _health(self, request: web.Request) -> web.Response:
        nodes = [member.status for member in self._book.members()]
        offset, limit = _number(request, "offset", 0), min(_number(request, "limit", PAGE), PAGE)
        answer = {
            "status": "online",
            "uptime-seconds": round(self._uptime(), 1),
            "total": len(nodes),
            "counts": self._book.counts(),
            "left-out": dict(self._searcher.left_out),
            "nodes": [_node(node) for node in nodes[offset : offset + limit]],
        }
        return _json(answer)

    async def _scrape(self, request: web.Request) -> web.Response:
        self._search_rate.take(request.remote, self._clock())
        if self._metrics is None:
            kinds = await asyncio.to_thread(_metrics_kinds)  # the first scrape pays for the import
            collector = kinds.GatewayCollector(self._book.counts, self._searcher.left_out, self._uptime)
            self._metrics = kinds.Metrics(collector)
        body, content_type = self._metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _uptime(self) -> float:
        return self._clock() - self._started

    async def _connected(self, _request: web.Request) -> web.Response:
        names = [member.row.name for member in self._book.members() if member.state != "offline"]
        return _json({"grid-nodes": names})

    async def _tags(self, request: web.Request) -> web.Response:
        self._search_rate.take(request.remote, self._clock())
        return _json(await self._searcher.tags())

    async def _index(self, _request: web.Request) -> web.Response:
        nodes = [member.status for member in self._book.members()]
        return web.Response(text=pages.index(nodes, self._book.counts()), content_type="text/html")


def _metrics_kinds() -> ModuleType:
    from gateway import metrics

    return metrics


def refuse_foreign_pages(request: web.Request) -> None:
    """A gateway on loopback is for programs of this machine, not for web pages open in its browser.

    A page of another site names that site in Origin (cross-site request forgery), or in Host when its name was
    re-bound to 127.0.0.1.  Raises ``ForeignPage``.
    """
    called = request.headers.get("Host", "localhost")
    if not _is_local(called):
        raise ForeignPage(f"This gateway listens on loopback, and {called[:80]!r} is not there.")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{called}":
        raise ForeignPage(f"A page of {origin[:80]!r} may not use this gateway.")


def _is_local(called: str) -> bool:
    try:
        host = urlsplit(f"//{called}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            return await request.read()
    except TimeoutError:
        raise BadGatewayCall(f"The body did not arrive within {BODY_DEADLINE:g} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise CallTooLarge(f"The body is over {MAX_BODY} bytes.") from None
    except web.PayloadAccessError as error:
        raise BadGatewayCall("The body did not arrive whole.") from error


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadGatewayCall(f"{name} is no whole number.")
    return int(text)


def _node(node: NodeStatus) -> dict[str, Any]:
    return {
        "node-id": node.name,
        "node-address": node.address,
        "state": node.state,
        "latency-ms": node.latency_ms,
        "last-seen": pages.iso(node.last_seen),
        "signed": node.signed,
    }


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def _refusal(error: P2PError, status: int) -> web.Response:
    response = _json({"error": error.to_wire()}, status)
    if status in (429, 503):
        response.headers["Retry-After"] = "5"
    return response


def _http_refusal(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == HTTPStatus.NOT_FOUND:
        return _refusal(NoSuchCall(f"There is no {request.path[:80]!r} here."), 404)
    if isinstance(error, web.HTTPMethodNotAllowed):
        response = _refusal(NoSuchCall(f"{request.path[:80]!r} does not take {request.method[:20]}."), 405)
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    return _refusal(BadGatewayCall(f"The request cannot be read: {error.reason}."), error.status)
