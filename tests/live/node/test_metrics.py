"""``GET /metrics`` of real nodes over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import p2pgrid
from p2pgrid import aio
from p2pgrid.errors import BadConfig
from p2pgrid.link.http import client_session

OWNER = {"email": "info@openmined.org", "password": "changethis"}


async def scrape(url: str, **headers: str) -> dict[Any, float]:
    async with client_session() as session, session.get(f"{url}/metrics", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        text = await answer.text()
    families = list(text_string_to_metric_families(text))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def status(url: str, method: str = "GET", **headers: str) -> int:
    async with client_session() as session, session.request(method, f"{url}/metrics", headers=headers) as answer:
        await answer.read()
        return int(answer.status)


async def test_a_scrape_tells_what_happened(tmp_path: Path, until: Any) -> None:
    alice = await aio.launch(name="alice", home=tmp_path)
    bob = await aio.launch(name="bob", home=tmp_path, bootstrap=[alice.dht_address])
    owner = await aio.login(url=alice.url, **OWNER)
    asset = p2pgrid.Asset("a", np.arange(3))
    await owner.upload_dataset(p2pgrid.Dataset("secret-title", [asset], tags=["#secret-tag", "#other"]), progress=False)

    async def announced() -> dict[Any, float] | None:
        told = await scrape(bob.url)
        return told if told["p2pgrid_dht_listings",] == 2 else None

    told = await until(announced)
    assert told["p2pgrid_dht_tags",] == 2
    assert told["p2pgrid_dht_listing_bytes",] > 100
    assert told["p2pgrid_dht_peers", "online"] + told["p2pgrid_dht_peers", "busy"] == 1
    assert told["p2pgrid_dht_table_peers",] == 1
    assert told["p2pgrid_dht_received_packets_total",] > 0
    assert told["process_cpu_seconds_total",] > 0
    own = await scrape(alice.url)
    assert (own["p2pgrid_dht_announces_total",], own["p2pgrid_dht_announced_listings",]) == (2, 2)
    assert (own["p2pgrid_links",], own["p2pgrid_datasets",]) == (1, 1)
    await owner.close()
    for node in (bob, alice):
        await node.land()


async def test_dropped_datagrams_are_counted_by_reason(tmp_path: Path, until: Any) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    host, _, port = node.dht_address.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(20):
            sock.sendto(bytes([number]) * 60, (host, int(port)))

    async def counted() -> bool:
        told = await scrape(node.url)
        dropped = sum(value for key, value in told.items() if key[0] == "p2pgrid_dht_dropped_packets_total")
        return dropped >= 20 and told["p2pgrid_dht_received_packets_total",] >= 20

    assert await until(counted)
    await node.land()


async def test_nothing_that_names_somebody_is_told(tmp_path: Path) -> None:
    node = await aio.launch(name="unusual-name", home=tmp_path)
    async with client_session() as session, session.get(f"{node.url}/metrics") as answer:
        text = await answer.text()
    for told in ("unusual-name", "127.0.0.1", node.id, str(tmp_path)):
        assert told not in text
    await node.land()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_metrics_are_for_this_machine_unless_the_owner_says_so(tmp_path: Path, headers: dict[str, str]) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    assert await status(node.url, **headers) == 403
    await node.land()


async def test_metrics_for_everybody_and_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_METRICS", "all")
    everybody = await aio.launch(name="alice", home=tmp_path)
    monkeypatch.setenv("P2PGRID_METRICS", "off")
    nobody = await aio.launch(name="bob", home=tmp_path)
    assert await status(everybody.url, **{"X-Forwarded-For": "192.0.2.1"}) == 200
    assert await status(everybody.url, "POST") == 405
    assert await status(nobody.url) == 404
    await asyncio.gather(everybody.land(), nobody.land())
    monkeypatch.setenv("P2PGRID_METRICS", "some")
    with pytest.raises(BadConfig, match="metrics"):
        await aio.launch(name="carol", home=tmp_path)


async def test_a_hundred_scrapes_at_once_are_answered(tmp_path: Path) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    async with client_session() as session:

        async def once() -> int:
            async with session.get(f"{node.url}/metrics", timeout=aiohttp.ClientTimeout(20)) as answer:
                await answer.read()
                return answer.status

        assert set(await asyncio.gather(*(once() for _ in range(100)))) == {200}
    await node.land()
