"""``p2pgrid ping``: one node, or every node that lists a tag."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.network import ask_owner, ms
from p2pgrid.cli.output import Out, count_text
from p2pgrid.cli.where import HEX_ID, client_node, running
from p2pgrid.errors import NotFound, NothingFound, UnknownNode, Unreachable

EXAMPLES: Final = opt.examples(
    "p2pgrid ping 127.0.0.1:8080",
    "p2pgrid ping --node Jane 5f0c9a1e8b7d6c5a4f3e2d1c0b9a8f7e6d5c4b3a",
    "p2pgrid ping '#mnist'",
)
PING_TIMEOUT: Final = 5.0
TARGET_HELP: Final = "host:port of its DHT, a node id, a name, or a #tag (quoted)."


@dataclass(frozen=True, slots=True)
class Asking:
    """From where to ask, and how much."""

    node: str | None
    home: Path | None
    bootstrap: list[str]
    limit: int
    timeout: float


def ping(
    target: Annotated[str, typer.Argument(help=TARGET_HELP, metavar="NODE|TAG", autocompletion=opt.own_names)],
    node: opt.Node = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="Nodes of a tag at most.")] = 64,
    timeout: Annotated[float, opt.timeout("Seconds to look for the nodes of a tag.")] = 3,
    home: opt.HomeFolder = None,
    bootstrap: opt.Bootstrap = None,
    as_json: opt.Json = False,
) -> None:
    """Ping a node over the DHT, or every node that lists a tag.

    From one of your nodes when one is up, else as a guest of the grid. Exit code 4 when nobody answers.
    """
    out = Out(as_json=as_json)
    asking = Asking(node, home, bootstrap or [], limit, timeout)
    with out.working(f"Pinging {target}"):
        found = asyncio.run(_ping(target, asking))
    if isinstance(found, dict):
        out.document(found)
        out.line(f"{found['name']} {found['id']} is {found['state']}: {ms(found['rtt_ms'])}")
    else:
        _tell_nodes(found, target, out)


def _tell_nodes(nodes: list[dict[str, Any]], target: str, out: Out) -> None:
    from p2pgrid.ids import normalise_tag

    tag = normalise_tag(target)
    document = {"tag": tag, "nodes": nodes}
    if not nodes:
        no_name = "" if target.strip().startswith("#") else f"No peer is known as {target[:80]!r}, and "
        cause = f"{no_name}no node lists #{tag}."
        fix = f"List the peers that are known: p2pgrid peers. Look for tags like it: p2pgrid tags '{tag}'"
        out.fail(NothingFound(cause[0].upper() + cause[1:], fix=fix), document)
    answered = sum(row["state"] != "offline" for row in nodes)
    rows = [(row["name"], row["id"], row["address"], row["state"], ms(row["rtt_ms"])) for row in nodes]
    out.table(("name", "id", "address", "state", "round trip"), rows, f"Nodes that list #{tag} ({len(nodes)})")
    if not answered:
        out.fail(Unreachable(f"None of the {count_text(len(nodes), 'node')} that list #{tag} answered."), document)
    out.document(document)
    out.note(f"{answered} of {count_text(len(nodes), 'node')} answered")


async def _ping(target: str, asking: Asking) -> dict[str, Any] | list[dict[str, Any]]:
    """One node's answer, or those of all nodes of a tag.

    ``#word`` is a tag.  Any other word is an own node, else a peer by its name or the beginning of its id, else a tag.
    """
    if not target.strip().startswith("#"):
        where = _address(target, asking.home)
        try:
            return await _ping_node(where or target, asking)
        except NotFound:
            if where is not None:
                raise
    return await _ping_tag(target, asking)


async def _ping_node(target: str, asking: Asking) -> dict[str, Any]:
    if not asking.bootstrap:
        try:
            answer: dict[str, Any] = await ask_owner(asking.node, asking.home, "node.ping", target=target)
            return answer
        except UnknownNode:
            if asking.node is not None:
                raise
    return await _ping_as_guest(target, asking)


async def _ping_as_guest(target: str, asking: Asking) -> dict[str, Any]:
    from p2pgrid.client.search import host_towards
    from p2pgrid.dht import DhtNode
    from p2pgrid.dht.udp.inquiries import ping_row
    from p2pgrid.ids import parse_node_id

    if ":" in target:
        async with await DhtNode.start(host_towards([target]), 0, mode="client") as guest:
            return await ping_row(guest, target, PING_TIMEOUT)
    async with client_node(asking.home, asking.bootstrap) as guest:
        if HEX_ID.fullmatch(target) and await guest.find(parse_node_id(target), PING_TIMEOUT) is None:
            raise NotFound(f"No node with the id {target} was found on the grid.")
        return await ping_row(guest, target, PING_TIMEOUT)


async def _ping_tag(target: str, asking: Asking) -> list[dict[str, Any]]:
    from p2pgrid.dht.udp.inquiries import ping_tag_rows
    from p2pgrid.ids import normalise_tag

    tag = normalise_tag(target)
    how: dict[str, Any] = {"limit": asking.limit, "timeout": asking.timeout}
    if not asking.bootstrap:
        try:
            rows: list[dict[str, Any]] = await ask_owner(asking.node, asking.home, "node.ping_tag", tag=tag, **how)
            return rows
        except UnknownNode:
            if asking.node is not None:
                raise
    async with client_node(asking.home, asking.bootstrap) as guest:
        return await ping_tag_rows(guest, tag, **how)


def _address(target: str, base: Path | None) -> str | None:
    """host:port or a node id as it is, an own node's address for its name; None for any other word."""
    from p2pgrid.errors import BadAddress
    from p2pgrid.home import Home, is_name

    if HEX_ID.fullmatch(target):
        return target
    if "/" in target:
        raise BadAddress(f"{target[:80]!r} is no host:port, no node id, no name and no tag.")
    if ":" in target:
        return target
    if is_name(target) and (home := Home(target, base)).exists:
        return running(home).dht
    return None
