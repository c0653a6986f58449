"""Sending code for review, and the verdicts on it."""

from __future__ import annotations

import asyncio
import secrets
import sys
import uuid
from typing import Any

import numpy as np
import pytest

from p2pgrid import crypto, wire
from p2pgrid.client.requests import check_proof
from p2pgrid.domain.review import statement
from p2pgrid.domain.runner import Limits
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import BadCode, BadSignature, BadValue, Conflict, InvalidInput, Malformed, NotFound, TooLarge


@pytest.fixture
async def asset(owner: Any) -> str:
    return str((await owner.publish())["assets"][0]["id"])


async def signed(person: Any, asset: str, **more: Any) -> dict[str, Any]:
    fields = {
        "project": None,
        "name": "f",
        "code": "def f(data):\n    return data.sum()\n",
        "inputs": {"data": asset},
        "input_policy": "ExactMatch",
        "output_policy": "SingleExecutionExactOutput",
        "reason": "",
        **more,
    }
    return dict(await person.signed(fields))


async def test_the_mock_run_shows_what_the_code_does(scientist: Any, asset: str) -> None:
    code = "def f(data):\n    print('seen', data)\n    return data * 2.5\n"
    request = await scientist.ask(asset, code=code, name="f")
    report = request["mock_run"]
    assert report["ok"], report
    assert "seen [1 1 1]" in report["output"]
    assert "float64" in report["result_shape"]
    assert report["seconds"] > 0
    assert (request["code"], request["imports"], request["calls"]) == (code, [], ["print"])
    assert await scientist("request.get", id=request["id"]) == request


async def test_code_that_fails_on_the_mock_is_kept_with_its_error(scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset, code="def f(data):\n    return 1 / 0\n", name="f")
    assert not request["mock_run"]["ok"]
    assert "ZeroDivisionError" in request["mock_run"]["error"]
    assert request["status"] == "PENDING"


async def test_an_asset_without_a_mock_is_reported_as_that(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish(mock=False))["assets"][0]["id"]
    report = (await scientist.ask(asset))["mock_run"]
    assert (report["ok"], report["skipped"]) == (False, "no mock")


async def test_a_request_runs_in_the_environment_that_it_names(house: Any, owner: Any, scientist: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    with pytest.raises(InvalidInput, match="it has none"):
        await scientist.ask(asset, environment="science")
    house.environments |= {"science": sys.executable, "gone": "/nowhere/python"}
    with pytest.raises(InvalidInput, match="it has gone, science"):
        await scientist.ask(asset, environment="magic")
    assert (await scientist.ask(asset, environment="science"))["mock_run"]["ok"]
    broken = await scientist.ask(asset, environment="gone")
    assert broken["mock_run"]["failure"] == "unavailable"
    assert broken["environment"] == "gone"


async def test_a_runner_that_cannot_run_does_not_lose_the_request(house: Any, scientist: Any, asset: str) -> None:
    await house.runner.close()
    request = await scientist.ask(asset)
    assert request["mock_run"]["failure"] == "unavailable"
    assert (await scientist("request.list"))[0]["id"] == request["id"]


async def test_a_mock_run_that_hangs_ends_at_its_limit(house: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(mock_run=Limits(wall_seconds=0.3)))
    person = guest()
    person.service = service
    await person.login("info@openmined.org", "changethis")
    asset = (await person.publish())["assets"][0]["id"]
    request = await person.ask(asset, code="def f(data):\n    while True: pass\n", name="f")
    assert request["mock_run"]["failure"] == "time"


SLOW = "def f(data):\n    import time\n    time.sleep({})\n    return 7\n"


async def leave(scientist: Any, asset: str, seconds: float) -> None:
    """Send a request and go away once it runs."""
    sending = asyncio.create_task(scientist.ask(asset, code=SLOW.format(seconds), name="f"))
    async with asyncio.timeout(20):
        while not scientist.service._domain.runner._inside:
            await scientist("request.list")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_sender_who_leaves_has_the_mock_run_reported_all_the_same(scientist: Any, asset: str) -> None:
    await leave(scientist, asset, 0.5)
    async with asyncio.timeout(20):
        while (report := (await scientist("request.list"))[0]["mock_run"]) is None:
            await scientist("auth.whoami")
    assert report["ok"], report


async def test_a_mock_run_that_ended_with_the_node_is_marked_as_that(house: Any, scientist: Any, asset: str) -> None:
    await leave(scientist, asset, 15)
    async with asyncio.timeout(5):
        await house.close()
    scientist.service = await house.open()
    report = (await scientist("request.list"))[0]["mock_run"]
    assert (report["ok"], report["failure"]) == (False, "unavailable")
    assert "stopped before" in report["error"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code": "x = 1"}, BadCode),
        ({"code": "def f(other): return other"}, BadCode),
        ({"name": "g"}, InvalidInput),
        ({"inputs": {}}, BadCode),
        ({"inputs": {"data": "nothing"}}, InvalidInput),
        ({"inputs": {"data": "0" * 32}}, NotFound),
        ({"input_policy": "Everything"}, InvalidInput),
        ({"output_policy": "Everything"}, InvalidInput),
        ({"output_policy": {"kind": "OutputPolicyExecuteCount", "limit": 0}}, InvalidInput),
        ({"output_policy": {"kind": "OutputPolicyExecuteCount", "limit": 1, 7: None}}, InvalidInput),
        ({"project": "0" * 32}, NotFound),
        ({"code": "def f(data): return '" + "x" * 70_000 + "'"}, InvalidInput),
    ],
)
async def test_what_is_no_request(scientist: Any, asset: str, change: dict[str, Any], error: type[Exception]) -> None:
    args = await signed(scientist, asset)
    if 7 in (change.get("output_policy") if isinstance(change.get("output_policy"), dict) else ()):
        args.update(change)
    else:
        args = await signed(scientist, asset, **change)
    with pytest.raises(error):
        await scientist("request.create", **args)
    assert await scientist("request.list") == []


