"""Real gateways and real nodes on ports of their own; each test's are gone when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway import Gateway, GatewaySettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Node:
    """An HTTP server as any legacy node could be: ``POST /search``, ``GET /health-check``, ``GET /dataset-tags``."""

    def __init__(self, tags: set[str], search: Handler | None, health: Handler | None) -> None:
        self.tags = tags
        self.search = search or self._search
        self.health = health or self._health
        self.asked: list[bytes] = []
        self.hosts: list[str] = []
        self.probed = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> Node:
        app = web.Application()
        app.router.add_post("/search", self._asked)
        app.router.add_get("/health-check", self._probed)
        app.router.add_get("/dataset-tags", self._tags)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.read())
        self.hosts.append(request.headers["Host"])
        return await self.search(request)

    async def _probed(self, request: web.Request) -> web.StreamResponse:
        self.probed += 1
        return await self.health(request)

    async def _search(self, request: web.Request) -> web.Response:
        return web.json_response({"content": self.tags >= set((await request.json())["query"])})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _tags(self, _request: web.Request) -> web.Response:
        return web.json_response(sorted(self.tags))

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


class Caller:
    """Somebody who calls a gateway."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, **kwargs) as response:
            raw = await response.read()
            assert response.content_type == "application/json", raw[:200]
            return response.status, json.loads(raw)

    async def join(self, name: Any, address: Any, **more: Any) -> tuple[int, Any]:
        return await self.call("POST", "/join", json={"node-id": name, "node-address": address, **more})

    async def search(self, *tags: str) -> list[list[str]]:
        status, answer = await self.call("POST", "/search", json={"query": list(tags)})
        assert status == 200, answer
        assert set(answer) == {"node-addresses"}
        return answer["node-addresses"]

    async def state(self, name: str) -> str:
        _, answer = await self.call("GET", "/health-check")
        return {node["node-id"]: node["state"] for node in answer["nodes"]}[name]

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while True:
                if await check():
                    return
                await asyncio.sleep(0.02)

    async def until_state(self, name: str, state: str) -> None:
        async def reached() -> bool:
            return await self.state(name) == state

        await self.until(reached)


MakeNode = Callable[..., Awaitable[Node]]
MakeGateway = Callable[..., Awaitable[tuple[Gateway, Caller]]]


@pytest.fixture
async def node() -> AsyncIterator[MakeNode]:
    started: list[Node] = []

    async def make(*tags: str, search: Handler | None = None, health: Handler | None = None, port: int = 0) -> Node:
        made = Node(set(tags), search, health)
        started.append(made)
        return await made.start(port)

    yield make
    for made in started:
        await made.close()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[MakeGateway]:
    started: list[Gateway] = []
    session = aiohttp.ClientSession()

    async def make(*, extra: dict[str, Any] | None = None, **settings: Any) -> tuple[Gateway, Caller]:
        chosen = {"port": 0, "home": tmp_path / "gateway", "deadline": 1.0, "probe_interval": 30.0} | settings
        made = await Gateway.start(GatewaySettings(**chosen), **(extra or {}))
        started.append(made)
        return made, Caller(session, made.url)

    yield make
    await session.close()
    for made in started:
        await made.close()
