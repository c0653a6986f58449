"""A small node on a real port: its door, its links, and a client's key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from p2pgrid.crypto import Identity
from p2pgrid.errors import NotFound
from p2pgrid.ids import Tag
from p2pgrid.link.http import HttpServer, LinkPeer, LinkServer, client_session

NODE = Identity(b"\x51" * 32)
CLIENT = Identity(b"\x52" * 32)
SECRET = "hunter2"


class SmallNode:
    """What stands behind the doors."""

    def __init__(self) -> None:
        self.links = LinkServer(NODE, self.dispatch)
        self.http = HttpServer(self, self.links)
        self.asked: list[tuple[list[Tag], str]] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    def health(self) -> dict[str, Any]:
        return {"status": "online", "node-id": NODE.id.hex(), "name": "Bob", "version": "0"}

    async def identity_record(self) -> dict[str, Any]:
        return {"node-id": NODE.id.hex(), "record": ["", ""]}

    def dataset_tags(self) -> list[str]:
        return ["#mnist"]

    async def search(self, tags: list[Tag], match: str) -> dict[str, Any]:
        self.asked.append((tags, match))
        match tags:
            case ["fault"]:
                raise ValueError(SECRET)
            case ["everything"]:
                dataset = {
                    "id": "0" * 32,
                    "name": "d",
                    "description": "é" * 19_000,
                    "tags": ["#everything"],
                    "assets": [],
                }
                return {"content": True, "node-id": NODE.id.hex(), "name": "Bob", "datasets": [dataset] * 1_000}
            case ["absent"]:
                raise NotFound("Nothing there.")
            case ["slow"]:
                self.started.set()
                await asyncio.Event().wait()
        return {"content": False, "node-id": NODE.id.hex(), "name": "Bob", "datasets": []}

    async def dispatch(self, peer: LinkPeer, verb: str, args: dict[str, Any]) -> Any:
        match verb:
            case "echo":
                return args
            case "trust":
                return peer.trust()
            case "who":
                return {"key": peer.key, "remote": peer.remote}
            case "hang":
                self.started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
        raise NotFound(f"There is no verb {verb}.")


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = SmallNode()
    await node.http.start("127.0.0.1", 0)
    yield node
    await node.http.close()


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session
