"""``p2pgrid requests``: read what was submitted, and decide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, count_text, short_id, short_time
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.errors import NotFound, NothingFound, WrongUse

if TYPE_CHECKING:
    from p2pgrid.client.door import Door

LIST_EXAMPLES: Final = opt.examples("p2pgrid requests", "p2pgrid requests list --pending --node Bob")
SHOW_EXAMPLES: Final = opt.examples("p2pgrid requests show 3f2a")
APPROVE_EXAMPLES: Final = opt.examples("p2pgrid requests approve 3f2a --node Bob")
DENY_EXAMPLES: Final = opt.examples("p2pgrid requests deny 3f2a 'It returns single rows.'")
DEPOSIT_EXAMPLES: Final = opt.examples("p2pgrid requests deposit 3f2a result.npy", "p2pgrid requests deposit 3f2a 42.5")

app = typer.Typer(
    cls=Listing, help="Code requests: list (the default), show, approve, deny, deposit.", epilog=LIST_EXAMPLES
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    pending: Annotated[bool, typer.Option("--pending", help="Only those that wait for a verdict.")] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List code requests: all of your node as its owner, your own elsewhere."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found = asyncio.run(_list(target))
    if pending:
        found = [item for item in found if item["status"] == "PENDING"]
    if not found:
        out.fail(NothingFound("There are no requests.", fix="Nothing to do."), {"requests": []})
    out.document({"requests": found})
    rows = [
        (
            short_id(item["id"]),
            item["name"],
            item["status"],
            item["requested_by"],
            item["purpose"],
            short_time(item["request_time"]),
            ran(item["mock_run"]),
        )
        for item in found
    ]
    columns = ("id", "function", "status", "by", "purpose", "at", "on the mock")
    out.table(columns, rows, f"Requests ({len(found)})", whole=("id", "status", "at"))


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    request: opt.RequestId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Show one request: the code, what it reads, its policies, and what it did on the mock."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found, inputs = asyncio.run(_show(request, target))
    out.document({"request": {**found, "assets": inputs}})
    print_request(out, found, inputs)


@app.command("approve", epilog=APPROVE_EXAMPLES)
def approve(
    request: opt.RequestId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Let the function run on the private data.

    It runs when its author asks, within its policies. Read it first: p2pgrid requests show.
    """
    _decide("approve", request, {}, Target(node, on, login_as(email), home), as_json)


@app.command("deny", epilog=DENY_EXAMPLES)
def deny(
    request: opt.RequestId,
    words: Annotated[str, typer.Argument(metavar="[REASON]", help="Why; the requester reads it.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="The same, as an option.")] = "",
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Say no, and why."""
    if not (words or reason).strip():
        raise WrongUse("A denial needs a reason.", fix="Look at: p2pgrid requests deny --help")
    _decide("deny", request, {"reason": words or reason}, Target(node, on, login_as(email), home), as_json)


@app.command("deposit", epilog=DEPOSIT_EXAMPLES)
def deposit(
    request: opt.RequestId,
    result: Annotated[str, typer.Argument(help="A file (.npy .csv .json ...), or a JSON value.", metavar="FILE|JSON")],
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Answer with a result that you made yourself; the function does not run."""
    from p2pgrid import wire
    from p2pgrid.cli.values import literal_or_file

    packed = wire.pack_value(literal_or_file(result))
    _decide("deposit", request, {"result": packed}, Target(node, on, login_as(email), home), as_json)


def _decide(verdict: str, request: str, args: dict[str, Any], target: Target, as_json: bool) -> None:
    out = Out(as_json=as_json)
    with out.working("Telling the node"):
        decided = asyncio.run(_tell(verdict, request, args, target))
    out.document({"request": decided})
    out.line(f"{decided['name']} ({decided['id']}) by {decided['requested_by']} is {decided['status']}.")


async def _tell(verdict: str, request: str, args: dict[str, Any], target: Target) -> dict[str, Any]:
    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        answer = await client.door.call(f"request.{verdict}", id=found["id"], **args)
        return shapes.read(shapes.request, answer)


async def _list(target: Target) -> list[dict[str, Any]]:
    async with visit_target(target) as client:
        return shapes.read_list(shapes.request, await client.door.call("request.list"))


async def _show(request: str, target: Target) -> tuple[dict[str, Any], dict[str, str]]:
    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        held = shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))
    titles = {asset["id"]: f"{item['name']}/{asset['name']}" for item in held for asset in item["assets"]}
    return found, {name: titles.get(asset, asset) for name, asset in found["inputs"].items()}


async def get_request(door: Door, wanted: str) -> dict[str, Any]:
    """The one request whose id begins so.  Raises ``NotFound``."""
    held = shapes.read_list(shapes.request, await door.call("request.list"))
    prefix = wanted.replace("-", "").lower()
    found = [item for item in held if prefix and item["id"].startswith(prefix)]
    if len(found) != 1:
        fix = "Give more of the id." if found else "List them: p2pgrid requests list"
        raise NotFound(f"{len(found) or 'No'} requests here have an id that begins with {wanted[:40]!r}.", fix=fix)
    return shapes.read(shapes.request, await door.call("request.get", id=found[0]["id"]))  # whole, never cut


def print_request(out: Out, item: dict[str, Any], inputs: dict[str, str]) -> None:
    """A request as its reviewer reads it."""
    out.pairs(
        {
            "id": item["id"],
            "function": item["name"],
            "status": item["status"],
            "by": item["requested_by"],
            "at": item["request_time"],
            "purpose": item["purpose"],
            "owner's reason": item["reason"],
            "inputs": "\n".join(f"{name} = {title}" for name, title in inputs.items()),
            "input policy": item["input_policy"],
            "output policy": item["output_policy"],
            "released": count_text(item["released"], "time") if item["released"] else "",
            "imports": ", ".join(item["imports"]),
            "calls": ", ".join(item["calls"]),
            "signed by key": item["verify_key"],
            "on the mock": ran(item["mock_run"]),
            "printed on the mock": item["mock_run"].get("output"),
            "on the data": ran(item["private_run"]) if item["private_run"] else "",
        },
        "request",
    )
    out.code(item["code"])


def ran(run: dict[str, Any]) -> str:
    """What the function did in a run, in one line."""
    if not run:
        return "not run"
    if run.get("skipped"):
        return f"not run: {shapes.text(run['skipped'])}"
    took = f" in {float(run.get('seconds') or 0):.2f} s"
    if run.get("ok"):
        return f"ok{took}: {shapes.text(run.get('result_shape')) or 'a value'}"
    return f"failed{took}: {shapes.text(run.get('error')) or 'no reason given'}"
