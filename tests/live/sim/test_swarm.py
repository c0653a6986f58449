"""Swarms of real nodes on this machine: up, known to one another, killed, and gone without a trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest

import p2pgrid
from p2pgrid import aio
from p2pgrid.dht import DhtNode
from p2pgrid.errors import InternalError, InvalidInput, NoBootstrap, Unreachable
from p2pgrid.sim import Swarm
from p2pgrid.sim.share import Order, Share
from p2pgrid.sim.swarm import FIRST

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}
NUMBERS = np.arange(30.0)
DATASET = b"d" * 16

STAYING = """
import asyncio, json, sys
from p2pgrid.sim import Swarm

async def stay():
    async with Swarm(**json.loads(sys.argv[1])) as grid:
        print(json.dumps([(member.dht, member.url) for member in grid.members]), flush=True)
        await asyncio.Event().wait()

asyncio.run(stay())
"""
"""A program with a swarm that ends only when it is killed."""


async def until(true: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait for a condition, which may be awaited itself, with a deadline."""
    async with asyncio.timeout(seconds):
        while True:
            answer = true()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.02)


def free(address: str) -> bool:
    """Whether nobody holds this UDP port."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, int(port)))
        except OSError:
            return False
    return True


def free_url(url: str) -> bool:
    """Whether nobody listens at this TCP port."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex((host, int(port))) != 0


def sockets() -> int:
    """Internet sockets of this process."""
    return len(psutil.Process().net_connections("inet"))


def children(pid: int | None = None) -> list[psutil.Process]:
    """Processes that a process, or this one, has begun, and those that they have."""
    return psutil.Process(pid).children(recursive=True)


def workers() -> list[psutil.Process]:
    """Swarms' other processes, the oldest first."""
    found = [child for child in children() if "p2pgrid.sim.worker" in child.cmdline()]
    return sorted(found, key=lambda one: one.create_time())


def gone(processes: Iterable[psutil.Process], seconds: float = 10.0) -> bool:
    """Whether all have ended, or do within these seconds."""
    return not psutil.wait_procs(list(processes), timeout=seconds)[1]


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where temporary folders are made; at the end of each test there is none, no process and no socket more."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    before, held = set(children()), sockets()
    yield folder
    assert gone(set(children()) - before)
    assert sockets() <= held
    assert os.listdir(folder) == []


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """A small file to publish."""
    np.save(tmp_path / "sevens.npy", NUMBERS)
    return str(tmp_path / "sevens.npy")


async def titles(node: DhtNode, *tags: str) -> list[str]:
    return [found.record.title async for found in node.search(*tags)]


async def test_a_swarm_is_up_and_a_node_from_outside_finds_what_it_announces() -> None:
    async with Swarm(12) as grid:
        assert len({member.id for member in grid.members}) == len({member.dht for member in grid.members}) == 12
        assert [member.name for member in grid.members] == [f"node-{number:02}" for number in range(1, 13)]
        assert all(member.process == 0 and not member.url for member in grid.members)
        assert grid.up == len(grid.nodes) == 12
        assert set(grid.bootstrap) <= {member.dht for member in grid.members}
        rows = await until(lambda: _with_peers(grid, 3))
        assert {(row["state"], row["process"]) for row in rows} == {("online", 0)}
        assert all(row["sent"] > 0 and row["received"] > 0 for row in rows)
        assert await grid.nodes[7].announce("numbers", DATASET, title="seven") >= 3
        async with await DhtNode.start(bootstrap=grid.bootstrap) as outsider:
            assert outsider.joined
            assert await titles(outsider, "#Numbers") == ["seven"]
        assert [found.record.title for found in await grid.search("numbers")] == ["seven"]
        assert await grid.search("nothing") == []


async def _with_peers(grid: Swarm, least: int) -> list[dict[str, Any]]:
    """The rows, once everybody has so many peers."""
    rows = await grid.status()
    return rows if all(row["peers"] >= least for row in rows) else []


