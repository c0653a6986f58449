"""Two attacks over real UDP: a flood from another process, and a relay that replays and mutates what it carries."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from p2pgrid.dht import DhtNode
from p2pgrid.errors import Unreachable

SEED = 20_261_121
PEERS = 5
ROUNDS = 20
"""Requests of each honest peer."""
TIMES = 100
LEAST_THROUGHPUT = 0.90
FRAMES = 6_000
MOST_GROWTH = 4 << 20

FLOOD = """
import asyncio, sys
from p2pgrid.dht import DhtNode, messages

async def main(ip, port):
    async with await DhtNode.start(bootstrap=[f"{ip}:{port}"]) as node:
        [victim] = [peer for peer in node._engine.table.peers() if peer.port == port]
        body = messages.encode(messages.FindNode(1, bytes(20)))
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print("ready", flush=True)
        sent = 0
        while not ended.done():
            session = node._engine._channel.sessions.to(victim.key)
            for _ in range(50):
                node._shell.transport.sendto(session.seal(body), (ip, port))
            sent += 50
            await asyncio.sleep(0)
    print(sent, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def where(node: DhtNode) -> str:
    return f"127.0.0.1:{node.address.udp}"


@asynccontextmanager
async def grid(count: int) -> AsyncIterator[list[DhtNode]]:
    nodes: list[DhtNode] = []
    try:
        for _ in range(count):
            nodes.append(await DhtNode.start(bootstrap=[where(nodes[0])] if nodes else []))
        yield nodes
    finally:
        for node in nodes:
            await node.close()


async def answered(victim: DhtNode, peers: list[DhtNode]) -> int:
    """How many of the same number of requests are answered."""

    async def ask(peer: DhtNode) -> int:
        done = 0
        for _ in range(ROUNDS):
            try:
                await peer.ping(victim.id, timeout=2.0)
            except Unreachable:
                continue
            done += 1
        return done

    return sum(await asyncio.gather(*(ask(peer) for peer in peers)))


async def test_one_peer_floods_a_real_node_from_another_process():
    async with grid(1 + PEERS) as (victim, *peers):
        calm = await answered(victim, peers)
        flood = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            FLOOD,
            "127.0.0.1",
            str(victim.address.udp),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert flood.stdin is not None
        assert flood.stdout is not None
        try:
            async with asyncio.timeout(60):
                assert await flood.stdout.readline() == b"ready\n"
                before = victim.counters["received"]
                flooded = await answered(victim, peers)
                while victim.counters["received"] - before < TIMES * ROUNDS:  # not 100 times as much yet
                    flooded = min(flooded, await answered(victim, peers))
                flood.stdin.write(b"\n")
                sent = int(await flood.stdout.readline())
                await flood.wait()
        finally:
            if flood.returncode is None:
                flood.kill()
                await flood.wait()
        print(f"measured: {calm} answered without, {flooded} with {sent} requests of one peer; {victim.counters}")
        assert calm == PEERS * ROUNDS
        assert flooded >= LEAST_THROUGHPUT * calm
        assert await answered(victim, peers) == calm, "afterwards all is as it was"


class Relay(asyncio.DatagramProtocol):
    """Carries datagrams between whoever comes and one node, and keeps them."""

    def __init__(self, node: tuple[str, int]) -> None:
        self.node, self.kept = node, set[bytes]()
        self.guest: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.kept.add(data)
        if addr != self.node:
            self.guest = addr
        target = self.guest if addr == self.node else self.node
        if target is not None:
            self.transport.sendto(data, target)


async def test_a_relay_that_replays_and_mutates_real_datagrams():
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    async with grid(4) as nodes:
        target = nodes[0]
        assert await nodes[1].announce("prey", b"d" * 16, title="honest") == 3
        transport, relay = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Relay(("127.0.0.1", target.address.udp)), local_addr=("127.0.0.1", 0)
        )
        try:
            port = transport.get_extra_info("sockname")[1]
            async with await DhtNode.start(mode="client", bootstrap=[f"127.0.0.1:{port}"]) as guest:
                assert [found.record.title async for found in guest.search("prey")] == ["honest"]
        finally:
            transport.close()
        kept = sorted(relay.kept)
        assert len({data[0] for data in kept}) >= 4, "hello, welcome, and first packets both ways at least"
        peers, listings = len(target.peers()), len(target._engine.store)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            received = target.counters["received"]
            for number in range(FRAMES):
                data = bytearray(chance.choice(kept))
                for _ in range(number % 4):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                if number % 5 == 0:
                    data = data[: chance.randrange(1, len(data) + 1)]
                gun.sendto(data, ("127.0.0.1", target.address.udp))
                if number % 10 == 0:
                    await asyncio.sleep(0)
                if number % 1000 == 0:
                    assert [found.record.title async for found in nodes[2].search("prey")] == ["honest"]
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        print(f"measured: {grown} bytes kept, {target.counters}")
        assert target.counters["received"] - received > FRAMES // 2
        assert target.counters.get("internal-error", 0) == 0
        assert (len(target.peers()), len(target._engine.store)) == (peers, listings)
        assert grown < MOST_GROWTH
