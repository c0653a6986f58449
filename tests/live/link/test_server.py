"""Listening and stopping: taken ports, floods of connections, and requests that hang."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aioweb

from p2pgrid.errors import BadAddress, PortTaken
from p2pgrid.link import connections as connections_module
from p2pgrid.link import server as server_module
from p2pgrid.link.http import AppServer, fetch_json
from p2pgrid.link.server import CLOSE_GRACE

PATIENCE = 10.0


async def test_port_0_takes_a_free_one_and_tells_it(node: Any) -> None:
    assert node.http.port > 0
    assert (await fetch_json("GET", f"{node.url}/health-check"))[0] == 200


async def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            await AppServer(aioweb.Application()).start("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("203.0.113.1", 0), ("no-such-host.invalid", 0), ("127.0.0.1", 99_999)])
async def test_an_address_of_another_machine_is_told(host: str, port: int) -> None:
    with pytest.raises(BadAddress):
        await AppServer(aioweb.Application()).start(host, port)


async def test_connections_are_bounded() -> None:
    server = AppServer(aioweb.Application(), connections=2, each=2)
    await server.start("127.0.0.1", 0)
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    assert server.connections.refused == 1
    for _, open_writer in (*held, (reader, writer)):
        open_writer.close()
        await open_writer.wait_closed()
    await server.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow"])
async def test_slow_loris_in_the_head_is_cut_off(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(server_module, "KEEPALIVE", 0.2)
    server = AppServer(aioweb.Application())
    await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()
    await writer.wait_closed()
    await server.close()


async def test_closing_is_bounded_though_a_request_hangs(node: Any, web: aiohttp.ClientSession) -> None:
    request = asyncio.create_task(web.post(f"{node.url}/search", json={"query": ["slow"]}))
    await asyncio.wait_for(node.started.wait(), PATIENCE)
    began = time.monotonic()
    await node.http.close()
    assert time.monotonic() - began < 2 * CLOSE_GRACE + 2
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(request, PATIENCE)


async def test_closing_lets_a_request_finish() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_: aioweb.Request) -> aioweb.Response:
        started.set()
        await release.wait()
        return aioweb.json_response("done")

    app = aioweb.Application()
    app.router.add_get("/", slow)
    server = AppServer(app)
    await server.start("127.0.0.1", 0)
    request = asyncio.create_task(fetch_json("GET", f"http://127.0.0.1:{server.port}/"))
    await asyncio.wait_for(started.wait(), PATIENCE)
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.wait_for(request, PATIENCE) == (200, "done")
    await closing
    await server.close()


async def test_connections_of_one_address_are_bounded() -> None:
    server = AppServer(aioweb.Application(), each=2)
    await server.start("0.0.0.0", 0)
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    held.append(await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0)))
    other, sending = held[-1]
    sending.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(other.readline(), PATIENCE)).startswith(b"HTTP/1.1 404")
    assert server.connections.refused == 1
    for _, open_writer in (*held, (reader, writer)):
        open_writer.close()
        await open_writer.wait_closed()
    await server.close()


def unread(port: int, request: bytes) -> socket.socket:
    """A client that asks, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    client.sendall(request)
    return client


async def test_an_answer_that_is_not_read_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "WRITE_TIMEOUT", 0.3)

    async def large(_: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(body=bytes(16 << 20))

    app = aioweb.Application()
    app.router.add_get("/", large)
    server = AppServer(app, each=1)
    await server.start("127.0.0.1", 0)
    with unread(server.port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        async with asyncio.timeout(PATIENCE):
            while not server.connections.unread:  # noqa: ASYNC110 - a plain counter
                await asyncio.sleep(0.01)
        status, _ = await read_head(server.port)
        assert status.startswith(b"HTTP/1.1 200"), "its place is free again"
    await server.close()


async def read_head(port: int) -> tuple[bytes, int]:
    """The first line of an answer, and how many bytes followed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first = await asyncio.wait_for(reader.readline(), PATIENCE)
    rest = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await writer.wait_closed()
    return first, len(rest)
