"""Callers that send garbage, or tell the gateway to go where it must not."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Gateway, GatewaySettings
from gateway.settings import Rate

INSIDE = [
    "http://127.0.0.1:{port}",
    "http://localhost:{port}",
    "http://2130706433:{port}",
    "http://0x7f.1:{port}",
    "http://0177.0.0.1:{port}",
    "http://[::1]:{port}",
    "http://[::ffff:127.0.0.1]:{port}",
    "http://[::ffff:7f00:1]:{port}",
    "http://0.0.0.0:{port}",
    "http://0:{port}",
    "http://10.0.0.1",
    "http://172.16.0.1",
    "http://192.168.0.1",
    "http://100.64.0.1",
    "http://169.254.169.254/latest/meta-data",
    "http://[fd00:ec2::254]",
    "http://[fe80::1]",
    "http://[fc00::1]",
    "http://224.0.0.1",
    "http://255.255.255.255",
    "http://[64:ff9b::7f00:1]",
    "http://[2002:7f00:1::]",
]


@pytest.mark.parametrize("address", INSIDE)
async def test_attack_public_gateway_told_to_call_an_internal_address(gateway: Any, node: Any, address: str) -> None:
    _, caller = await gateway(public=True)
    inside = await node("#a")
    status, answer = await caller.join("Eve", address.format(port=inside.port))
    assert (status, answer["error"]["code"]) == (400, "P2P-0804")
    assert await caller.search("#a") == []
    assert (inside.asked, inside.probed) == ([], 0)


async def test_a_gateway_on_loopback_takes_loopback_and_no_other_inside(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob = await node("#a")
    for number, host in enumerate(("127.0.0.1", "localhost", "127.1")):
        assert (await caller.join(f"Bob{number}", f"http://{host}:{bob.port}"))[1]["state"] == "online"
    for address in ("http://10.0.0.1", "http://169.254.169.254", "http://0.0.0.0"):
        assert (await caller.join("Eve", address))[0] == 400


async def test_allow_private_lets_private_networks_in_but_never_metadata(gateway: Any) -> None:
    # 203.0.113.0/24 is for documentation: nobody answers there, and ipaddress counts it as private.
    _, caller = await gateway(public=True, allow_private=True, deadline=0.1)
    assert (await caller.join("Bob", "http://203.0.113.9"))[0] == 200
    assert (await caller.join("Eve", "http://169.254.169.254"))[0] == 400


class Names:
    """A name server under an attacker's hand: says what it is told to, and what it was asked."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror("no such name")
        return self.answers[host]


async def test_attack_name_that_leads_inside(gateway: Any, node: Any) -> None:
    inside = await node("#a")
    names = Names(**{"evil.example": ["127.0.0.1"], "mixed.example": ["93.184.215.14", "127.0.0.1"]})
    _, caller = await gateway(public=True, extra={"lookup": names})
    for name in names.answers:
        status, answer = await caller.join("Eve", f"http://{name}:{inside.port}")
        assert (status, answer["error"]["code"]) == (400, "P2P-0804")
    assert inside.probed == 0


async def test_attack_dns_rebinding(gateway: Any, node: Any) -> None:
    """The name leads to a good address when it joins, and to an inner one from then on."""
    bob, inside = await node("#a"), await node("#a")
    names = Names(**{"evil.example": ["127.0.0.1"]})
    running, caller = await gateway(probe_interval=0.05, extra={"lookup": names})
    await caller.join("Eve", f"http://evil.example:{bob.port}")
    assert await caller.search("#a") == [["Eve", f"http://evil.example:{bob.port}"]]
    assert bob.hosts == [f"evil.example:{bob.port}"]
    # Here 10.0.0.1 is refused, as 127.0.0.1 would be elsewhere.
    names.answers["evil.example"] = ["10.0.0.1"]
    asked = len(names.asked)
    probed = bob.probed
    member = running._book.get("Eve")

    async def probed_again() -> bool:
        return bob.probed > probed + 2

    await caller.until(probed_again)
    assert len(names.asked) == asked, "a fresh pin is used: nobody is asked again where the name leads"
    member.looked_up -= 61
    await caller.until_state("Eve", "offline")
    assert member.ips == ()
    assert await caller.search("#a") == []
    assert (inside.asked, inside.probed) == ([], 0)


async def test_a_search_never_waits_for_the_name_system(gateway: Any, node: Any) -> None:
    bob = await node("#a")
    names = Names(**{"bob.example": ["127.0.0.1"]})
    _, caller = await gateway(extra={"lookup": names})
    await caller.join("Bob", f"http://bob.example:{bob.port}")
    asked = len(names.asked)
    for _ in range(3):
        assert len(await caller.search("#a")) == 1
    assert len(names.asked) == asked


async def test_a_name_that_is_not_known_yet_joins_as_offline_and_comes_up_later(gateway: Any, node: Any) -> None:
    bob = await node("#a")
    names = Names()
    _, caller = await gateway(probe_interval=0.05, extra={"lookup": names})
    status, answer = await caller.join("Bob", f"http://bob.example:{bob.port}")
    assert (status, answer["state"]) == (200, "offline")
    names.answers["bob.example"] = ["127.0.0.1"]
    await caller.until_state("Bob", "online")


async def test_a_name_with_a_dead_address_first_is_reached_at_its_second(gateway: Any, node: Any) -> None:
    bob = await node("#a")
    _, caller = await gateway(extra={"lookup": Names(**{"bob.example": ["127.0.0.2", "127.0.0.1"]})})
    assert (await caller.join("Bob", f"http://bob.example:{bob.port}"))[1]["state"] == "online"
    assert len(await caller.search("#a")) == 1