async def test_a_swarm_of_one() -> None:
    assert repr(Swarm(1)) == "<Swarm of 1 node, not up>"
    async with Swarm(1) as grid:
        [row] = await grid.status()
        assert (row["name"], row["state"], row["peers"]) == ("node-1", "online", 0)
        assert grid.bootstrap == [row["address"]]


async def test_a_swarm_says_when_nobody_answers_where_it_is_to_join() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        before = children()
        with pytest.raises(NoBootstrap, match=address):
            async with Swarm(6, bootstrap=[address]):
                pass
    assert children() == before


async def test_a_swarm_joins_another_grid() -> None:
    async with await DhtNode.start() as door:
        assert await door.announce("elsewhere", DATASET, title="theirs") == 0
        async with Swarm(5, bootstrap=[f"{door.address.ip}:{door.address.udp}"]) as grid:
            found = await until(lambda: grid.search("elsewhere"))
            assert [listing.record.title for listing in found] == ["theirs"]


async def test_a_dataset_has_a_node_of_its_own_and_its_mock_can_be_downloaded(numbers: str, scratch: Path) -> None:
    async with Swarm(6, datasets={"numbers": numbers}) as grid:
        [holder] = [member for member in grid.members if member.datasets]
        assert holder.datasets == ("numbers",)
        assert [member.name for member in grid.members if member.url] == [holder.name]
        assert len(os.listdir(scratch)) == 1
        [found] = await until(lambda: grid.search("#numbers"))
        assert (found.record.title, found.record.id.hex()) == ("numbers", holder.id)

        guest = await aio.login(url=holder.url)
        [dataset] = await guest.datasets
        assert (dataset.name, [tag.lstrip("#") for tag in dataset.tags]) == ("numbers", ["numbers"])
        await guest.close()

        owner = await aio.login(url=holder.url, **OWNER)
        await owner.register(name="Jane Doe", **JANE)
        [asset] = (await owner.datasets)[0].assets
        assert np.array_equal(await asset.data, NUMBERS)
        await owner.close()

        jane = await aio.login(url=holder.url, **JANE)
        [asset] = (await jane.datasets)[0].assets
        assert (await asset.mock).dtype == NUMBERS.dtype
        assert not isinstance(await asset.data, np.ndarray), "no more than a pointer to what is private"
        await jane.close()


async def test_a_bundled_dataset_keeps_its_own_tags() -> None:
    async with Swarm(5, datasets={"pixels": "sklearn:digits"}) as grid:
        for tag in ("digits", "mnist-like"):
            assert [found.record.title for found in await until(lambda tag=tag: grid.search(tag))] == ["pixels"]


async def test_a_dataset_object_is_published_as_it_is() -> None:
    asset = p2pgrid.Asset("values", NUMBERS, NUMBERS[:3])
    async with Swarm(4, datasets={"any": p2pgrid.Dataset("mine", [asset], tags=["#own"])}) as grid:
        assert [found.record.title for found in await until(lambda: grid.search("own"))] == ["mine"]
        assert [member.datasets for member in grid.members if member.datasets] == [("mine",)]


async def test_every_node_of_a_full_swarm_is_healthy() -> None:
    async with Swarm(4, full=True) as grid, aiohttp.ClientSession() as session:
        assert len({member.url for member in grid.members}) == 4
        for member in grid.members:
            async with session.get(f"{member.url}/health-check") as answer:
                assert answer.status == 200
        addresses = [(member.dht, member.url) for member in grid.members]
    assert all(free(dht) and free_url(url) for dht, url in addresses)


