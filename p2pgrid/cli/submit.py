"""``p2pgrid submit`` and ``result``: send a function to where the data is, and get what it found."""

from __future__ import annotations

import ast
import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.datasets import find_dataset
from p2pgrid.cli.output import Out
from p2pgrid.cli.policies import PolicyWishes, pairs
from p2pgrid.cli.requests import get_request, ran
from p2pgrid.cli.where import Login, Target, awaited, find_place, login_as, visit, visit_target
from p2pgrid.client.runs import TIME, printed_end
from p2pgrid.errors import InvalidInput, NotFound, NotInTime, Pending

if TYPE_CHECKING:
    from p2pgrid.client.domain import DomainClient
    from p2pgrid.domain.review import ReviewedCode

SUBMIT_EXAMPLES: Final = opt.examples(
    "p2pgrid submit study.py:mean --to Bob --dataset digits --asset images",
    "p2pgrid submit study.py:mean --to 192.0.2.7:8080 --dataset ages -e a@b.org",
    "p2pgrid submit study.py:f --to Bob --dataset ages -a x=years -a y=names",
    "p2pgrid submit a.py:f --to Bob --dataset ages --own n=int:2 --limit 3",
    "p2pgrid submit a.py:f --to Bob --dataset d --output-policy a.py:P",
)
RESULT_EXAMPLES: Final = opt.examples(
    "p2pgrid result 3f2a --on 192.0.2.7:8080 --email a@b.org",
    "p2pgrid result 3f2a --on 192.0.2.7:8080 -e a@b.org --wait --out mean.npy",
    "p2pgrid result 3f2a --on 192.0.2.7:8080 -e a@b.org --value factor=3",
)
Values = Annotated[
    list[str] | None,
    typer.Option("--value", help="A value of your own that the function asks for.", metavar="PARAM=VALUE"),
]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write it here: .npy .json .csv .parquet .txt .bin", metavar="FILE"),
]
PRINTED: Final = 1_000
"""Characters of what a function printed that are shown when it is submitted; 'requests show' shows all."""
POLL_FIRST: Final = 0.2
POLL_MOST: Final = 5.0


