"""The audit log of a living domain."""

from __future__ import annotations

from typing import Any

import pytest

from p2pgrid import wire

CHANGES = {
    "body": "UPDATE audit SET body = zeroblob(20) WHERE seq = 4",
    "signature": "UPDATE audit SET signature = zeroblob(64) WHERE seq = 4",
    "drop": "DELETE FROM audit WHERE seq = 4",
    "renumber": "UPDATE audit SET seq = 400 WHERE seq = 4",
}


async def test_every_step_leaves_its_entry(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    await owner("asset.read", id=asset, side="data")
    request = await scientist.ask(asset)
    await owner("request.deny", id=request["id"], reason="Risk of privacy leak")
    await owner("request.approve", id=request["id"])
    await owner("request.deposit", id=request["id"], result=wire.pack_value(6))
    await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": asset}})
    entries = (await owner("audit.list", limit=1000))[::-1]
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        ("node", "account.create"),
        ("info@openmined.org", "auth.login"),
        ("info@openmined.org", "account.create"),
        ("jane@caltech.edu", "auth.login"),
        ("info@openmined.org", "dataset.create"),
        ("info@openmined.org", "asset.read"),
        ("jane@caltech.edu", "request.create"),
        ("info@openmined.org", "request.deny"),
        ("info@openmined.org", "request.approve"),
        ("info@openmined.org", "request.deposit"),
        ("jane@caltech.edu", "result.release"),
    ]
    assert entries[7]["details"] == {"reason": "Risk of privacy leak"}
    assert [entry["seq"] for entry in entries] == list(range(1, 12))
    assert await owner.service.verify_audit() is None
    assert [entry["seq"] for entry in await owner("audit.list", limit=2, before=5)] == [4, 3]


async def test_the_longest_reason_fits_its_entry(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish(mock=False))["assets"][0]["id"]
    request = await scientist.ask(asset)
    denied = await owner("request.deny", id=request["id"], reason="\U0001f512" * 2000)
    assert denied["reason"] == "\U0001f512" * 2000


async def test_what_failed_leaves_no_entry(owner: Any) -> None:
    await owner.publish()
    before = await owner("audit.list")
    with pytest.raises(Exception, match="already"):
        await owner.publish()
    assert await owner("audit.list") == before


@pytest.mark.parametrize("change", sorted(CHANGES))
async def test_a_log_that_was_changed_on_disk_is_found_out(owner: Any, scientist: Any, change: str) -> None:
    await owner.publish()
    with owner.service._domain.storage.write() as session:
        session.connection().exec_driver_sql(CHANGES[change])
    flaw = await owner.service.verify_audit()
    assert flaw is not None
    assert flaw.seq == 4