async def test_a_swarm_in_two_processes(numbers: str) -> None:
    grid = Swarm(12, datasets={"numbers": numbers, "last": numbers}, processes=2)
    assert repr(grid) == "<Swarm of 12 nodes in 2 processes, not up>"
    async with grid:
        assert repr(grid) == "<Swarm of 12 nodes in 2 processes, up>"
        assert len(workers()) == 1
        rows = await grid.status()
        assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
        assert [(m.name, m.id, m.dht, m.process) for m in grid.members] == [
            (row["name"], row["id"], row["address"], row["process"]) for row in rows
        ]
        assert len(rows) == len({row["id"] for row in rows}) == 12
        assert {row["process"] for row in rows} == {0, 1}
        assert [row["datasets"] for row in rows if row["datasets"]] == [["numbers"], ["last"]]
        assert len(grid.nodes) == sum(row["process"] == 0 for row in rows)
        await until(lambda: _with_peers(grid, 3))
        assert {peer.id.hex() for peer in grid.nodes[0].peers()} & {m.id for m in grid.members if m.process == 1}
        assert [found.record.title for found in await until(lambda: grid.search("numbers"))] == ["numbers"]
    assert repr(grid) == "<Swarm of 12 nodes in 2 processes, not up>"


async def test_datasets_are_held_in_other_processes_too(numbers: str) -> None:
    names = [f"set-{number}" for number in range(6)]
    async with Swarm(6, datasets=dict.fromkeys(names, numbers), processes=2) as grid:
        assert {member.process for member in grid.members if member.url} == {0, 1}
        for name in names:
            assert [found.record.title for found in await until(lambda name=name: grid.search(name))] == [name]


@pytest.mark.parametrize("process", [0, 1])
async def test_a_killed_node_is_offline_and_its_port_is_free(process: int) -> None:
    async with Swarm(9, processes=2) as grid:
        victims = [member for member in grid.members if member.process == process][-2:]
        await grid.kill(victims[0], victims[1].name)
        states = {row["name"]: row["state"] for row in await grid.status()}
        assert [name for name, state in states.items() if state == "offline"] == [victim.name for victim in victims]
        assert [free(member.dht) for member in grid.members] == [member in victims for member in grid.members]
        asking = grid.nodes[0]
        with pytest.raises(Unreachable):
            await asking.ping(victims[0].dht, timeout=0.5)
        await grid.kill(victims[0])  # twice does no harm
        assert await grid.search("nothing") == []


async def test_a_killed_full_node_is_silent_on_http_too() -> None:
    async with Swarm(3, full=True) as grid:
        await grid.kill("node-2")
        assert [free_url(member.url) for member in grid.members] == [False, True, False]
        assert [free(member.dht) for member in grid.members] == [False, True, False]


async def test_a_swarm_whose_nodes_here_are_all_killed_cannot_search() -> None:
    async with Swarm(3) as grid:
        with pytest.raises(InvalidInput, match="node-9"):
            await grid.kill("node-9")
        await grid.kill(*grid.members)
        with pytest.raises(Unreachable):
            await grid.search("numbers")


async def test_closing_ends_every_process_frees_every_port_and_removes_the_home(numbers: str, scratch: Path) -> None:
    before = set(children())
    grid = Swarm(9, datasets={"numbers": numbers, "more": numbers}, processes=3)
    async with grid:
        begun = set(children()) - before
        assert len(workers()) == 2
        assert len(os.listdir(scratch)) == 1
        assert not any(free(member.dht) for member in grid.members)
    assert gone(begun, 0)
    assert all(free(member.dht) for member in grid.members)
    assert all(free_url(member.url) for member in grid.members if member.url)
    assert os.listdir(scratch) == []
    await grid.close()


