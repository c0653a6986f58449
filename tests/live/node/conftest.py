"""Real nodes in processes of their own, ended whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

START_TIMEOUT = 60.0


class NodeProcess:
    """One node: launched, killed, launched again in the same home."""

    def __init__(self, home: Path, name: str, *options: str) -> None:
        self.home, self.name, self.options = home, name, options
        self.url, self.dht, self.pid = "", "", 0

    def launch(self) -> NodeProcess:
        """Start, and wait until it is healthy."""
        command = [sys.executable, "-m", "p2pgrid", "launch", self.name, *self.options, "--detach", "--json"]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=START_TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        raw = json.loads(done.stdout)
        self.url, self.dht = raw["url"], raw["dht"]
        self.pid = json.loads((self.home / self.name / "run.json").read_bytes())["pid"]
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        try:
            process = psutil.Process(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            process.wait(30)
        except psutil.NoSuchProcess:
            pass

    def rss(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "P2PGRID_HOME": str(self.home)}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """A maker of node processes that share one base folder."""
    made: list[NodeProcess] = []

    def make(name: str, *options: str) -> NodeProcess:
        made.append(NodeProcess(tmp_path / "grid", name, *options).launch())
        return made[-1]

    yield make
    for node in made:
        node.kill()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for a condition with a deadline, looking often."""

    async def wait(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.02)
        raise AssertionError("the condition did not come true in time")

    return wait
