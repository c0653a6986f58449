"""The main job's figures: import, launch, search, and the steps of a code request, over real sockets on loopback.

``PySyft 0.9.5`` stands for the medians of its last server line, measured before on a machine like this one
(constants below); ``aiohttp+numpy`` and ``kademlia`` run beside ours, in turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row, interleaved, options, report, timed

import p2pgrid
from p2pgrid import aio

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}
PYSYFT = {
    "launch": 3.0,
    "login": 2.1,
    "register": 0.5,
    "upload": 0.075,
    "upload 100 MB": 15.0,
    "read 100 MB": 16.0,
    "create_code_request": 0.14,
    "request to result": 1.06,
}
"""Seconds; the lower end where a range was measured."""


def import_rows(rounds: int) -> list[Row]:
    """A fresh interpreter's import, less the interpreter's own start."""

    def importing(what: str) -> Callable[[], float]:
        code = f"import time; t = time.perf_counter(); import {what}; print(time.perf_counter() - t)"
        return lambda: float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    found = interleaved({"ours": importing("p2pgrid"), "aiohttp+numpy": importing("aiohttp, numpy")}, rounds)
    return [Row("import p2pgrid", "s", found.pop("ours"), found, target=2.0, of_ratio=True)]


def launch_row(folder: Path, rounds: int) -> Row:
    """``p2pgrid launch`` as a process, until its health check answers."""

    def launch(number: int) -> float:
        command = [sys.executable, "-m", "p2pgrid", "launch", f"n{number}", "--detach", "--json"]
        environment = {**os.environ, "P2PGRID_HOME": str(folder)}
        took = timed(lambda: subprocess.run(command, env=environment, capture_output=True, check=True))
        land = [sys.executable, "-m", "p2pgrid", "land", f"n{number}"]
        subprocess.run(land, env=environment, capture_output=True, check=True)
        return took

    ours = statistics.median(launch(number) for number in range(rounds))
    return Row("launch to healthy, process", "s", ours, {"PySyft 0.9.5": PYSYFT["launch"]}, target=1.5)


async def grid(folder: Path) -> list[Any]:
    """Three nodes, ``#digits`` at the first."""
    first = await aio.launch(name="alice", home=folder)
    others = [await aio.launch(name=name, home=folder, bootstrap=[first.dht_address]) for name in ("bob", "carol")]
    owner = await aio.login(url=first.url, **OWNER)
    asset = p2pgrid.Asset("numbers", np.array([1, 2, 3]), np.array([1, 1, 1]))
    await owner.upload_dataset(p2pgrid.Dataset("digits", [asset], tags=["#digits"]), progress=False)
    await owner.close()
    await found_at(others[0].dht_address)
    return [first, *others]


async def found_at(address: str, deadline: float = 10.0) -> None:
    """Wait until a search finds the dataset."""
    end = time.perf_counter() + deadline
    while time.perf_counter() < end:
        async for _ in aio.search("#digits", bootstrap=[address], timeout=1.0):
            return
    raise SystemExit("the dataset was not found in time")


async def first_result(address: str) -> float:
    """Seconds from the call of a new client to its first verified result."""
    began = time.perf_counter()
    async for _ in aio.search("#digits", bootstrap=[address]):
        return time.perf_counter() - began
    raise SystemExit("the search found nothing")


async def kademlia_get(rounds: int) -> float:
    """The kademlia package: a new client joins three nodes and gets a value that one of them set."""
    from kademlia.network import Server

    servers = [Server() for _ in range(3)]
    ports = []
    for server in servers:
        await server.listen(0, interface="127.0.0.1")
        ports.append(server.transport.get_extra_info("sockname")[1])
    for server in servers[1:]:
        await server.bootstrap([("127.0.0.1", ports[0])])
    await servers[0].set("digits", "alice")
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        client = Server()
        await client.listen(0, interface="127.0.0.1")
        await client.bootstrap([("127.0.0.1", ports[1])])
        if await client.get("digits") != "alice":
            raise SystemExit("kademlia did not find its value")
        times.append(time.perf_counter() - began)
        client.stop()
    for server in servers:
        server.stop()
    return statistics.median(times)


async def search_rows(folder: Path, rounds: int) -> list[Row]:
    """Search from a new client, in this process and as a command."""
    nodes = await grid(folder)
    address = nodes[1].dht_address
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await first_result(address))
        theirs.append(await kademlia_get(1))
    command = [sys.executable, "-m", "p2pgrid", "search", "#digits", "--bootstrap", address, "--json"]
    walls, inside = [], []
    for _ in range(max(3, rounds // 2)):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        walls.append(time.perf_counter() - began)
        document = json.loads(out)
        if not document["results"]:
            raise SystemExit("the search command found nothing")
        inside.append(document["seconds"])
    for node in nodes:
        await node.land()
    peers = {"kademlia": statistics.median(theirs) * 1000}
    return [
        Row("search, new client, first result", "ms", statistics.median(ours) * 1000, peers, target=100.0),
        Row("p2pgrid search, once the process is up", "ms", statistics.median(inside) * 1000, target=100.0),
        Row("p2pgrid search, whole process", "s", statistics.median(walls)),
    ]


async def request_rows(folder: Path, rounds: int) -> list[Row]:
    """Each step from login to result, at one node."""
    node = await aio.launch(name="domain", home=folder)
    figures: dict[str, list[float]] = {}

    async def step(name: str, work: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        answer = await work
        figures.setdefault(name, []).append(time.perf_counter() - began)
        return answer

    owner = await step("login", aio.login(url=node.url, **OWNER))
    await step("register", owner.register(name="Jane Doe", **JANE))
    jane = await aio.login(url=node.url, **JANE)
    big = np.random.default_rng(1).random(12_500_000)
    for number in range(rounds):
        small = p2pgrid.Asset("numbers", np.array([1, 2, 3]), np.array([1, 1, 1]))
        await step("upload", owner.upload_dataset(p2pgrid.Dataset(f"d{number}", [small]), progress=False))
    large = p2pgrid.Dataset("large", [p2pgrid.Asset("large", big)])
    held = await step("upload 100 MB", owner.upload_dataset(large, progress=False))
    await step("read 100 MB", held.assets[0].data)
    for number in range(rounds):
        asset = (await jane.datasets)[f"d{number}"].assets[0]
        function = p2pgrid.grid_function(input_policy=p2pgrid.ExactMatch(data=asset))(compute_sum)
        began = time.perf_counter()
        request = await step("create_code_request", jane.submit(function))
        await step("approve", (await owner.get_request(request.id)).approve())
        code = (await jane.code)[-1]
        result = await step("run and release", code(data=asset))
        if await result.get() != 6:
            raise SystemExit("the result is wrong")
        figures.setdefault("request to result", []).append(time.perf_counter() - began)
    await owner.close()
    await jane.close()
    await node.land()
    return [
        Row(name, "s", statistics.median(values), {"PySyft 0.9.5": PYSYFT[name]} if name in PYSYFT else {})
        for name, values in figures.items()
    ]


def compute_sum(data):  # type: ignore[no-untyped-def]
    """What the bench's researcher asks."""
    return data.sum()


def main() -> int:
    """All rows."""
    chosen = options(__doc__ or "")
    rounds = 5 if chosen.quick else 21
    with tempfile.TemporaryDirectory(prefix="p2pgrid-bench-") as folder:
        place = Path(folder)
        rows = import_rows(rounds)
        rows.append(launch_row(place / "launch", 3 if chosen.quick else 9))
        rows += asyncio.run(search_rows(place / "search", rounds))
        rows += asyncio.run(request_rows(place / "requests", rounds))
    return report(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
