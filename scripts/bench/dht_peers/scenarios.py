"""What is measured of one system at one size, in a process of its own; figures leave as lines of JSON at once.

A system that hangs is ended by whoever started this process, and keeps the figures that it had given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dht_peers.base import Got, isolate, resident_kib, traffic

WARM, STEADY, KILLED, AT_ONCE = 10_000, 20_000, 30_000, 40_000
"""Where the keys of each phase begin: nothing that is measured was looked up before."""
WARM_MOST = 60.0
"""Seconds that warming up takes at most."""
REST = 3.0
"""Seconds in which what was begun before comes to its end."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one process measures.

    ``keys`` a phase; ``settle``: seconds after the last node is up; ``burst``: seconds that one throughput figure
    takes at most; ``widths``: lookups in flight for those; ``kills``: whether a fifth dies at the end of ``steady``.
    """

    system: str
    scenario: str
    loop: str
    count: int
    keys: int
    settle: float
    burst: float
    widths: tuple[int, ...]
    kills: bool
    seed: int


class Bench:
    """One system under measurement."""

    def __init__(self, system: Any, task: Task) -> None:
        self.system, self.task = system, task
        self.count, self.keys, self.settle = task.count, task.keys, task.settle
        self.chance = random.Random(task.seed)  # noqa: S311 - who asks for what
        self.live = list(range(task.count))
        self.setter: dict[int, int] = {}
        self.asked: set[tuple[int, int]] = set()
        self.isolated = isolate()

    def tell(self, name: str, value: float | None) -> None:
        """One figure."""
        print(json.dumps([name, value]), flush=True)

    def spread(self, name: str, seconds: Sequence[float]) -> None:
        """Median and 95th percentile, in milliseconds."""
        ordered = sorted(seconds)
        self.tell(f"{name} p50", statistics.median(ordered) * 1000)
        self.tell(f"{name} p95", ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] * 1000)

    def asker(self, key: int) -> int:
        """A live node that did not set the key itself, nor, if there is such a one, ask for it before."""
        node = self.chance.choice(self.live)
        for _ in range(20):
            if node != self.setter.get(key) and (node, key) not in self.asked:
                break
            node = self.chance.choice(self.live)
        self.asked.add((node, key))
        return node

    async def put(self, key: int) -> float:
        """Set a key somewhere; seconds."""
        self.setter[key] = self.chance.choice(self.live)
        began = time.perf_counter()
        await self.system.put(self.setter[key], key)
        return time.perf_counter() - began

    async def get(self, key: int, whole: bool = False) -> Got:
        """Look a key up from somewhere."""
        return await self.system.get(self.asker(key), key, whole)

    def range(self, begin: int) -> range:
        """The keys of one phase."""
        return range(begin, begin + self.keys)


async def pooled(
    work: Sequence[Callable[[], Awaitable[Any]]], width: int, most: float = 600.0
) -> tuple[list[Any], float]:
    """Results of these, ``width`` in flight, and the seconds they took; what is not done in ``most`` is given up."""
    waiting = iter(work)
    results: list[Any] = []
    began = time.perf_counter()

    async def worker() -> None:
        for one in waiting:
            results.append(await one())

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most):
            await asyncio.gather(*(worker() for _ in range(width)))
    return results, time.perf_counter() - began


async def up(bench: Bench) -> None:
    """Start all nodes and let them settle."""
    before = resident_kib()
    began = time.perf_counter()
    await bench.system.start(bench.count)
    bench.tell("join", time.perf_counter() - began)
    bench.tell("memory", (resident_kib() - before) / bench.count)
    await asyncio.sleep(bench.settle)


async def fill(bench: Bench, *begins: int) -> None:
    """Set keys that later phases look up."""
    await pooled([lambda key=key: bench.put(key) for begin in begins for key in bench.range(begin)], 32)


async def warm(bench: Bench) -> None:
    """Four lookups a node that are not measured: connections, sessions and tables are as in a network that runs."""
    keys = bench.range(WARM)
    rounds = -(-4 * bench.count // len(keys))
    await pooled([lambda key=key: bench.get(key) for _ in range(rounds) for key in keys], 32, WARM_MOST)


async def steady(bench: Bench) -> None:
    """Everything in a healthy network, and what is right after a fifth of it died."""
    await up(bench)
    await fill(bench, WARM, KILLED)
    await warm(bench)
    bench.spread("put", [await bench.put(key) for key in bench.range(STEADY)])
    await lookups(bench)
    if hasattr(bench.system, "nearest"):
        await recall(bench)
    await rates(bench)
    if bench.task.kills:
        await killed(bench, 0.2)


async def lookups(bench: Bench) -> None:
    """One lookup at a time, one of each key."""
    packets, began = traffic()[1], time.process_time()
    got = [await bench.get(key, whole=bench.system.whole) for key in bench.range(STEADY)]
    bench.tell("cpu a lookup", (time.process_time() - began) / bench.keys * 1000)
    if bench.isolated:
        bench.tell("requests a lookup", (traffic()[1] - packets) / 2 / bench.keys)
    bench.spread("first", [one.complete if one.first is None else one.first for one in got])
    bench.tell("found", sum(one.first is not None for one in got) / bench.keys * 200)
    if bench.system.whole:
        bench.spread("complete", [one.complete for one in got])
        packets = traffic()[1]
        got = [await bench.get(key) for key in bench.range(STEADY)]
        bench.spread("one", [one.complete for one in got])
        if bench.isolated:
            bench.tell("requests a lookup of one", (traffic()[1] - packets) / 2 / bench.keys)
        if hasattr(bench.system, "forgetful"):
            with bench.system.forgetful():
                bench.spread("checked one", [(await bench.get(key)).complete for key in bench.range(STEADY)])


async def rates(bench: Bench) -> None:
    """Lookups in a second, with many in flight, after a round that is not measured.

    Each width has keys of its own, looked up as rarely as the width allows: kademlia copies a value towards whoever
    asks for it, and would be measured finding its own copies.
    """
    for place, width in enumerate(bench.task.widths):
        keys = list(bench.range(AT_ONCE + 1000 * place))
        await fill(bench, keys[0])
        await asyncio.sleep(REST)  # what goes on after a put has returned is not measured here
        for whole in (False, True) if bench.system.whole else (False,):
            warming = [bench.chance.choice(bench.range(WARM)) for _ in range(2 * width)]
            await pooled(
                [lambda key=key, whole=whole: bench.get(key, whole) for key in warming], width, bench.task.burst
            )
            work = [lambda key=key, whole=whole: bench.get(key, whole) for key in keys * -(-2 * width // len(keys))]
            got, seconds = await pooled(work, width, bench.task.burst)
            done = sum(one.first is not None for one in got)
            bench.tell(f"{'complete' if whole else 'one'} at once {width}", done / seconds)
            if not whole and width == bench.task.widths[0] and hasattr(bench.system, "forgetful"):
                with bench.system.forgetful():
                    got, seconds = await pooled(work, width, bench.task.burst)
                bench.tell(f"checked one at once {width}", sum(one.first is not None for one in got) / seconds)


async def recall(bench: Bench) -> None:
    """How many of the true k nearest a walk finds, and what a request costs on such walks."""
    system = bench.system
    ids = [system.id_of(number) for number in range(bench.count)]
    found = 0.0
    before, began = system.requests(), time.process_time()
    for _ in range(bench.keys):
        node, target = bench.chance.choice(bench.live), bench.chance.randbytes(20)
        near = await system.nearest(node, target)
        point = int.from_bytes(target, "big")
        spent = time.process_time()
        others = (one for one in ids if one != ids[node])
        truth = set(sorted(others, key=lambda one: int.from_bytes(one, "big") ^ point)[: system.k])
        found += len(truth & set(near)) / len(truth)
        began += time.process_time() - spent
    cpu = time.process_time() - began
    bench.tell("recall", found / bench.keys)
    bench.tell("cpu a find_node", cpu / (system.requests() - before) * 1e6)


async def killed(bench: Bench, share: float) -> None:
    """Kill this share of all nodes, then look each key up once, 32 in flight.

    The network rests before: what is measured is the death of nodes, not what is left of the load before it.
    """
    await asyncio.sleep(REST)
    dead = set(bench.chance.sample(bench.live, int(share * bench.count)))
    bench.live = [number for number in bench.live if number not in dead]
    await bench.system.kill(dead)
    got, _ = await pooled([lambda key=key: bench.get(key) for key in bench.range(KILLED)], 32)
    name = f"killed {share:.0%}".replace("%", "")
    bench.spread(name, [one.complete if one.first is None else one.first for one in got])
    bench.tell(f"{name} found", sum(one.first is not None for one in got) / bench.keys * 200)


async def half(bench: Bench) -> None:
    """A fresh network, half of which dies."""
    await up(bench)
    await fill(bench, WARM, KILLED)
    await warm(bench)
    await killed(bench, 0.5)


async def rpc(bench: Bench) -> None:
    """CPU of both ends for a small request and its answer between two nodes that know each other."""
    await bench.system.start(bench.count)
    others = range(1, bench.count)
    for other in others:
        await bench.system.ping(0, other)
    rounds = 10 * bench.keys
    began, before = time.process_time(), bench.system.requests()
    for number in range(rounds):
        await bench.system.ping(0, others[number % len(others)])
    cpu = time.process_time() - began
    bench.tell("cpu a ping", cpu / rounds * 1e6)
    bench.tell("requests a ping", (bench.system.requests() - before) / rounds)


async def idle(bench: Bench) -> None:
    """What a network costs that nobody uses, after a thousand keys were set."""
    await bench.system.start(bench.count)
    await asyncio.sleep(bench.settle)
    await pooled([lambda key=key: bench.put(key) for key in range(WARM, WARM + 1000)], 32)
    await asyncio.sleep(bench.settle)
    (octets, _), began, cpu = traffic(), time.perf_counter(), time.process_time()
    await asyncio.sleep(2 * bench.settle)
    seconds = time.perf_counter() - began
    bench.tell("idle cpu", (time.process_time() - cpu) / seconds * 100)
    if bench.isolated:
        bench.tell("idle bytes", (traffic()[0] - octets) / seconds * 60 / bench.count)


def main(task: Task) -> None:
    """Run one scenario and leave at once: the libraries' threads are not waited for."""
    bench = Bench(_opened(task.system, task.seed), task)
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if task.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run({"steady": steady, "half": half, "rpc": rpc, "idle": idle}[task.scenario](bench))
        sys.stdout.flush()
        os._exit(0)


def _opened(system: str, seed: int) -> Any:
    # Each in its own process: nothing of the others is imported, as its memory would be measured too.
    if system == "ours":
        from dht_peers.ours import Ours

        return Ours(seed)
    if system == "kademlia":
        from dht_peers.kademlia_package import Kademlia

        return Kademlia(seed)
    if system == "OpenDHT":
        from dht_peers.opendht_cpp import OpenDht

        return OpenDht(seed)
    from dht_peers.libtorrent_cpp import LibTorrent

    return LibTorrent(seed)
