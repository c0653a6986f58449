"""``p2pgrid datasets``: what a node holds, and its mocks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing, as_p2p_error
from p2pgrid.cli.output import Out, short_id, size_text
from p2pgrid.cli.publish import assets_text, text_or_file
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.client.markdown import markdown_text
from p2pgrid.errors import InvalidInput, NotFound, NothingFound, NotLoggedIn, P2PError

LIST_EXAMPLES: Final = opt.examples(
    "p2pgrid datasets",
    "p2pgrid datasets http://192.0.2.7:8080",
    "p2pgrid datasets --node Bob --json",
    "p2pgrid datasets --search 'heart rate'",
)
SHOW_EXAMPLES: Final = opt.examples(
    "p2pgrid datasets show digits", "p2pgrid datasets show digits --on http://192.0.2.7:8080"
)
MOST: Final = 1000
FIRST_LINE: Final = 200
"""Characters of a description in a table."""
LEAST_PREFIX: Final = 4
"""Characters of an id that are enough to ask for it."""
PREVIEW_ROWS: Final = 5
PREVIEW_FILE: Final = 200
PREVIEW_CHARACTERS: Final = 2_000
PREVIEW_BYTES: Final = 64 << 20
"""A mock larger than this is described, not fetched for a look."""

UPDATE_EXAMPLES: Final = opt.examples(
    "p2pgrid datasets update digits --description '**Digits**' -t digits",
    "p2pgrid datasets update digits --description @about.md --node Bob",
)
DELETE_EXAMPLES: Final = opt.examples("p2pgrid datasets delete digits --yes --node Bob")

app = typer.Typer(
    cls=Listing,
    help="Show and change what a node holds: list (the default), show, update, delete.",
    epilog=LIST_EXAMPLES,
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    on: Annotated[str | None, typer.Argument(help="Own name, URL, host:port or node id.", metavar="[NODE]")] = None,
    node: opt.Node = None,
    email: opt.Email = None,
    search: Annotated[
        str, typer.Option(metavar="WORDS", help="Only those with all these words, by their beginnings.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many to show.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the datasets of a node: of your own as owner, of another as guest."""
    out, target = Out(as_json=as_json), Target(node, on, login_as(email), home)
    with out.working("Asking the node"):
        name, found, total = asyncio.run(_list(target, search, limit, offset))
    if not found:
        none = "holds no dataset with these words" if search else "holds no dataset" if not offset else "holds no more"
        fix = "Look at all: p2pgrid datasets" if search or offset else "Publish one: p2pgrid publish FILE"
        out.fail(NothingFound(f"{name} {none}.", fix=fix), {"datasets": [], "total": total})
    out.document({"node": name, "datasets": found, "total": total})
    rows = [
        (
            item["name"],
            " ".join(f"#{tag}" for tag in item["tags"]),
            assets_text(item),
            _first_line(item["description"]),
            short_id(item["id"]),
        )
        for item in found
    ]
    columns = ("name", "tags", "assets", "description", "id")
    shown = f"{len(found)}" if len(found) == total else f"{offset + 1} to {offset + len(found)} of {total}"
    out.table(columns, rows, f"Datasets of {name} ({shown})", whole=("id",))


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
    told = {**found, "tags": tags, "contributors": people, "assets": None, "description": ""}
    out.pairs(told, "dataset")
    if found["description"]:
        out.line(markdown_text(found["description"]), lines=True)
    for asset in shown:
        out.pairs({**asset, **_words(asset), "preview": None}, f"asset {asset['name']}")
        if asset["preview"] is not None:
            out.line(asset["preview"], lines=True)


