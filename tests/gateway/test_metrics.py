"""``GET /metrics`` of a gateway over real HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families


async def scrape(url: str, **headers: str) -> tuple[int, str, dict[Any, float]]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics", headers=headers) as answer:
        text = await answer.text()
        if answer.status != 200:
            return answer.status, text, {}
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    families = list(text_string_to_metric_families(text))
    told = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    return 200, text, told


async def test_a_scrape_tells_nodes_by_state_and_who_was_left_out(gateway: Any, node: Any) -> None:
    made, caller = await gateway(probe_interval=0.2)
    bob, gone = await node("#secret"), await node("#secret")
    await caller.join("Bob", bob.url)
    await caller.join("Gone", gone.url)
    await gone.close()
    await caller.search("#secret")
    await caller.until_state("Gone", "offline")

    _, text, told = await scrape(made.url)
    states = [told["p2pgrid_gateway_nodes", state] for state in ("online", "busy", "offline")]
    assert (sum(states), states[2]) == (2, 1)
    assert told["p2pgrid_gateway_uptime_seconds",] >= 0
    assert told["process_open_fds",] > 0
    left_out = sum(value for key, value in told.items() if key[0] == "p2pgrid_gateway_left_out_total")
    _, health = await caller.call("GET", "/health-check")
    assert left_out == sum(health["left-out"].values())
    for name in ("Bob", "Gone", "127.0.0.1", "secret"):
        assert name not in text


async def test_a_page_that_was_led_to_a_gateway_on_loopback_may_not_scrape(gateway: Any) -> None:
    made, _ = await gateway()
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert (await scrape(made.url, **headers))[0] == 403
