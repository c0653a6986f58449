"""Simulations and swarms: how large, how fast, how much memory, and whether the same seed gives the same run.

Each figure comes from a process of its own.  Peers are event loops in virtual time (``looptime``, ``async-solipsism``)
beside our own clock, where they are installed; they keep time only, and run no network.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from harness import Row, options, report

from p2pgrid import loop

LOOPS: Final = {"looptime": "looptime", "async-solipsism": "async_solipsism"}
GIB: Final = 1024.0
MEAN_SESSION: Final = 3600.0
IDLE: Final = 300
TIMERS: Final = 200
"""Timers that run at the same time while drivers are compared."""
FLOWER: Final = "Flower's simulation engine (1.41, three numpy rounds), for scale: 1,000 nodes 44 s, 10 nodes 28 s."


def main() -> int:
    """All rows; 1 when a target is missed."""
    chosen = options(__doc__ or "", _more)
    if chosen.worker:
        print(json.dumps(WORK[chosen.worker](*json.loads(chosen.arguments))))
        return 0
    notes = [FLOWER]
    rows = [driver_row(20_000 if chosen.quick else 200_000, 1 if chosen.quick else 3, notes)]
    rows += seed_rows(30 if chosen.quick else 100)
    if chosen.quick:
        rows += grid_rows(100, 100, 0.2, None, None)
        rows += [idle_row(50, 0.2, None), *swarm_rows(20, True, None, None), *swarm_rows(50, False, None, None)]
        notes.append("--quick: small sizes, for which there are no targets.")
    else:
        rows += [idle_row(IDLE, 1.0, 5.0)]
        rows += grid_rows(1_000, 1_000, 1.0, 30.0, None)
        rows += grid_rows(10_000, 10_000, 1.0, 600.0, 6 * GIB)
        rows += [*swarm_rows(300, True, 20.0, 3.0), *swarm_rows(1_000, False, 15.0, None)]
    return report(rows, chosen, notes)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", default="[]", help=argparse.SUPPRESS)


def apart(what: str, *arguments: Any, hash_seed: str = "random") -> Any:
    """What a process of its own found."""
    command = [sys.executable, os.path.abspath(__file__), "--worker", what, "--arguments", json.dumps(arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout
    return json.loads(told.splitlines()[-1])


# ---------------------------------------------------------------- rows


def driver_row(events: int, rounds: int, notes: list[str]) -> Row:
    """Bare timers that do nothing: what the clock itself costs."""
    here = [name for name, module in LOOPS.items() if importlib.util.find_spec(module) is not None]
    notes += [f"{name}: not installed (pip install {name})." for name in LOOPS if name not in here]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in ("ours", *here):
            found.setdefault(name, []).append(apart("driver", name, events))
    medians: dict[str, float | None] = {name: statistics.median(values) for name, values in found.items()}
    return Row("bare timers", "events/s", medians.pop("ours"), medians)


def seed_rows(nodes: int) -> list[Row]:
    """The same seed twice, in processes whose hashes differ, and another one."""
    one, two = (apart("grid", nodes, 100, 0.1, 7, hash_seed=salt)["digest"] for salt in ("1", "2"))
    other = apart("grid", nodes, 100, 0.1, 8)["digest"]
    return [
        Row("digests of two runs with one seed that are equal", "of 1", float(one == two), target=1, at_least=True),
        Row("digests of another seed that differ", "of 1", float(one != other), target=1, at_least=True),
    ]


def grid_rows(nodes: int, searches: int, hours: float, seconds: float | None, memory: float | None) -> list[Row]:
    """Join, searches and virtual hours with churn."""
    told = apart("grid", nodes, searches, hours, 1)
    what = f"{nodes:,} nodes join, {searches:,} searches, {hours:g} virtual h with churn"
    return [
        Row(what, "s", told["wall"], target=seconds),
        Row(f"{nodes:,} nodes: memory at most", "MiB", told["rss"], target=memory),
        Row(f"{nodes:,} nodes: events", "/s", told["events"] / told["wall"]),
        Row(f"{nodes:,} nodes: searches that find", "%", told["found"]),
    ]


def idle_row(nodes: int, hours: float, seconds: float | None) -> Row:
    """Nobody does anything."""
    return Row(f"{nodes} idle peers, {hours:g} virtual h", "s", apart("idle", nodes, hours), target=seconds)


def swarm_rows(nodes: int, full: bool, seconds: float | None, memory: float | None) -> list[Row]:
    """Real nodes on real sockets."""
    told = apart("swarm", nodes, full)
    what = f"{nodes:,} real nodes, {'domain, HTTP and DHT' if full else 'DHT only'}"
    return [
        Row(f"{what}: up", "s", told["seconds"], target=seconds),
        Row(f"{what}: memory a node beyond the first", "MiB", told["memory"], target=memory),
    ]


# ---------------------------------------------------------------- what the processes do


def run_grid(nodes: int, searches: int, hours: float, seed: int) -> dict[str, Any]:
    """A simulation."""
    from p2pgrid.sim import Simulation, Weibull

    simulation = Simulation(nodes, seed=seed, churn=Weibull(0.5, MEAN_SESSION))
    result = simulation.run(hours, searches=searches)
    finds = result.tables["searches"]
    return {
        "wall": result.wall_seconds,
        "rss": result.peak_rss_mib,
        "events": result.events,
        "digest": result.digest,
        "found": 100 * sum(find["right"] for find in finds) / len(finds),
    }


def run_idle(nodes: int, hours: float) -> float:
    """Seconds for an hour of a grid that has settled."""
    from p2pgrid.sim import Grid

    grid = Grid(1)
    grid.grow(nodes)
    grid.run(600.0)
    began = time.perf_counter()
    grid.run(3600.0 * hours)
    return time.perf_counter() - began


def run_swarm(nodes: int, full: bool) -> dict[str, float]:
    """Start a swarm; the first node pays for imports and is not counted."""

    async def start() -> dict[str, float]:
        from p2pgrid.sim import Swarm

        async with Swarm(1, full=full):
            first = _resident()
        began = time.perf_counter()
        async with Swarm(nodes, full=full):
            seconds = time.perf_counter() - began
            return {"seconds": seconds, "memory": (_resident() - first) / (nodes - 1)}

    return loop.run(start())


def _resident() -> float:
    """MiB of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def run_driver(name: str, events: int) -> float:
    """Timers that set themselves again, until so many went off; events a second."""
    chance = random.Random(1)  # noqa: S311 - when timers go off
    left = [events]

    def work(set_again: Callable[[float, Callable[[], None]], object], stop: Callable[[], object]) -> None:
        def go_off() -> None:
            left[0] -= 1
            if left[0] <= 0:
                stop()
            else:
                set_again(chance.random(), go_off)

        for _ in range(TIMERS):
            set_again(chance.random(), go_off)

    if name == "ours":
        from p2pgrid.sim.world import World

        world = World(1)
        began = time.perf_counter()
        work(world.after, lambda: None)
        world.run(float("inf"), lambda: left[0] <= 0)
        return events / (time.perf_counter() - began)
    with asyncio.Runner(loop_factory=_loop(name)) as runner:
        running = runner.get_loop()
        began = time.perf_counter()
        work(running.call_later, running.stop)
        running.run_forever()
        return events / (time.perf_counter() - began)


def _loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "looptime":
        import looptime

        made: Any = looptime.new_event_loop
        return lambda: made(start=0)
    import async_solipsism

    loops: Any = async_solipsism.EventLoop
    return lambda: loops()


WORK: Final[dict[str, Callable[..., Any]]] = {
    "grid": run_grid,
    "idle": run_idle,
    "swarm": run_swarm,
    "driver": run_driver,
}

if __name__ == "__main__":
    raise SystemExit(main())
