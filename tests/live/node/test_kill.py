"""A node killed with SIGKILL in the middle of what must not be halved: publishing, a run, a deposit."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest

import p2pgrid
from p2pgrid import aio

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}
PRIVATE = np.arange(100_000.0)

SLOW_SUM = """def slow_sum(data):
    import time
    time.sleep(1.0)
    return data.sum()
"""


class Source(p2pgrid.GridFunction):
    """A function from its text: these tests have no file or notebook cell for it."""

    def __init__(self, code: str, name: str, asset: Any) -> None:
        self.code, self.name = code, name
        self.input_policy, self.output_policy = p2pgrid.ExactMatch(data=asset), p2pgrid.SingleExecutionExactOutput()


async def publish(owner: Any, name: str = "numbers") -> Any:
    asset = p2pgrid.Asset("values", PRIVATE, PRIVATE[:10] * 0)
    return await owner.upload_dataset(p2pgrid.Dataset(name, [asset], tags=["#numbers"]), progress=False)


async def jane_asks(node: Any, owner: Any) -> tuple[Any, Any]:
    await owner.register(name="Jane Doe", **JANE)
    jane = await aio.login(url=node.url, **JANE)
    asset = (await jane.datasets)[0].assets[0]
    request = await jane.submit(Source(SLOW_SUM, "slow_sum", asset))
    return jane, request


async def close(*clients: Any) -> None:
    for client in clients:
        with contextlib.suppress(p2pgrid.P2PError):
            await client.close()


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.1, 0.3])
async def test_killed_while_publishing_leaves_all_or_nothing(nodes: Any, after: float) -> None:
    node = nodes("alice")
    owner = await aio.login(url=node.url, **OWNER)
    upload = asyncio.create_task(publish(owner))
    await asyncio.sleep(after)
    node.kill()
    published = not isinstance((await asyncio.gather(upload, return_exceptions=True))[0], BaseException)
    await close(owner)

    node.launch()
    owner = await aio.login(url=node.url, **OWNER)
    datasets = await owner.datasets
    assert len(datasets) == 1 if published else len(datasets) <= 1
    for dataset in datasets:
        assert np.array_equal(await dataset.assets[0].data, PRIVATE)
        assert np.array_equal(await dataset.assets[0].mock, PRIVATE[:10] * 0)
    if not datasets:
        await publish(owner)
        assert len(await owner.datasets) == 1
    await close(owner)


@pytest.mark.parametrize("after", [0.2, 0.9, 1.05, 1.2])
async def test_killed_in_an_approved_run_spends_the_policy_exactly_once(nodes: Any, after: float) -> None:
    node = nodes("alice")
    owner = await aio.login(url=node.url, **OWNER)
    await publish(owner)
    jane, request = await jane_asks(node, owner)
    await (await owner.get_request(request.id)).approve()
    asset = (await jane.datasets)[0].assets[0]
    call = asyncio.create_task((await jane.code)[0](data=asset))
    await asyncio.sleep(after)
    node.kill()
    await asyncio.gather(call, return_exceptions=True)
    await close(owner, jane)

    node.launch()
    owner, jane = await aio.login(url=node.url, **OWNER), await aio.login(url=node.url, **JANE)
    (held,) = await owner.requests
    assert held.status is p2pgrid.RequestStatus.APPROVED
    code = (await jane.code)[0]
    first = await code(data=asset.pointer)
    assert await first.get() == PRIVATE.sum()
    assert (await code(data=asset.pointer)).id == first.id
    entries = await owner.audit(1000)
    assert sum(entry["action"] == "result.release" for entry in entries) == 1
    await close(owner, jane)


@pytest.mark.parametrize("after", [0.0, 0.002, 0.01, 0.05])
async def test_killed_while_depositing_leaves_the_old_verdict_or_the_new(nodes: Any, after: float) -> None:
    node = nodes("alice")
    owner = await aio.login(url=node.url, **OWNER)
    await publish(owner)
    jane, request = await jane_asks(node, owner)
    held = await owner.get_request(request.id)
    await held.deny(reason="Risk of privacy leak")
    deposit = asyncio.create_task(held.accept_by_depositing_result(PRIVATE))
    await asyncio.sleep(after)
    node.kill()
    deposited = not isinstance((await asyncio.gather(deposit, return_exceptions=True))[0], BaseException)
    await close(owner, jane)

    node.launch()
    owner, jane = await aio.login(url=node.url, **OWNER), await aio.login(url=node.url, **JANE)
    held = await owner.get_request(request.id)
    assert held.status in (p2pgrid.RequestStatus.APPROVED, p2pgrid.RequestStatus.DENIED)
    assert held.status is p2pgrid.RequestStatus.APPROVED or not deposited
    if held.status is p2pgrid.RequestStatus.DENIED:
        assert held.reason == "Risk of privacy leak"
        await held.accept_by_depositing_result(PRIVATE)
    asset = (await jane.datasets)[0].assets[0]
    result = await (await (await jane.code)[0](data=asset)).get()
    assert np.array_equal(result, PRIVATE)
    await close(owner, jane)


async def test_killed_node_comes_back_under_its_id_and_is_found_again(nodes: Any, until: Any) -> None:
    alice = nodes("alice")
    bob = nodes("bob", "--bootstrap", alice.dht)
    owner = await aio.login(url=bob.url, **OWNER)
    await publish(owner)
    await close(owner)

    async def found() -> list[Any]:
        return [item async for item in aio.search("#numbers", bootstrap=[alice.dht], timeout=2.0)]

    (before,) = await until(found)
    bob.kill()
    bob.launch()

    async def found_again() -> bool:
        return any(item.url == bob.url for item in await found())

    await until(found_again)
    (after,) = await found()
    assert after.node_id == before.node_id
