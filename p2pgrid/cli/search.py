"""``p2pgrid search``: who on the grid holds datasets with these tags; each is printed as it arrives.

Nothing heavy is imported before the first result is out: no rich, no aiohttp, no numpy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out
from p2pgrid.cli.rows import Columns, layout
from p2pgrid.cli.tags import tags_for_tab
from p2pgrid.errors import NothingFound, P2PError

if TYPE_CHECKING:
    from p2pgrid.client.search import Found

EXAMPLES: Final = opt.examples(
    "p2pgrid search '#digits'",
    "p2pgrid search medical diabetes --any --details",
    "p2pgrid search '#digits' --bootstrap 192.0.2.7:8080 --json",
    "p2pgrid search '#digits' --gateway http://127.0.0.1:5000",
)
NODE_WIDTH: Final = 16
DETAILS_TIMEOUT: Final = 5.0
DETAILS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Question:
    """What to search for, and how."""

    tags: Sequence[str]
    match: Literal["all", "any"]
    limit: int
    timeout: float
    bootstrap: list[str]
    home: Path | None
    gateway: str | None
    details: bool


def search(
    tags: Annotated[
        list[str], typer.Argument(help="Tags, with or without #.", metavar="TAG...", autocompletion=tags_for_tab)
    ],
    any_: Annotated[bool, typer.Option("--any", help="Datasets with any of the tags; else with all.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=10_000, help="Results at most.")] = 100,
    timeout: Annotated[float, opt.timeout()] = 5,
    bootstrap: opt.Bootstrap = None,
    gateway: Annotated[str | None, typer.Option(metavar="URL", help="Ask this gateway instead of the DHT.")] = None,
    details: Annotated[bool, typer.Option("--details", help="Ask each node for the datasets' assets too.")] = False,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Search the grid for datasets by tags.

    Each is printed as it arrives. Exit code 3 when there is none.
    """
    from p2pgrid.ids import normalise_tags

    wanted, gateway = list(normalise_tags(opt.each_by_itself(tags))), opt.with_scheme(gateway)
    match: Literal["all", "any"] = "any" if any_ else "all"
    question = Question(wanted, match, limit, timeout, bootstrap or [], home, gateway, details)
    out = Out(as_json=as_json)
    began = time.perf_counter()
    results = asyncio.run(_all(question, out))
    seconds = time.perf_counter() - began
    document = {"query": wanted, "match": match, "seconds": round(seconds, 4), "results": results}
    if not results:
        out.fail(_nothing(question, seconds), document)
    out.document(document)
    hidden = "" if layout().shows_id or gateway else "; node ids: --json, or a wider window"
    out.note(f"{len(results)} found in {seconds * 1000:.0f} ms{hidden}")


def _nothing(question: Question, seconds: float) -> NothingFound:
    shown = " ".join(f"#{tag}" for tag in question.tags)
    several = len(question.tags) > 1 and question.match == "all"
    words = "with all of" if several else "with"
    fix = "Try --any, which takes datasets with any of the tags." if several else None
    if question.gateway and not several:
        fix = "Try another tag, or another gateway."
    return NothingFound(f"No dataset {words} {shown} was found in {seconds:.1f} s.", fix=fix)


async def _all(question: Question, out: Out) -> list[dict[str, Any]]:
    """Every result, each printed when it is complete; details are asked for while the search goes on.

    A newer listing of a dataset is printed too, and takes the place of the older one.
    """
    results: dict[tuple[Any, ...], dict[str, Any]] = {}
    turns, columns = asyncio.Semaphore(DETAILS_AT_ONCE), layout()
    async with asyncio.TaskGroup() as asking:
        async for item in _stream(question):
            if not results and not question.gateway:
                out.note(columns.row("dataset", "tags", "node", "url", "node id"))
            results[_which(item)] = item
            if question.details:
                asking.create_task(_complete(item, question, turns, out, columns))
            else:
                _print(item, out, columns)
    return list(results.values())


def _which(item: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two results one: node and dataset; all that a gateway tells is a name and an address."""
    if "dataset_id" in item:
        return item["node_id"], item["dataset_id"]
    return item["node"], item["url"]


async def _complete(
    item: dict[str, Any], question: Question, turns: asyncio.Semaphore, out: Out, columns: Columns
) -> None:
    async with turns:
        item.update(await _details(item, question))
    _print(item, out, columns)


async def _stream(question: Question) -> AsyncIterator[dict[str, Any]]:
    from p2pgrid.client.bridge import Here
    from p2pgrid.client.search import stream, through_gateway

    if question.gateway:
        began = time.perf_counter()
        # A gateway looks for datasets with all the tags it is given, so "any" is one question for each tag.
        asked = [[tag] for tag in question.tags] if question.match == "any" else [question.tags]
        answers = [through_gateway(question.gateway, tags, timeout=question.timeout) for tags in asked]
        pairs = dict.fromkeys((node, url) for found in await asyncio.gather(*answers) for node, url in found)
        after = round((time.perf_counter() - began) * 1000, 3)
        for node, url in list(pairs)[: question.limit]:
            yield {"node": node, "url": url, "after_ms": after}
        return
    found = stream(
        Here(),
        question.tags,
        bootstrap=question.bootstrap,
        home=question.home,
        match=question.match,
        limit=question.limit,
        timeout=question.timeout,
    )
    async for item in found:
        yield _to_json(item)


def _to_json(found: Found) -> dict[str, Any]:
    return {
        "dataset": found.title,
        "tags": list(found.tags),
        "node": found.node,
        "url": found.url,
        "node_id": found.node_id,
        "dataset_id": found.dataset_id,
        "after_ms": round(found.after_ms, 3),
    }


def _print(item: dict[str, Any], out: Out, columns: Columns) -> None:
    if "dataset" not in item:
        out.line(f"{item['node']:<{NODE_WIDTH}}  {item['url']}")
    else:
        tags = " ".join(f"#{tag}" for tag in item["tags"])
        out.line(columns.row(item["dataset"], tags, item["node"], item["url"], item["node_id"]))
    for dataset in item.get("datasets", ()):
        out.line(f"    {dataset['name']}: {dataset['description']}")
        for asset in dataset["assets"]:
            mock = "with a mock" if asset["mock"] else "without a mock"
            out.line(f"      {asset['name']}  {asset['dtype']} {tuple(asset['shape'])}, {mock}")
    if "problem" in item:
        out.line(f"    no details: {item['problem']}")


async def _details(item: dict[str, Any], question: Question) -> dict[str, Any]:
    """What the node itself says of what it holds, over a link to the key that signed the listing."""
    from p2pgrid.cli import shapes
    from p2pgrid.cli.where import Place, visit
    from p2pgrid.ids import parse_node_id

    try:
        expect = parse_node_id(item["node_id"]) if "node_id" in item else None
        async with asyncio.timeout(DETAILS_TIMEOUT), visit(Place(item["node"], item["url"], expect)) as client:
            held = shapes.read_list(shapes.dataset, await client.door.call("dataset.list"))
    except TimeoutError:
        return {"problem": f"no answer within {DETAILS_TIMEOUT:g} s"}
    except P2PError as error:
        return {"problem": error.cause}
    return {"datasets": [dataset for dataset in held if _is_meant(dataset, item, question)]}


def _is_meant(dataset: dict[str, Any], item: dict[str, Any], question: Question) -> bool:
    if "dataset_id" in item:
        return bool(dataset["id"] == item["dataset_id"])
    having = [tag in dataset["tags"] for tag in question.tags]
    return any(having) if question.match == "any" else all(having)
