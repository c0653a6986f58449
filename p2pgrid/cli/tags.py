"""``p2pgrid tags``: which tags the grid has, and which of them begin with what one remembers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.network import ask_owner
from p2pgrid.cli.output import Out
from p2pgrid.cli.where import client_node
from p2pgrid.errors import NothingFound, P2PError, UnknownNode

EXAMPLES: Final = opt.examples("p2pgrid tags mni", "p2pgrid tags --limit 20 --json")
TAB_TIMEOUT: Final = 0.7
"""Seconds that a shell waits for the tags that a word may begin."""
TAB_LIMIT: Final = 30


def tags_for_tab(incomplete: str) -> list[str]:
    """Tags that begin so, from the nodes of this machine, for the shell's completion; none when it would take long."""
    try:
        found = asyncio.run(_sample(incomplete, None, None, [], TAB_LIMIT, TAB_TIMEOUT, as_guest=True))
    except P2PError:
        return []
    return [row["tag"] for row in found if row["tag"].startswith(incomplete)]


def tags(
    prefix: Annotated[
        str, typer.Argument(help="What the tag begins with, or something like it.", metavar="[PREFIX]")
    ] = "",
    node: opt.Node = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="Tags at most.")] = 50,
    timeout: Annotated[float, opt.timeout()] = 3,
    bootstrap: opt.Bootstrap = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Look for tags: those that begin with PREFIX, hold it, or are spelt like it.

    A sample of what nodes across the grid say; without PREFIX the tags that most of them name. Exit code 3 when there
    is none.
    """
    out = Out(as_json=as_json)
    began = time.perf_counter()
    with out.working("Asking for tags"):
        found = asyncio.run(_sample(prefix, node, home, bootstrap or [], limit, timeout))
    document = {"prefix": prefix, "seconds": round(time.perf_counter() - began, 4), "tags": found}
    if not found:
        like = f"like {prefix!r} " if prefix else ""
        fix = "Try fewer letters, or ask another part of the grid with --bootstrap HOST:PORT."
        out.fail(NothingFound(f"No tag {like}was named by the nodes that were asked.", fix=fix), document)
    out.document(document)
    out.table(("tag", "named by"), [(f"#{row['tag']}", row["seen"]) for row in found])
    out.note("a sample; 'named by' counts places, not datasets")


async def _sample(
    text: str,
    node: str | None,
    home: Path | None,
    bootstrap: list[str],
    limit: int,
    timeout: float,
    as_guest: bool = False,
) -> list[dict[str, Any]]:
    """By one of one's own running nodes when there is one, else as a guest."""
    from p2pgrid.dht.udp.inquiries import tag_rows

    if not (bootstrap or as_guest):
        try:
            rows: list[dict[str, Any]] = await ask_owner(
                node, home, "node.tags", text=text, limit=limit, timeout=timeout
            )
            return rows
        except UnknownNode:
            if node is not None:
                raise
    async with client_node(home, bootstrap) as guest:
        return await tag_rows(guest, text, limit=limit, timeout=timeout)