async def test_nodes_of_a_process_that_is_killed_are_offline_and_the_others_go_on() -> None:
    async with Swarm(12, processes=3) as grid:
        victim, other = workers()
        dead = {member.name for member in grid.members if member.process == 1}
        assert grid.lost == []
        victim.send_signal(signal.SIGKILL)
        lost = await until(lambda: grid.lost)  # without a look at the nodes
        assert lost == [member for member in grid.members if member.name in dead]
        rows = await grid.status()
        assert [row["name"] for row in rows] == [member.name for member in grid.members]
        assert {row["name"] for row in rows if row["state"] == "offline"} == dead
        assert all(row["address"] and row["process"] == 1 and not row["peers"] for row in rows if row["name"] in dead)
        await grid.kill(*lost, "node-01")
        assert [row["state"] for row in await grid.status()].count("offline") == len(dead) + 1
        assert await grid.nodes[1].announce("numbers", DATASET, title="seven") > 0
        assert [found.record.title for found in await grid.search("numbers")] == ["seven"]
        assert other.is_running()
    assert gone([victim, other], 0)
    assert all(free(member.dht) for member in grid.members)
    assert grid.lost == []


async def test_a_process_that_dies_while_it_is_asked_is_lost() -> None:
    async with Swarm(9, processes=2) as grid:
        [victim] = workers()
        victim.suspend()
        asked = asyncio.create_task(grid.status())
        await asyncio.sleep(0.1)
        assert not asked.done()
        victim.kill()
        rows = await asked
        assert [row["name"] for row in rows if row["state"] == "offline"] == [member.name for member in grid.lost]
        assert {member.process for member in grid.lost} == {1}


async def test_a_process_that_dies_while_it_starts_ends_the_start() -> None:
    starting = asyncio.create_task(Swarm(3000, processes=2).__aenter__())
    [victim] = await until(workers)
    victim.kill()
    with pytest.raises(InternalError, match="died while it started") as caught:
        await starting
    assert "fewer nodes" in caught.value.fix


