"""The JSON door over real HTTP: every answer is JSON, and none tells about the inside."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import aiohttp
import pytest

from p2pgrid.link import door
from p2pgrid.link.answers import MAX_ANSWER
from p2pgrid.link.door import MAX_BODY

PATIENCE = 10.0


async def ask(web: aiohttp.ClientSession, method: str, url: str, data: bytes | None = None, **how: Any) -> Any:
    async with web.request(method, url, data=data, timeout=aiohttp.ClientTimeout(PATIENCE), **how) as response:
        assert response.content_type == "application/json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "p2pgrid"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
        return response.status, json.loads(await response.read())


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


async def test_what_anybody_may_ask(node: Any, web: aiohttp.ClientSession) -> None:
    status, health = await ask(web, "GET", f"{node.url}/health-check")
    assert status == 200
    assert health["status"] == "online"
    assert set(health) >= {"status", "node-id", "name", "version"}
    assert await ask(web, "GET", f"{node.url}/dataset-tags") == (200, ["#mnist"])
    assert (await ask(web, "GET", f"{node.url}/identity"))[1]["node-id"] == health["node-id"]


async def test_a_search_is_normalised_and_answered(node: Any, web: aiohttp.ClientSession) -> None:
    status, answer = await ask(web, "POST", f"{node.url}/search", body({"query": ["#MNIST", " big data"]}))
    assert (status, set(answer)) == (200, {"content", "node-id", "name", "datasets"})
    await ask(web, "POST", f"{node.url}/search", body({"query": ["a"], "match": "any"}))
    assert node.asked == [(["mnist", "big-data"], "all"), (["a"], "any")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[" * 60_000,
        b"1" * 5000,
        body({"query": []}),
        body({"query": "#a"}),
        body({"query": ["#a"] * 17}),
        body({"query": [None]}),
        body({"query": ["a\u200b"]}),
        body({"query": ["a"], "match": 1}),
    ],
)
async def test_a_wrong_search_is_told_what_is_wrong(node: Any, web: aiohttp.ClientSession, data: bytes) -> None:
    status, answer = await ask(web, "POST", f"{node.url}/search", data)
    assert status == 400
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"code", "cause", "fix"}
    assert not node.asked


async def test_an_oversized_body_is_refused(node: Any, web: aiohttp.ClientSession) -> None:
    status, answer = await ask(web, "POST", f"{node.url}/search", b" " * (MAX_BODY + 1))
    assert (status, answer["error"]["code"]) == (413, "P2P-0404")
    fits = body({"query": ["a"]})
    status, _ = await ask(web, "POST", f"{node.url}/search", fits + b" " * (MAX_BODY - len(fits)))
    assert status == 200


async def test_a_compressed_bomb_is_not_unpacked(node: Any, web: aiohttp.ClientSession) -> None:
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    status, _ = await ask(web, "POST", f"{node.url}/search", bomb, headers={"Content-Encoding": "gzip"})
    assert status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("POST", "/health-check", 405),
        ("GET", "/search", 405),
        ("DELETE", "/search", 405),
        ("OPTIONS", "/search", 405),
        ("GET", "/link", 400),
        ("GET", "/%00%0d%0aX: y", 404),
    ],
)
async def test_wrong_paths_and_methods_are_answered_in_json(
    node: Any, web: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    found, answer = await ask(web, method, node.url + path)
    assert found == status
    assert set(answer["error"]) == {"code", "cause", "fix"}


async def test_a_fault_of_the_node_tells_nothing(
    node: Any, web: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        status, answer = await ask(web, "POST", f"{node.url}/search", body({"query": ["fault"]}))
    assert (status, answer["error"]["code"]) == (500, "P2P-0004")
    assert "hunter2" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)
    assert "hunter2" in caplog.text


async def test_an_error_of_the_node_keeps_its_code(node: Any, web: aiohttp.ClientSession) -> None:
    status, answer = await ask(web, "POST", f"{node.url}/search", body({"query": ["absent"]}))
    assert (status, answer["error"]["code"]) == (404, "P2P-0400")


async def test_a_slow_answer_is_given_up(
    node: Any, web: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ANSWER_TIMEOUT", 0.1)
    status, answer = await ask(web, "POST", f"{node.url}/search", body({"query": ["slow"]}))
    assert (status, answer["error"]["code"]) == (504, "P2P-0201")


async def test_a_body_that_never_comes_is_given_up(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow loris in the body."""
    monkeypatch.setattr(door, "BODY_TIMEOUT", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http.port)
    writer.write(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    head = await asyncio.wait_for(reader.readline(), PATIENCE)
    assert head.startswith(b"HTTP/1.1 504")
    await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await writer.wait_closed()


async def test_one_address_cannot_fill_the_memory_by_searches_it_does_not_read(node: Any) -> None:
    """A connection has one unread answer at most, however many searches were sent on it; and that one is small."""
    ask_all = body({"query": ["everything"]})
    request = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(ask_all) + ask_all
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", node.http.port))
        await asyncio.to_thread(client.sendall, request * 200)
        asked = -1
        async with asyncio.timeout(PATIENCE):
            while asked != len(node.asked) or not asked:
                asked = len(node.asked)
                await asyncio.sleep(0.5)
        assert asked < 100, "it went on answering into memory"
        with client.makefile("rb") as reading:
            client.settimeout(PATIENCE)
            head = await asyncio.to_thread(lambda: [reading.readline() for _ in range(9)])
            size = next(int(line.split()[1]) for line in head if line.lower().startswith(b"content-length"))
            assert MAX_ANSWER // 2 < size <= MAX_ANSWER
