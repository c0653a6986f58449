"""Nodes of strangers that answer whatever they like: the command line shows text, says whose fault it is, and ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.link.http import HttpServer, LinkServer

STRANGER = Identity(b"\x66" * 32)
ESCAPE = "\x1b]0;owned\x07\x1b[31mred\u202e"
META = {"kind": "numpy", "shape": [3], "dtype": ESCAPE, "columns": [], "size": 152}
ASSET = {"id": "a" * 32, "name": ESCAPE, "description": ESCAPE, "meta": META, "mock": None}
DATASET = {"id": "d" * 32, "name": ESCAPE, "description": ESCAPE, "tags": [ESCAPE], "assets": [ASSET], "url": ESCAPE}


class Doors:
    """What a stranger's JSON door answers."""

    def __init__(self, health: Any) -> None:
        self._health = health

    def health(self) -> Any:
        return self._health

    def identity_record(self) -> Any:
        return {"record": ["AAAA", "AAAA"]}

    def dataset_tags(self) -> Any:
        return [ESCAPE] * 3

    async def search(self, tags: Any, match: str) -> Any:
        return {}


@asynccontextmanager
async def stranger(answer: Callable[[str], Any], health: Any = None) -> AsyncIterator[str]:
    async def dispatch(_peer: Any, verb: str, _args: Any) -> Any:
        return answer(verb)

    server = HttpServer(Doors(health), LinkServer(STRANGER, dispatch))
    await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.close()


async def run(shell: Any, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "p2pgrid", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=shell.environment(),
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in out + err, err
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_strangers_text_stays_text(shell: Any) -> None:
    answers = {
        "node.metadata": {"name": ESCAPE, "id": STRANGER.id.hex()},
        "dataset.search": {"datasets": [DATASET], "total": 1, "next": None},
        "dataset.get": DATASET,
    }
    async with stranger(lambda verb: answers[verb]) as url:
        for words in (["datasets", url], ["datasets", "show", "dddd", "--on", url], ["datasets", url, "--json"]):
            code, out, err = await run(shell, *words)

            assert (code, err) == (0, "")
            assert all(char == "\n" or char.isprintable() for char in out)
            assert "[31mred" in out


@pytest.mark.parametrize(
    "junk",
    [None, 5, "text", {}, [1], {"datasets": [{}]}, {"datasets": [{"id": 1, "name": 2, "assets": 3}], "total": 1}],
    ids=repr,
)
async def test_what_is_no_dataset_is_the_strangers_fault(shell: Any, junk: Any) -> None:
    async with stranger(lambda verb: {"name": "x"} if verb == "node.metadata" else junk) as url:
        code, out, err = await run(shell, "datasets", url)

    assert (code, out) == (1, "")
    assert err.startswith("error[P2P-0101]: The node answered with something that")


@pytest.mark.parametrize(
    "health",
    [{}, [], "x", {"node-id": 5}, {"node-id": ESCAPE, "dht": ESCAPE}, {"node-id": "00" * 20, "dht": "x:y"}],
    ids=repr,
)
async def test_a_node_that_lies_about_itself_is_not_healthy(shell: Any, health: Any) -> None:
    async with stranger(lambda verb: {}, health) as url:
        code, out, _ = await run(shell, "check", url)

    assert all(char == "\n" or char.isprintable() for char in out)
    assert code == (0 if health == {} else 4), out  # a node of the older kind says of itself only that it is up
