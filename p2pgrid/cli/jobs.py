"""``p2pgrid jobs``: runs that go on at a node while nobody waits at a terminal."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, short_id, short_time
from p2pgrid.cli.policies import pairs
from p2pgrid.cli.requests import get_request
from p2pgrid.cli.submit import OutFile, Values, call_inputs, give
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.errors import NotFound, NothingFound, NotInTime, Pending, WrongUse, from_wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2pgrid.client.door import Door

LIST_EXAMPLES: Final = opt.examples("p2pgrid jobs", "p2pgrid jobs list --on 192.0.2.7:8080 --email a@b.org")
SHOW_EXAMPLES: Final = opt.examples("p2pgrid jobs show 3f2a")
START_EXAMPLES: Final = opt.examples(
    "p2pgrid jobs start 3f2a --on 192.0.2.7:8080 -e a@b.org",
    "p2pgrid jobs start 3f2a --value factor=3 --on Bob -e a@b.org",
    "p2pgrid jobs start 3f2a --mock --on Bob -e a@b.org",
)
LOGS_EXAMPLES: Final = opt.examples("p2pgrid jobs logs 3f2a", "p2pgrid jobs logs 3f2a --follow")
WAIT_EXAMPLES: Final = opt.examples("p2pgrid jobs wait 3f2a --timeout 600 --on Bob -e a@b.org")
RESULT_EXAMPLES: Final = opt.examples(
    "p2pgrid jobs result 5c01 --on 192.0.2.7:8080 -e a@b.org",
    "p2pgrid jobs result 5c01 --on Bob -e a@b.org --out mean.npy",
)
CANCEL_EXAMPLES: Final = opt.examples("p2pgrid jobs cancel 3f2a")
RETRY_EXAMPLES: Final = opt.examples("p2pgrid jobs retry 3f2a --on Bob -e a@b.org")
MOST: Final = 1000
STEP: Final = 1
"""Seconds between two looks of a progress display at its job."""
JobId = Annotated[str, typer.Argument(help="The job's id, or the beginning of it.", metavar="JOB")]

app = typer.Typer(
    cls=Listing, help="Jobs: list (the default), show, start, logs, wait, result, cancel, retry.", epilog=LIST_EXAMPLES
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List jobs: all of your node as its owner, your own elsewhere."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found = asyncio.run(_list(target))
    if not found:
        out.fail(NothingFound("There are no jobs.", fix="Start one: p2pgrid jobs start REQUEST"), {"jobs": []})
    out.document({"jobs": found})
    rows = [
        (
            short_id(job["id"]),
            job["function"],
            job["on"],
            job["status"],
            f"{job['seconds']:g} s",
            job["requested_by"],
            short_time(job["queued_at"]),
            job["error"]["cause"] if job["error"] else "",
        )
        for job in found
    ]
    columns = ("id", "function", "on", "status", "ran", "by", "queued", "error")
    out.table(columns, rows, f"Jobs ({len(found)})", whole=("id", "status", "queued"))


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    job: JobId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Show one job."""
    _tell(None, job, Target(node, on, login_as(email), home), Out(as_json=as_json))


