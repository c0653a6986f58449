"""The gateway as a process: started from a shell, stopped by a signal, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest


class Process:
    """``python -m gateway`` in a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        known = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=known | environment,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("gateway http://"), line + self.end()[1]
        return line.split()[1]

    def end(self, number: int | None = None) -> tuple[int, str]:
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def launch() -> Iterator[Any]:
    started: list[Process] = []

    def make(*arguments: str, **environment: str) -> Process:
        started.append(Process(*arguments, **environment))
        return started[-1]

    yield make
    for one in started:
        if one.process.returncode is None:
            one.end(signal.SIGKILL)


async def post(url: str, body: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert response.status == 200
        return await response.json()


async def test_attack_kill_9_loses_no_node_that_was_told_it_had_joined(launch: Any, node: Any, tmp_path: Path) -> None:
    bob = await node("#a")
    first = launch("--port", "0", "--home", str(tmp_path / "g"))
    url = await asyncio.to_thread(first.url)
    await post(url + "/join", {"node-id": "Bob", "node-address": bob.url})
    joined = ["Bob"]

    async def join_on() -> None:
        for number in range(10_000):
            name = f"n{number}"
            await post(url + "/join", {"node-id": name, "node-address": f"{bob.url}/n{number}"})
            joined.append(name)

    # Killed in the midst of joins, at no chosen moment.
    joining = asyncio.create_task(join_on())
    async with asyncio.timeout(20):
        while len(joined) < 30:
            await asyncio.wait([joining], timeout=0.01)
    await asyncio.to_thread(first.end, signal.SIGKILL)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await joining

    second = launch("--port", "0", "--home", str(tmp_path / "g"))
    url = await asyncio.to_thread(second.url)
    async with aiohttp.ClientSession() as session:
        async with session.get(url + "/health-check") as response:
            known = {one["node-id"] for one in (await response.json())["nodes"]}
        # One more may be on disk than was answered.
        assert set(joined) <= known
        assert len(known) <= len(joined) + 1
        async with asyncio.timeout(10):
            answer: Any = None
            while not answer or ["Bob", bob.url] not in answer["node-addresses"]:
                answer = await post(url + "/search", {"query": ["#a"]})
    code, errors = await asyncio.to_thread(second.end, signal.SIGTERM)
    assert (code, "Traceback" in errors) == (0, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stops_in_order_at_a_signal(launch: Any, tmp_path: Path, number: signal.Signals) -> None:
    one = launch("--port", "0", "--home", str(tmp_path / "g"), "--log-json")
    await asyncio.to_thread(one.url)
    code, errors = await asyncio.to_thread(one.end, number)
    assert code == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[-1]["message"] == "stopping"
    assert {"time", "level", "logger", "message"} == set(lines[0])


async def test_settings_from_the_environment(launch: Any, node: Any, tmp_path: Path) -> None:
    one = launch(GATEWAY_PORT="0", GATEWAY_HOME=str(tmp_path / "e"), GATEWAY_PUBLIC="true")
    url = await asyncio.to_thread(one.url)
    assert (tmp_path / "e" / "registry.db").exists()
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o700
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + "/join", json={"node-id": "Bob", "node-address": (await node()).url}) as response,
    ):
        assert response.status == 400


async def test_what_goes_wrong_at_the_start_is_one_message(launch: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, errors = await asyncio.to_thread(launch("--port", port, "--home", str(tmp_path / "a")).end)
    assert code == 1
    assert "P2P-0022" in errors
    first = launch("--port", "0", "--home", str(tmp_path / "g"))
    await asyncio.to_thread(first.url)
    code, in_use = await asyncio.to_thread(launch("--port", "0", "--home", str(tmp_path / "g")).end)
    assert code == 1
    assert "P2P-0020" in in_use
    code, wrong = await asyncio.to_thread(launch("--deadline", "-3").end)
    assert code == 2
    assert "P2P-0013" in wrong
    assert "Traceback" not in errors + in_use + wrong
