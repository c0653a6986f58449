"""Real nodes on real UDP sockets of this machine."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht import DhtNode, Limits
from p2pgrid.errors import BadAddress, BadNodeId, InvalidInput, NoBootstrap, PortTaken, Unreachable
from p2pgrid.records import Address

DATASET = b"d" * 16


def where(node: DhtNode) -> str:
    ip = node.address.ip
    return f"[{ip}]:{node.address.udp}" if ":" in ip else f"{ip}:{node.address.udp}"


@asynccontextmanager
async def grid(count: int, host: str = "127.0.0.1", **more: Any) -> AsyncIterator[list[DhtNode]]:
    nodes: list[DhtNode] = []
    try:
        for number in range(count):
            boot = [where(nodes[0])] if nodes else []
            nodes.append(await DhtNode.start(host, 0, bootstrap=boot, name=f"node-{number}", **more))
        yield nodes
    finally:
        for node in nodes:
            await node.close()


async def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is awaited sets no event
            await asyncio.sleep(0.01)


async def titles(node: DhtNode, *tags: str, **more: Any) -> list[str]:
    return sorted([found.record.title async for found in node.search(*tags, **more)])


async def test_three_nodes_announce_search_ping_and_find():
    async with grid(3, http_port=8080) as (a, b, c):
        assert (a.joined, b.joined, c.joined) == (False, True, True)
        assert await b.announce("#Digits", DATASET, title="Handwritten digits") == 2
        for node in (a, b, c):
            [found] = [v async for v in node.search("digits")]
            assert (found.record.title, found.record.id) == ("Handwritten digits", b.id)
            assert found.record.addresses == (Address("127.0.0.1", b.address.udp, 8080),)
        known = next(peer for peer in a.peers() if peer.id == b.id)
        for peer in (b.id, b.id.hex(), where(b), b.address, known):
            pong = await a.ping(peer)
            assert (pong.id, pong.name, pong.state) == (b.id, "node-1", "online")
            assert 0 < pong.rtt_ms < 1000
        record = await c.find(b.id)
        assert record is not None
        assert (record.record.name, record.record.id) == ("node-1", b.id)
        assert {p.id for p in c.peers()} == {a.id, b.id}
        assert b.announced == [("digits", DATASET, "Handwritten digits")]


async def test_a_client_searches_and_enters_no_table():
    async with grid(3) as (a, b, _):
        await b.announce("digits", DATASET, title="t")
        async with await DhtNode.start(mode="client", bootstrap=[where(a)]) as client:
            assert client.joined
            assert await titles(client, "digits") == ["t"]
            assert await titles(client, "nothing") == []
        assert all(client.id not in {p.id for p in node.peers()} for node in (a, b))


async def test_all_and_any():
    async with grid(4) as (a, b, c, d):
        await a.announce("x", b"1" * 16, title="one")
        await a.announce("y", b"1" * 16, title="one")
        await b.announce("x", b"2" * 16, title="two")
        await c.announce("y", b"3" * 16, title="three")
        assert await titles(d, "x", "y") == ["one"]
        assert await titles(d, "#X", "y", match="any") == ["one", "three", "two"]
        assert len(await titles(d, "x", "y", match="any", limit=2)) == 2
        with pytest.raises(InvalidInput):
            await titles(d)


async def test_withdraw():
    async with grid(3) as (a, b, c):
        await a.announce("x", DATASET, title="t")
        assert a.withdraw("x", DATASET)
        assert not a.withdraw("x", DATASET)
        async with asyncio.timeout(5):
            while await titles(c, "x") or await titles(b, "x"):
                await b.ping(c.id)


async def test_twenty_nodes_find_everything():
    async with grid(20) as nodes:
        for number, node in enumerate(nodes):
            assert await node.announce(f"tag-{number}", DATASET, title=str(number)) >= 8
        for number in range(20):
            assert await titles(nodes[(number + 7) % 20], f"tag-{number}") == [str(number)]


async def test_a_dead_bootstrap_prevents_nothing_and_says_so():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        async with await DhtNode.start(bootstrap=[dead]) as lonely:
            assert not lonely.joined
            assert await lonely.announce("x", DATASET, title="mine") == 0
            assert await titles(lonely, "x") == ["mine"]
            with pytest.raises(NoBootstrap, match=r"127\.0\.0\.1"):
                await lonely.join([dead], timeout=0.2)
            with pytest.raises(Unreachable):
                await lonely.ping(dead, timeout=0.2)
            async with grid(2) as (a, b):
                await b.announce("y", DATASET, title="theirs")
                await lonely.join([dead, where(a)])
                assert lonely.joined
                assert await titles(lonely, "y") == ["theirs"]


async def test_one_dead_bootstrap_of_two_holds_nobody_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with grid(2) as (a, _):
            loop = asyncio.get_running_loop()
            began = loop.time()
            dead = f"127.0.0.1:{silent.getsockname()[1]}"
            async with await DhtNode.start(bootstrap=[dead, where(a)]) as node:
                assert node.joined
                assert loop.time() - began < 1.0


async def test_a_taken_port_and_bad_addresses():
    async with grid(1) as (a,):
        with pytest.raises(PortTaken):
            await DhtNode.start("127.0.0.1", a.address.udp)
    for host in ("192.0.2.77", "no.such.host.invalid"):
        with pytest.raises(BadAddress):
            await DhtNode.start(host, 0)
    for bootstrap in ("nowhere", "host:", "host:99999", ":80", "[::1]"):
        with pytest.raises(BadAddress):
            await DhtNode.start(bootstrap=[bootstrap])
    async with grid(1) as (a,):
        with pytest.raises(BadNodeId):
            await a.ping("zz")
        with pytest.raises(Unreachable):
            await a.ping("ab" * 20, timeout=1.0)
        for nowhere in ("no.such.host.invalid:80", "[::1]:4000"):
            with pytest.raises(Unreachable):
                await a.ping(nowhere, timeout=1.0)
        with pytest.raises(BadAddress):
            await a.ping("host:port")
        assert await a.find(Identity(bytes(32)).id, timeout=1.0) is None


async def test_names_are_resolved():
    async with grid(1) as (a,), await DhtNode.start(bootstrap=[f"localhost:{a.address.udp}"]) as b:
        assert b.joined


async def test_ipv6_loopback():
    async with grid(3, host="::1") as (a, b, c):
        assert a.address.ip == "::1"
        await a.announce("six", DATASET, title="t")
        assert await titles(c, "six") == ["t"]
        assert (await b.ping(where(c))).id == c.id


async def test_a_node_on_all_interfaces_learns_its_address_from_peers():
    async with grid(2) as (a, _), await DhtNode.start("0.0.0.0", 0, bootstrap=[where(a)]) as wild:
        assert wild.joined
        assert wild.address == Address("127.0.0.1", wild.address.udp)
        assert wild.record.record.addresses == (wild.address,)


async def test_a_restart_from_the_snapshot_without_any_bootstrap():
    async with grid(5) as nodes:
        saved = nodes[4].snapshot()
        identity = nodes[4].identity
        await nodes[4].close()
        await nodes[0].close()
        async with await DhtNode.start(identity=identity, saved=[*saved, b"damaged"]) as again:
            assert again.joined
            await until(lambda: len(again.peers()) >= 3)


async def test_peers_are_shown_with_name_state_and_latency():
    async with grid(2) as (a, b):
        await until(lambda: a.peers() and a.peers()[0].name and a.peers()[0].latency_ms)
        [peer] = a.peers()
        assert (peer.id, peer.name, peer.state, peer.address.udp) == (b.id, "node-1", "online", b.address.udp)
        b.describe(name="renamed", http_port=9090)
        assert b.record.record.name == "renamed"
        assert (await a.ping(b.id)).name == "renamed"


async def test_flood_of_10000_garbage_datagrams_leaves_the_grid_working_and_memory_flat():
    async with grid(3) as (a, b, c):
        await b.announce("x", DATASET, title="t")
        source = random.Random(9)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spray:
            spray.setblocking(False)
            target = ("127.0.0.1", a.address.udp)
            gc.collect()
            objects = len(gc.get_objects())
            before = a.counters["received"]
            for _ in range(10_000):
                kind = bytes([source.choice([*range(0xD1, 0xD9), source.randrange(256)])])
                await loop.sock_sendto(spray, (kind + source.randbytes(source.randrange(1280)))[:1280], target)
                await asyncio.sleep(0)
            await until(lambda: a.counters["received"] - before > 8000)
        assert await titles(c, "x") == ["t"]
        assert (await c.ping(a.id)).id == a.id
        gc.collect()
        assert len(gc.get_objects()) - objects < 5000
        dropped = {name: count for name, count in a.counters.items() if name in ("malformed", "bad-seal", "oversized")}
        assert sum(dropped.values()) > 1000, a.counters


async def test_closing_ends_whoever_waits_and_frees_the_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        node = await DhtNode.start()
        port = node.address.udp
        waiting = asyncio.create_task(node.ping(f"127.0.0.1:{silent.getsockname()[1]}"))
        await asyncio.sleep(0)
        await node.close()
        await node.close()
        with pytest.raises(Unreachable):
            await waiting
        with pytest.raises(Unreachable):
            await node.announce("x", DATASET)
        async with await DhtNode.start("127.0.0.1", port):
            pass


async def test_a_search_ends_at_its_deadline_or_when_its_reader_goes():
    async with grid(3) as (a, b, c):
        await b.announce("x", DATASET, title="t")
        await c.close()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await titles(a, "x", timeout=0.05) == ["t"]
        assert loop.time() - began < 1.0
        async for _ in a.search("x"):
            break
        await until(lambda: not a._engine._operations)


async def test_the_deadline_of_a_search_does_not_strike_its_reader():
    async with grid(3) as (a, b, _):
        await b.announce("x", DATASET, title="t")
        worked = False
        async for _ in a.search("x", timeout=0.05):
            done = asyncio.Event()
            asyncio.get_running_loop().call_later(0.15, done.set)
            await done.wait()
            worked = True
        assert worked


async def test_closing_ends_a_search():
    async with grid(2) as (a, b):
        await b.close()
        searching = asyncio.create_task(titles(a, "x", timeout=60.0))
        await asyncio.sleep(0)
        await a.close()
        async with asyncio.timeout(5):
            assert await searching == []


async def test_a_search_is_read_by_one_task_at_a_time():
    async with grid(2) as (a, b):
        await b.close()
        found = a.search("x", timeout=60.0)
        first = asyncio.create_task(anext(found))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one task"):
            await anext(found)
        await found.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(StopAsyncIteration):
                await first


async def test_a_search_that_is_let_go_or_whose_reader_is_cancelled_stops():
    async with grid(2) as (a, b):
        await b.close()
        a.search("x", timeout=60.0)
        assert not a._hunts
        await until(lambda: not a._engine._operations)
        reading = asyncio.create_task(titles(a, "y", timeout=60.0))
        await asyncio.sleep(0)
        assert a._hunts
        reading.cancel()
        await asyncio.wait([reading])
        await until(lambda: not (a._hunts or a._engine._operations))


async def test_a_search_may_be_let_go_in_another_thread():
    async with grid(2) as (a, b):
        await b.close()
        kept = [a.search("x", timeout=60.0)]
        await asyncio.to_thread(kept.clear)
        await until(lambda: not (a._hunts or a._engine._operations))


def test_importing_the_package_is_cheap_and_starts_nothing():
    code = (
        "import sys, p2pgrid.dht; assert 'asyncio_dgram' not in sys.modules;"
        "import p2pgrid.dht as d; assert d.DhtNode and d.PeerInfo and d.Pong and d.Limits"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_a_fault_in_the_timer_is_told_once_and_does_not_stop_it(caplog: pytest.LogCaptureFixture):
    broken = False

    def chance(size: int) -> bytes:
        if broken:
            raise RuntimeError("no chance")
        return secrets.token_bytes(size)

    async with await DhtNode.start(random=chance, limits=Limits(probe_gap=0.01)) as node:
        broken = True
        await until(lambda: node.counters.get("internal-error", 0) >= 2)
        broken = False
        counted = node.counters["internal-error"]
        async with await DhtNode.start(bootstrap=[where(node)]) as other:
            assert await other.announce("x", DATASET, title="t") == 1
            assert await titles(node, "x") == ["t"]
        assert node.counters["internal-error"] == counted
    told = [record for record in caplog.records if record.name.startswith("p2pgrid.dht")]
    assert [str(record.exc_info[1]) for record in told if record.exc_info] == ["no chance"]


async def test_a_node_that_moved_is_found_at_its_newer_address_though_a_holder_missed_it():
    async with grid(4) as nodes:
        boot = [where(nodes[0])]
        identity = Identity(secrets.token_bytes(32))
        old = await DhtNode.start(bootstrap=boot, identity=identity, http_port=1111)
        assert await old.announce("x", DATASET, title="t") == 4
        [stale] = [v async for v in nodes[3].search("x")]
        await old.close()
        new = await DhtNode.start(bootstrap=boot, identity=identity, http_port=2222)
        try:
            assert await new.announce("x", DATASET, title="t") >= 3
            asker = nodes[1]
            asker._engine.store._remove(stale.record.tag, (identity.public, DATASET))
            asker._engine.store.put(stale, b"missed", time.time())
            found = [v.record.addresses[0].http async for v in asker.search("x")]
            assert found == [1111, 2222]
            assert [v.record.addresses[0].http async for v in nodes[2].search("x")][-1] == 2222
        finally:
            await new.close()


async def test_a_newer_listing_that_tells_the_same_is_not_shown_again():
    async with grid(4) as (a, b, c, _):
        assert await b.announce("x", DATASET, title="t") == 3
        assert await b.announce("y", DATASET, title="t") == 3
        [first] = [v async for v in a.search("x")]
        assert await b.announce("x", DATASET, title="t") == 3
        c._engine.store._remove(first.record.tag, (b.identity.public, DATASET))
        c._engine.store.put(first, b"missed", time.time())
        assert await titles(c, "x") == ["t"]
        assert await titles(c, "x", "y") == ["t"]
        assert await titles(c, "x", "y", match="any") == ["t"]
