"""libtorrent's DHT (C++) through its Python binding: signed, mutable BEP 44 items.

Alerts are fetched by one thread of ours; a notify callback from the library's threads mixed with its blocking calls
is a deadlock.  Each session has a loopback address of its own, since ids are drawn from the address (BEP 42): nodes
of one address crowd into eight corners of the id space, and no table fills.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import libtorrent
from dht_peers.base import PATIENCE, VALUE_BYTES, Got, batches, silence
from nacl.signing import SigningKey

UP_WAIT = 120.0
POLL = 0.0001
SETTINGS = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_block_ratelimit": 1_000_000,
    "dht_upload_rate_limit": 1_000_000_000,
    "dht_max_dht_items": 10_000,
    "alert_queue_size": 100_000,
    "alert_mask": libtorrent.alert.category_t.dht_notification,
}
Pair = tuple[asyncio.Future[Any], asyncio.Future[Any]]
Waiting = dict[tuple[int, bytes], list[Pair]]
"""First result and end of each request, by node and salt."""


class LibTorrent:
    """See ``base.System``."""

    whole = True

    def __init__(self, seed: int) -> None:
        warnings.simplefilter("ignore", DeprecationWarning)
        self.nodes: list[Any] = []
        self._addresses: list[tuple[str, int]] = []
        self._chance = random.Random(seed)  # noqa: S311 - who bootstraps from whom
        self._waiting: Waiting = {}
        self._asked = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        key = os.urandom(32)
        half = bytearray(hashlib.sha512(key).digest())
        half[0] &= 248
        half[31] = half[31] & 63 | 64
        self._secret, self._public = bytes(half), bytes(SigningKey(key).verify_key)

    async def start(self, count: int) -> None:
        for batch in batches(count, self._chance):
            for number, first in batch:
                self._one(number, first)
        waiting = set(range(1, count))
        deadline = time.perf_counter() + UP_WAIT
        while waiting and time.perf_counter() < deadline:
            for number in list(waiting):
                if any(type(alert).__name__ == "dht_bootstrap_alert" for alert in self.nodes[number].pop_alerts()):
                    waiting.discard(number)
            await asyncio.sleep(0.01)
        if waiting:
            raise RuntimeError(f"{len(waiting)} libtorrent nodes did not finish their bootstrap")
        self._poller = asyncio.create_task(self._poll())

    def _one(self, number: int, first: int | None) -> None:
        ip = f"127.{number * 7 % 16}.{number * 11 % 64}.{number % 250 + 2}"
        known = "" if first is None else "{}:{}".format(*self._addresses[first])
        node = libtorrent.session({**SETTINGS, "listen_interfaces": f"{ip}:0", "dht_bootstrap_nodes": known})
        if first is not None:
            node.add_dht_node(self._addresses[first])  # a bootstrap node alone never enters a table
        self.nodes.append(node)
        self._addresses.append((ip, node.listen_port()))

    async def put(self, node: int, key: int) -> bool:
        value = f"{key}".ljust(VALUE_BYTES).encode()
        with self._wait(node, b"p%d" % key) as (_, done):
            self.nodes[node].dht_put_mutable_item(self._secret, self._public, value, b"p%d" % key)
            return bool(await _within(done))

    async def get(self, node: int, key: int, whole: bool) -> Got:
        began = time.perf_counter()
        with self._wait(node, b"p%d" % key) as (first, done):
            self.nodes[node].dht_get_mutable_item(self._public, b"p%d" % key)
            found = await _within(first)
            if whole:
                await _within(done)
        return Got(None if found is None else found - began, time.perf_counter() - began)

    async def kill(self, nodes: Iterable[int]) -> None:
        silence(self._addresses[number] for number in nodes)

    @contextlib.contextmanager
    def _wait(self, node: int, salt: bytes) -> Iterator[Pair]:
        loop = asyncio.get_running_loop()
        pair = loop.create_future(), loop.create_future()
        waiting = self._waiting.setdefault((node, salt), [])
        waiting.append(pair)
        self._asked.set()
        try:
            yield pair
        finally:
            waiting.remove(pair)
            if not waiting:
                del self._waiting[node, salt]

    async def _poll(self) -> None:
        while True:
            if not self._waiting:
                self._asked.clear()
                await self._asked.wait()  # an idle network is not charged for our looking
            for number in {node for node, _ in self._waiting}:
                for alert in self.nodes[number].pop_alerts():
                    self._heard(number, alert)
            time.sleep(POLL)  # noqa: ASYNC251 - gives the core to the library's threads; the loop has no finer clock
            await asyncio.sleep(0)

    def _heard(self, number: int, alert: Any) -> None:
        name = type(alert).__name__
        if name not in ("dht_put_alert", "dht_mutable_item_alert"):
            return
        # Alerts name the item, not the request: of several for one item the oldest is the one that ends.
        waiting = self._waiting.get((number, bytes(alert.salt)), [])
        open_ones = [pair for pair in waiting if not pair[1].done()]
        if name == "dht_put_alert":
            for _, done in open_ones[:1]:
                _settle(done, alert.num_success)
            return
        if alert.item:
            for first, _ in open_ones:
                _settle(first, time.perf_counter())
        if alert.authoritative:
            for first, done in open_ones[:1]:
                _settle(first, None)
                _settle(done, True)


async def _within(future: asyncio.Future[Any]) -> Any:
    try:
        async with asyncio.timeout(PATIENCE):
            return await future
    except TimeoutError:
        return None


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
