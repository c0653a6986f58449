"""Links over real WebSockets: calls, limits, ends, and strangers who send what they like."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web as aioweb

from p2pgrid.crypto import Identity
from p2pgrid.errors import BadAddress, LinkClosed, NotFound, Unreachable, WrongIdentity
from p2pgrid.link import handshake, websocket
from p2pgrid.link.http import AppServer, LinkLimits, LinkServer, connect, link_url
from p2pgrid.link.session import CLOSE_TIMEOUT

CLIENT = Identity(b"\x52" * 32)
PATIENCE = 10.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - watches plain counters of another task
            await asyncio.sleep(0.01)


@asynccontextmanager
async def site(handler: Any) -> AsyncIterator[str]:
    """A web server that is no node."""
    app = aioweb.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    server = AppServer(app)
    await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.close()


async def test_a_link_proves_both_ends_and_carries_calls(node: Any) -> None:
    async with await connect(node.url, CLIENT, expect=node.links._identity.id) as link:
        assert link.peer_id == node.links._identity.id
        assert await link.call("who") == {"key": CLIENT.public, "remote": "127.0.0.1"}
        with pytest.raises(NotFound):
            await link.call("nothing")
        assert await asyncio.gather(*(link.call("echo", {"n": n}) for n in range(100))) == [
            {"n": n} for n in range(100)
        ]
        await link.call("trust")
        chunk = os.urandom(1 << 20)
        assert (await link.call("echo", {"data": chunk}))["data"] == chunk
        assert node.links.links == 1
    await until(lambda: node.links.links == 0)
    assert not node.links.counters


async def test_a_given_session_serves_many_links_and_stays_open(node: Any, web: aiohttp.ClientSession) -> None:
    for _ in range(3):
        async with await connect(node.url, CLIENT, session=web) as link:
            assert await link.call("echo") == {}
    assert not web.closed


async def test_another_node_than_the_expected_is_refused(node: Any) -> None:
    with pytest.raises(WrongIdentity):
        await connect(node.url, CLIENT, expect=CLIENT.id)
    await until(lambda: node.links.links == 0 and not node.links._handshakes)


async def test_calls_of_a_client_that_vanishes_are_stopped(node: Any) -> None:
    link = await connect(node.url, CLIENT)
    call = asyncio.create_task(link.call("hang"))
    await asyncio.wait_for(node.started.wait(), PATIENCE)
    socket = link._session._stream._socket  # type: ignore[attr-defined]
    socket.get_extra_info("socket")
    socket._response.connection.transport.abort()
    with pytest.raises(LinkClosed):
        await asyncio.wait_for(call, PATIENCE)
    await asyncio.wait_for(node.cancelled.wait(), PATIENCE)
    await link.close()
    await until(lambda: node.links.links == 0)


async def test_a_node_that_goes_down_says_goodbye_in_time(node: Any) -> None:
    link = await connect(node.url, CLIENT)
    call = asyncio.create_task(link.call("hang"))
    await asyncio.wait_for(node.started.wait(), PATIENCE)
    began = time.monotonic()
    await node.http.close()
    assert time.monotonic() - began < 2.0 + 2 * CLOSE_TIMEOUT
    with pytest.raises(LinkClosed, match="closed the link"):
        await asyncio.wait_for(call, PATIENCE)
    await link.close()
    with pytest.raises(Unreachable):
        await connect(node.url, CLIENT)


async def test_links_may_be_served_again_on_another_port(node: Any) -> None:
    """A node that finds its UDP port taken closes its HTTP port and tries the next one with the same links."""
    await node.http.close()
    again = type(node.http)(node, node.links)
    await again.start("127.0.0.1", 0)
    async with await connect(f"http://127.0.0.1:{again.port}", CLIENT) as link:
        assert await link.call("echo") == {}
    await again.close()


# ---------------------------------------------------------------- addresses that are no node


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1:1", "http://", "http://u:p@127.0.0.1:1", "http://a:x"]
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        await connect(url, CLIENT)


def test_the_links_address() -> None:
    assert str(link_url("http://127.0.0.1:8080")) == "http://127.0.0.1:8080/link"
    assert str(link_url("http://127.0.0.1:8080/link")) == "http://127.0.0.1:8080/link"
    assert str(link_url("http://[::1]:8080/")) == "http://[::1]:8080/link"


async def test_a_refused_connection_is_unreachable(unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable):
        await connect(f"http://127.0.0.1:{unused_tcp_port}", CLIENT)


async def test_a_black_hole_is_unreachable_in_time() -> None:
    left = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(Unreachable):
        await connect(f"http://127.0.0.1:{port}", CLIENT, timeout=0.3)
    assert time.monotonic() - began < 2
    await asyncio.wait_for(left.wait(), PATIENCE)
    server.close()
    await server.wait_closed()


async def test_a_web_site_is_no_node() -> None:
    async def page(_: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(text="<html>hello</html>", content_type="text/html")

    async with site(page) as url:
        with pytest.raises(Unreachable, match="no node's link"):
            await connect(url, CLIENT)


async def test_a_redirect_is_not_followed(node: Any) -> None:
    seen = []

    async def lead_away(request: aioweb.Request) -> aioweb.Response:
        seen.append(request.path)
        raise aioweb.HTTPFound(f"{node.url}/link")

    async with site(lead_away) as url:
        with pytest.raises(Unreachable, match="redirect"):
            await connect(url, CLIENT)
    assert seen == ["/link"]
    assert node.links.links == 0


async def test_a_site_that_upgrades_and_says_nothing_is_unreachable_in_time() -> None:
    async def silent(request: aioweb.Request) -> aioweb.WebSocketResponse:
        socket = aioweb.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        await socket.receive()
        await socket.receive()
        return socket

    async with site(silent) as url:
        with pytest.raises(Unreachable, match="handshake"):
            await connect(url, CLIENT, timeout=0.3)


async def test_an_environment_proxy_is_not_used(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with await connect(node.url, CLIENT) as link:
        assert await link.call("echo") == {}


# ---------------------------------------------------------------- strangers at the door


async def test_silent_strangers_are_sent_away_and_counted(node: Any, web: aiohttp.ClientSession) -> None:
    node.links.limits = LinkLimits(handshake_timeout=0.1)
    async with web.ws_connect(f"{node.url}/link") as socket:
        message = await socket.receive(timeout=PATIENCE)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert node.links.counters == {"slow-handshake": 1}


async def test_handshakes_of_one_address_are_bounded(node: Any, web: aiohttp.ClientSession) -> None:
    node.links.limits = LinkLimits(handshakes_per_ip=2)
    held = [await web.ws_connect(f"{node.url}/link") for _ in range(2)]
    with pytest.raises(Unreachable, match="no free link"):
        await connect(node.url, CLIENT)
    for socket in held:
        await socket.close()
    await until(lambda: not node.links._handshakes)
    async with await connect(node.url, CLIENT) as link:
        assert await link.call("echo") == {}


async def test_handshakes_of_all_addresses_are_bounded(node: Any, web: aiohttp.ClientSession) -> None:
    node.links.limits = LinkLimits(handshakes=1)
    async with web.ws_connect(f"{node.url}/link"):
        with pytest.raises(Unreachable, match="no free link"):
            await connect(node.url, CLIENT)


@pytest.mark.parametrize("limits", [LinkLimits(links=2), LinkLimits(links_per_ip=2)])
async def test_links_are_bounded(node: Any, limits: LinkLimits) -> None:
    node.links.limits = limits
    held = [await connect(node.url, CLIENT) for _ in range(2)]
    await asyncio.gather(*(link.call("echo") for link in held))
    with pytest.raises(Unreachable, match="no free link"):
        await connect(node.url, CLIENT)
    assert node.links.counters == {"limit": 1}
    await held[0].close()
    await until(lambda: node.links.links == 1)
    async with await connect(node.url, CLIENT) as link:
        assert await link.call("echo") == {}
    await held[1].close()
    await until(lambda: node.links.links == 0)
    assert not node.links._links_by_ip, "an address that has gone leaves no entry"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", "version"),
        (b"\x09" + bytes(48), "version"),
        (b"\x01", "malformed"),
        (b"\x01" + bytes(48), "malformed"),
        (b"\x01" + os.urandom(47), "malformed"),
        (bytes(70_000), "oversized"),
    ],
    ids=["empty", "version", "short", "zeros", "random", "long"],
)
async def test_strange_hellos_are_refused(node: Any, web: aiohttp.ClientSession, first: bytes, reason: str) -> None:
    async with web.ws_connect(f"{node.url}/link") as socket:
        await socket.send_bytes(first)
        message = await socket.receive(timeout=PATIENCE)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await until(lambda: node.links.counters == {reason: 1})


async def test_another_version_is_told_so(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names its reason, so that a person learns to update."""

    def start(*how: Any) -> tuple[bytes, handshake.AwaitWelcome]:
        hello, awaiting = handshake.start(*how)
        return b"\x09" + hello[1:], awaiting

    monkeypatch.setattr("p2pgrid.link.links.handshake", SimpleNamespace(start=start, respond=handshake.respond))
    with pytest.raises(LinkClosed, match="P2P-0301"):
        await connect(node.url, CLIENT)


