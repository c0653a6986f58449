"""A JSON client for addresses that strangers told us: bounded in bytes and time, never led elsewhere."""

from __future__ import annotations

import asyncio
import json as jsonlib
from types import SimpleNamespace
from typing import Any, Final

import aiohttp

from p2pgrid.errors import Malformed, Oversized, Unreachable

MAX_ANSWER: Final = 1 << 20
"""Bytes of a JSON answer unless the caller says otherwise."""
FETCH_TIMEOUT: Final = 5.0
MAX_CONNECTIONS: Final = 64


def client_session() -> aiohttp.ClientSession:
    """A session that sends nothing but what it is told: no proxies from the environment, no cookies, no redirects.

    The caller closes it.
    """
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "p2pgrid", "Accept-Encoding": "identity"},
        trust_env=False,
        auto_decompress=False,
        trace_configs=[tracing],
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def fetch_json(
    method: str,
    url: str,
    json: Any = None,
    *,
    session: aiohttp.ClientSession | None = None,
    limit_bytes: int = MAX_ANSWER,
    timeout: float = FETCH_TIMEOUT,
) -> tuple[int, Any]:
    """The status and the JSON document that ``url`` answers with, whatever the status says.

    Without ``session`` it has its own for this request.  Raises ``Unreachable`` when nothing answers within
    ``timeout`` seconds, ``Oversized`` for more than ``limit_bytes``, ``Malformed`` for a redirect or anything that is
    no JSON.
    """
    if session is None:
        async with client_session() as own:
            return await fetch_json(method, url, json, session=own, limit_bytes=limit_bytes, timeout=timeout)
    body = None if json is None else jsonlib.dumps(json).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        async with (
            asyncio.timeout(timeout),
            session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return _read_answer(url, response.status, await _read_body(url, response, limit_bytes))
    except TimeoutError:
        raise Unreachable(f"{url} did not answer within {timeout:g} s.") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"{url} cannot be reached: {_said(error)}.") from error


async def _read_body(url: str, response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Oversized(f"{url} answered with more than {limit} bytes.")
    return bytes(body)


def _read_answer(url: str, status: int, body: bytes) -> tuple[int, Any]:
    if 300 <= status < 400:
        raise Malformed(f"{url} answered with a redirect, which is not followed.")
    try:
        return status, jsonlib.loads(body)
    except (ValueError, RecursionError):
        raise Malformed(f"{url} answered {status} with something that is no JSON.") from None


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    params.response.close()
    raise aiohttp.ClientError("it answered with a redirect, which is not followed")


def _said(error: BaseException) -> str:
    cause = getattr(error, "os_error", None)  # aiohttp's own words name its settings, not the trouble
    if cause is not None and cause.strerror:
        return str(cause.strerror)[:200]
    return str(error)[:200].rstrip(".") or type(error).__name__