@pytest.mark.parametrize("field", ["name", "code", "inputs", "reason", "output_policy", "key", "signature"])
async def test_a_field_altered_after_it_was_signed_is_refused(
    owner: Any, scientist: Any, asset: str, field: str
) -> None:
    other = (await owner.publish(name="other"))["assets"][0]["id"]
    args = await signed(scientist, asset)
    args |= {
        "name": {"code": "def g(data):\n    return data\n", "name": "g"},
        "code": {"code": args["code"] + "# more\n"},
        "inputs": {"inputs": {"data": other}},
        "reason": {"reason": "another"},
        "output_policy": {"output_policy": {"kind": "OutputPolicyExecuteCount", "limit": 9}},
        "key": {"key": crypto.Identity.generate(secrets.token_bytes).public},
        "signature": {"signature": bytes(64)},
    }[field]
    with pytest.raises(InvalidInput, match="signature"):
        await scientist("request.create", **args)


async def test_a_stolen_request_is_nobody_elses(owner: Any, scientist: Any, newcomer: Any, asset: str) -> None:
    """Eve has a request of Jane's, byte for byte: as hers, or over a link of her own, it is refused."""
    eve, args = await newcomer("eve@x"), await signed(scientist, asset)
    with pytest.raises(InvalidInput, match="your account"):
        await eve("request.create", **args)
    elsewhere = type(scientist)(scientist.service, eve.caller, scientist.identity)
    with pytest.raises(InvalidInput, match="another key"):  # signed with Jane's key for Eve's account, on Eve's link
        await elsewhere("request.create", **(await signed(elsewhere, asset)))
    assert await owner("request.list") == []


async def test_a_request_replayed_at_another_node_is_refused(scientist: Any, asset: str) -> None:
    args = await signed(scientist, asset)
    said = {"node": "11" * 20, "account": "jane@caltech.edu", **{key: args[key] for key in args if key != "key"}}
    said.pop("signature")
    for_another = {**args, "signature": scientist.identity.sign(b"code-request", statement(**said))}
    with pytest.raises(InvalidInput, match="this node"):
        await scientist("request.create", **for_another)
    await scientist("request.create", **args)


async def test_what_was_signed_can_be_checked_later(owner: Any, scientist: Any, newcomer: Any, asset: str) -> None:
    args = await signed(scientist, asset)
    request = await scientist("request.create", **args)
    proof = await owner("request.proof", id=request["id"])
    node = scientist.service._domain.identity.id.hex()
    assert check_proof(proof, request, node) == scientist.identity.public.hex()
    login = next(
        one for one in await owner("audit.list") if one["actor"] == "jane@caltech.edu" and "key" in one["details"]
    )
    assert login["details"]["key"] == proof["key"].hex()
    with pytest.raises(NotFound):
        await (await newcomer("eve@x"))("request.proof", id=request["id"])
    altered = {"code": request["code"] + " ", "inputs": {"data": "0" * 32}, "name": "g", "requested_by": "eve@x"}
    for name, value in altered.items():
        with pytest.raises(BadSignature, match="not what is shown"):
            check_proof(proof, {**request, name: value}, node)
    with pytest.raises(BadSignature, match="node"):
        check_proof(proof, request, "11" * 20)
    for name in ("statement", "signature", "key"):
        wrong = bytes([proof[name][0] ^ 1]) + proof[name][1:]
        with pytest.raises((BadSignature, Malformed)):
            check_proof({**proof, name: wrong}, request, node)
    for broken in ({}, {**proof, "statement": None}, {**proof, "key": 7}):
        with pytest.raises((BadSignature, Malformed)):
            check_proof(broken, request, node)
    await owner("account.delete", account="jane@caltech.edu")
    with pytest.raises(NotFound, match="forgotten"):
        await owner("request.proof", id=request["id"])