async def test_attack_names_that_never_resolve(gateway: Any, node: Any) -> None:
    """Hanging lookups fill their own slots only: joins by address, searches and the end go on."""
    release = threading.Event()

    def never(_host: str) -> list[str]:
        release.wait(30)
        return []

    try:
        running, caller = await gateway(deadline=0.2, extra={"lookup": never})
        bob = await node("#a")
        joins = [asyncio.create_task(caller.join(f"e{n}", f"http://e{n}.example")) for n in range(50)]
        assert (await caller.join("Bob", bob.url))[1]["state"] == "online"
        assert len(await caller.search("#a")) == 1
        assert {status for status, _ in await asyncio.gather(*joins)} == {200}
        assert sum(thread.name.startswith("lookup") for thread in threading.enumerate()) <= 32
        async with asyncio.timeout(3):
            await running.close()
    finally:
        release.set()


async def test_attack_web_page_that_uses_a_loopback_gateway(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob = await node("#a")
    body = json.dumps({"node-id": "Eve", "node-address": bob.url})
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "[x"}):
        status, answer = await caller.call("POST", "/join", data=body, headers=headers)
        assert (status, answer["error"]["code"]) == (403, "P2P-0812")
    own = {"Origin": caller.url, "Content-Type": "text/plain"}
    assert (await caller.call("POST", "/join", data=body, headers=own))[0] == 200


async def test_attack_body_over_its_limit(gateway: Any) -> None:
    _, caller = await gateway()
    for path in ("/join", "/search"):
        status, answer = await caller.call("POST", path, data=b" " * 65_537)
        assert (status, answer["error"]["code"]) == (413, "P2P-0810")
        assert (await caller.call("POST", path, data=b" " * 65_536))[0] == 400


async def test_attack_body_without_end(gateway: Any) -> None:
    async def endless() -> Any:
        for _ in range(1_000):
            yield b"x" * 65_536

    _, caller = await gateway()
    try:
        status, _ = await caller.call("POST", "/search", data=endless())
        assert status == 413
    except aiohttp.ClientError:
        pass  # the gateway hung up on it
    assert await caller.search("#a") == []


async def test_attack_compressed_body(gateway: Any) -> None:
    _, caller = await gateway()
    bomb = gzip.compress(b'{"query": ["#a"]}' + b" " * 50_000_000)
    status, _ = await caller.call("POST", "/search", data=bomb, headers={"Content-Encoding": "gzip"})
    assert status == 400


async def test_attack_too_many_calls_from_one_address(gateway: Any, node: Any) -> None:
    _, caller = await gateway(loopback_rate=Rate(3, 0))
    bob = await node("#a")
    for expected in (200, 200, 200, 429):
        status, answer = await caller.join("Bob", bob.url)
        assert status == expected
    assert answer["error"]["code"] == "P2P-0808"
    for expected in (200, 200, 200, 429):
        status, _ = await caller.call("POST", "/search", json={"query": ["#a"]})
        assert status == expected
    assert (await caller.call("GET", "/health-check"))[0] == 200
    assert bob.probed == 3


async def test_attack_thousand_garbage_requests(gateway: Any, node: Any) -> None:
    running, caller = await gateway()
    bob = await node("#a")
    await caller.join("Bob", bob.url)
    chance = random.Random(5)
    for number in range(1_000):
        path = chance.choice(["/join", "/search"])
        status, answer = await caller.call("POST", path, data=chance.randbytes(chance.randrange(0, 400)))
        assert status == 400
        assert answer["error"]["code"] == "P2P-0801"
        if number % 10 == 0:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(chance.randbytes(300) + b"\r\n\r\n")
            await reader.read(1000)
            writer.close()
            await writer.wait_closed()
    assert len(running.nodes()) == 1
    assert await caller.search("#a") == [["Bob", bob.url]]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(max_size=70) | JSON
ADDRESSES = (
    JSON | st.text(max_size=40).map("http://{}".format) | st.sampled_from([text.format(port=9) for text in INSIDE])
)
JOINS = st.fixed_dictionaries({}, optional={"node-id": NAMES, "node-address": ADDRESSES, "record": JSON})
QUERIES = st.fixed_dictionaries({}, optional={"query": JSON | st.lists(st.text(max_size=70)), "match": JSON})


def test_any_json_is_answered_with_json(tmp_path: Path) -> None:
    """200, 400 or 413, whatever is sent; a name given twice may also be 409."""
    loop = asyncio.new_event_loop()
    names = Names()
    started = loop.run_until_complete(
        Gateway.start(GatewaySettings(port=0, home=tmp_path, deadline=0.3, probe_interval=600), lookup=names)
    )

    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = loop.run_until_complete(open_session())

    async def post(path: str, body: Any) -> None:
        async with session.post(started.url + path, data=json.dumps(body)) as response:
            answer = json.loads(await response.read())
            assert response.status in (200, 400, 413) or answer["error"]["code"] == "P2P-0806"
            assert isinstance(answer, dict)
            if response.status != 200:
                assert set(answer["error"]) == {"code", "cause", "fix"}

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(st.just("/join"), JOINS | JSON) | st.tuples(st.just("/search"), QUERIES | JSON))
    def send(call: tuple[str, Any]) -> None:
        loop.run_until_complete(post(*call))

    try:
        send()
    finally:
        loop.run_until_complete(session.close())
        loop.run_until_complete(started.close())
        loop.close()
