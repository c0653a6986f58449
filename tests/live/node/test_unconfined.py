"""A machine that cannot confine submitted code, and what a node does about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import p2pgrid
from p2pgrid import aio
from p2pgrid import node as node_module

OWNER = {"email": "info@openmined.org", "password": "changethis"}


async def ask(node: Any) -> tuple[Any, Any]:
    """A request of the owner's own, and the function as they may call it."""
    owner = await aio.login(url=node.url, **OWNER)
    asset = p2pgrid.Asset("values", np.array([1, 2, 3]), np.array([1, 1, 1]))
    held = await owner.upload_dataset(p2pgrid.Dataset("d", [asset]), progress=False)

    @p2pgrid.grid_function(input_policy=p2pgrid.ExactMatch(data=held.assets[0]))
    def total(data):  # type: ignore[no-untyped-def]
        return data.sum()

    return owner, await owner.submit(total)


async def test_code_is_not_run_where_nothing_confines_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("P2PGRID_ALLOW_UNSANDBOXED")
    monkeypatch.setattr(node_module, "CONFINED", ())  # as on a machine where neither tier's self-test passes
    async with await aio.launch(name="alice", home=tmp_path) as node:
        owner, request = await ask(node)
        assert request.mock_run["failure"] == "unavailable"
        assert "not run on this machine" in request.mock_run["error"]
        await request.approve()
        with pytest.raises(p2pgrid.errors.NotConfined):
            await (await owner.code).total(data=(await owner.datasets)[0].assets[0])
        await owner.close()


async def test_an_owner_may_allow_what_they_approved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "CONFINED", ())
    monkeypatch.setattr(node_module, "TIERS", ("none",))
    async with await aio.launch(name="alice", home=tmp_path) as node:
        owner, request = await ask(node)
        assert request.mock_run["failure"] == "unavailable", "nobody had read it when it came"
        await request.approve()
        assert (await owner.requests)[0].fields()["confinement"] == ""
        assert await (await (await owner.code).total(data=(await owner.datasets)[0].assets[0])).get() == 6
        assert "unconfined" in (await owner.requests)[0].fields()["confinement"], "its author is told"
        entries = await owner.door.call("audit.list", limit=100)
        assert "none" in {entry["details"].get("tier") for entry in entries}, "and the audit log"
        await owner.close()


async def test_an_owner_sets_the_limits_of_runs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_MOCK_RUN", '{"wall_seconds": 0.3}')
    async with await aio.launch(name="alice", home=tmp_path) as node:
        owner = await aio.login(url=node.url, **OWNER)
        asset = p2pgrid.Asset("values", np.array([1, 2, 3]), np.array([1, 1, 1]))
        held = await owner.upload_dataset(p2pgrid.Dataset("d", [asset]), progress=False)

        @p2pgrid.grid_function(input_policy=p2pgrid.ExactMatch(data=held.assets[0]))
        def slow(data):  # type: ignore[no-untyped-def]
            import time

            time.sleep(5)

        assert (await owner.submit(slow)).mock_run["error"] == "The run took longer than its 0.3 s."
        await owner.close()


async def test_a_limit_that_is_none_stops_the_start(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_PRIVATE_RUN", '{"magic": 1}')
    with pytest.raises(p2pgrid.errors.InvalidInput, match="magic is no limit"):
        await aio.launch(name="alice", home=tmp_path)
