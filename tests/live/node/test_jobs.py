"""Jobs over a real link: started, watched, cancelled, and there again after the node was killed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest

import p2pgrid
from p2pgrid import aio
from p2pgrid.client.jobs import follow
from p2pgrid.errors import JobCancelled, JobInterrupted, NotAllowed, NotInTime

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}
QUICK = "def f(data):\n    print('sum of', len(data))\n    return data.sum()\n"
SLOW = """def f(data):
    import time
    print("begun", flush=True)
    time.sleep(8 if len(data) > 10 else 0)
    return 1
"""


class Source(p2pgrid.GridFunction):
    """A function from its text."""

    def __init__(self, code: str, asset: Any) -> None:
        self.code, self.name = code, "f"
        self.input_policy, self.output_policy = p2pgrid.ExactMatch(data=asset), p2pgrid.SingleExecutionExactOutput()


@pytest.fixture
async def people(nodes: Any) -> Any:
    """A node, its owner, and a data scientist; the asset that both know."""
    node = nodes("alice")
    owner = await aio.login(url=node.url, **OWNER)
    private, mock = np.arange(100.0), np.zeros(5)
    dataset = p2pgrid.Dataset("numbers", [p2pgrid.Asset("values", private, mock)], tags=["#numbers"])
    await owner.upload_dataset(dataset, progress=False)
    await owner.register(name="Jane Doe", **JANE)
    jane = await aio.login(url=node.url, **JANE)
    asset = (await jane.datasets)[0].assets[0]
    yield node, owner, jane, asset
    for client in (owner, jane):
        with contextlib.suppress(p2pgrid.P2PError):
            await client.close()


async def approved(owner: Any, jane: Any, asset: Any, code: str) -> Any:
    request = await jane.submit(Source(code, asset))
    await (await owner.requests)[-1].approve()
    return next(held for held in await jane.code if held.id == request.code.id)


async def test_a_long_run_is_a_job(people: Any) -> None:
    _, owner, jane, asset = people
    function = await approved(owner, jane, asset, QUICK)
    job = await function(data=asset, blocking=False)
    assert await job.result(60) == 4950.0
    assert await job.status == "finished"
    assert await (await function(data=asset)).get() == 4950.0
    with pytest.raises(NotAllowed):
        await job.logs()
    assert await (await owner.jobs)[0].logs() == "sum of 100\n"
    jobs = await jane.jobs
    assert jobs[job.id].function == "f"
    assert "finished" in repr(jobs)
    assert "<script" not in jobs._repr_html_()
    assert "finished" in jobs._repr_html_()
    mock = await function.run_on_mock()
    assert await (await mock.wait(60)).logs() == "sum of 5\n"
    assert await mock.result() is None


async def test_a_job_is_cancelled_and_queued_again(people: Any) -> None:
    _, owner, jane, asset = people
    function = await approved(owner, jane, asset, SLOW)
    job = await function(data=asset, blocking=False)
    with pytest.raises(NotInTime, match="timeout=SECONDS"):
        await job.wait(0.2)
    await job.cancel()
    with pytest.raises(JobCancelled, match="jane"):
        await job.result(60)
    await job.retry()
    assert await job.result(60) == 1
    acts = [entry["action"] for entry in await owner.audit(action="job")]
    assert [act for act in acts if act != "job.end"] == ["job.retry", "job.cancel", "job.start"]
    assert await owner.audit.verify()


async def test_a_job_is_interrupted_when_its_node_is_killed_and_never_half_done(people: Any) -> None:
    node, owner, jane, asset = people
    function = await approved(owner, jane, asset, SLOW)
    job = await function(data=asset, blocking=False)
    held = (await owner.jobs)[0]
    async with asyncio.timeout(60):
        async for piece in follow(owner.door, held.id):
            assert "begun" in piece
            break
    await asyncio.sleep(0.6)  # the head of the audit log is written half a second after its entries
    node.kill()
    await jane.close()
    await owner.close()

    node.launch()
    jane, owner = await aio.login(url=node.url, **JANE), await aio.login(url=node.url, **OWNER)
    again = (await jane.jobs)[job.id]
    assert await again.status == "interrupted"
    with pytest.raises(JobInterrupted):
        await again.result()
    assert (await owner.requests)[0]._raw["released"] == 0
    assert await owner.audit.verify()
    await again.retry()
    assert await again.result(60) == 1
    for client in (jane, owner):
        await client.close()
