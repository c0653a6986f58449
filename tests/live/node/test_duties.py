"""What a node keeps doing survives what goes wrong for a while."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

import p2pgrid
from p2pgrid import aio
from p2pgrid import node as node_module

OWNER = {"email": "info@openmined.org", "password": "changethis"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "SAVE_INTERVAL", 0.05)
    monkeypatch.setattr(node_module, "DUTY_PAUSE", 0.05)
    monkeypatch.setattr(node_module, "JOIN_INTERVAL", 0.05)


async def test_peers_are_saved_again_once_the_disk_takes_them(
    tmp_path: Path, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    peers = tmp_path / "alice" / "peers"
    peers.unlink(missing_ok=True)
    peers.mkdir()  # a file cannot take a folder's place: each write fails
    await until(lambda: any("peers" in record.getMessage() for record in caplog.records))
    peers.rmdir()
    await until(peers.is_file)
    assert sum("peers" in record.getMessage() for record in caplog.records) <= 2, "told once, not every time"
    await node.land()


async def test_a_title_and_tag_that_no_listing_can_hold_stop_no_other(tmp_path: Path, until: Any) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    owner = await aio.login(url=node.url, **OWNER)
    asset = p2pgrid.Asset("a", np.arange(3))
    await owner.upload_dataset(p2pgrid.Dataset("数" * 96, [asset], tags=["語" * 64, "#first"]), progress=False)
    await owner.upload_dataset(p2pgrid.Dataset("plain", [asset], tags=["#later"]), progress=False)

    async def found() -> list[Any]:
        return [item async for item in aio.search("#later", bootstrap=[node.dht_address], timeout=2.0)]

    assert [item.title for item in await until(found)] == ["plain"]
    await owner.close()
    await node.land()


async def test_a_gateway_that_answers_without_end_does_not_fill_the_log(
    tmp_path: Path, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    joins = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal joins
        joins += 1
        return web.json_response({"error": "x" * 500_000}, status=500)

    app = web.Application()
    app.router.add_post("/join", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    caplog.set_level(logging.INFO)
    node = await aio.launch(name="alice", home=tmp_path, gateway=f"http://127.0.0.1:{port}")
    await until(lambda: joins >= 3)
    assert sum(len(record.getMessage()) for record in caplog.records if "gateway" in record.getMessage()) < 1000
    await node.land()
    await runner.cleanup()
