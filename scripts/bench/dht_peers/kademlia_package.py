"""The kademlia package from PyPI, as its documentation shows it, with a count of the requests that it serves."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from typing import Any

from dht_peers.base import VALUE_BYTES, Got, batches
from kademlia.crawling import NodeSpiderCrawl
from kademlia.network import Server
from kademlia.node import Node
from kademlia.protocol import KademliaProtocol


class Kademlia:
    """See ``base.System`` and ``base.Inspected``."""

    whole = False

    def __init__(self, seed: int) -> None:
        logging.disable(logging.CRITICAL)
        random.seed(seed)  # the package draws its ids and numbers from the global source
        self.nodes: list[Any] = []
        self._ports: list[int] = []
        self._chance = random.Random(seed)  # noqa: S311 - who bootstraps from whom
        self._served = 0
        self.k = 20
        bench = self

        class Counting(KademliaProtocol):  # type: ignore[misc]
            async def _accept_request(self, *arguments: Any) -> None:
                bench._served += 1
                await super()._accept_request(*arguments)

        self._protocol = Counting

    async def start(self, count: int) -> None:
        for batch in batches(count, self._chance):
            await asyncio.gather(*(self._one(first) for _, first in batch))

    async def _one(self, first: int | None) -> None:
        server = Server()
        server.protocol_class = self._protocol
        await server.listen(0, interface="127.0.0.1")
        if first is not None:
            await server.bootstrap([("127.0.0.1", self._ports[first])])
        self.nodes.append(server)
        self._ports.append(server.transport.get_extra_info("sockname")[1])

    async def put(self, node: int, key: int) -> bool:
        return bool(await self.nodes[node].set(f"key-{key}", f"{key}".ljust(VALUE_BYTES)))

    async def get(self, node: int, key: int, whole: bool) -> Got:
        began = time.perf_counter()
        value = await self.nodes[node].get(f"key-{key}")
        took = time.perf_counter() - began
        return Got(None if value is None else took, took)

    async def kill(self, nodes: Iterable[int]) -> None:
        for number in nodes:
            self.nodes[number].stop()
        await asyncio.sleep(0)

    def requests(self) -> float:
        return float(self._served)

    def id_of(self, node: int) -> bytes:
        return bytes(self.nodes[node].node.id)

    async def nearest(self, node: int, target: bytes) -> list[bytes]:
        server, point = self.nodes[node], Node(target)
        near = server.protocol.router.find_neighbors(point)
        found = await NodeSpiderCrawl(server.protocol, point, near, server.ksize, server.alpha).find()
        return [one.id for one in found]

    async def ping(self, node: int, other: int) -> bool:
        server = self.nodes[node]
        answered, _ = await server.protocol.ping(("127.0.0.1", self._ports[other]), server.node.id)
        return bool(answered)
