"""p2pgrid's DHT, through its public class; the engine's counters and walks for what only a bench asks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from typing import Any

from dht_peers.base import VALUE_BYTES, Got, batches

from p2pgrid import records
from p2pgrid.dht import DhtNode

DATASET_BYTES = 16


class Ours:
    """See ``base.System`` and ``base.Inspected``."""

    whole = True

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self._chance = random.Random(seed)  # noqa: S311 - who bootstraps from whom
        self.k = 0

    async def start(self, count: int) -> None:
        for batch in batches(count, self._chance):
            through = [[] if first is None else [f"127.0.0.1:{self.nodes[first].address.udp}"] for _, first in batch]
            self.nodes += await asyncio.gather(*(DhtNode.start(bootstrap=addresses) for addresses in through))
        self.k = self.nodes[0]._engine.limits.k

    async def put(self, node: int, key: int) -> bool:
        dataset = hashlib.blake2b(b"%d" % key, digest_size=DATASET_BYTES).digest()
        title = "a title as long as a value of the others".ljust(VALUE_BYTES - 100, ".")
        return await self.nodes[node].announce(f"key-{key}", dataset, title) > 0

    async def get(self, node: int, key: int, whole: bool) -> Got:
        began = time.perf_counter()
        first = None
        async for _ in self.nodes[node].search(f"key-{key}", limit=100 if whole else 1):
            if first is None:
                first = time.perf_counter() - began
        return Got(first, time.perf_counter() - began)

    async def kill(self, nodes: Iterable[int]) -> None:
        for number in nodes:
            node = self.nodes[number]
            node._shell.transport.abort()  # first, so that a goodbye, if there were one, had no socket
            await node.close()

    @contextlib.contextmanager
    def forgetful(self) -> Iterator[None]:
        """Each signature is checked, as where every node has a process of its own."""
        remembered: Any = records._checked
        records._checked = remembered.__wrapped__
        try:
            yield
        finally:
            records._checked = remembered

    def requests(self) -> float:
        return sum(node.counters.get("sent", 0) for node in self.nodes) / 2

    def id_of(self, node: int) -> bytes:
        return bytes(self.nodes[node].id)

    async def nearest(self, node: int, target: bytes) -> list[bytes]:
        shell = self.nodes[node]
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[bytes]] = loop.create_future()
        shell._engine.walk(target, lambda near, at: found.set_result([one.id for one in near]), loop.time())
        shell._flush()
        return await found

    async def ping(self, node: int, other: int) -> bool:
        await self.nodes[node].ping(self.nodes[other].id)
        return True