@pytest.fixture
def staying() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begins programs with a swarm each."""
    begun = []

    def begin(**options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", STAYING, json.dumps(options)]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("full", [False, True], ids=["DHT only", "full"])
def test_processes_of_a_swarm_that_is_killed_end_by_themselves(staying: Any, scratch: Path, full: bool) -> None:
    process = staying(nodes=7, processes=3, full=full)
    addresses = json.loads(process.stdout.readline())
    begun = children(process.pid)
    assert sum("p2pgrid.sim.worker" in child.cmdline() for child in begun) == 2
    process.kill()

    assert gone(begun)
    assert all(free(dht) and (not url or free_url(url)) for dht, url in addresses)
    for left in scratch.iterdir():  # a killed program cannot tidy up
        _remove(left)


def test_processes_of_a_swarm_that_is_killed_while_it_starts_end_by_themselves(staying: Any, scratch: Path) -> None:
    process = staying(nodes=3000, processes=2)
    begun = _soon(lambda: [child for child in children(process.pid) if _udp(child) > 10])
    process.kill()

    assert gone(begun)
    for left in scratch.iterdir():
        _remove(left)


def _udp(process: psutil.Process) -> int:
    try:
        return len(process.net_connections("udp"))
    except psutil.Error:
        return 0


def _soon(true: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
    return answer


def _remove(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove(entry)
        else:
            entry.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    "impossible",
    [
        {"nodes": 0},
        {"nodes": 10_001},
        {"nodes": 2, "processes": 3},
        {"nodes": 100, "processes": 65},
        {"nodes": 5, "processes": 0},
        {"nodes": 1, "datasets": {"a": "a.npy", "b": "b.npy"}},
        {"nodes": 2.5},
        {"nodes": "5"},
        {"nodes": True},
        {"processes": 1.5},
        {"seed": -1},
        {"seed": None},
        {"datasets": {"a": 3}},
        {"datasets": {3: "a.npy"}},
        {"datasets": ["sklearn:iris"]},
        {"bootstrap": "127.0.0.1:1"},
        {"bootstrap": [1]},
        {"bootstrap": None},
    ],
    ids=str,
)
def test_impossible_numbers(impossible: dict[str, Any]) -> None:
    name = next(reversed(impossible))
    with pytest.raises(InvalidInput, match=name):
        Swarm(**impossible)


@pytest.mark.parametrize("at", [0, 5], ids=["in our own process", "in another"])
async def test_a_missing_dataset_leaves_nothing_running(numbers: str, scratch: Path, tmp_path: Path, at: int) -> None:
    before, held = set(children()), sockets()
    names = [f"set-{number}" for number in range(6)]
    datasets = dict.fromkeys(names[:at], numbers) | {names[at]: str(tmp_path / "missing.npy")}
    with pytest.raises(InvalidInput, match="missing"):
        await Swarm(40, datasets=datasets, processes=2).__aenter__()
    assert gone(set(children()) - before, 0)
    assert sockets() == held
    assert os.listdir(scratch) == []


async def test_a_dataset_that_cannot_travel_to_another_process_is_told() -> None:
    dataset = p2pgrid.Dataset("mine", [p2pgrid.Asset("values", NUMBERS, NUMBERS[:3])], tags=["#own"])
    datasets = {f"set-{number}": dataset for number in range(6)}
    with pytest.raises(InvalidInput, match="another process"):
        await Swarm(6, datasets=datasets, processes=2).__aenter__()


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_start_that_is_given_up_leaves_nothing(scratch: Path, processes: int) -> None:
    before, held = set(children()), sockets()
    grid = Swarm(3000, processes=processes)
    starting = asyncio.create_task(grid.__aenter__())
    await until(lambda: grid.up > 50 and len(workers()) == processes - 1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert gone(set(children()) - before, 0)
    assert sockets() == held
    assert os.listdir(scratch) == []


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Nodes after a swarm's first ones wait for it before they start."""
    opened, begin, begun = asyncio.Event(), DhtNode.start, []

    async def start(*arguments: Any, **more: Any) -> DhtNode:
        begun.append(arguments)
        if len(begun) > FIRST:
            await opened.wait()
        return await begin(*arguments, **more)

    monkeypatch.setattr(DhtNode, "start", start)
    return opened


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_start_that_is_given_up_several_times_leaves_nothing(
    gate: asyncio.Event, scratch: Path, times: int
) -> None:
    held = sockets()
    grid = Swarm(12)
    starting = asyncio.create_task(grid.__aenter__())
    await until(lambda: grid.up == FIRST and len(asyncio.all_tasks()) > FIRST)
    for _ in range(times):
        starting.cancel()
        for _ in range(10):  # whoever heard of it cleans up, and waits for the gate
            await asyncio.sleep(0)
        assert not starting.done(), "half of a node cannot be closed"
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert sockets() == held
    assert os.listdir(scratch) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_share_that_is_given_up_twice_is_closed_with_all_that_it_began(gate: asyncio.Event) -> None:
    held = sockets()
    names = [f"node-{number}" for number in range(FIRST + 5)]
    share = Share(Order(0, names, False, {}, ["127.0.0.1:9"], "127.0.0.1", "", 1))
    starting = asyncio.create_task(share.start())
    await until(lambda: sockets() == held + FIRST)
    starting.cancel()
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    closing = asyncio.create_task(share.close())
    gate.set()
    await closing
    assert len(share.dht) == len(names), "all came up, to be closed"
    assert sockets() == held


async def test_two_swarms_at_once_do_not_disturb_each_other() -> None:
    async with Swarm(8) as one, Swarm(8, seed=1) as two:
        assert await one.nodes[3].announce("numbers", DATASET, title="of one") > 0
        assert await two.nodes[3].announce("numbers", DATASET, title="of two") > 0
        await until(lambda: _with_peers(one, 3))
        await until(lambda: _with_peers(two, 3))
        for grid, title in ((one, "of one"), (two, "of two")):
            ids = {member.id for member in grid.members}
            assert all(peer.id.hex() in ids for node in grid.nodes for peer in node.peers())
            assert [found.record.title for found in await grid.search("numbers")] == [title]
