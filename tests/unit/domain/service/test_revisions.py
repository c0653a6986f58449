"""Datasets that change: new versions, other words, deletion, and the requests that were written for them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from p2pgrid.errors import Conflict, InvalidInput, NotAllowed, NotFound, TooLarge

FIRST, SECOND = np.array([1, 2, 3]), np.array([10, 20, 30])


async def replaced(
    owner: Any, name: str = "my dataset", data: Any = SECOND, mock: Any = None, title: str = "my asset", **more: Any
) -> Any:
    mock = np.array([1, 1, 1]) if mock is None else mock
    asset = {"name": title, "data": await owner.stage(data), "mock": await owner.stage(mock), **more}
    return await owner("dataset.replace", name=name, assets=[asset])


def held_files(house: Any) -> list[str]:
    return sorted(path.name for path in (house.folder / "assets").glob("*.npy"))


async def test_a_replaced_dataset_gets_a_new_version_and_its_asset_a_new_id(owner: Any, house: Any) -> None:
    before = await owner.publish()
    after = await replaced(owner)
    assert (before["version"], after["version"], after["id"]) == (1, 2, before["id"])
    assert after["assets"][0]["id"] != before["assets"][0]["id"]
    assert after["assets"][0]["version"] == 2
    assert after["updated_at"] is not None
    assert (await owner("dataset.list")) == [after]
    assert len(held_files(house)) == 2  # nobody asked about the old one
    with pytest.raises(NotFound):
        await owner("asset.read", id=before["assets"][0]["id"], side="data")


async def test_an_asset_with_the_same_bytes_stays_the_same_asset(owner: Any, house: Any) -> None:
    before = await owner.publish()
    after = await replaced(owner, data=FIRST, description="better told")
    assert after["version"] == 2
    assert after["assets"][0]["id"] == before["assets"][0]["id"]
    assert (after["assets"][0]["version"], after["assets"][0]["description"]) == (1, "better told")
    assert (len(held_files(house)), list((house.folder / "assets" / "staging").iterdir())) == (2, [])
    other_mock = await replaced(owner, data=FIRST, mock=np.array([9, 9, 9]))
    assert other_mock["assets"][0]["id"] != before["assets"][0]["id"]


async def test_a_new_version_takes_no_asset_from_under_its_rules(owner: Any) -> None:
    dataset = await owner.publish()
    await owner("rules.set", dataset=dataset["id"], asset="my asset", rules=[{"kind": "MinimumRows", "least": 3}])
    with pytest.raises(Conflict, match="Rules are set for the asset 'my asset'"):
        await replaced(owner, name="my dataset", title="another name")
    assert (await replaced(owner))["version"] == 2
    await owner("rules.set", dataset=dataset["id"], asset="my asset", rules=[])
    assert (await replaced(owner, title="another name"))["version"] == 3
    with pytest.raises(NotFound):
        await owner("rules.set", dataset=dataset["id"], asset="my asset", rules=[])


async def test_rules_that_an_older_version_left_behind_can_be_taken_away(owner: Any) -> None:
    dataset = await owner.publish()
    await owner("rules.set", dataset=dataset["id"], asset="my asset", rules=[{"kind": "MinimumRows", "least": 3}])
    with owner.service._domain.storage.write() as session:
        session.connection().exec_driver_sql("UPDATE floors SET asset = 'gone long ago'")
    assert (await replaced(owner))["version"] == 2
    assert await owner("rules.set", dataset=dataset["id"], asset="gone long ago", rules=[]) == []


async def test_the_data_itself_is_no_mock(owner: Any, house: Any) -> None:
    with pytest.raises(InvalidInput, match="is the private data itself"):
        await owner.publish(data=FIRST, mock=FIRST)
    await owner.publish()
    with pytest.raises(InvalidInput, match="is the private data itself"):
        await replaced(owner, data=SECOND, mock=SECOND)
    assert [dataset["version"] for dataset in await owner("dataset.list")] == [1]


async def test_old_requests_go_on_with_the_version_they_were_written_for(
    owner: Any, scientist: Any, house: Any
) -> None:
    old = (await owner.publish(data=FIRST))["assets"][0]["id"]
    request = await scientist.ask(old)
    new = (await replaced(owner))["assets"][0]["id"]
    for seen in (await owner("request.get", id=request["id"]), await scientist("request.get", id=request["id"])):
        assert "version 2" in seen["note"]
        assert seen["inputs"] == {"data": old}
    with pytest.raises(Conflict, match="version 2"):
        await scientist.ask(old, name="compute_sum")
    await owner("request.approve", id=request["id"])
    done = await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": old}})
    assert await scientist.result(done["execution"]) == 6
    again = await scientist.ask(new)
    await owner("request.approve", id=again["id"])
    done = await scientist("code.call", id=again["code_id"], inputs={"data": {"asset": new}})
    assert await scientist.result(done["execution"]) == 60


async def test_a_replaced_asset_goes_once_no_open_request_names_it(owner: Any, scientist: Any, house: Any) -> None:
    old = (await owner.publish())["assets"][0]["id"]
    request = await scientist.ask(old)
    await replaced(owner)
    assert len(held_files(house)) == 4
    await owner("request.deny", id=request["id"], reason="no")
    await house.close()
    await house.open()
    assert len(held_files(house)) == 2


async def test_deleting_a_dataset_denies_pending_requests_and_tells_both_sides(owner: Any, scientist: Any) -> None:
    made = await owner.publish()
    old = made["assets"][0]["id"]
    pending, approved = await scientist.ask(old), await scientist.ask(old)
    await owner("request.approve", id=approved["id"])
    await owner("dataset.delete", name="my dataset")
    for person in (owner, scientist):
        seen = await person("request.get", id=pending["id"])
        assert (seen["status"], seen["reason"]) == ("DENIED", "The dataset 'my dataset' was deleted.")
        assert "was deleted" in (await person("request.get", id=approved["id"]))["note"]
    with pytest.raises(NotFound):
        await scientist("code.call", id=approved["code_id"], inputs={"data": {"asset": old}})
    actions = [entry["action"] for entry in await owner("audit.list")]
    assert {"dataset.delete", "request.deny"} <= set(actions)


async def test_what_was_released_stays_released_after_its_dataset_is_gone(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await scientist.ask(asset)
    await owner("request.approve", id=request["id"])
    call = {"id": request["code_id"], "inputs": {"data": {"asset": asset}}}
    await scientist("code.call", **call)
    await owner("dataset.delete", name="my dataset")
    assert await scientist.result((await scientist("code.call", **call))["execution"]) == 6


async def test_an_update_changes_what_is_said_and_nothing_else(owner: Any) -> None:
    told = asyncio.Event()
    before = await owner.publish(description="old words", tags=["one"])
    owner.service.on_change(told.set)
    after = await owner("dataset.update", id=before["id"], name="new name", description="fresh", tags=["#Two"])
    assert (after["name"], after["description"], after["tags"], after["version"]) == ("new name", "fresh", ["two"], 1)
    assert after["assets"] == before["assets"]
    assert owner.service.listings() == [("two", bytes.fromhex(before["id"]), "new name")]
    await asyncio.wait_for(told.wait(), 5)
    assert (await owner("dataset.search", text="fresh"))["total"] == 1
    assert (await owner("dataset.search", text="old"))["total"] == 0
    await owner.publish(name="another")
    with pytest.raises(Conflict):
        await owner("dataset.update", id=before["id"], name="another")
    with pytest.raises(InvalidInput):
        await owner("dataset.update", id=before["id"])
    with pytest.raises(NotFound):
        await owner("dataset.update", id="0" * 32, name="x")
    await owner("dataset.update", id=before["id"], name="new name", tags=[])
    assert owner.service.tags() == ["numbers"]


async def test_only_an_owner_changes_datasets(owner: Any, scientist: Any) -> None:
    made = await owner.publish()
    for verb in ("dataset.update", "dataset.replace", "dataset.delete"):
        with pytest.raises(NotAllowed):
            await scientist(verb, id=made["id"], name="mine", assets=[])


async def test_a_replacement_that_is_not_whole_changes_nothing(owner: Any, house: Any) -> None:
    before = await owner.publish()
    staged = await owner.stage(SECOND)
    staged["meta"]["digest"] = "0" * 64
    with pytest.raises(InvalidInput):
        await owner("dataset.replace", id=before["id"], assets=[{"name": "my asset", "data": staged}])
    data = [await owner.stage(number) for number in range(8)]
    assets = [{"name": f"a{at}", "data": staged, "description": "x" * 20_000} for at, staged in enumerate(data)]
    with pytest.raises(TooLarge):
        await owner("dataset.replace", id=before["id"], assets=assets)
    assert await owner("dataset.list") == [before]
    assert len(held_files(house)) == 2


async def test_a_search_finds_all_words_by_their_beginnings(owner: Any) -> None:
    await owner.publish(name="Heart rates", description="Café visits, *2024*", tags=["medical"])
    await owner.publish(name="Images of hearts", tags=["mnist-like"])
    await owner.publish(name="third")

    async def found(text: str, **more: Any) -> list[str]:
        return [row["name"] for row in (await owner("dataset.search", text=text, **more))["datasets"]]

    assert await found("") == ["Heart rates", "Images of hearts", "third"]
    assert await found("hea") == ["Heart rates", "Images of hearts"]
    assert await found("HEART cafe") == ["Heart rates"]
    assert await found("mnist like") == ["Images of hearts"]
    assert await found("hearts", tags=["medical"]) == []
    assert await found("", tags=["medical", "numbers"], match="any") == ["Heart rates", "third"]
    page = await owner("dataset.search", limit=2)
    assert (len(page["datasets"]), page["total"], page["next"]) == (2, 3, 2)
    assert (await owner("dataset.search", limit=2, offset=2))["next"] is None


@pytest.mark.parametrize("text", ['"', "a OR b", "NEAR(heart rates)", "words:heart", "^x", "-x", "' OR 1=1 --", "*"])
async def test_a_search_speaks_no_query_language(owner: Any, text: str) -> None:
    await owner.publish(name="heart rates")
    assert (await owner("dataset.search", text=text))["total"] == 0
