"""``p2pgrid requests``: read what was submitted, and decide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, count_text, short_id, short_time, size_text
from p2pgrid.cli.policies import read_rules
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.client.runs import printed
from p2pgrid.errors import NotFound, NothingFound, WrongUse

if TYPE_CHECKING:
    from p2pgrid.client.door import Door

LIST_EXAMPLES: Final = opt.examples("p2pgrid requests", "p2pgrid requests list --pending --node Bob")
SHOW_EXAMPLES: Final = opt.examples("p2pgrid requests show 3f2a")
APPROVE_EXAMPLES: Final = opt.examples(
    "p2pgrid requests approve 3f2a --node Bob",
    "p2pgrid requests approve 3f2a --run-now",
    "p2pgrid requests approve 3f2a --rule MinimumRows=10 --rule NoAssetRows",
)
WITHDRAW_EXAMPLES: Final = opt.examples("p2pgrid requests withdraw 3f2a --node Bob")
READY_EXAMPLES: Final = opt.examples("p2pgrid requests ready 3f2a", "p2pgrid requests ready 3f2a --json")
DENY_EXAMPLES: Final = opt.examples("p2pgrid requests deny 3f2a 'It returns single rows.'")
DEPOSIT_EXAMPLES: Final = opt.examples("p2pgrid requests deposit 3f2a result.npy", "p2pgrid requests deposit 3f2a 42.5")

app = typer.Typer(
    cls=Listing,
    help="Code requests: list (the default), show, approve, deny, deposit, withdraw, ready.",
    epilog=LIST_EXAMPLES,
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
        what = "No request waits for a verdict." if pending else "There are no requests."
        out.fail(NothingFound(what, fix="Nothing to do."), {"requests": []})
    out.document({"requests": found})
    rows = [
        (
            short_id(item["id"]),
            item["name"],
            item["status"],
            item["requested_by"],
            item["purpose"],
            short_time(item["request_time"]),
            ran(item["mock_run"], coarse=item["coarse"]),
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
    """Show one request: code, inputs, policies in words, its run on the mock, what is new in it."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found, inputs, review = asyncio.run(_show(request, target))
    out.document({"request": {**found, "assets": inputs, "review": review}})
    print_request(out, found, inputs, review)


