"""The whole life of a dataset and a request, as seed 002 tells it."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, wire
from p2pgrid.errors import Denied, Pending, PrivateData


async def test_the_seeds_life(owner: Any, scientist: Any) -> None:
    dataset = await owner.publish(
        description="description of the dataset",
        contributors=[{"role": "UPLOADER", "name": "Andrew", "email": "andrew@gmail.com"}],
    )
    asset = dataset["assets"][0]
    assert [held["name"] for held in await scientist("dataset.list")] == ["my dataset"]
    mock = await scientist("asset.read", id=asset["id"], side="mock")
    assert np.array_equal(assets.load("numpy", mock["data"]), [1, 1, 1])
    with pytest.raises(PrivateData):
        await scientist("asset.read", id=asset["id"], side="data")

    project = await scientist("project.create", id=uuid.uuid4().hex, name="research", description="fairness")
    assert project["created_by"] == "jane@caltech.edu"
    assert project["events"] == []
    assert await owner("project.get", name="research") == project

    request = await scientist.ask(asset["id"], project=project["id"])
    assert request["status"] == "PENDING"
    assert request["mock_run"]["ok"], request["mock_run"]
    assert request["requesting_user_verify_key"] == scientist.identity.public.hex()
    code = (await scientist("code.list"))[0]
    assert (code["name"], code["approved"], code["id"]) == ("compute_sum", False, request["code_id"])
    with pytest.raises(Pending):
        await scientist("code.call", id=code["id"], inputs={"data": {"asset": asset["id"]}})

    await owner("request.deny", id=request["id"], reason="Risk of privacy leak")
    with pytest.raises(Denied, match="Risk of privacy leak"):
        await scientist("code.call", id=code["id"], inputs={"data": {"asset": asset["id"]}})
    assert (await scientist("request.get", id=request["id"]))["reason"] == "Risk of privacy leak"

    private = await owner("asset.read", id=asset["id"], side="data")
    real = assets.load("numpy", private["data"]).sum()
    deposited = await owner("request.deposit", id=request["id"], result=wire.pack_value(real))
    assert deposited["status"] == "APPROVED"
    digest = assets.dump(np.array([1, 2, 3])).meta.digest
    answer = await scientist("code.call", name="compute_sum", inputs={"data": {"digest": digest}})
    assert await scientist.result(answer["execution"]) == 6
    assert (await scientist("code.list"))[0]["approved"]


async def test_an_approved_request_runs_on_the_private_data_once(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await scientist.ask(asset)
    await owner("request.approve", id=request["id"])
    first = await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": asset}})
    assert await scientist.result(first["execution"]) == 6
    assert await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": asset}}) == first
    assert (await owner("request.get", id=request["id"]))["released"] == 1