@app.command("cancel", epilog=CANCEL_EXAMPLES)
def cancel(
    job: JobId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """End a job that waits or runs: your own, or any of your node."""
    _tell("job.cancel", job, Target(node, on, login_as(email), home), Out(as_json=as_json))


@app.command("retry", epilog=RETRY_EXAMPLES)
def retry(
    job: JobId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Queue a job of yours again that failed, was cancelled or interrupted."""
    _tell("job.retry", job, Target(node, on, login_as(email), home), Out(as_json=as_json))


@app.command("start", epilog=START_EXAMPLES)
def start(
    request: opt.RequestId,
    mock: Annotated[bool, typer.Option("--mock", help="On the mock, to see what it prints.")] = False,
    value: Values = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Queue a run of an approved request, and return at once.

    Its result is got with: p2pgrid jobs result JOB, when it is finished.
    """
    if mock and value:
        fix = "Leave --value out, or --mock."
        raise WrongUse("A run on the mock takes the examples that the request gives, and no values.", fix=fix)
    own = pairs(value or [])
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Telling the node"):
        job = asyncio.run(_start(request, target, own, mock=mock))
    _print(out, job)
    given = f"{job['id'][:8]}{target.words}"
    out.note(f"Wait for its end: p2pgrid jobs wait {given}")
    then = "see what it printed: p2pgrid jobs logs" if mock else "get its result: p2pgrid jobs result"
    out.note(f"Then {then} {given}")


@app.command("logs", epilog=LOGS_EXAMPLES)
def logs(
    job: JobId,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Print what a job printed: on private data for its owner, on the mock for its author too."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    text = asyncio.run(_logs(job, target, following, out.write))
    out.document({"job": job, "text": text})


@app.command("wait", epilog=WAIT_EXAMPLES)
def wait(
    job: JobId,
    timeout: Annotated[float, opt.timeout("Seconds to wait for its end.")] = 3600,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Wait until a job has ended; exit code 0 only when it is finished."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Waiting for the job") as progress:
        found = asyncio.run(_wait(job, target, timeout, progress))
    if found["status"] != "finished":
        _print(out, found, document=False)
        out.fail(from_wire(found["error"]), {"job": found})
    _print(out, found)


@app.command("result", epilog=RESULT_EXAMPLES)
def result(
    job: JobId,
    file: OutFile = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Get the result that this very job released; nothing runs again."""
    from p2pgrid.cli import values

    if file is not None:
        values.check_writable(file)
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found, answer = asyncio.run(_result(job, target))
    give(out, found["request"], found["function"], answer, file)


def _tell(verb: str | None, job: str, target: Target, out: Out) -> None:
    with out.working("Asking the node"):
        found = asyncio.run(_one(verb, job, target))
    _print(out, found)


def _print(out: Out, job: dict[str, Any], *, document: bool = True) -> None:
    if document:
        out.document({"job": job})
    error = job["error"] or {}
    ahead = job["ahead"] if job["status"] == "queued" and job["ahead"] else ""
    shown = {**job, "ahead": ahead, "seconds": f"{job['seconds']:g}", "error": error.get("cause", "")}
    out.pairs(shown, "job")


async def _list(target: Target) -> list[dict[str, Any]]:
    async with visit_target(target) as client:
        return shapes.read_list(shapes.job, await client.door.call("job.list", limit=MOST))


async def _one(verb: str | None, job: str, target: Target) -> dict[str, Any]:
    async with visit_target(target) as client:
        found = await get_job(client.door, job)
        return shapes.read(shapes.job, await client.door.call(verb, id=found["id"])) if verb else found


async def _start(request: str, target: Target, own: dict[str, Any], *, mock: bool) -> dict[str, Any]:
    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        side, inputs = ("mock", {}) if mock else ("data", call_inputs(found, own))
        return shapes.read(shapes.job, await client.door.call("job.start", id=found["code_id"], inputs=inputs, on=side))


async def _logs(job: str, target: Target, following: bool, write: Callable[[str], None]) -> str:
    from p2pgrid.client.jobs import follow

    parts = []
    async with visit_target(target) as client:
        found = await get_job(client.door, job)
        async for text in follow(client.door, found["id"], wait=following):
            write(text)
            parts.append(text)
    return "".join(parts)


async def _wait(job: str, target: Target, timeout: float, progress: Callable[[str], None]) -> dict[str, Any]:
    """The job once it has ended.  Raises ``NotInTime``."""
    deadline = time.monotonic() + timeout
    async with visit_target(target) as client:
        found = await get_job(client.door, job)
        while found["status"] in ("queued", "running"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotInTime(f"The job {found['function']} is {found['status']} after {timeout:g} s.")
            progress(_progress(found))
            seconds = min(STEP, math.ceil(left))
            found = shapes.read(shapes.job, await client.door.call("job.wait", id=found["id"], seconds=seconds))
        return found


async def _result(job: str, target: Target) -> tuple[dict[str, Any], Any]:
    """A job and what it released.  Raises ``Pending``, ``NotFound``, or what the job ended with."""
    async with visit_target(target) as client:
        found = await get_job(client.door, job)
        given = f"{found['id'][:8]}{target.words}"
        if found["status"] in ("queued", "running"):
            fix = f"Wait for its end: p2pgrid jobs wait {given}"
            raise Pending(f"The job {found['function']} is {found['status']}: it has no result yet.", fix=fix)
        if found["status"] != "finished":
            raise from_wire(found["error"])
        if found["execution"] is None:
            fix = f"See what it printed: p2pgrid jobs logs {given}"
            raise NotFound(f"The job {found['function']} ran on the {found['on']} and released nothing.", fix=fix)
        return found, await client.door.read_result(found["execution"])


def _progress(job: dict[str, Any]) -> str:
    if job["status"] == "queued":
        return f"{job['function']} is queued, {job['ahead']} before it"
    return f"{job['function']} is running, {job['seconds']:.0f} s"


async def get_job(door: Door, wanted: str) -> dict[str, Any]:
    """The one job whose id begins so.  Raises ``NotFound``."""
    held = shapes.read_list(shapes.job, await door.call("job.list", limit=MOST))
    prefix = wanted.replace("-", "").lower()
    found = [item for item in held if prefix and item["id"].startswith(prefix)]
    if len(found) != 1:
        fix = "Give more of the id." if found else "List them: p2pgrid jobs list"
        raise NotFound(f"{len(found) or 'No'} jobs here have an id that begins with {wanted[:40]!r}.", fix=fix)
    return found[0]
