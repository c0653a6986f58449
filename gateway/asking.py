"""One HTTP call to one node, with every bound that a hostile node could want to break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.addresses import AddressPolicy, IPAddress, NodeAddress
from gateway.settings import MAX_BODY, MAX_TAGS
from p2pgrid.errors import BadTag, Malformed, Oversized, Unreachable
from p2pgrid.ids import normalise_tag


class NoNames(AbstractResolver):
    """Refuses every name: the HTTP client connects to checked IP addresses and never looks one up itself."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Always raises ``OSError``."""
        raise OSError(f"{host} was not looked up and checked before")

    async def close(self) -> None:
        """Nothing to release."""


class Asker:
    """The gateway's only way to a node.

    No redirects, no cookies, no proxies, no decompression, one connection a call, at most ``MAX_BODY`` bytes of answer.
    Time is the caller's: each call runs under the caller's ``asyncio.timeout``.
    """

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        # A kept connection may be closed by the node just when it is used again, and a POST is not repeated.
        connector = aiohttp.TCPConnector(resolver=NoNames(), use_dns_cache=False, force_close=True, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=MAX_BODY // 2,
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()

    async def health(self, address: NodeAddress, ip: IPAddress) -> float:
        """Seconds until the node had answered ``GET /health-check`` with 200.  Raises as ``fetch``."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self.fetch("GET", address, ip, "/health-check")
        return loop.time() - start

    async def search(self, address: NodeAddress, ip: IPAddress, body: bytes) -> bool:
        """Whether the node says that it holds data for the query.  Raises as ``fetch``."""
        answer = read_json(await self.fetch("POST", address, ip, "/search", body))
        if not isinstance(answer, dict) or not isinstance(answer.get("content"), bool):
            raise Malformed("A node's answer to a search has no content that is true or false.")
        return answer["content"] is True

    async def tags(self, address: NodeAddress, ip: IPAddress) -> set[str]:
        """The node's tags, normalised; what is none is dropped.  Raises as ``fetch``."""
        answer = read_json(await self.fetch("GET", address, ip, "/dataset-tags"))
        if isinstance(answer, dict):
            answer = answer.get("tags")
        if not isinstance(answer, list):
            raise Malformed("A node's answer about its tags is no list.")
        tags = set()
        for raw in answer[:MAX_TAGS]:
            try:
                tags.add(f"#{normalise_tag(raw)}")
            except BadTag:
                continue
        return tags

    async def fetch(
        self, method: str, address: NodeAddress, ip: IPAddress, path: str, body: bytes | None = None
    ) -> bytes:
        """The body of a 200 answer.

        Raises ``AddressRefused``, ``Unreachable``, ``Malformed`` (another status, a compressed body) or ``Oversized``.
        """
        self._policy.check(ip)
        headers = {"Host": address.authority, "Accept": "application/json", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        name = address.host if address.scheme == "https" and address.ip is None else None
        try:
            async with self._session.request(
                method,
                URL(address.at(ip) + path, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=name,
            ) as response:
                try:
                    return await _read(response)
                except BaseException:
                    response.close()
                    raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{address.text} did not answer: {type(error).__name__}.") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise Malformed(f"A node answered with status {response.status}.")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Malformed("A node sent a compressed answer.")
    if (response.content_length or 0) > MAX_BODY:
        raise Oversized(f"A node announced an answer of {response.content_length} bytes.")
    parts = bytearray()
    while part := await response.content.readany():
        parts += part
        if len(parts) > MAX_BODY:
            raise Oversized(f"A node's answer is over {MAX_BODY} bytes.")
    return bytes(parts)


def read_json(raw: bytes) -> Any:
    """Parse JSON whatever its content type says.  Raises ``Malformed``."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed("The bytes are no JSON.") from error
