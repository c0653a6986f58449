"""Seed 003's calls and what belongs to them, with real nodes."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway import Gateway, GatewaySettings
from p2pgrid.crypto import Identity
from p2pgrid.errors import BadConfig, BadHome, HomeInUse, PortTaken
from p2pgrid.records import Address, NodeRecord, sign_node


async def test_join_and_search_as_in_the_seed(gateway: Any, node: Any) -> None:
    running, caller = await gateway()
    bob, alice, carol = (
        await node("#MNIST", "#boston-housing"),
        await node("#boston-housing", "#MNIST"),
        await node("#x"),
    )
    for name, one in (("Bob", bob), ("Alice", alice), ("Carol", carol)):
        status, answer = await caller.join(name, one.url + "/")
        assert (status, answer["status"], answer["state"]) == (200, "joined", "online")
        assert one.probed == 1
    assert await caller.search("#MNIST", "#boston-housing") == [["Alice", alice.url], ["Bob", bob.url]]
    assert await caller.search("#x") == [["Carol", carol.url]]
    assert await caller.search("#nowhere") == []
    assert bob.asked[0] == b'{"query": ["#MNIST", "#boston-housing"]}'
    assert [status.name for status in running.nodes()] == ["Alice", "Bob", "Carol"]


async def test_match_any_is_passed_on(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob = await node("#a")
    await caller.join("Bob", bob.url)
    await caller.call("POST", "/search", json={"query": ["#a", "#b"], "match": "any"})
    assert bob.asked == [b'{"query": ["#a", "#b"], "match": "any"}']


async def test_health_check_of_every_node(gateway: Any, node: Any) -> None:
    async def late(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.15)
        return web.json_response({})

    _, caller = await gateway()
    quick, slow, gone = await node(), await node(health=late), await node()
    await gone.close()
    for name, one in (("quick", quick), ("slow", slow), ("gone", gone)):
        await caller.join(name, one.url)
    status, answer = await caller.call("GET", "/health-check")
    assert (status, answer["status"], answer["total"]) == (200, "online", 3)
    assert answer["counts"] == {"online": 1, "busy": 1, "offline": 1}
    nodes = {one["node-id"]: one for one in answer["nodes"]}
    assert nodes["quick"]["state"] == "online"
    assert nodes["quick"]["latency-ms"] < 100
    assert nodes["slow"]["state"] == "busy"
    assert nodes["slow"]["latency-ms"] >= 150
    assert nodes["quick"]["last-seen"].endswith("Z")
    assert (nodes["gone"]["state"], nodes["gone"]["latency-ms"], nodes["gone"]["last-seen"]) == ("offline", None, None)


async def test_health_check_in_pages(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    for name in "abc":
        await caller.join(name, (await node()).url)
    _, answer = await caller.call("GET", "/health-check?offset=1&limit=1")
    assert ([one["node-id"] for one in answer["nodes"]], answer["total"]) == (["b"], 3)
    assert (await caller.call("GET", "/health-check?limit=-1"))[0] == 400


async def test_a_node_goes_offline_and_comes_back_by_itself(gateway: Any, node: Any) -> None:
    _, caller = await gateway(probe_interval=0.1)
    bob = await node("#a")
    await caller.join("Bob", bob.url)
    await bob.close()
    await caller.until_state("Bob", "offline")
    assert await caller.search("#a") == []
    again = await node("#a", port=bob.port)
    await caller.until_state("Bob", "online")
    assert await caller.search("#a") == [["Bob", again.url]]


async def test_a_search_that_finds_a_node_gone_has_it_probed_at_once(gateway: Any, node: Any) -> None:
    _, caller = await gateway(probe_interval=600.0)
    bob = await node("#a")
    await caller.join("Bob", bob.url)
    await bob.close()
    assert await caller.search("#a") == []
    await caller.until_state("Bob", "offline")


async def test_a_node_that_moved_may_join_again_at_once(gateway: Any, node: Any) -> None:
    _, caller = await gateway(probe_interval=600.0)
    bob = await node("#a")
    await caller.join("Bob", bob.url)
    await bob.close()
    moved = await node("#a")
    status, _ = await caller.join("Bob", moved.url)
    assert status == 200
    assert await caller.search("#a") == [["Bob", moved.url]]


async def test_connected_nodes_and_available_tags_as_the_first_grid_gateway(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob, alice, gone = await node("#A", "b c"), await node("#a", "#d"), await node()
    await gone.close()
    for name, one in (("Bob", bob), ("Alice", alice), ("gone", gone)):
        await caller.join(name, one.url)
    assert await caller.call("GET", "/connected-nodes") == (200, {"grid-nodes": ["Alice", "Bob"]})
    assert await caller.call("GET", "/search-available-tags") == (200, ["#a", "#b-c", "#d"])


async def test_the_page_shows_nodes_without_believing_them(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    await caller.join("<script>alert(1)</script>", (await node()).url)
    async with caller.session.get(caller.url + "/") as response:
        page = await response.text()
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page


async def test_unknown_paths_and_methods_are_json(gateway: Any) -> None:
    _, caller = await gateway()
    status, answer = await caller.call("GET", "/nowhere")
    assert (status, answer["error"]["code"]) == (404, "P2P-0811")
    status, answer = await caller.call("DELETE", "/join")
    assert (status, answer["error"]["code"]) == (405, "P2P-0811")


def record(identity: Identity, name: str, port: int, seq: int) -> list[str]:
    made = NodeRecord(identity.public, name, (Address("127.0.0.1", 1, port),), seq, int(time.time()), 3600)
    return [base64.b64encode(part).decode() for part in sign_node(identity, made).to_wire()]


async def test_attack_hijack_of_a_signed_name(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob, evil = await node("#a"), await node("#a")
    key, other = (Identity.generate(secrets.token_bytes) for _ in range(2))
    status, answer = await caller.join("Bob", bob.url, record=record(key, "Bob", bob.port, 5))
    assert (status, answer["signed"]) == (200, True)
    await bob.close()
    for proof in (
        None,
        record(other, "Bob", evil.port, 9),  # a key of the attacker's own
        record(key, "Bob", bob.port, 5),  # Bob's record, fetched from GET /identity, with the attacker's address
        record(key, "Bob", evil.port, 4),  # an old record of Bob's, from when this port was his
    ):
        status, answer = await caller.join("Bob", evil.url, record=proof)
        assert (status, answer["error"]["code"]) == (409, "P2P-0806")
    moved = await node("#a")
    status, _ = await caller.join("Bob", moved.url, record=record(key, "Bob", moved.port, 6))
    assert status == 200
    assert await caller.search("#a") == [["Bob", moved.url]]
    # Without its record the node may say again where it is, and keeps its key.
    assert (await caller.join("Bob", moved.url))[1]["signed"] is True


async def test_attack_hijack_of_a_plain_name(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob, evil = await node("#a"), await node("#a")
    await caller.join("Bob", bob.url)
    status, answer = await caller.join("Bob", evil.url)
    assert (status, answer["error"]["code"]) == (409, "P2P-0806")
    assert (await caller.join("Bob", bob.url))[0] == 200
    assert await caller.search("#a") == [["Bob", bob.url]]


async def test_attack_squatting_on_a_node_id(gateway: Any, node: Any) -> None:
    _, caller = await gateway()
    bob, evil = await node("#a"), await node("#a")
    key = Identity.generate(secrets.token_bytes)
    assert (await caller.join(key.id.hex(), evil.url))[0] == 200
    assert (await caller.join(key.id.hex(), bob.url, record=record(key, "", bob.port, 1)))[0] == 200
    assert await caller.search("#a") == [[key.id.hex(), bob.url]]


async def test_nodes_are_still_there_after_a_stop_and_start(gateway: Any, node: Any) -> None:
    first, caller = await gateway()
    bob = await node("#a")
    key = Identity.generate(secrets.token_bytes)
    await caller.join("Bob", bob.url, record=record(key, "Bob", bob.port, 5))
    before = first.nodes()[0].last_seen
    await first.close()
    second, caller = await gateway()
    assert second.nodes()[0].last_seen is not None
    assert second.nodes()[0].last_seen >= before
    await caller.until_state("Bob", "online")
    assert await caller.search("#a") == [["Bob", bob.url]]
    status, _ = await caller.join("Bob", (await node()).url)
    assert status == 409


async def test_tidy_forgets_who_was_away_for_too_long(gateway: Any, node: Any) -> None:
    now = [time.time()]
    running, caller = await gateway(probe_interval=0.05, extra={"wall": lambda: now[0]})
    bob, gone = await node("#a"), await node()
    await gone.close()
    await caller.join("Bob", bob.url)
    await caller.join("gone", gone.url)
    now[0] += 2 * 86_400

    async def forgotten() -> bool:
        await running.tidy()
        return len(running.nodes()) == 1

    await caller.until(forgotten)
    assert [status.name for status in running.nodes()] == ["Bob"]
    await running.close()
    again, _ = await gateway()
    assert [status.name for status in again.nodes()] == ["Bob"]


async def test_starting_where_it_cannot(gateway: Any, tmp_path: Path) -> None:
    running, _ = await gateway()
    with pytest.raises(HomeInUse):
        await Gateway.start(GatewaySettings(port=0, home=tmp_path / "gateway"))
    with pytest.raises(PortTaken):
        await Gateway.start(GatewaySettings(port=running.port, home=tmp_path / "other"))
    # The failed start let go of its home.
    other = await Gateway.start(GatewaySettings(port=0, home=tmp_path / "other"))
    await other.close()
    await other.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadHome):
        await Gateway.start(GatewaySettings(port=0, home=tmp_path / "file" / "home"))
    with pytest.raises(BadConfig):
        await Gateway.start(GatewaySettings(host="203.0.113.1", port=0, home=tmp_path / "third"))


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"port": 70_000}, {"deadline": 0}, {"probe_interval": float("nan")}, {"host": ""}, {"host": "a b"}],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        GatewaySettings(**wrong)
