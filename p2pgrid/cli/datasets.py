"""``p2pgrid datasets``: what a node holds, and its mocks."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing, as_p2p_error
from p2pgrid.cli.output import Out, short_id, size_text
from p2pgrid.cli.publish import assets_text
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.errors import NotFound, NothingFound, NotLoggedIn, P2PError

LIST_EXAMPLES: Final = opt.examples(
    "p2pgrid datasets", "p2pgrid datasets http://192.0.2.7:8080", "p2pgrid datasets --node Bob --json"
)
SHOW_EXAMPLES: Final = opt.examples(
    "p2pgrid datasets show digits", "p2pgrid datasets show digits --on http://192.0.2.7:8080"
)
PREVIEW_ROWS: Final = 5
PREVIEW_CHARACTERS: Final = 2_000
PREVIEW_BYTES: Final = 64 << 20
"""A mock larger than this is described, not fetched for a look."""

app = typer.Typer(cls=Listing, help="Show what a node holds: list (the default), show.", epilog=LIST_EXAMPLES)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    on: Annotated[str | None, typer.Argument(help="Own name, URL, host:port or node id.", metavar="[NODE]")] = None,
    node: opt.Node = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the datasets of a node: of your own as owner, of another as guest."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        name, found = asyncio.run(_list(target))
    if not found:
        out.fail(NothingFound(f"{name} holds no dataset.", fix="Publish one: p2pgrid publish FILE"), {"datasets": []})
    out.document({"node": name, "datasets": found})
    rows = [
        (
            item["name"],
            " ".join(f"#{tag}" for tag in item["tags"]),
            assets_text(item),
            item["description"],
            short_id(item["id"]),
        )
        for item in found
    ]
    columns = ("name", "tags", "assets", "description", "id")
    out.table(columns, rows, f"Datasets of {name} ({len(found)})", whole=("id",))


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    dataset: Annotated[str, typer.Argument(help="The dataset's name or id.", metavar="DATASET")],
    on: opt.On = None,
    node: opt.Node = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Show one dataset: its assets, and what their mocks look like."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        found, mocks = asyncio.run(_show(dataset, target))
    shown = [{**asset, "preview": mocks.get(asset["id"])} for asset in found["assets"]]
    out.document({"dataset": {**found, "assets": shown}})
    people = ", ".join(f"{person['name']} ({person['role']})" for person in found["contributors"])
    tags = " ".join(f"#{tag}" for tag in found["tags"])
    out.pairs({**found, "tags": tags, "contributors": people, "assets": None}, "dataset")
    for asset in shown:
        out.pairs({**asset, **_words(asset), "preview": None}, f"asset {asset['name']}")
        if asset["preview"] is not None:
            out.line(asset["preview"], lines=True)


def _words(asset: dict[str, Any]) -> dict[str, str]:
    return {
        "name": "",
        "shape": str(tuple(asset["shape"])),
        "columns": "\n".join(f"{name}: {kind}" for name, kind in asset["columns"]),
        "size": size_text(asset["size"]),
        "mock": "below" if asset["preview"] is not None else "yes" if asset["mock"] else "none",
    }


async def _list(target: Target) -> tuple[str, list[dict[str, Any]]]:
    async with visit_target(target) as client:
        return client.name, shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))


async def _show(wanted: str, target: Target) -> tuple[dict[str, Any], dict[str, str]]:
    async with visit_target(target) as client:
        held = shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))
        picked = pick_dataset(held, wanted)
        found = shapes.read(shapes.dataset, await client.door.call("dataset.get", id=picked["id"]))  # whole, never cut
        mocks = {}
        for asset in found["assets"]:
            mock = asset["mock"]
            if mock and int(mock.get("size") or 0) <= PREVIEW_BYTES:
                mocks[asset["id"]] = await _preview(client.door, asset)
    return found, mocks


async def _preview(door: Any, asset: dict[str, Any]) -> str:
    try:
        mock = await door.read_asset(asset["id"], "mock", asset["mock"])
    except NotLoggedIn:
        return "(log in with --email to see the mock)"
    except P2PError as error:  # one mock that cannot be shown hides no other
        return f"(not shown: {as_p2p_error(error).cause})"
    return preview(mock)


def pick_dataset(held: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The dataset of that name, or whose id begins so.  Raises ``NotFound``."""
    by_name = [item for item in held if item["name"] == wanted]
    by_id = [item for item in held if item["id"].startswith(wanted.replace("-", ""))] if len(wanted) >= 4 else []
    found = by_name or by_id
    if len(found) != 1:
        names = ", ".join(item["name"] for item in held[:10]) or "nothing"
        raise NotFound(f"{len(found) or 'No'} datasets here are called {wanted!r}; there is: {names}.")
    return found[0]


def preview(value: Any) -> str:
    """The beginning of a value."""
    if hasattr(value, "head"):
        text = str(value.head(PREVIEW_ROWS).to_string())
    elif getattr(value, "shape", ()):
        text = repr(value[: PREVIEW_ROWS if len(value.shape) < 3 else 1])
    else:
        text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "..."
