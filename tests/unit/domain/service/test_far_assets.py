"""A domain whose asset files lie elsewhere: everything goes as it does with a local folder."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from p2pgrid.domain.service import DomainService
from p2pgrid.domain.storage import Storage


@pytest.fixture
async def service(house: Any) -> AsyncIterator[DomainService]:
    url, place = f"sqlite:///{house.folder / 'domain.sqlite'}", f"memory://{secrets.token_hex(8)}"
    storage = Storage(url, house.folder / "assets", assets_url=place)
    service = DomainService(storage, house.runner, identity=house.identity, name="far")
    await service.open()
    await service.ensure_owner()
    yield service
    await service.close()


async def test_the_life_of_a_request_on_far_assets(owner: Any, scientist: Callable[..., Any], house: Any) -> None:
    made = await owner.publish(data=np.array([1, 2, 3]))
    asset = made["assets"][0]["id"]
    assert not list((house.folder / "assets").glob("*.npy"))
    piece = await owner("asset.read", id=asset, side="data", offset=0, limit=1 << 20)
    assert piece["total"] == made["assets"][0]["meta"]["size"] == len(piece["data"])
    request = await scientist.ask(asset)  # type: ignore[attr-defined]
    assert request["mock_run"]["ok"]
    await owner("request.approve", id=request["id"])
    done = await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": asset}})
    assert await scientist.result(done["execution"]) == 6  # type: ignore[attr-defined]
    await owner("dataset.delete", id=made["id"])
    assert not list((house.folder / "assets").rglob("*.npy"))