@app.command("update", epilog=UPDATE_EXAMPLES)
def update(
    dataset: Annotated[str, typer.Argument(help="The dataset's name or id.", metavar="DATASET")],
    node: opt.Node = None,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it holds, in Markdown; @FILE reads a file.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Its tags from now on; repeatable.")
    ] = None,
    citation: Annotated[str | None, typer.Option(help="How to cite it.")] = None,
    url: Annotated[str | None, typer.Option(help="Where to read more about it.")] = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Change what is said of a dataset of yours.  What is not given stays; --tag '' takes all tags away."""
    out = Out(as_json=as_json)
    said = {"name": name, "description": text_or_file(description), "citation": citation, "url": url}
    changes: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if tag is not None:
        changes["tags"] = [each for each in opt.each_by_itself(tag) if each]
    found = asyncio.run(_changed(Target(node, None, None, home), "dataset.update", dataset, changes))
    out.document({"dataset": found})
    out.pairs(
        {**found, "tags": " ".join(f"#{tag}" for tag in found["tags"]), "assets": None, "contributors": None}, "now"
    )


@app.command("delete", epilog=DELETE_EXAMPLES)
def delete(
    dataset: Annotated[str, typer.Argument(help="The dataset's name or id.", metavar="DATASET")],
    yes: opt.Yes = False,
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Delete a dataset of yours with its files.

    Requests for it that wait are denied with that as the reason; what was released from it stays released.
    """
    opt.be_sure(f"Delete the dataset {dataset} with its files for good?", yes=yes, as_json=as_json)
    out = Out(as_json=as_json)
    found = asyncio.run(_changed(Target(node, None, None, home), "dataset.delete", dataset, {}))
    out.document({"deleted": found["id"], "name": found["name"]})
    out.line(f"{found['name']} is deleted.")


async def _changed(target: Target, verb: str, wanted: str, changes: dict[str, Any]) -> dict[str, Any]:
    async with visit_target(target) as client:
        found = await find_dataset(client.door, wanted)
        answer = await client.door.call(verb, id=found["id"], **changes)
    return shapes.read(shapes.dataset, answer) if changes or verb == "dataset.update" else found


def _words(asset: dict[str, Any]) -> dict[str, str]:
    return {
        "name": "",
        "shape": str(tuple(asset["shape"])),
        "columns": "\n".join(f"{name}: {kind}" for name, kind in asset["columns"]),
        "size": size_text(asset["size"]),
        "mock": "below" if asset["preview"] is not None else "yes" if asset["mock"] else "none",
    }


def _first_line(description: str) -> str:
    line = next((line.strip("# ") for line in description.splitlines() if line.strip()), "")
    return line if len(line) <= FIRST_LINE else f"{line[: FIRST_LINE - 1]}…"


async def _list(target: Target, text: str, limit: int, offset: int) -> tuple[str, list[dict[str, Any]], int]:
    async with visit_target(target) as client:
        page = shapes.read(shapes.page, await client.door.call("dataset.search", text=text, limit=limit, offset=offset))
        return client.name, page["datasets"], page["total"]


async def find_dataset(door: Any, wanted: str) -> dict[str, Any]:
    """The whole dataset of that name, or whose id begins so.  Raises ``NotFound``."""
    with contextlib.suppress(NotFound, InvalidInput):
        return shapes.read(shapes.dataset, await door.call("dataset.get", name=wanted))
    prefix = wanted if len(wanted) >= LEAST_PREFIX else ""
    page = shapes.read(shapes.page, await door.call("dataset.search", prefix=prefix[:64], limit=10))
    held = page["datasets"]
    if not held:
        held = shapes.read(shapes.page, await door.call("dataset.search", limit=10))["datasets"]
    picked = pick_dataset(held, wanted)
    return shapes.read(shapes.dataset, await door.call("dataset.get", id=picked["id"]))


async def _show(wanted: str, target: Target) -> tuple[dict[str, Any], dict[str, str]]:
    async with visit_target(target) as client:
        found = await find_dataset(client.door, wanted)
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
    by_id = (
        [item for item in held if item["id"].startswith(wanted.replace("-", ""))] if len(wanted) >= LEAST_PREFIX else []
    )
    found = by_name or by_id
    if len(found) != 1:
        names = ", ".join(item["name"] for item in held[:10]) or "nothing"
        raise NotFound(f"{len(found) or 'No'} datasets here are called {wanted!r}; there is: {names}.")
    return found[0]


def preview(value: Any) -> str:
    """The beginning of a value."""
    if hasattr(value, "to_string"):
        text = str(value.head(PREVIEW_ROWS).to_string())
    elif hasattr(value, "slice"):  # polars and Arrow
        text = str(value.slice(0, PREVIEW_ROWS))
    elif hasattr(value, "read"):
        text = f"a file that begins with {value.read(PREVIEW_FILE)!r}"
    elif getattr(value, "shape", ()):
        text = repr(value[: PREVIEW_ROWS if len(value.shape) < 3 else 1])
    else:
        text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "..."
