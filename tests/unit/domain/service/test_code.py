"""Calling approved code: released once, to the right person, and nothing besides the result."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, wire
from p2pgrid.domain.runner import Limits
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import (
    Conflict,
    Denied,
    LimitExceeded,
    NotAllowed,
    NotConfined,
    NotFound,
    P2PError,
    Pending,
    PolicyRefused,
    RunFailed,
    StorageError,
    TooManyTries,
)


@pytest.fixture
async def asset(owner: Any) -> str:
    return str((await owner.publish())["assets"][0]["id"])


async def approved(owner: Any, scientist: Any, asset: str, body: str = "return data.sum()", **more: Any) -> Any:
    request = await scientist.ask(asset, code=f"def f(data):\n    {body}\n", name="f", **more)
    return await owner("request.approve", id=request["id"])


async def call(person: Any, request: Any) -> Any:
    asset = request["inputs"]["data"]
    return await person("code.call", id=request["code_id"], inputs={"data": {"asset": asset}})


async def actions(owner: Any) -> list[str]:
    return [entry["action"] for entry in (await owner("audit.list", limit=1000))[::-1]]


async def test_many_calls_at_once_run_and_spend_once(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "import random; return random.random()")
    answers = await asyncio.gather(*(call(scientist, request) for _ in range(8)))
    assert len({answer["execution"] for answer in answers}) == 1
    assert (await owner("request.get", id=request["id"]))["released"] == 1
    assert (await actions(owner)).count("code.run") == 1
    assert (await actions(owner)).count("result.release") == 1


async def test_a_released_result_is_released_also_after_a_restart(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    request = await approved(owner, scientist, asset)
    first = await call(scientist, request)
    await house.close()
    scientist.service = await house.open()
    assert await call(scientist, request) == first
    assert await scientist.result(first["execution"]) == 6


async def test_a_count_policy_releases_so_many_results(owner: Any, scientist: Any, asset: str) -> None:
    policy = {"kind": "OutputPolicyExecuteCount", "limit": 2}
    request = await approved(owner, scientist, asset, "import random; return random.random()", output_policy=policy)
    executions = [(await call(scientist, request))["execution"] for _ in range(4)]
    assert len(set(executions)) == 2
    assert executions[1] == executions[2] == executions[3]


async def test_the_inputs_must_be_the_requests_own(owner: Any, scientist: Any, asset: str) -> None:
    other = (await owner.publish(name="other", data=np.array([9, 9])))["assets"][0]["id"]
    request = await approved(owner, scientist, asset)
    wrong = assets.dump(np.array([9, 9])).meta.digest
    for inputs in ({"data": {"asset": other}}, {"data": {"digest": wrong}}, {}, {"x": {"asset": asset}}):
        with pytest.raises(PolicyRefused):
            await scientist("code.call", id=request["code_id"], inputs=inputs)
    assert (await owner("request.get", id=request["id"]))["released"] == 0


async def test_searching_for_private_content_by_its_digest_is_stopped(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    digest = assets.dump(np.array([1, 2, 3])).meta.digest
    for guess in (digest, "0" * 64):
        with pytest.raises(Pending):
            await scientist("code.call", id=request["code_id"], inputs={"data": {"digest": guess}})
    await owner("request.approve", id=request["id"])
    for number in range(20):
        guess = assets.dump(np.array([number])).meta.digest
        with pytest.raises(PolicyRefused):
            await scientist("code.call", id=request["code_id"], inputs={"data": {"digest": guess}})
    with pytest.raises(TooManyTries):
        await scientist("code.call", id=request["code_id"], inputs={"data": {"digest": digest}})
    await scientist("code.call", id=request["code_id"], inputs={"data": {"asset": asset}})


async def test_an_error_on_private_data_tells_its_author_nothing_of_it(owner: Any, scientist: Any, asset: str) -> None:
    body = "print('leak', data)\n    if data.sum() == 6: raise ValueError(f'leak {data}')"
    request = await approved(owner, scientist, asset, body)
    with pytest.raises(RunFailed) as caught:
        await call(scientist, request)
    seen = [str(caught.value), await scientist("request.get", id=request["id"]), await scientist("code.list")]
    assert "leak [1 2 3]" not in repr(seen)
    assert "private_run" not in repr(seen)
    report = (await owner("request.get", id=request["id"]))["private_run"]
    assert "leak [1 2 3]" in report["error"]
    assert "leak [1 2 3]" in report["output"]


async def test_failing_on_purpose_to_tell_bits_of_the_data_ends_after_three_runs(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await approved(owner, scientist, asset, "return {3: 'on the mock'}[int(data.sum())]")
    for _ in range(3):
        with pytest.raises(RunFailed):
            await call(scientist, request)
    with pytest.raises(PolicyRefused, match="3 runs"):
        await call(scientist, request)
    assert (await actions(owner)).count("code.run") == 3
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["status"]) == (0, "APPROVED")
    await owner("request.deposit", id=request["id"], result=wire.pack_value("by hand"))
    assert await scientist.result((await call(scientist, request))["execution"]) == "by hand"


@pytest.mark.parametrize(
    "how",
    [
        "from p2pgrid.domain.runner.inside.worker import Failed; raise Failed('unavailable', 'leak ' + str(data))",
        "import msgpack, os; note = msgpack.packb({'failure': 'unavailable', 'error': f'leak {data}', 'result': b''});"
        " found = [os.write(fd, len(note).to_bytes(4, 'big') + note) for fd in range(3, 16) if opened(fd)];"
        " os._exit(0 if found else 9)",
    ],
    ids=["raised", "forged"],
)
async def test_carrying_data_out_in_a_claim_that_the_run_never_began(
    owner: Any, scientist: Any, asset: str, how: str
) -> None:
    opened = """def opened(fd):
        import os, stat
        try:
            return stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            return False"""
    request = await approved(owner, scientist, asset, f"{opened}\n    if data.sum() == 6: {how}\n    return 1")
    for _ in range(3):
        with pytest.raises(RunFailed) as caught:
            await call(scientist, request)
        assert "leak" not in str(caught.value)
    with pytest.raises(PolicyRefused, match="3 runs"):
        await call(scientist, request)
    assert (await actions(owner)).count("code.run") == 3


async def test_a_run_over_a_limit_spends_nothing(house: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(result_bytes=2000, private_run=Limits(wall_seconds=0.5)))
    person = guest()
    person.service = service
    await person.login("info@openmined.org", "changethis")
    asset = (await person.publish())["assets"][0]["id"]
    hangs = await approved(person, person, asset, "while data.sum() == 6: pass")
    with pytest.raises(LimitExceeded):
        await call(person, hangs)
    grows = await approved(person, person, asset, "return b'x' * 3000 if data.sum() == 6 else b''")
    with pytest.raises(RunFailed):
        await call(person, grows)
    for request in (hangs, grows):
        assert (await person("request.get", id=request["id"]))["released"] == 0


async def test_a_runner_that_cannot_run_spends_nothing_and_counts_nothing(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    request = await approved(owner, scientist, asset)
    await house.runner.close()
    for _ in range(5):
        with pytest.raises(NotConfined):
            await call(scientist, request)
    assert "code.run" not in await actions(owner)


async def test_an_approval_taken_back_while_the_code_runs_releases_nothing(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await approved(owner, scientist, asset, "import time; time.sleep(1.0); return 6")
    running = asyncio.create_task(call(scientist, request))
    async with asyncio.timeout(20):
        while not owner.service._domain.runner._inside:
            await owner("audit.list", limit=1)
    await owner("request.deny", id=request["id"], reason="changed my mind")
    with pytest.raises(Denied, match="changed my mind"):
        await running
    assert (await actions(owner))[-2:] == ["request.deny", "code.run"]
    assert (await owner("request.get", id=request["id"]))["released"] == 0


async def test_a_caller_who_gives_up_spends_nothing_and_may_call_again(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "import time; time.sleep(0.5); return 6")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(scientist, request), 0.3)
    assert (await owner("request.get", id=request["id"]))["released"] == 0
    assert await scientist.result((await call(scientist, request))["execution"]) == 6


async def test_giving_up_on_each_call_to_run_the_code_without_end(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "import time; time.sleep(5 * (data.sum() == 6)); return 1")
    for number in range(3):
        running = asyncio.create_task(call(scientist, request))
        async with asyncio.timeout(20):
            while (await actions(owner)).count("code.run.begin") == number:
                await owner("auth.whoami")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(PolicyRefused, match="3 runs"):
        await call(scientist, request)
    assert (await actions(owner)).count("code.run.begin") == 3


async def test_runs_that_give_a_result_do_not_count_as_failed(owner: Any, scientist: Any, asset: str) -> None:
    policy = {"kind": "OutputPolicyExecuteCount", "limit": 5}
    request = await approved(owner, scientist, asset, output_policy=policy)
    for _ in range(5):
        await call(scientist, request)
    assert (await owner("request.get", id=request["id"]))["released"] == 5
    assert (await actions(owner)).count("code.run.begin") == 5


async def test_a_run_that_cannot_be_noted_is_not_begun(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "import time; time.sleep(9 * (data.sum() == 6)); return 1")
    storage = owner.service._domain.storage
    with storage.write() as session:
        full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        session.connection().exec_driver_sql(full)
    async with asyncio.timeout(5):
        with pytest.raises(StorageError, match="disk is full"):
            await call(scientist, request)
    with storage.write() as session:
        session.connection().exec_driver_sql("DROP TRIGGER full")
    assert not [action for action in await actions(owner) if action.startswith("code.run")]


@pytest.mark.parametrize("verb", ["code.call", "request.run"])
async def test_a_result_that_cannot_be_kept_is_a_run_that_is_recorded(
    owner: Any, scientist: Any, asset: str, verb: str
) -> None:
    request = await (approved(owner, scientist, asset) if verb == "code.call" else scientist.ask(asset))
    with owner.service._domain.storage.write() as session:
        full = "CREATE TRIGGER full BEFORE INSERT ON executions BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        session.connection().exec_driver_sql(full)
    with pytest.raises(P2PError):
        await (call(scientist, request) if verb == "code.call" else owner(verb, id=request["id"]))
    with owner.service._domain.storage.write() as session:
        session.connection().exec_driver_sql("DROP TRIGGER full")
    assert (await actions(owner))[-2:] == ["code.run.begin", "code.run"]
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["private_run"]["failure"]) == (0, "unavailable")
    assert "could not be kept" in held["private_run"]["error"]
    assert held["status"] == ("approved" if verb == "code.call" else "pending").upper()


async def test_an_input_that_is_gone_counts_no_run(owner: Any, scientist: Any, asset: str, house: Any) -> None:
    request = await approved(owner, scientist, asset)
    (file,) = (house.folder / "assets").glob(f"{asset}.data.*")
    kept = file.rename(file.with_suffix(".away"))
    for _ in range(4):
        with pytest.raises(NotConfined) as caught:
            await call(scientist, request)
        assert str(house.folder) not in str(caught.value)
    kept.rename(file)
    assert await scientist.result((await call(scientist, request))["execution"]) == 6


async def test_a_deposit_is_read_after_it_was_released_and_not_before(
    owner: Any, scientist: Any, newcomer: Any, asset: str
) -> None:
    eve = await newcomer("eve@x")
    request = await scientist.ask(asset)
    await owner("request.deposit", id=request["id"], result=wire.pack_value(5))
    await owner("request.deposit", id=request["id"], result=wire.pack_value(6))
    with owner.service._domain.storage.read() as session:
        waiting = session.connection().exec_driver_sql("SELECT deposit FROM requests").scalar_one()
    with pytest.raises(NotFound):
        await scientist("result.read", execution=waiting)
    released = await call(scientist, request)
    assert released["execution"] == waiting
    assert await scientist.result(waiting) == 6
    with pytest.raises(NotFound):
        await eve("result.read", execution=waiting)
    with pytest.raises(Conflict, match="is spent"):
        await owner("request.deposit", id=request["id"], result=wire.pack_value(7))


async def test_a_denial_drops_what_was_deposited_and_keeps_what_was_released(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await scientist.ask(asset)
    await owner("request.deposit", id=request["id"], result=wire.pack_value(5))
    await owner("request.deny", id=request["id"], reason="a mistake")
    with pytest.raises(Denied):
        await call(scientist, request)
    await owner("request.approve", id=request["id"])
    execution = (await call(scientist, request))["execution"]
    await owner("request.deny", id=request["id"], reason="too late")
    assert await scientist.result(execution) == 6
    assert (await call(scientist, request))["execution"] == execution, "a denial takes back nothing"


async def test_a_deposit_alone_is_no_leave_to_run_the_code(owner: Any, scientist: Any, asset: str) -> None:
    policy = {"kind": "OutputPolicyExecuteCount", "limit": 3}
    request = await scientist.ask(asset, output_policy=policy)
    await owner("request.deposit", id=request["id"], result=wire.pack_value("by hand"))
    executions = {(await call(scientist, request))["execution"] for _ in range(3)}
    assert len(executions) == 1
    assert "code.run" not in await actions(owner)


async def test_a_result_of_many_pieces_comes_back_whole(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    value = np.random.default_rng(7).random(400_000)
    await owner("request.deposit", id=request["id"], result=wire.pack_value(value))
    answer = await call(scientist, request)
    assert answer["size"] > 3 << 20
    assert np.array_equal(await scientist.result(answer["execution"]), value)


async def test_a_deleted_dataset_ends_its_requests_but_not_its_results(owner: Any, scientist: Any, asset: str) -> None:
    one, two = await approved(owner, scientist, asset), await approved(owner, scientist, asset)
    execution = (await call(scientist, one))["execution"]
    await owner("dataset.delete", name="my dataset")
    with pytest.raises(NotFound):
        await call(scientist, two)
    assert await scientist.result(execution) == 6


async def test_a_deleted_dataset_takes_back_nothing_that_was_granted(owner: Any, scientist: Any, asset: str) -> None:
    released, deposited = await approved(owner, scientist, asset), await scientist.ask(asset)
    execution = (await call(scientist, released))["execution"]
    await owner("request.deposit", id=deposited["id"], result=wire.pack_value("by hand"))
    await owner("dataset.delete", name="my dataset")
    assert (await call(scientist, released))["execution"] == execution
    assert await scientist.result((await call(scientist, deposited))["execution"]) == "by hand"
    digest = assets.dump(np.array([1, 2, 3])).meta.digest
    with pytest.raises(PolicyRefused):
        await scientist("code.call", id=released["code_id"], inputs={"data": {"digest": digest}})


async def test_an_owner_does_not_spend_what_a_scientist_was_granted(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset)
    with pytest.raises(NotFound):
        await owner("code.call", name="f", inputs={"data": {"asset": asset}})
    with pytest.raises(NotAllowed, match=r"jane@caltech\.edu"):
        await call(owner, request)
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["private_run"]) == (0, None)
    released = await call(scientist, request)
    assert await call(owner, request) == released
    own = await approved(owner, owner, asset, "return 'mine'")
    answer = await owner("code.call", name="f", inputs={"data": {"asset": asset}})
    assert await owner.result(answer["execution"]) == "mine"
    assert await call(owner, own) == answer


async def test_the_newest_approved_function_of_a_name_is_called(owner: Any, scientist: Any, asset: str) -> None:
    await approved(owner, scientist, asset, "return 'old'")
    newer = await approved(owner, scientist, asset, "return 'new'")
    await scientist.ask(asset, code="def f(data):\n    return 'waits'\n", name="f")
    answer = await scientist("code.call", name="f", inputs={"data": {"asset": asset}})
    assert await scientist.result(answer["execution"]) == "new"
    assert await call(scientist, newer) == answer
