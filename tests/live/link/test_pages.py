"""Web pages open in somebody's browser: they reach loopback ports, and must find no node there."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from p2pgrid.crypto import Identity
from p2pgrid.errors import Unreachable
from p2pgrid.link.http import HttpServer, connect

CLIENT = Identity(b"\x52" * 32)
FOREIGN = "P2P-0302"
SEARCH = b'{"query": ["#mnist"]}'


async def code_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    answer = await response.json()
    return response.status, answer["error"]["code"] if "error" in answer else ""


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null", "file://", ""])
async def test_a_web_page_of_another_site_opens_no_link(node: Any, web: aiohttp.ClientSession, origin: str) -> None:
    web.headers["Origin"] = origin
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await web.ws_connect(f"{node.url}/link")
    assert refused.value.status == 403
    with pytest.raises(Unreachable, match="403"):
        await connect(node.url, CLIENT, session=web)
    assert node.links.links == 0


async def test_a_web_page_of_another_site_asks_nothing(node: Any, web: aiohttp.ClientSession) -> None:
    """A form or a fetch without CORS is sent without asking the node first."""
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    async with web.post(f"{node.url}/search", data=SEARCH, headers=headers) as response:
        assert await code_of(response) == (403, FOREIGN)
    assert not node.asked


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[x", "10.0.0.1", "@", ""]
)
@pytest.mark.parametrize("path", ["/health-check", "/identity", "/dataset-tags", "/link", "/nothing"])
async def test_dns_rebinding_finds_no_node_on_loopback(
    node: Any, web: aiohttp.ClientSession, host: str, path: str
) -> None:
    """The page's own name leads to 127.0.0.1 after it was loaded: Host and Origin agree, and neither is ours."""
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        async with web.get(node.url + path, headers=headers) as response:
            assert await code_of(response) == (403, FOREIGN)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:1", "127.8.9.10", "[::1]:8080", "LOCALHOST"]
)
async def test_programs_of_this_machine_and_the_nodes_own_pages_are_let_in(
    node: Any, web: aiohttp.ClientSession, host: str
) -> None:
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        async with web.post(f"{node.url}/search", data=SEARCH, headers=headers) as response:
            assert await code_of(response) == (200, "")


async def test_a_node_that_others_reach_goes_by_any_name(node: Any, web: aiohttp.ClientSession) -> None:
    server = HttpServer(node, node.links)
    await server.start("0.0.0.0", 0)
    url = f"http://127.0.0.1:{server.port}"
    async with web.get(f"{url}/health-check", headers={"Host": "node.example"}) as response:
        assert await code_of(response) == (200, "")
    own = {"Host": "node.example", "Origin": "https://node.example"}
    async with web.post(f"{url}/search", data=SEARCH, headers=own) as response:
        assert await code_of(response) == (200, "")
    foreign = {"Host": "node.example", "Origin": "https://evil.example"}
    async with web.post(f"{url}/search", data=SEARCH, headers=foreign) as response:
        assert await code_of(response) == (403, FOREIGN)
    await server.close()
