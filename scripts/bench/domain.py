"""A domain's figures: approved functions, the runner alone, 100 MB in and out, and a table of 100 requests.

The node is a process of its own; clients reach it over a link on loopback.  ``PySyft 0.9.5`` stands for the medians of
its last server line, measured before on a machine like this one (constants below); where a range was measured, its
lower end.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import Row, options, report

import p2pgrid
from p2pgrid import aio
from p2pgrid.domain.runner import RunInput, Runner, RunSpec

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}
PEER = "PySyft 0.9.5"
PYSYFT = {"request to result": 1060.0, "upload": 15.0, "read": 16.0, "table": 14_000.0}
"""Milliseconds for the first and the last, seconds for the others."""
REQUESTS = 100
BIG = 12_500_000
"""Numbers of 8 bytes: 100 MB."""
SUM = "def f(data):\n    return data.sum()\n"


class Node:
    """``p2pgrid launch`` in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, "P2PGRID_HOME": str(folder)}
        self.url = str(json.loads(self._command("launch", "bench", "--detach", "--json"))["url"])
        self.pid = int(json.loads((folder / "bench" / "run.json").read_bytes())["pid"])

    def _command(self, *words: str) -> bytes:
        command = [sys.executable, "-m", "p2pgrid", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, check=True).stdout

    def land(self) -> None:
        """Stop it."""
        self._command("land", "bench")


class Peak:
    """The most resident bytes of a process between entry and exit, over what it had at entry."""

    def __init__(self, pid: int) -> None:
        self._process, self._done = psutil.Process(pid), threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.before = self.most = 0

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> Peak:
        self.before = self.most = self._process.memory_info().rss
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()


class Source(p2pgrid.GridFunction):
    """A function from its text."""

    def __init__(self, asset: Any) -> None:
        self.code, self.name = SUM, "f"
        self.input_policy, self.output_policy = p2pgrid.ExactMatch(data=asset), p2pgrid.SingleExecutionExactOutput()


async def call_row(owner: Any, jane: Any, rounds: int) -> Row:
    """From the call of an approved function to its value; the first ones start the zygotes and are not counted."""
    small = p2pgrid.Asset("numbers", np.array([1, 2, 3]), np.array([1, 1, 1]))
    await owner.upload_dataset(p2pgrid.Dataset("small", [small]), progress=False)
    asset = (await jane.datasets)["small"].assets[0]
    took = []
    for number in range(rounds + 2):
        request = await jane.submit(Source(asset))
        await (await owner.get_request(request.id)).approve()
        code = (await jane.code).get_by_id(request.code.id)
        began = time.perf_counter()
        value = await (await code(data=asset)).get()
        if value != 6:
            raise SystemExit("the result is wrong")
        if number >= 2:
            took.append(time.perf_counter() - began)
    figure = statistics.median(took) * 1000
    return Row(
        "approved function, call to value, warm p50", "ms", figure, {PEER: PYSYFT["request to result"]}, target=25.0
    )


async def runner_rows(folder: Path, rounds: int) -> list[Row]:
    """The runner without a domain around it."""
    np.save(folder / "big.npy", np.zeros(BIG))
    runner = Runner()

    async def median(code: str, inputs: dict[str, RunInput]) -> float:
        took = []
        for number in range(rounds + 2):
            began = time.perf_counter()
            done = await runner.run(RunSpec(code, "f", inputs, side="private"))
            if not done.ok:
                raise SystemExit(f"the run failed: {done.error}")
            if number >= 2:
                took.append(time.perf_counter() - began)
        return statistics.median(took) * 1000

    try:
        trivial = await median("def f():\n    return 1\n", {})
        big = await median(
            "def f(data):\n    return float(data[-1])\n", {"data": RunInput("numpy", str(folder / "big.npy"))}
        )
    finally:
        await runner.close()
    return [
        Row("runner alone, trivial function, warm p50", "ms", trivial, target=12.0),
        Row("runner alone, 100 MB asset by reference", "ms", big, target=60.0),
    ]


async def big_rows(node: Node, owner: Any, rounds: int) -> list[Row]:
    """100 MB to the node and back to its owner, and what the node's memory grows by meanwhile."""
    data = np.random.default_rng(1).random(BIG)
    uploads, reads = [], []
    with Peak(node.pid) as peak:
        for number in range(rounds):
            dataset = p2pgrid.Dataset(f"big {number}", [p2pgrid.Asset("big", data)])
            uploads.append(await _timed(lambda dataset=dataset: owner.upload_dataset(dataset, progress=False)))  # type: ignore[misc]
            held = (await owner.datasets)[f"big {number}"].assets[0]
            reads.append(await _timed(lambda held=held: held.data))  # type: ignore[misc]
    return [
        Row("upload of 100 MB", "s", statistics.median(uploads), {PEER: PYSYFT["upload"]}, target=0.5),
        Row("100 MB read back by its owner", "s", statistics.median(reads), {PEER: PYSYFT["read"]}, target=0.5),
        Row("the node's memory grows by, at most", "MB", (peak.most - peak.before) / 1e6, target=50.0),
    ]


async def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def table_row(owner: Any, jane: Any, rounds: int) -> Row:
    """The owner's table of 100 requests, fetched and drawn as HTML."""
    bare = p2pgrid.Asset("numbers", np.array([1, 2, 3]))
    await owner.upload_dataset(p2pgrid.Dataset("bare", [bare]), progress=False)
    asset = (await jane.datasets)["bare"].assets[0]
    missing = REQUESTS - len(await owner.requests)
    for _ in range(missing):
        await jane.submit(Source(asset))
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        held = await owner.requests
        held._repr_html_()
        took.append(time.perf_counter() - began)
        if len(held) != REQUESTS:
            raise SystemExit(f"the table has {len(held)} requests")
    figure = statistics.median(took) * 1000
    return Row("table of 100 requests with its HTML", "ms", figure, {PEER: PYSYFT["table"]}, target=100.0)


async def rows(folder: Path, *, quick: bool) -> list[Row]:
    """All rows."""
    rounds = 7 if quick else 41
    found = await runner_rows(folder, rounds)
    node = await asyncio.to_thread(Node, folder / "home")
    try:
        owner = await aio.login(url=node.url, **OWNER)
        await owner.register(name="Jane Doe", **JANE)
        jane = await aio.login(url=node.url, **JANE)
        found.insert(0, await call_row(owner, jane, rounds))
        found += await big_rows(node, owner, 3 if quick else 7)
        found.append(await table_row(owner, jane, 5 if quick else 21))
        await owner.close()
        await jane.close()
    finally:
        await asyncio.to_thread(node.land)
    return found


def main() -> int:
    """Measure and report."""
    chosen = options(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="p2pgrid-bench-") as folder:
        return report(asyncio.run(rows(Path(folder), quick=chosen.quick)), chosen)


if __name__ == "__main__":
    sys.exit(main())