def submit(
    function: Annotated[str, typer.Argument(help="A file and a function in it.", metavar="FILE.py:FUNCTION")],
    to: Annotated[str, typer.Option("--to", "--on", help="Own name, URL, host:port or node id.", metavar="NODE")],
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset's name or id there.", metavar="NAME")],
    asset: Annotated[
        list[str] | None,
        typer.Option("--asset", "-a", help="What each parameter gets; repeatable.", metavar="[PARAM=]ASSET"),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="What it is for; the owner reads it.")] = "",
    project: Annotated[str | None, typer.Option(help="A project of yours there; made when it is new.")] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option("--constant", help="A value fixed by the request; repeatable.", metavar="PARAM=VALUE"),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option("--own", help="A value you hand in at each call; repeatable.", metavar="PARAM=TYPE[:EXAMPLE]"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Results that may come out, each of a run.", min=1)] = 1,
    rule: opt.Rules = None,
    output_policy: Annotated[
        str, typer.Option("--output-policy", help="A class of your own that decides.", metavar="FILE.py:CLASS")
    ] = "",
    policy_arg: Annotated[
        list[str] | None,
        typer.Option("--policy-arg", help="What that class is made with; repeatable.", metavar="NAME=JSON"),
    ] = None,
    environment: Annotated[
        str, typer.Option("--environment", help="Packages to run with, by the name that the owner gave them.")
    ] = "",
    email: opt.Email = None,
    bootstrap: opt.Bootstrap = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Send a function to be reviewed.

    It runs on the mock at once, and on the private data after its owner's approval.
    """
    code = read_function(function)
    policies = PolicyWishes(
        tuple(constant or ()), tuple(own or ()), limit, tuple(rule or ()), output_policy, tuple(policy_arg or ())
    )
    out, person = Out(as_json=as_json), login_as(email)
    with out.working(f"Sending {code.function}; it runs on the mock"):
        wishes = _Wishes(dataset, asset or [], reason, project, policies, environment)
        request = asyncio.run(_submit(code, to, wishes, person, bootstrap or [], home))
    out.document({"request": request})
    shown = ("id", "name", "status", "inputs", "input_policy", "output_policy")
    fields = {name.replace("_", " "): request[name] for name in shown}
    fields["inputs"] = "\n".join(f"{name} = {title}" for name, title in request["assets"].items())
    run = request["mock_run"]
    failed = bool(run) and not (run.get("ok") or run.get("skipped"))
    fields["on the mock"] = ran(run, coarse=request["coarse"])
    said = printed_end(run, PRINTED, f"p2pgrid requests show {request['id'][:8]} --on {to}")
    out.pairs(fields if failed else {**fields, "printed on the mock": said}, "submitted")
    if failed:
        out.note(advice(run) + (f" What it printed:\n{said}" if said else ""), lines=True)
    if not failed or run.get("failure") in TIME:
        for hint in hints(request, Target(None, to, person, home)):
            out.note(hint)


def hints(request: dict[str, Any], target: Target) -> list[str]:
    """What to tell the author of a new request: that its policy may let nothing out, and what to type next."""
    policy = shapes.text((request["mock_run"] or {}).get("policy"))
    kept = [f"On the mock, its result {policy}"] if policy.startswith("would be kept") else []
    own = "".join(f" --value {name}=..." for name in request["values"])
    return [*kept, f"When it is approved: p2pgrid result {request['id'][:8]}{target.words}{own}"]


def advice(run: dict[str, Any]) -> str:
    """What to do about a run on the mock that failed."""
    if run.get("failure") in TIME:
        return (
            "It was stopped at a time limit of runs on the mock. Runs on the data have more time, unless the owner"
            " set it otherwise: it may end there as it is."
        )
    return "It failed on the mock: correct it and submit again."


def result(
    request: opt.RequestId,
    on: opt.On = None,
    node: opt.Node = None,
    email: opt.Email = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the owner's verdict, until --timeout.")] = False,
    timeout: Annotated[float, opt.timeout("Seconds to wait for the verdict.")] = 300,
    value: Values = None,
    file: OutFile = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Get the result of an approved request.

    The function runs on the private data now; asked again, the same result comes again.
    """
    from p2pgrid.cli import values

    if file is not None:
        values.check_writable(file)
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Waiting for the result"):
        own = pairs(value or [])
        found, answer = asyncio.run(_result(request, target, timeout if wait else None, own))
    give(out, found["id"], found["name"], answer, file)


def give(out: Out, request: str, function: str, answer: Any, file: Path | None) -> None:
    """Print a result, or write it to a file.  Raises ``CannotWrite``."""
    from p2pgrid.cli import values

    if file is not None:
        values.save(answer, file)
    document = {"request": request, "function": function, "result": values.as_json(answer)}
    out.document({**document, "file": str(file) if file else None})
    if file is None:
        out.line(values.as_text(answer), lines=True)
    else:
        out.line(f"{function}: written to {file}")


def call_inputs(request: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call: the assets of a request, and values of one's own.  Raises ``InvalidInput``."""
    from p2pgrid.client.policies import value_wire

    if missing := [name for name in request["values"] if name not in own]:
        fix = f"Add --value {missing[0]}=VALUE."
        raise InvalidInput(f"{request['name']} needs a value of your own for {', '.join(missing)}.", fix=fix)
    assets = {name: {"asset": an_id} for name, an_id in request["inputs"].items()}
    return {**assets, **{name: {"value": value_wire(value)} for name, value in own.items()}}


def read_function(wanted: str) -> ReviewedCode:
    """The source of one function in a file; nothing of the file is run.  Raises ``InvalidInput`` or ``BadCode``."""
    from p2pgrid.domain.review import review

    path, separator, name = wanted.rpartition(":")
    if not separator or not name.isidentifier():
        raise InvalidInput(f"{wanted[:80]!r} names no function.", fix="Write FILE.py:FUNCTION, such as study.py:mean.")
    try:
        source = Path(path).expanduser().read_text(encoding="utf-8")
        tree = ast.parse(source)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", fix="Check the file's name.") from error
    except (SyntaxError, ValueError) as error:
        raise InvalidInput(f"{path} is no Python: {error}.", fix="Correct the file.") from error
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if name not in functions:
        there = ", ".join(functions) or "none"
        raise NotFound(f"{path} has no function {name!r}.", fix=f"Its functions: {there}.")
    return review(ast.get_source_segment(source, functions[name]) or "")


def bind(code: ReviewedCode, wanted: list[str], assets: dict[str, str]) -> dict[str, str]:
    """Which parameter gets which asset (its id).  Raises ``InvalidInput`` or ``NotFound`` for what does not fit."""
    chosen: dict[str, str] = {}
    for item in wanted or _only(code, assets):
        parameter, separator, title = item.partition("=")
        if not separator or parameter not in code.parameters:
            if len(code.parameters) != 1 or (separator and item not in assets):
                raise InvalidInput(
                    f"{item[:80]!r} binds no parameter of {code.function}({', '.join(code.parameters)}).",
                    fix="Write --asset PARAM=ASSET, once for each parameter.",
                )
            parameter, title = code.parameters[0], item
        if title not in assets:
            raise NotFound(f"The dataset has no asset {title[:80]!r}.", fix=f"Its assets: {', '.join(assets)}.")
        if parameter in chosen:
            raise InvalidInput(f"The parameter {parameter!r} is bound twice.", fix="Bind each parameter once.")
        chosen[parameter] = assets[title]
    missing = [name for name in code.required if name not in chosen]
    if missing:
        raise InvalidInput(
            f"{code.function} needs an asset for: {', '.join(missing)}.",
            fix=f"Add --asset {missing[0]}=ASSET; the assets are: {', '.join(assets)}.",
        )
    return chosen


def _only(code: ReviewedCode, assets: dict[str, str]) -> list[str]:
    """Without any --asset: parameters named like assets, or the one parameter and the one asset."""
    if len(code.parameters) == len(assets) == 1:
        return list(assets)
    return [f"{name}={name}" for name in code.parameters if name in assets]


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What a function is to read, what for, and in which project."""

    dataset: str
    assets: list[str]
    reason: str
    project: str | None
    policies: PolicyWishes
    environment: str


async def _submit(
    code: ReviewedCode, to: str, wishes: _Wishes, login: Login | None, bootstrap: list[str], home: Path | None
) -> dict[str, Any]:
    async with visit(await find_place(to, home, bootstrap), login) as client:
        held = await find_dataset(client.door, wishes.dataset)
        rest = wishes.policies.names
        bare = replace(
            code,
            parameters=tuple(name for name in code.parameters if name not in rest),
            required=tuple(name for name in code.required if name not in rest),
        )
        inputs = bind(bare, wishes.assets, {asset["name"]: asset["id"] for asset in held["assets"]})
        sent = await _send(client, code, inputs, wishes)
        request = shapes.read(shapes.request, await client.door.call("request.get", id=sent))
    titles = {asset["id"]: f"{held['name']}/{asset['name']}" for asset in held["assets"]}
    return {**request, "assets": {name: titles.get(an_id, an_id) for name, an_id in inputs.items()}}


async def _send(client: DomainClient, code: ReviewedCode, inputs: dict[str, str], wishes: _Wishes) -> str:
    """The id of the new request.  A project of that name is made when it is new."""
    from p2pgrid.client.functions import GridFunction
    from p2pgrid.client.projects import Project

    project, reason = wishes.project, wishes.reason

    class FromFile(GridFunction):
        """A function that was read, and is not to be run here."""

        def __init__(self) -> None:
            self.name, self.code = code.function, code.source
            self.input_policy = wishes.policies.input_policy(inputs)
            self.output_policy = wishes.policies.output_policy()
            self.environment = wishes.environment

    if project is None:
        return (await awaited(client.submit(FromFile(), reason))).id
    try:
        held = await awaited(client.get_project(project))
    except NotFound:
        held = await awaited(Project(project, members=[client]).start())
    return (await awaited(held.create_code_request(FromFile(), client, reason))).id


async def _result(request: str, target: Target, wait: float | None, own: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from p2pgrid.client.door import RUN_TIMEOUT

    async with visit_target(target) as client:
        found = await get_request(client.door, request)
        if wait is not None:
            found = await _verdict(client, found, wait)
        inputs = call_inputs(found, own)
        try:
            answer = await client.door.call("code.call", timeout=RUN_TIMEOUT, id=found["code_id"], inputs=inputs)
        except Pending as error:
            raise Pending(error.cause, fix="Add --wait to the command: it waits for the owner's verdict.") from error
        return found, await client.door.read_result(str(answer["execution"]))


async def _verdict(client: DomainClient, found: dict[str, Any], wait: float) -> dict[str, Any]:
    """The request once it is decided.  Raises ``NotInTime``."""
    deadline, pause = time.monotonic() + wait, POLL_FIRST
    while found["status"] == "PENDING":
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotInTime(f"The request for {found['name']} has no verdict after {wait:g} s.")
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, POLL_MOST)
        found = shapes.read(shapes.request, await client.door.call("request.get", id=found["id"]))
    return found
