"""A machine that cannot confine submitted code, and what a node does about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import p2pgrid
from p2pgrid import aio
from p2pgrid import node as node_module

OWNER = {"email": "info@openmined.org", "password": "changethis"}


async def ask(node: Any) -> Any:
    owner = await aio.login(url=node.url, **OWNER)
    asset = p2pgrid.Asset("values", np.array([1, 2, 3]), np.array([1, 1, 1]))
    held = await owner.upload_dataset(p2pgrid.Dataset("d", [asset]), progress=False)

    @p2pgrid.grid_function(input_policy=p2pgrid.ExactMatch(data=held.assets[0]))
    def total(data):  # type: ignore[no-untyped-def]
        return data.sum()

    request = await owner.submit(total)
    await owner.close()
    return request


async def test_code_is_not_run_where_a_measure_is_missing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("P2PGRID_ALLOW_UNSANDBOXED")
    # No run is ever without "process" and all at once another user's on a machine whose interpreter is root's own.
    monkeypatch.setattr(node_module, "CONFINED", ("other-user", "no-network"))
    async with await aio.launch(name="alice", home=tmp_path) as node:
        report = (await ask(node)).mock_run
    held = {"other-user", "no-network"} <= set(report["confinement"])
    assert report["ok"] is held
    if not held:
        assert report["failure"] == "unavailable"


async def test_an_owner_may_allow_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "CONFINED", ("other-user", "no-network"))
    async with await aio.launch(name="alice", home=tmp_path) as node:
        assert (await ask(node)).mock_run["ok"]
