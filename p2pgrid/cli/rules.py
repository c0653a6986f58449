"""``p2pgrid rules``: what an owner asks of every result on a dataset."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.datasets import pick_dataset
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, short_time
from p2pgrid.cli.policies import read_rules
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.errors import NothingFound

LIST_EXAMPLES: Final = opt.examples("p2pgrid rules", "p2pgrid rules list --on 192.0.2.7:8080 -e a@b.org --json")
SET_EXAMPLES: Final = opt.examples(
    "p2pgrid rules set ages MinimumRows=10 NoAssetRows",
    "p2pgrid rules set ages MinimumCellCount:least=5,by=region+sex --asset years",
    "p2pgrid rules set ages MaximumResultSize=4096 --node Bob",
)
CLEAR_EXAMPLES: Final = opt.examples("p2pgrid rules clear ages", "p2pgrid rules clear ages --asset years")

Asset = Annotated[str, typer.Option("--asset", "-a", help="One asset of it; without, all of them.", metavar="NAME")]
Held = Annotated[str, typer.Argument(help="The dataset's name or id.", metavar="DATASET")]

app = typer.Typer(cls=Listing, help="Rules on what comes out: list (the default), set, clear.", epilog=LIST_EXAMPLES)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the rules under every request on a dataset."""
    out = Out(as_json=as_json)
    with out.working("Asking the node"):
        found = asyncio.run(_list(Target(node, on, login_as(email), home)))
    if not found:
        fix = "A request's own policy says what comes out. Set some: p2pgrid rules set DATASET RULE..."
        out.fail(NothingFound("No rules are set.", fix=fix), {"rules": []})
    _print(out, found)


@app.command("set", epilog=SET_EXAMPLES)
def set_(
    dataset: Held,
    rules: Annotated[list[str], typer.Argument(help="NAME, NAME=NUMBER, or NAME:key=value,...", metavar="RULE...")],
    asset: Asset = "",
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Set the rules that every result on a dataset keeps to, in place of those it had.

    MinimumRows, MinimumCellCount, MaximumResultSize, NoAssetRows. They hold for every run from now on.
    """
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    _print(out, _change(out, dataset, read_rules(rules), asset, target)[1])


@app.command("clear", epilog=CLEAR_EXAMPLES)
def clear(
    dataset: Held,
    asset: Asset = "",
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Take the rules of a dataset away; those of requests stay."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    name, left = _change(out, dataset, [], asset, target)
    out.line(f"The rules of {name}{f'/{asset}' if asset else ''} are cleared.")
    _print(out, left)


def _change(
    out: Out, dataset: str, rules: list[dict[str, Any]], asset: str, target: Target
) -> tuple[str, list[dict[str, Any]]]:
    with out.working("Telling the node"):
        return asyncio.run(_set(dataset, rules, asset, target))


def _print(out: Out, found: list[dict[str, Any]]) -> None:
    out.document({"rules": found})
    if not found:
        out.line("No rules are set: a request's own policy says what comes out.")
        return
    rows = [
        (item["dataset"], item["asset"] or "all", "\n".join(item["words"]), item["set_by"], short_time(item["set_at"]))
        for item in found
    ]
    out.table(("dataset", "asset", "rules", "set by", "at"), rows, f"Rules ({len(found)})", whole=("at",))


async def _list(target: Target) -> list[dict[str, Any]]:
    async with visit_target(target) as client:
        return shapes.read_list(shapes.rules, await client.door.call("rules.list"))


async def _set(
    dataset: str, rules: list[dict[str, Any]], asset: str, target: Target
) -> tuple[str, list[dict[str, Any]]]:
    """The dataset's name, and all rules that are set at the node now."""
    async with visit_target(target) as client:
        held = shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))
        picked = pick_dataset(held, dataset)
        answer = await client.door.call("rules.set", dataset=picked["id"], asset=asset, rules=rules)
        return str(picked["name"]), shapes.read_list(shapes.rules, answer)
