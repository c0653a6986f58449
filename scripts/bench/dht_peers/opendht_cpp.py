"""OpenDHT (C++) through its Python binding.

Only calls with callbacks are made: a blocking call holds the interpreter's lock while a thread of the library waits
for it to deliver a callback, which is a deadlock.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Iterable
from typing import Any

import opendht
from dht_peers.base import PATIENCE, VALUE_BYTES, Got, batches, silence

UP_WAIT = 60.0
UNLIMITED = -1


class OpenDht:
    """See ``base.System``."""

    whole = True

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self._ports: list[int] = []
        self._chance = random.Random(seed)  # noqa: S311 - who bootstraps from whom

    async def start(self, count: int) -> None:
        for batch in batches(count, self._chance):
            for _, first in batch:
                self._one(first)
        waiting = set(range(count))
        deadline = time.perf_counter() + UP_WAIT
        while waiting and time.perf_counter() < deadline:
            waiting = {number for number in waiting if "Node " not in self._table(number)}
            await asyncio.sleep(0.01)
        if waiting:
            raise RuntimeError(f"{len(waiting)} OpenDHT nodes met nobody")

    def _one(self, first: int | None) -> None:
        config = opendht.DhtConfig()
        config.setBootstrapMode(False)
        config.setPeerDiscovery(False, False)
        config.setRateLimit(UNLIMITED, UNLIMITED)  # all nodes share one address here
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        node = opendht.DhtRunner()
        node.run(port=port, ipv4="127.0.0.1", ipv6="", config=config)
        if first is not None:
            node.bootstrap("127.0.0.1", str(self._ports[first]))
        self.nodes.append(node)
        self._ports.append(port)

    def _table(self, number: int) -> str:
        return str(self.nodes[number].getRoutingTablesLog(int(socket.AF_INET)))

    async def put(self, node: int, key: int) -> bool:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        value = opendht.Value(f"{key}".ljust(VALUE_BYTES).encode())

        def over(stored: bool, _: object) -> None:
            loop.call_soon_threadsafe(_settle, done, stored)

        self.nodes[node].put(opendht.InfoHash.get(f"key-{key}"), value, over)
        return await _within(done, False)

    async def get(self, node: int, key: int, whole: bool) -> Got:
        loop = asyncio.get_running_loop()
        first: asyncio.Future[float | None] = loop.create_future()
        done: asyncio.Future[bool] = loop.create_future()
        began = time.perf_counter()

        def got(_: object) -> bool:
            loop.call_soon_threadsafe(_settle, first, time.perf_counter() - began)
            return whole

        def over(_: bool, __: object) -> None:
            loop.call_soon_threadsafe(_settle, done, True)
            loop.call_soon_threadsafe(_settle, first, None)

        self.nodes[node].get(opendht.InfoHash.get(f"key-{key}"), got, over)
        found = await _within(first, None)
        if whole:
            await _within(done, False)
        return Got(found, time.perf_counter() - began)

    async def kill(self, nodes: Iterable[int]) -> None:
        silence(("127.0.0.1", self._ports[number]) for number in nodes)


async def _within(future: asyncio.Future[Any], otherwise: Any) -> Any:
    try:
        async with asyncio.timeout(PATIENCE):
            return await future
    except TimeoutError:
        return otherwise


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
