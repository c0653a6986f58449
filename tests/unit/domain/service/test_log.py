"""The audit log of a living domain."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from p2pgrid import crypto, wire
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import InvalidInput, TooManyTries, WrongLogin

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
        ("jane@caltech.edu", "code.mock_run"),
        ("info@openmined.org", "request.deny"),
        ("info@openmined.org", "request.approve"),
        ("info@openmined.org", "request.deposit"),
        ("jane@caltech.edu", "result.release"),
    ]
    assert entries[8]["details"] == {"reason": "Risk of privacy leak"}
    assert [entry["seq"] for entry in entries] == list(range(1, 13))
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


async def entry_of(owner: Any, action: str) -> Any:
    return (await owner("audit.list", action=action))[0]


async def test_a_run_is_told_with_its_code_its_inputs_its_limits_and_its_confinement(
    owner: Any, scientist: Any
) -> None:
    held = (await owner.publish())["assets"][0]
    request = await scientist.ask(held["id"])
    await owner("request.approve", id=request["id"])
    await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": held["id"]}})
    begun, ended = await entry_of(owner, "code.run.begin"), await entry_of(owner, "code.run")
    assert begun["details"]["code"] == crypto.digest(request["code"].encode()).hex()
    assert begun["details"]["inputs"] == {"data": held["meta"]["digest"]}
    assert begun["details"]["limits"]["wall_seconds"] == 300.0
    assert ended["details"]["ok"] is True
    assert "rlimits" in ended["details"]["confinement"]
    assert ended["details"]["memory"] > 1 << 20
    mock = (await entry_of(owner, "code.mock_run"))["details"]
    assert mock["inputs"] == {"data": held["mock"]["digest"]}
    assert mock["code"] == begun["details"]["code"]


async def test_entries_are_found_by_who_what_which_and_when(owner: Any, scientist: Any, service: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await scientist.ask(asset)

    async def found(**filters: Any) -> list[str]:
        return [entry["action"] for entry in await owner("audit.list", **filters)]

    assert await found(actor="jane@caltech.edu") == ["code.mock_run", "request.create", "auth.login"]
    assert await found(action="auth") == ["auth.login", "auth.login"]
    assert await found(action="auth.login", actor="jane@caltech.edu", limit=5) == ["auth.login"]
    assert await found(subject=request["id"]) == await found(subject=request["id"][:6])
    assert await found(action="aut") == []
    now = dt.datetime.now(dt.UTC)
    assert await found(since=now + dt.timedelta(hours=1)) == []
    assert len(await found(since=now - dt.timedelta(hours=1), until=now + dt.timedelta(hours=1))) == 7
    assert await found(until=now - dt.timedelta(hours=1)) == []
    for wrong in ("yesterday", 5, dt.datetime(2026, 1, 1)):
        with pytest.raises(InvalidInput):
            await found(since=wrong)


async def test_a_failed_login_is_told_without_what_was_typed(owner: Any, guest: Any) -> None:
    account = await owner("auth.whoami")
    for email, password in ((account["email"], "hunter22"), ("my-secret-password@x.org", "changethis")):
        with pytest.raises(WrongLogin):
            await guest(remote="192.0.2.9").login(email, password)
    with pytest.raises(WrongLogin):
        await guest(remote="192.0.2.9")("auth.key")
    failed = await owner("audit.list", action="auth.failed")
    assert [entry["subject"] for entry in failed] == ["no account", "no account", account["id"]]
    assert failed[0]["details"] == {"remote": "192.0.2.9"}
    assert not any(word in repr(failed) for word in ("hunter22", "my-secret", "changethis"))


async def test_failed_logins_of_strangers_cannot_fill_the_disk(house: Any) -> None:
    service = await house.open(limits=DomainLimits(noted_failures=3, login_tries=100))
    owner, stranger = (type("Caller", (), {"key": b"k" * 32, "remote": "192.0.2.1", "state": {}})() for _ in range(2))
    await service.call(owner, "auth.login", {"email": "info@openmined.org", "password": "changethis"})
    for _ in range(40):
        with pytest.raises((WrongLogin, TooManyTries)):
            await service.call(stranger, "auth.key", {})
    entries = await service.call(owner, "audit.list", {"action": "auth.failed"})
    assert len(entries) == 3
    await house.close()
    service = await house.open()
    owner.state.clear()
    await service.call(owner, "auth.login", {"email": "info@openmined.org", "password": "changethis"})
    entries = await service.call(owner, "audit.list", {"action": "auth.failed"})
    assert entries[0]["details"] == {"untold": 37}
    assert len(entries) == 4


async def test_settings_are_told_once_and_again_when_they_change(owner: Any, service: Any) -> None:
    await service.note_settings({"allow_unsandboxed": False, "metrics": "local"})
    await service.note_settings({"metrics": "local", "allow_unsandboxed": False})
    await service.note_settings({"allow_unsandboxed": True})
    told = [entry["details"] for entry in await owner("audit.list", action="node.settings")]
    assert told == [{"allow_unsandboxed": True, "unset": ["metrics"]}, {"allow_unsandboxed": False, "metrics": "local"}]


def cut(service: Any, keep: int) -> None:
    with service._domain.storage.write() as session:
        session.connection().exec_driver_sql(f"DELETE FROM audit WHERE seq > {keep}")


async def test_entries_cut_off_under_a_running_node_are_found_out(owner: Any, house: Any) -> None:
    await owner.publish()
    had = (await owner("audit.list", limit=1))[0]["seq"]
    await house.close()
    service = await house.open()
    cut(service, had - 2)
    found = await service.verify_audit()
    assert found is not None
    assert found.seq == had - 1
    await service.note_settings({"metrics": "off"})  # the running node must not sign the shorter log
    await house.close()
    reopened = await house.open()
    gap = await reopened.verify_audit()
    assert gap is not None
    assert f"had {had} entries and has {had - 1}" in gap.why
    assert gap.seq == had


@pytest.mark.parametrize("damage", ["gone", "garbage", "another's"])
async def test_a_head_that_was_tampered_with_is_found_out(house: Any, service: Any, damage: str) -> None:
    head = house.folder / "audit.head"
    assert json.loads(head.read_bytes())["count"] == 0
    await house.close()
    count = json.loads(head.read_bytes())["count"]
    assert count > 0
    if damage == "gone":
        head.unlink()
    elif damage == "garbage":
        head.write_bytes(b"{")
    else:
        from p2pgrid.domain.audit import Head

        other = crypto.Identity(b"o" * 32)
        head.write_text(json.dumps(Head.sign(other, None, 0.0).to_wire()))
    again = await house.open()
    flaw = await again.verify_audit()
    assert flaw is not None
    assert flaw.seq == count + 1
    assert "head" in flaw.why.lower()


async def test_the_log_of_a_node_that_was_closed_and_opened_is_intact(owner: Any, house: Any) -> None:
    for _ in range(3):
        await house.close()
        service = await house.open()
        assert await service.verify_audit() is None


async def test_pages_of_an_export_are_the_whole_log_in_order(owner: Any) -> None:
    for number in range(5):
        await owner.publish(name=f"set {number}")
    page = await owner("audit.export")
    assert [entry["seq"] for entry in page["entries"]] == list(range(1, page["head"]["count"] + 1))
    rest = await owner("audit.export", after=4)
    assert [entry["seq"] for entry in rest["entries"]] == [entry["seq"] for entry in page["entries"]][4:]
    assert (await owner("audit.export", after=10_000))["entries"] == []
    found = await owner("audit.verify", noted=[f"2:{page['entries'][1]['hash'].hex()}"])
    assert found["intact"]
    assert not (await owner("audit.verify", noted=[f"2:{'00' * 32}"]))["intact"]
