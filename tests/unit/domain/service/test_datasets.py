"""Publishing: uploads, datasets, reading assets."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from p2pgrid import assets
from p2pgrid.domain.service import DomainLimits
from p2pgrid.domain.service.uploads import IDLE_UPLOAD
from p2pgrid.errors import Conflict, InvalidInput, NoMock, NotFound, PrivateData, StorageError, TooLarge


def held_files(house: Any) -> list[str]:
    return sorted(path.name for path in (house.folder / "assets").iterdir() if path.is_file() and path.name[0] != ".")


def staged_files(house: Any) -> int:
    return len(list((house.folder / "assets" / "staging").iterdir()))


@pytest.mark.parametrize(
    "value",
    [
        np.arange(300_000),
        np.array(7.5),
        np.empty((0, 3)),
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        b"",
        b"raw bytes",
        "text \u00e9",
        {"json": [1, None, "x"]},
    ],
    ids=lambda value: type(value).__name__,
)
async def test_every_kind_of_value_comes_back_as_it_was(owner: Any, value: Any) -> None:
    asset = (await owner.publish(data=value, mock=False))["assets"][0]
    got = b""
    while len(got) < asset["meta"]["size"]:
        piece = await owner("asset.read", id=asset["id"], side="data", offset=len(got), limit=1 << 20)
        got, total = got + piece["data"], piece["total"]
        assert total == asset["meta"]["size"]
    back = assets.load(asset["meta"]["kind"], got)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(back, value)
    else:
        assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value


async def test_pieces_may_come_in_any_order(owner: Any) -> None:
    dumped, upload = assets.dump(np.arange(400_000)), secrets.token_hex(16)
    raw = dumped.tobytes()
    pieces = [(offset, raw[offset : offset + (1 << 20)]) for offset in range(0, len(raw), 1 << 20)]
    puts = (owner("blob.put", upload=upload, offset=offset, data=data) for offset, data in reversed(pieces))
    await asyncio.gather(*puts)
    data = {"upload": upload, "meta": dumped.meta.to_wire()}
    made = await owner("dataset.create", name="d", assets=[{"name": "a", "data": data}])
    assert made["assets"][0]["meta"]["digest"] == dumped.meta.digest


async def test_a_data_scientist_sees_neither_private_bytes_nor_their_digest(owner: Any, scientist: Any) -> None:
    private = (await owner.publish())["assets"][0]
    for seen in (await scientist("dataset.list"), await scientist("dataset.get", name="my dataset")):
        assert private["meta"]["digest"] not in repr(seen)
    for side in ("data", "private", "../data", ""):
        with pytest.raises((PrivateData, InvalidInput)):
            await scientist("asset.read", id=private["id"], side=side)
    assert private["meta"]["digest"] not in repr(await owner.service.search(["numbers"]))


async def test_a_guest_sees_descriptions_and_no_mock(owner: Any, guest: Any) -> None:
    made = await owner.publish()
    assert (await guest()("dataset.list"))[0]["name"] == "my dataset"
    with pytest.raises(Exception, match="needs an account"):
        await guest()("asset.read", id=made["assets"][0]["id"], side="mock")


async def test_an_asset_without_a_mock_has_none_to_read(owner: Any) -> None:
    made = await owner.publish(mock=False)
    assert made["assets"][0]["mock"] is None
    with pytest.raises(NoMock):
        await owner("asset.read", id=made["assets"][0]["id"], side="mock")


async def test_a_name_is_taken_once_and_the_loser_leaves_nothing(owner: Any, house: Any) -> None:
    ends = await asyncio.gather(*(owner.publish() for _ in range(5)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Conflict"] * 4 + ["dict"]
    assert len(held_files(house)) == 2
    assert staged_files(house) == 0
    assert len(await owner("dataset.list")) == 1


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"size": 3}, {"size": 10**12}])
async def test_an_upload_that_is_not_what_it_says_is_refused(owner: Any, house: Any, change: dict[str, Any]) -> None:
    staged = await owner.stage(np.arange(10))
    staged["meta"].update(change)
    with pytest.raises(InvalidInput):
        await owner("dataset.create", name="d", assets=[{"name": "a", "data": staged}])
    assert (held_files(house), staged_files(house), await owner("dataset.list")) == ([], 0, [])


async def test_one_bad_asset_of_many_leaves_none(owner: Any, house: Any) -> None:
    made = [{"name": f"a{number}", "data": await owner.stage(np.arange(number + 1))} for number in range(4)]
    made[3]["data"]["meta"]["digest"] = "1" * 64
    with pytest.raises(InvalidInput):
        await owner("dataset.create", name="d", assets=made)
    assert (held_files(house), staged_files(house)) == ([], 0)


async def test_what_is_no_dataset(owner: Any) -> None:
    staged = await owner.stage(np.arange(3))
    asset = {"name": "a", "data": staged}
    for args in (
        {"name": "", "assets": [asset]},
        {"name": "d", "assets": []},
        {"name": "d", "assets": [asset, asset]},
        {"name": "d", "assets": [asset], "tags": ["\n"]},
        {"name": "d", "assets": [asset], "tags": ["x"] * 33},
        {"name": "d", "assets": [asset], "contributors": [{"name": "A", "email": "no mail"}]},
        {"name": "d", "assets": [{"name": "a", "data": {**staged, "meta": {}}}]},
        {"name": "d", "assets": [{"name": "a", "data": {**staged, "upload": "../../../etc/passwd"}}]},
    ):
        with pytest.raises(InvalidInput):
            await owner("dataset.create", **args)
    missing = {"upload": secrets.token_hex(16), "meta": staged["meta"]}
    with pytest.raises(NotFound):
        await owner("dataset.create", name="d", assets=[{"name": "a", "data": missing}])


async def test_an_upload_id_cannot_leave_the_staging_folder(owner: Any, house: Any) -> None:
    for upload in ("../../domain.sqlite", "/etc/passwd", "a" * 31, "..", "g" * 32, "a" * 33):
        with pytest.raises(InvalidInput):
            await owner("blob.put", upload=upload, offset=0, data=b"x")
    with pytest.raises(TooLarge):
        await owner("blob.put", upload="a" * 32, offset=0, data=bytes((1 << 20) + 1))
    with pytest.raises(TooLarge):
        await owner("blob.put", upload="a" * 32, offset=2**45, data=b"x")
    assert staged_files(house) == 0


async def test_another_owners_upload_cannot_be_used(owner: Any, guest: Any) -> None:
    await owner("account.register", name="Bob", email="bob@x", password="secret", role="data owner")
    bob = guest()
    await bob.login("bob@x", "secret")
    with pytest.raises(NotFound):
        await bob("dataset.create", name="d", assets=[{"name": "a", "data": await owner.stage(np.arange(3))}])


async def test_deleting_takes_rows_and_files(owner: Any, house: Any) -> None:
    made = await owner.publish()
    await owner("dataset.delete", id=made["id"])
    assert (await owner("dataset.list"), held_files(house), owner.service.tags()) == ([], [], [])
    with pytest.raises(NotFound):
        await owner("dataset.delete", id=made["id"])
    await owner.publish()


async def test_the_catalogue_outlives_the_service(owner: Any, house: Any) -> None:
    made = [await owner.publish(name=f"set {number}", tags=["#One", f"t{number}"]) for number in range(3)]
    await house.close()
    service = await house.open()
    assert service.tags() == ["one", "t0", "t1", "t2"]
    assert [entry["name"] for entry in await service.search(["one"])] == ["set 0", "set 1", "set 2"]
    assert service.listings()[3] == ("t1", bytes.fromhex(made[1]["id"]), "set 1")


async def test_who_watches_is_told_of_each_change(owner: Any) -> None:
    told = asyncio.Event()
    owner.service.on_change(told.set)
    made = await owner.publish()
    await asyncio.wait_for(told.wait(), 5)
    told.clear()
    await owner("dataset.delete", id=made["id"])
    await asyncio.wait_for(told.wait(), 5)


async def test_a_caller_who_gives_up_leaves_rows_files_and_catalogue_in_step(owner: Any, house: Any) -> None:
    for number in range(12):
        staged = await owner.stage(np.arange(50_000))
        making = owner("dataset.create", name=f"set {number}", assets=[{"name": "a", "data": staged}])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(making, asyncio.Event().wait()), 0.0015 * number + 0.0001)
    await house.open_services[-1]._domain.settle()
    names = [dataset["name"] for dataset in await owner("dataset.list")]
    assert len(held_files(house)) == len(names)
    await house.close()
    assert [entry.name for entry in (await house.open())._domain.catalogue.index.entries.values()] == names


async def test_reading_private_data_is_logged_once_a_session_not_once_a_piece(owner: Any) -> None:
    asset = (await owner.publish(data=np.arange(300_000)))["assets"][0]["id"]
    for offset in (1 << 20, 0, 2 << 20):
        await owner("asset.read", id=asset, side="data", offset=offset)
    reads = [entry for entry in await owner("audit.list") if entry["action"] == "asset.read"]
    assert [(entry["subject"], entry["actor"]) for entry in reads] == [(asset, "info@openmined.org")]


async def test_a_domain_takes_so_many_datasets_of_such_a_size(house: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(datasets=1, dataset_bytes=4096))
    person = guest()
    person.service = service
    await person.login("info@openmined.org", "changethis")
    with pytest.raises(TooLarge, match="4096"):
        await person.publish(description="x" * 5000)
    await person.publish()
    with pytest.raises(TooLarge, match="has 1 datasets"):
        await person.publish(name="another")


async def test_a_long_list_fits_its_answer(owner: Any) -> None:
    for number in range(3):
        await owner.publish(name=f"set {number}", description="\u00e9" * 20_000, citation="x" * 20_000)
    rows = await owner("dataset.list", limit=2, offset=1)
    assert [row["name"] for row in rows] == ["set 1", "set 2"]
    assert not any("cut" in row for row in rows)


async def test_a_lost_asset_file_is_a_storage_error_that_names_it(owner: Any, house: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    (house.folder / "assets" / f"{asset}.mock.npy").unlink()
    with pytest.raises(Exception, match=f"{asset}.mock.npy"):
        await owner("asset.read", id=asset, side="mock")


async def test_a_conflict_is_told_from_a_fault(owner: Any) -> None:
    await owner.publish()
    with pytest.raises(Conflict, match="my dataset"):
        await owner.publish()


async def test_an_upload_that_the_disk_refuses_leaves_nothing(
    service: Any, owner: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files, upload = service._domain.storage.files, "a" * 32
    await owner("blob.put", upload=upload, offset=0, data=bytes(1000))
    assert files.staged()
    monkeypatch.setattr("p2pgrid.domain.storage.files.free_bytes", lambda _: 0)
    with pytest.raises(StorageError, match="0 MB left"):
        await owner("blob.put", upload=upload, offset=1000, data=b"x")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="0 MB left"):  # a piece that was on its way begins nothing anew
        await owner("blob.put", upload=upload, offset=1001, data=b"x")
    assert not files.staged()
    assert "blob.put failed: The node's disk has 0 MB left" in caplog.text, "the node's owner is told too"


async def test_an_upload_that_was_left_is_forgotten_when_another_begins(service: Any, owner: Any) -> None:
    files = service._domain.storage.files
    await owner("blob.put", upload="a" * 32, offset=0, data=b"x")
    [left] = files.staged()
    old = time.time() - IDLE_UPLOAD - 60
    os.utime(files.root / "staging" / left, (old, old))
    await owner("blob.put", upload="b" * 32, offset=0, data=b"x")
    assert [name[-32:] for name in files.staged()] == ["b" * 32]
