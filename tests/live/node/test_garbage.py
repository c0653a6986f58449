"""Garbage at every door while the main job goes on: it still succeeds, and memory stays flat."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import numpy as np

import p2pgrid
from p2pgrid import aio

OWNER = {"email": "info@openmined.org", "password": "changethis"}
REQUESTS = 1_000
DATAGRAMS = 10_000
MOST_GROWTH = 24 << 20
"""Bytes; half of a full flood has gone by before the first look, so pools and caches are warm."""


def junk(chance: random.Random) -> bytes:
    """Bytes of a random length, at times dressed as the beginning of something true."""
    head = chance.choice([b"", b"\x01", b"\x02", b"\x03", b"\x81\xa1q", b"GET / HTTP/1.1\r\n", b"{", b"\x00" * 8])
    return head + chance.randbytes(chance.choice([0, 1, 16, 64, 200, 600, 1200]))


async def http_junk(host: str, port: int, chance: random.Random, count: int) -> None:
    """Requests that are none, to every path."""
    paths = ["/", "/search", "/link", "/identity", "/health-check", "/dataset-tags", "/join", "/%00", "/" + "x" * 3000]
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, port)
        body = junk(chance)
        if chance.random() < 0.7:
            verb, path = chance.choice(["GET", "POST", "PUT", "BREW"]), chance.choice(paths)
            head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            body = head.encode() + body
        try:
            writer.write(body)
            writer.write_eof()
            async with asyncio.timeout(20):
                while await reader.read(65_536):
                    pass
        except (ConnectionError, TimeoutError, OSError):
            pass
        finally:
            writer.close()


async def udp_junk(host: str, port: int, chance: random.Random, count: int) -> None:
    """Datagrams that are none, as fast as the loop sends them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        for number in range(count):
            await loop.sock_sendto(sock, junk(chance) or b"\x00", (host, port))
            if number % 64 == 0:
                await asyncio.sleep(0)


async def flood(node: Any, chance: random.Random, requests: int, datagrams: int) -> None:
    host, port = node.dht.split(":")
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(http_junk(host, int(port), chance, requests // 8))
        group.create_task(udp_junk(host, int(port), chance, datagrams))


async def main_job(alice: Any, bob: Any, number: int) -> None:
    """Publish, find, ask, approve, get."""
    owner = await aio.login(url=alice.url, **OWNER)
    jane_login = {"email": f"jane{number}@caltech.edu", "password": "abc123"}
    await owner.register(name="Jane Doe", **jane_login)
    asset = p2pgrid.Asset("values", np.array([1, 2, 3]), np.array([1, 1, 1]))
    await owner.upload_dataset(p2pgrid.Dataset(f"d{number}", [asset], tags=[f"#tag-{number}"]), progress=False)
    found: list[Any] = []
    async with asyncio.timeout(30):
        while not found:
            found = [item async for item in aio.search(f"#tag-{number}", bootstrap=[bob.dht], timeout=5)]
    jane = await aio.login(url=found[0].url, **jane_login)
    held = (await jane.datasets)[f"d{number}"].assets[0]

    @p2pgrid.grid_function(input_policy=p2pgrid.ExactMatch(data=held))
    def total(data):  # type: ignore[no-untyped-def]
        return data.sum()

    request = await jane.submit(total)
    await (await owner.get_request(request.id)).approve()
    assert await (await (await jane.code)[-1](data=held)).get() == 6
    await jane.close()
    await owner.close()


async def test_garbage_at_every_door_while_the_main_job_runs(nodes: Any) -> None:
    seed = 20190821
    chance = random.Random(seed)
    alice = nodes("alice")
    bob = nodes("bob", "--bootstrap", alice.dht)
    for node in (alice, bob):
        await flood(node, chance, REQUESTS // 2, DATAGRAMS // 2)
    await main_job(alice, bob, 0)
    before = {node: node.rss() for node in (alice, bob)}
    async with asyncio.TaskGroup() as group:
        for node in (alice, bob):
            group.create_task(flood(node, chance, REQUESTS, DATAGRAMS))
        group.create_task(main_job(alice, bob, 1))
    await main_job(alice, bob, 2)
    growth = {node.name: node.rss() - before[node] for node in (alice, bob)}
    assert max(growth.values()) < MOST_GROWTH, f"memory grew by {growth} bytes (seed {seed})"
