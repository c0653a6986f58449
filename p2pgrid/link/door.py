"""The JSON door of a node: what people, scripts and gateways may ask over plain HTTP.

It tells nothing private: health, identity, tags, and who holds what.  Everything that needs an account goes over
``/link``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web

from p2pgrid.errors import (
    Conflict,
    InternalError,
    InvalidInput,
    NotAllowed,
    NotFound,
    P2PError,
    RemoteError,
    TooLarge,
    Unreachable,
)
from p2pgrid.ids import Tag, normalise_tags
from p2pgrid.link.answers import fit_list, fit_search
from p2pgrid.link.pages import refuse_far_caller, refuse_foreign_page
from p2pgrid.link.server import CLOSE_FIRST, AppServer
from p2pgrid.link.websocket import LINK_PATH, LinkServer

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 << 10
"""Bytes of a request's body."""
BODY_TIMEOUT: Final = 10.0
ANSWER_TIMEOUT: Final = 10.0
MAX_QUERY_TAGS: Final = 16

_STATUS: Final[tuple[tuple[type[P2PError], int], ...]] = (
    (TooLarge, 413),
    (InvalidInput, 400),
    (RemoteError, 400),
    (NotFound, 404),
    (NotAllowed, 403),
    (Conflict, 409),
    (Unreachable, 504),
)

Answer = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door(Protocol):
    """What a node answers with; each method may be sync or async."""

    def health(self) -> Answer | Awaitable[Answer]:
        """``{"status": "online" | "busy", "node-id", "name", "version", ...}``, at once."""

    def identity_record(self) -> Answer | Awaitable[Answer]:
        """The node's signed record, in JSON."""

    def dataset_tags(self) -> list[str] | Awaitable[list[str]]:
        """Every tag of its datasets, with its ``#``."""

    def search(self, tags: list[Tag], match: str) -> Answer | Awaitable[Answer]:
        """``{"content": bool, "node-id", "name", "datasets": [...]}`` for normalised tags, ``match`` "all" or "any"."""


@dataclass(frozen=True, slots=True)
class MetricsDoor:
    """``GET /metrics``: ``text`` gives body and content type for an Accept header.

    ``local_only``: for callers on this machine.  The numbers tell nobody's name, and still when and how much is
    searched, announced and attacked here: that is the operator's to know, and a monitor runs beside the node.
    """

    text: Callable[[str], Awaitable[tuple[bytes, str]]]
    local_only: bool = True


def make_app(
    door: Door, link: LinkServer, on_loopback: Callable[[], bool], metrics: MetricsDoor | None = None
) -> web.Application:
    """The node's web application: the JSON door and ``/link``.  ``AppServer.close`` closes the links.

    ``on_loopback`` says whether only this machine can reach it.  Without ``metrics`` there are none.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.writer.drain()  # one unread answer a connection
        headers = request.headers
        refuse_foreign_page(headers.get("Host"), headers.get("Origin"), on_loopback=on_loopback())
        return await handler(request)

    app = web.Application(middlewares=[_speak_json, guard], client_max_size=MAX_BODY)

    async def health(_: web.Request) -> web.Response:
        return _json(await _ask(door.health()))

    async def identity(_: web.Request) -> web.Response:
        return _json(await _ask(door.identity_record()))

    async def dataset_tags(_: web.Request) -> web.Response:
        return _json(fit_list(await _ask(door.dataset_tags())))

    async def search(request: web.Request) -> web.Response:
        tags, match = parse_search(await read_json(request))
        return _json(fit_search(await _ask(door.search(tags, match))))

    async def open_links(_: web.Application) -> None:
        link.open()

    if metrics is not None:
        app.router.add_get("/metrics", _metrics_handler(metrics))
    app.router.add_get("/health-check", health)
    app.router.add_get("/identity", identity)
    app.router.add_get("/dataset-tags", dataset_tags)
    app.router.add_post("/search", search)
    app.router.add_get(LINK_PATH, link.handle, allow_head=False)
    app.on_response_prepare.append(_safe_headers)
    app.on_startup.append(open_links)
    app[CLOSE_FIRST] = link.close
    return app


class HttpServer(AppServer):
    """A node's web application on a port."""

    def __init__(self, door: Door, link: LinkServer, metrics: MetricsDoor | None = None) -> None:
        super().__init__(make_app(door, link, lambda: self.on_loopback, metrics))


def _metrics_handler(metrics: MetricsDoor) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        if metrics.local_only:
            refuse_far_caller(request.remote, request.headers)
        body, content_type = await metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return answer


def parse_search(body: Any) -> tuple[list[Tag], str]:
    """Normalised tags and "all" or "any" from a search's body.  Raises ``InvalidInput`` with what is wrong."""
    fix = 'Send {"query": ["#tag", ...], "match": "all" or "any"}.'
    if not isinstance(body, dict):
        raise InvalidInput("The body is no JSON object.", fix=fix)
    query, match = body.get("query"), body.get("match", "all")
    if not isinstance(query, list) or not all(isinstance(tag, str) for tag in query):
        raise InvalidInput('"query" is no list of texts.', fix=fix)
    if not 1 <= len(query) <= MAX_QUERY_TAGS:
        raise InvalidInput(f'"query" holds {len(query)} tags; it takes 1 to {MAX_QUERY_TAGS}.', fix=fix)
    if match not in ("all", "any"):
        raise InvalidInput('"match" is neither "all" nor "any".', fix=fix)
    return list(normalise_tags(query)), match


async def read_json(request: web.Request) -> Any:
    """The request's body, at most the application's ``client_max_size``, as JSON.

    Raises ``TooLarge``, ``InvalidInput``, or ``Unreachable`` when it does not arrive within ``BODY_TIMEOUT``.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            raw = await request.read()
        return json.loads(raw)
    except TimeoutError:
        raise Unreachable(f"The body did not arrive within {BODY_TIMEOUT:g} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"The body is over {request.client_max_size} bytes.") from None
    except (ValueError, RecursionError):
        raise InvalidInput("The body is no JSON.", fix="Send a JSON object.") from None


async def _ask(answer: Any) -> Any:
    if not inspect.isawaitable(answer):
        return answer
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await answer
    except TimeoutError:
        raise Unreachable(f"The node did not find an answer within {ANSWER_TIMEOUT:g} s.") from None


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def error_response(error: P2PError, status: int | None = None) -> web.Response:
    """An error as ``{"error": {code, cause, fix}}`` with the status that fits it."""
    found = status or next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return _json({"error": error.to_wire()}, found)


@web.middleware
async def _speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong is answered in JSON, and without a word about the inside."""
    try:
        return await handler(request)
    except P2PError as error:
        return error_response(error)
    except web.HTTPException as error:
        response = error_response(_of_http(request, error), error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("A request for %s failed by a fault of ours.", request.path)
        return error_response(InternalError("The node failed at this request."))


def _of_http(request: web.Request, error: web.HTTPException) -> P2PError:
    match error:
        case web.HTTPNotFound():
            return NotFound(f"There is nothing at {request.path[:200]}.", fix="See docs/protocol.md for the paths.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return InvalidInput(f"{request.method} is not possible here.", fix=f"Use {allowed}.")
    return InvalidInput(f"The request cannot be answered: {error.reason}.")


async def _safe_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "p2pgrid"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
