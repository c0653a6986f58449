"""Jobs of a living domain: they wait, run, end, are told about, and come through a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from p2pgrid import wire
from p2pgrid.domain.runner import Limits
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import (
    Conflict,
    InvalidInput,
    NoMock,
    NotAllowed,
    NotFound,
    Pending,
    PolicyRefused,
    TooLarge,
    from_wire,
)

TALKS = "for n in range(3): print('step', n, flush=True)\n    return data.sum()"
SLEEPS = "import time; print('asleep', flush=True); time.sleep(60)"


@pytest.fixture
async def asset(owner: Any) -> str:
    return str((await owner.publish())["assets"][0]["id"])


async def approved(owner: Any, scientist: Any, asset: str, body: str = TALKS, **more: Any) -> Any:
    slow_on_data = f"if data.sum() == 3: return 0\n    {body}"  # quick on the mock
    request = await scientist.ask(asset, code=f"def f(data):\n    {slow_on_data}\n", name="f", **more)
    return await owner("request.approve", id=request["id"])


async def start(person: Any, request: Any, **more: Any) -> Any:
    inputs = {"data": {"asset": request["inputs"]["data"]}}
    return await person("job.start", id=request["code_id"], inputs=inputs, **more)


async def ended(person: Any, job: Any) -> Any:
    for _ in range(6):
        job = await person("job.wait", id=job["id"])
        if job["status"] not in ("queued", "running"):
            return job
    raise AssertionError(f"the job did not end: {job}")


async def running(person: Any, job: Any) -> Any:
    """What an owner reads of it once it prints."""
    for _ in range(600):
        told = await person("job.logs", id=job["id"], seconds=1)
        if told["text"]:
            return told
    raise AssertionError("it printed nothing")


async def actions(owner: Any) -> list[str]:
    return [entry["action"] for entry in (await owner("audit.list", limit=1000))[::-1]]


async def test_a_job_brings_the_result_that_a_call_would(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset)
    job = await start(scientist, request)
    assert job["status"] in ("queued", "running")
    job = await ended(scientist, job)
    assert (job["status"], job["error"], job["tries"]) == ("finished", None, 1)
    assert await scientist.result(job["execution"]) == 6
    assert [held["id"] for held in await scientist("job.list")] == [job["id"]]
    again = await ended(scientist, await start(scientist, request))
    assert (again["status"], again["execution"]) == ("finished", job["execution"])
    assert (await actions(owner)).count("result.release") == 1
    told = [notice["kind"] for notice in (await scientist("notification.list"))["notifications"]]
    assert told.count("job.end") == 2


async def test_what_a_private_run_prints_is_for_owners(owner: Any, scientist: Any, asset: str) -> None:
    job = await ended(scientist, await start(scientist, await approved(owner, scientist, asset)))
    with pytest.raises(NotAllowed, match="owner"):
        await scientist("job.logs", id=job["id"])
    told = await owner("job.logs", id=job["id"])
    assert told == {"text": "step 0\nstep 1\nstep 2\n", "next": 21, "status": "finished", "ended": True}
    assert (await owner("job.logs", id=job["id"], offset=14))["text"] == "step 2\n"
    assert "step" not in repr([job, await scientist("job.list"), await scientist("job.get", id=job["id"])])


async def test_output_is_read_while_the_job_runs(owner: Any, scientist: Any, asset: str) -> None:
    job = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    told = await running(owner, job)
    assert (told["text"], told["ended"], told["status"]) == ("asleep\n", False, "running")
    await scientist("job.cancel", id=job["id"])


async def test_the_author_of_a_mock_run_reads_what_it_prints(owner: Any, scientist: Any, asset: str) -> None:
    code = "def f(data):\n    print('mock', data.sum())\n    return 1\n"
    request = await scientist.ask(asset, code=code, name="f")
    job = await ended(scientist, await scientist("job.start", id=request["code_id"], on="mock"))
    assert (job["status"], job["on"], job["execution"]) == ("finished", "mock", None)
    assert (await scientist("job.logs", id=job["id"]))["text"] == "mock 3\n"
    assert (await actions(owner)).count("code.mock_run") == 2
    assert "code.run" not in await actions(owner)


async def test_a_cancelled_job_ends_its_run_and_releases_nothing(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, SLEEPS)
    job = await start(scientist, request)
    await running(owner, job)
    assert (await scientist("job.cancel", id=job["id"]))["status"] == "cancelled"
    job = await ended(scientist, job)
    assert (job["status"], job["error"]["code"]) == ("cancelled", "P2P-0430")
    with pytest.raises(Conflict):
        await scientist("job.cancel", id=job["id"])
    seen = await owner("request.get", id=request["id"])
    assert seen["released"] == 0
    assert (await actions(owner))[-1] == "job.cancel"
    assert (await owner("job.logs", id=job["id"]))["text"] == "asleep\n"


async def test_cancelling_on_purpose_to_tell_bits_of_the_data_ends_after_three_runs(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await approved(owner, scientist, asset, SLEEPS)
    for _ in range(3):
        job = await start(scientist, request)
        await running(owner, job)
        await scientist("job.cancel", id=job["id"])
        await ended(scientist, job)
    job = await ended(scientist, await start(scientist, request))
    assert (job["status"], job["error"]["code"]) == ("failed", PolicyRefused.code)


async def test_a_job_that_waits_is_cancelled_before_it_starts(owner: Any, scientist: Any, asset: str) -> None:
    first = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    await running(owner, first)
    second = await start(scientist, await approved(owner, scientist, asset))
    third = await start(scientist, await approved(owner, scientist, asset))
    assert [second["status"], third["status"], third["ahead"]] == ["queued", "queued", 1]
    assert (await owner("job.cancel", id=second["id"]))["status"] == "cancelled"
    assert (await scientist("job.get", id=third["id"]))["ahead"] == 0
    await scientist("job.cancel", id=first["id"])
    assert (await ended(scientist, third))["status"] == "finished"
    assert (await scientist("job.get", id=second["id"]))["tries"] == 0


async def test_one_persons_long_job_keeps_nobody_else_waiting(
    owner: Any, scientist: Any, asset: str, newcomer: Any
) -> None:
    mine = [await start(scientist, await approved(owner, scientist, asset, SLEEPS)) for _ in range(3)]
    bob = await newcomer("bob@caltech.edu")
    theirs = await ended(bob, await start(bob, await approved(owner, bob, asset)))
    assert theirs["status"] == "finished"
    with pytest.raises(NotFound):
        await bob("job.get", id=mine[0]["id"])
    assert [len(await person("job.list")) for person in (owner, scientist, bob)] == [4, 3, 1]
    for job in mine:
        await scientist("job.cancel", id=job["id"])


async def test_a_failure_is_told_to_its_author_without_its_words(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "raise ValueError(f'leak {data}')")
    job = await ended(scientist, await start(scientist, request))
    assert (job["status"], job["error"]["code"]) == ("failed", "P2P-0601")
    assert "leak" not in repr(job)
    retried = await ended(scientist, await scientist("job.retry", id=job["id"]))
    assert (retried["status"], retried["tries"]) == ("failed", 2)
    with pytest.raises(NotAllowed):
        await owner("job.retry", id=job["id"])


async def test_what_a_call_would_refuse_is_refused_at_once(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    with pytest.raises(Pending):
        await start(scientist, request)
    await owner("request.approve", id=request["id"])
    with pytest.raises(PolicyRefused):
        await scientist("job.start", id=request["code_id"], inputs={})
    with pytest.raises(InvalidInput, match="data or mock"):
        await start(scientist, request, on="both")
    assert await scientist("job.list") == []


async def test_a_mock_run_without_a_mock_says_so(owner: Any, scientist: Any) -> None:
    held = (await owner.publish(name="bare", mock=False))["assets"][0]["id"]
    request = await scientist.ask(held)
    job = await ended(scientist, await scientist("job.start", id=request["code_id"], on="mock"))
    assert isinstance(from_wire(job["error"]), NoMock)


async def test_a_job_too_many_is_refused_and_old_ones_are_forgotten(house: Any, service: Any, guest: Any) -> None:
    await house.close()
    limits = DomainLimits(jobs_each=2, jobs_kept=3, mock_run=Limits(wall_seconds=20.0))
    opened = await house.open(limits=limits)
    owner, jane = guest(), guest()
    for person, login in ((owner, ("info@openmined.org", "changethis")), (jane, ("jane@caltech.edu", "abc123"))):
        person.service = opened
        if person is jane:
            await owner("account.register", name="Jane", email=login[0], password=login[1])
        await person.login(*login)
    asset = (await owner.publish())["assets"][0]["id"]
    held = [await start(jane, await approved(owner, jane, asset, SLEEPS)) for _ in range(2)]
    with pytest.raises(TooLarge, match="wait or run"):
        await start(jane, await approved(owner, jane, asset))
    for job in held:
        await jane("job.cancel", id=job["id"])
        await ended(jane, job)
    request = await approved(owner, jane, asset)
    done = [(await ended(jane, await start(jane, request)))["id"] for _ in range(3)]
    assert [job["id"] for job in await jane("job.list")] == done


async def test_a_restart_interrupts_what_runs_and_keeps_what_waits(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    runs = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    await running(owner, runs)
    waits = await start(scientist, await approved(owner, scientist, asset))
    await house.close()
    owner.service = scientist.service = await house.open()
    held = await scientist("job.get", id=runs["id"])
    assert (held["status"], held["error"]["code"]) == ("interrupted", "P2P-0431")
    waited = await ended(scientist, waits)
    assert waited["status"] == "finished"
    assert await scientist.result(waited["execution"]) == 6
    assert (await scientist("job.retry", id=runs["id"]))["status"] in ("queued", "running")
    await running(owner, runs)
    await scientist("job.cancel", id=runs["id"])
    assert await owner.service.verify_audit() is None


async def test_a_job_that_ran_when_the_node_was_killed_is_interrupted(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    job = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    await running(owner, job)
    storage = owner.service._domain.storage
    with storage.read() as session:
        kept = session.connection().exec_driver_sql("SELECT state FROM jobs").scalar()
    assert kept == "running"
    await house.close()
    with sqlite3.connect(house.folder / "domain.sqlite") as database:
        database.execute("UPDATE jobs SET state = 'running', ended_at = NULL, error = NULL")
    scientist.service = await house.open()
    held = await scientist("job.get", id=job["id"])
    assert (held["status"], held["error"]["code"]) == ("interrupted", "P2P-0431")


async def test_an_approval_that_was_taken_back_fails_the_job(owner: Any, scientist: Any, asset: str) -> None:
    blocker = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    request = await approved(owner, scientist, asset)
    job = await start(scientist, request)
    await owner("request.deny", id=request["id"], reason="on second thoughts")
    await scientist("job.cancel", id=blocker["id"])
    job = await ended(scientist, job)
    assert (job["status"], job["error"]["code"]) == ("failed", "P2P-0407")
    assert (await owner("request.get", id=request["id"]))["released"] == 0


async def test_a_job_of_an_account_that_was_closed_meanwhile_runs_nothing(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    blocker = await start(scientist, await approved(owner, scientist, asset, SLEEPS))
    await running(owner, blocker)
    job = await start(scientist, await approved(owner, scientist, asset))
    await house.close()
    with sqlite3.connect(house.folder / "domain.sqlite") as database:
        database.execute("UPDATE accounts SET active = 0 WHERE email = 'jane@caltech.edu'")
    owner.service = await house.open()
    job = await ended(owner, job)
    assert (job["status"], job["error"]["code"]) == ("failed", "P2P-0402")


async def test_a_deposit_is_released_by_a_job_too(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    await owner("request.deposit", id=request["id"], result=wire.pack_value(41))
    job = await ended(scientist, await start(scientist, request))
    assert await scientist.result(job["execution"]) == 41


async def test_many_jobs_of_one_request_spend_it_once(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset, "import random; return random.random()")
    jobs = await asyncio.gather(*(start(scientist, request) for _ in range(6)))
    done = [await ended(scientist, job) for job in jobs]
    assert len({job["execution"] for job in done}) == 1
    assert (await actions(owner)).count("result.release") == 1


AWAY = "CREATE TRIGGER away BEFORE UPDATE ON jobs BEGIN INSERT INTO nowhere VALUES (1); END"
"""No job can be changed: SQLite says what it says of a full disk, an error that may pass."""
BACK = "DROP TRIGGER away"


def database(person: Any, statement: str) -> None:
    with person.service._domain.storage.write() as session:
        session.connection().exec_driver_sql(statement)


async def waits(log: pytest.LogCaptureFixture) -> None:
    """Until something waits for the database."""
    for _ in range(3000):
        if "waits for the database" in log.text:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing waited")


async def test_a_job_begins_when_the_database_comes_back(
    owner: Any, scientist: Any, asset: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = await approved(owner, scientist, asset)
    database(owner, AWAY)
    job = await start(scientist, request)
    await waits(caplog)
    assert (await scientist("job.get", id=job["id"]))["status"] == "queued"
    database(owner, BACK)
    job = await ended(scientist, job)
    assert (job["status"], job["tries"]) == ("finished", 1)


@pytest.mark.parametrize("side", ["data", "mock"])
async def test_a_result_and_a_jobs_end_wait_for_the_database(
    owner: Any, scientist: Any, asset: str, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = "import time; print('asleep', flush=True); time.sleep(2); return data.sum()"
    request = await scientist.ask(asset, code=f"def f(data):\n    {body}\n", name="f")
    request = await owner("request.approve", id=request["id"])
    job = await start(scientist, request, on=side)
    await running(owner, job)
    database(owner, AWAY)
    await waits(caplog)
    waiting = await owner("job.get", id=job["id"])
    assert waiting["status"] == "running"
    database(owner, BACK)
    job = await ended(owner, job)
    assert job["status"] == "finished"
    assert job["seconds"] <= waiting["seconds"], "the wait is told as time of the run"
    if side == "data":
        assert await scientist.result(job["execution"]) == 6
        assert (await actions(owner)).count("result.release") == 1


@pytest.mark.parametrize("state", ["running", "finished", "failed"])
async def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    owner: Any, scientist: Any, asset: str, house: Any, state: str
) -> None:
    fails = state == "failed"
    request = await approved(owner, scientist, asset, "return 1 / 0" if fails else TALKS)
    lost: list[str] = []

    def lose(_: Session) -> None:
        with sqlite3.connect(house.folder / "domain.sqlite") as beside:
            if not lost and beside.execute("SELECT count(*) FROM jobs WHERE state = ?", (state,)).fetchone()[0]:
                lost.append(state)
                raise OperationalError("COMMIT", {}, Exception("the server went away"))

    event.listen(Session, "after_commit", lose)
    try:
        job = await ended(scientist, await start(scientist, request))
    finally:
        event.remove(Session, "after_commit", lose)
    assert lost
    assert (job["status"], job["tries"]) == ("failed" if fails else "finished", 1)
    done = await actions(owner)
    assert [done.count(action) for action in ("code.run.begin", "code.run", "result.release")] == [1, 1, not fails]
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["failures"]) == ((0, 1) if fails else (1, 0))
    if not fails:
        assert await scientist.result(job["execution"]) == 6


async def test_a_fault_that_no_wait_mends_ends_the_job(owner: Any, scientist: Any, asset: str) -> None:
    request = await approved(owner, scientist, asset)
    database(owner, "CREATE TRIGGER never BEFORE INSERT ON executions BEGIN SELECT RAISE(ABORT, 'never /secret'); END")
    job = await ended(scientist, await start(scientist, request))
    assert (job["status"], job["error"]["code"]) == ("failed", "P2P-0603")
    assert "secret" not in str(await scientist("job.get", id=job["id"]))


async def test_a_node_closes_at_once_though_a_job_waits_for_the_database(
    owner: Any, scientist: Any, asset: str, house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request = await approved(owner, scientist, asset)
    database(owner, AWAY)
    job = await start(scientist, request)
    await waits(caplog)
    assert (await scientist("job.get", id=job["id"]))["status"] == "queued"
    async with asyncio.timeout(10):
        await house.close()
    with sqlite3.connect(house.folder / "domain.sqlite") as beside:
        beside.execute(BACK)
    owner.service = scientist.service = await house.open()
    job = await ended(scientist, job)
    assert (job["status"], job["tries"]) == ("finished", 1)


async def test_a_job_that_waits_for_the_database_is_cancelled_and_queued_again(
    owner: Any, scientist: Any, asset: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = "import time; print('asleep', flush=True); time.sleep(2); return data.sum()"
    request = await approved(owner, scientist, asset, body)
    job = await start(scientist, request)
    await running(owner, job)
    refused = "CREATE TRIGGER away BEFORE INSERT ON executions BEGIN INSERT INTO nowhere VALUES (1); END"
    database(owner, refused)  # jobs can be changed, and the result cannot be kept
    await waits(caplog)
    assert (await scientist("job.get", id=job["id"]))["status"] == "running"
    assert (await scientist("job.cancel", id=job["id"]))["status"] == "cancelled"
    async with asyncio.timeout(30):
        while (live := owner.service._domain.queue.live(job["id"])) is not None:
            await live.change(1)
    database(owner, BACK)
    assert (await owner("request.get", id=request["id"]))["released"] == 0, "a cancelled job released its result"
    await scientist("job.retry", id=job["id"])
    job = await ended(scientist, job)
    assert (job["status"], job["tries"]) == ("finished", 2)
    assert await scientist.result(job["execution"]) == 6