async def test_text_on_a_link_is_refused(node: Any, web: aiohttp.ClientSession) -> None:
    async with web.ws_connect(f"{node.url}/link") as socket:
        await socket.send_str("hello?")
        await socket.receive(timeout=PATIENCE)
    assert node.links.counters == {"malformed": 1}


async def test_heartbeat_outlives_a_busy_link(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link whose shares are all taken still answers pings: waiting calls do not stop the reading."""
    monkeypatch.setattr(websocket, "HEARTBEAT", 0.2)
    async with await connect(node.url, CLIENT) as link:
        calls = [asyncio.create_task(link.call("hang", timeout=1.0)) for _ in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, Unreachable) for result in results)
        assert await link.call("echo") == {}


async def test_a_thousand_garbage_requests_leave_the_node_as_it_was(
    node: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Raw bytes, half requests and garbage on /link, while a real link works on; memory stays flat."""
    chance = random.Random(20)
    kinds: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randrange(1, 4000)),
        lambda: b"GET /" + chance.randbytes(50) + b" HTTP/1.1\r\n\r\n",
        lambda: b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + chance.randbytes(50),
        lambda: b"POST /search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chance.randbytes(50),
        lambda: (
            b"GET /link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + chance.randbytes(200)
        ),
        lambda: b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    ]

    async def throw(data: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", node.http.port)
        writer.write(data)
        with suppress(ConnectionError):
            await writer.drain()
        writer.transport.abort()

    async with await connect(node.url, CLIENT) as link:
        for round_ in range(3):
            for _ in range(10):
                await asyncio.gather(*(throw(chance.choice(kinds)()) for _ in range(34)))
            assert await link.call("echo") == {}
            if round_ == 0:
                before = psutil.Process().memory_info().rss
        grown = psutil.Process().memory_info().rss - before
    assert grown < 20 << 20
    await until(lambda: node.links.links == 0 and not node.links._handshakes)
    assert not caplog.text, "strangers do not write the node's log"
    assert node.http.broken > 300


async def test_two_nodes_call_each_other(node: Any) -> None:
    other = LinkServer(CLIENT, node.dispatch)
    server = type(node.http)(node, other)
    await server.start("127.0.0.1", 0)
    async with (
        await connect(node.url, CLIENT, expect=node.links._identity.id) as there,
        await connect(f"http://127.0.0.1:{server.port}", node.links._identity, expect=CLIENT.id) as back,
    ):
        assert await asyncio.gather(there.call("echo", {"a": 1}), back.call("echo", {"b": 2})) == [{"a": 1}, {"b": 2}]
    await server.close()