async def test_people_see_their_own_requests_and_owners_all(
    owner: Any, scientist: Any, newcomer: Any, asset: str
) -> None:
    eve = await newcomer("eve@x")
    request = await scientist.ask(asset)
    assert await eve("request.list") == await eve("code.list") == []
    for verb, args in (
        ("request.get", {"id": request["id"]}),
        ("code.call", {"id": request["code_id"], "inputs": {}}),
        ("code.call", {"name": "compute_sum", "inputs": {}}),
    ):
        with pytest.raises(NotFound):
            await eve(verb, **args)
    assert [held["id"] for held in await owner("request.list")] == [request["id"]]


async def test_projects_are_their_makers_own(owner: Any, scientist: Any, newcomer: Any, asset: str) -> None:
    eve = await newcomer("eve@x")
    an_id = uuid.uuid4().hex
    made = await scientist("project.create", id=an_id, name="research", description="d")
    assert await scientist("project.create", id=an_id, name="research", description="d") == made
    with pytest.raises(Conflict):
        await scientist("project.create", id=uuid.uuid4().hex, name="research", description="d")
    with pytest.raises(Conflict):
        await eve("project.create", id=an_id, name="research", description="d")
    other = await eve("project.create", id=uuid.uuid4().hex, name="research", description="hers")
    assert await eve("project.list") == [other]
    assert await eve("project.get", name="research") == other
    assert len(await owner("project.list")) == 2
    with pytest.raises(NotFound):
        await eve("request.list", project=an_id)
    with pytest.raises(NotFound):
        await eve.ask(asset, project=an_id)
    request = await scientist.ask(asset, project=an_id)
    assert [held["id"] for held in await owner("request.list", project=an_id)] == [request["id"]]
    assert await owner("request.list", project=other["id"]) == []


async def test_pending_requests_are_bounded_for_each_person(house: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(pending_each=2, requests_each=3))
    person = guest()
    person.service = service
    await person.login("info@openmined.org", "changethis")
    asset = (await person.publish(mock=False))["assets"][0]["id"]
    first = [await person.ask(asset), await person.ask(asset)]
    with pytest.raises(TooLarge, match="2 of your requests wait"):
        await person.ask(asset)
    await person("request.deny", id=first[0]["id"], reason="no")
    await person.ask(asset)
    await person("request.deny", id=first[1]["id"], reason="no")
    with pytest.raises(TooLarge, match="sent 3"):
        await person.ask(asset)


async def test_a_list_of_long_codes_still_fits_one_answer(owner: Any, scientist: Any) -> None:
    asset = (await owner.publish(mock=False))["assets"][0]["id"]
    long = "def f(data):\n    return '" + "x" * 65_000 + "'\n"
    made = [await scientist.ask(asset, code=long, name="f") for _ in range(40)]
    listed = await owner("request.list")
    assert [row["id"] for row in listed] == [row["id"] for row in made]
    assert len(wire.pack_value(listed)) < 3 << 20
    assert listed[0]["cut"]
    assert listed[-1]["code"] == long
    assert (await owner("request.get", id=made[0]["id"]))["code"] == long
    newest = await owner("request.list", limit=2, offset=1)
    assert [row["id"] for row in newest] == [row["id"] for row in made[37:39]]
    assert len(wire.pack_value(await owner("code.list"))) < 3 << 20


async def test_a_verdict_on_nothing_is_not_found(owner: Any) -> None:
    for verb in ("approve", "deny", "deposit"):
        with pytest.raises(NotFound):
            await owner(f"request.{verb}", id="0" * 32, reason="", result=wire.pack_value(1))


async def test_an_approved_request_is_not_approved_again(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    approved = await owner("request.approve", id=request["id"])
    assert (approved["status"], request["updated_at"]) == ("APPROVED", None)
    assert approved["updated_at"] is not None
    with pytest.raises(Conflict):
        await owner("request.approve", id=request["id"])


async def test_a_deposit_must_be_a_value(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    for garbage in (b"\xc1", b"\x92\x01", b"\xc7\x01\x63\x00"):
        with pytest.raises(BadValue):
            await owner("request.deposit", id=request["id"], result=garbage)
    with pytest.raises(TooLarge):
        await owner("request.deposit", id=request["id"], result=bytes((16 << 20) + 1))
    assert (await owner("request.get", id=request["id"]))["status"] == "PENDING"
    await owner("request.deposit", id=request["id"], result=wire.pack_value(np.float64(2.5)))