@app.command("approve", epilog=APPROVE_EXAMPLES)
def approve(
    request: opt.RequestId,
    run_now: Annotated[
        bool, typer.Option("--run-now", help="Run it first; approve only if there is a result, which then waits.")
    ] = False,
    rule: opt.Rules = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Let the function run on the private data.

    It runs when its author asks, within its policies. Read it first: p2pgrid requests show.
    """
    verdict, args = "run" if run_now else "approve", {"rules": read_rules(rule or [])}
    _decide(verdict, request, args, Target(node, on, login_as(email), home), as_json)


@app.command("withdraw", epilog=WITHDRAW_EXAMPLES)
def withdraw(
    request: opt.RequestId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Undo a verdict before anything was released: the request waits again."""
    _decide("withdraw", request, {}, Target(node, on, login_as(email), home), as_json)


@app.command("ready", epilog=READY_EXAMPLES)
def ready(
    request: opt.RequestId,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Look at a result that waits to be released, as its owner; nothing is released by that."""
    from p2pgrid.cli import values

    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found, value = asyncio.run(_ready(request, target))
    out.document({"request": found["id"], "function": found["name"], "result": values.as_json(value)})
    out.line(values.as_text(value, "see all with --json"), lines=True)


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
    waits = " Its result waits for its author; look at it with 'p2pgrid requests ready'." if decided["ready"] else ""
    out.line(f"{decided['name']} ({decided['id']}) by {decided['requested_by']} is {decided['status']}.{waits}")


async def _tell(verdict: str, request: str, args: dict[str, Any], target: Target) -> dict[str, Any]:
    from p2pgrid.client.door import RUN_TIMEOUT

    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        answer = await client.door.call(f"request.{verdict}", timeout=RUN_TIMEOUT, id=found["id"], **args)
        return shapes.read(shapes.request, answer)


async def _list(target: Target) -> list[dict[str, Any]]:
    async with visit_target(target) as client:
        return shapes.read_list(shapes.request, await client.door.call("request.list"))


async def _ready(request: str, target: Target) -> tuple[dict[str, Any], Any]:
    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        if not found["ready"]:
            raise NotFound("No result of this request waits to be released.", fix="Add --run-now when you approve it.")
        return found, await client.door.read_result(found["ready"])


async def _show(request: str, target: Target) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        review = shapes.read(shapes.review, await client.door.call("request.review", id=found["id"]))
        held = shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))
    titles = {asset["id"]: f"{item['name']}/{asset['name']}" for item in held for asset in item["assets"]}
    return found, {name: titles.get(asset, asset) for name, asset in found["inputs"].items()}, review


async def get_request(door: Door, wanted: str) -> dict[str, Any]:
    """The one request whose id begins so.  Raises ``NotFound``."""
    held = shapes.read_list(shapes.request, await door.call("request.list"))
    prefix = wanted.replace("-", "").lower()
    found = [item for item in held if prefix and item["id"].startswith(prefix)]
    if len(found) != 1:
        fix = "Give more of the id." if found else "List them: p2pgrid requests list"
        raise NotFound(f"{len(found) or 'No'} requests here have an id that begins with {wanted[:40]!r}.", fix=fix)
    return shapes.read(shapes.request, await door.call("request.get", id=found[0]["id"]))  # whole, never cut


def print_request(out: Out, item: dict[str, Any], inputs: dict[str, str], review: dict[str, Any]) -> None:
    """A request as its reviewer reads it."""
    out.pairs(
        {
            "id": item["id"],
            "function": item["name"],
            "status": item["status"],
            "by": item["requested_by"],
            "at": item["request_time"],
            "purpose": item["purpose"],
            "environment": item["environment"],
            "note": item["note"],
            "owner's reason": item["reason"],
            "inputs": "\n".join(f"{name} = {title}" for name, title in inputs.items()),
            "input policy": item["input_policy"],
            "output policy": item["output_policy"],
            "lets in": "\n".join(review["lets_in"]),
            "lets out": "\n".join(review["lets_out"]),
            "policy's state": item["policy_state"],
            "released": count_text(item["released"], "time") if item["released"] else "",
            "without a result": f"{count_text(item['failures'], 'run')} on the data" if item["failures"] else "",
            "waits": "a result, to be released when its author calls" if item["ready"] else "",
            "imports": ", ".join(item["imports"]),
            "calls": ", ".join(item["calls"]),
            "new imports": ", ".join(review["new_imports"]),
            "new calls": ", ".join(review["new_calls"]),
            "signed by key": item["verify_key"],
            "on the mock": ran(item["mock_run"], coarse=bool(item.get("coarse"))),
            "printed on the mock": printed(item["mock_run"]),
            "on the data": ran(item["private_run"]) if item["private_run"] else "",
            "printed on the data": printed(item["private_run"]),
        },
        "request",
    )
    out.code(item["code"])
    for policy in review["policy_code"]:
        out.code(policy["code"])
    if review["against"]:
        out.line(f"Since {short_id(review['against'])}:" if review["diff"] else "Nothing in the code is new.")
        out.code(review["diff"], "diff")


def ran(run: dict[str, Any], *, coarse: bool = False) -> str:
    """What the function did in a run, in one line; ``coarse``: its measures are upper ends of steps."""
    if not run:
        return "not run"
    if run.get("skipped"):
        return f"not run: {shapes.text(run['skipped'])}"
    seconds, size = float(run.get("seconds") or 0), float(run.get("memory") or 0)
    took = f" in under {seconds:g} s" if coarse else f" in {seconds:.2f} s"
    memory = f", {'at most ' * coarse}{size_text(size)} of memory" if size else ""
    if run.get("ok"):
        kept = f"; {policy}" if (policy := shapes.text(run.get("policy"))).startswith("would be kept") else ""
        return f"ok{took}{memory}: {shapes.text(run.get('result_shape')) or 'a value'}{kept}"
    return f"failed{took}: {shapes.text(run.get('error')) or 'no reason given'}"
