"""``p2pgrid id``, ``peers`` and ``ping``: a node among others."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out
from p2pgrid.cli.where import HEX_ID, client_node, own_place, running, visit
from p2pgrid.errors import NotFound, NothingFound, UnknownNode

ID_EXAMPLES: Final = opt.examples("p2pgrid id", "p2pgrid id --node Bob --json")
PEERS_EXAMPLES: Final = opt.examples("p2pgrid peers --node Bob")
PING_EXAMPLES: Final = opt.examples(
    "p2pgrid ping 127.0.0.1:8080", "p2pgrid ping --node Jane 5f0c9a1e8b7d6c5a4f3e2d1c0b9a8f7e6d5c4b3a"
)
PING_TIMEOUT: Final = 5.0


def id_(node: opt.Node = None, home: opt.HomeFolder = None, as_json: opt.Json = False) -> None:
    """Show a node's id and addresses."""
    from p2pgrid.home import own_home

    place = own_home(node, home)
    state = place.running()
    fields = {
        "name": place.name,
        "id": state.id if state else place.identity().id.hex(),
        "running": state is not None,
        "url": state.url if state else None,
        "dht": state.dht if state else None,
        "home": str(place.path),
    }
    out = Out(as_json=as_json)
    out.document(fields)
    out.pairs(fields, "p2pgrid")


def peers(node: opt.Node = None, home: opt.HomeFolder = None, as_json: opt.Json = False) -> None:
    """List the peers that a node knows."""
    found = asyncio.run(_ask_owner(node, home, "node.peers"))
    out = Out(as_json=as_json)
    if not found:
        fix = "Give it a way in: p2pgrid launch NAME --bootstrap HOST:PORT"
        out.fail(NothingFound("The node knows no peer yet.", fix=fix), {"peers": []})
    out.document({"peers": found})
    rows = [
        (peer["name"], peer["id"], peer["address"], peer["state"], _ms(peer["latency_ms"]), _ago(peer["last_seen"]))
        for peer in found
    ]
    out.table(("name", "id", "address", "state", "latency", "last seen"), rows, f"Peers ({len(found)})")


def ping(
    target: Annotated[str, typer.Argument(help="host:port of its DHT, a node id, or an own node.", metavar="TARGET")],
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    bootstrap: opt.Bootstrap = None,
    as_json: opt.Json = False,
) -> None:
    """Ping a peer over the DHT.

    From one of your nodes when one is up, else as a guest of the grid.
    """
    out = Out(as_json=as_json)
    with out.working(f"Pinging {target}"):
        pong = asyncio.run(_ping(_address(target, home), node, home, bootstrap or []))
    out.document(pong)
    out.line(f"{pong['name']} {pong['id']} is {pong['state']}: {_ms(pong['rtt_ms'])}")


async def _ping(target: str, node: str | None, base: Path | None, bootstrap: list[str]) -> dict[str, Any]:
    if not bootstrap:
        try:
            answer: dict[str, Any] = await _ask_owner(node, base, "node.ping", target=target)
            return answer
        except UnknownNode:
            if node is not None:
                raise
    return await _ping_as_guest(target, base, bootstrap)


async def _ping_as_guest(target: str, base: Path | None, bootstrap: list[str]) -> dict[str, Any]:
    from p2pgrid.client.search import host_towards
    from p2pgrid.dht import DhtNode
    from p2pgrid.ids import parse_node_id

    if HEX_ID.fullmatch(target):
        async with client_node(base, bootstrap) as guest:
            wanted = parse_node_id(target)
            if await guest.find(wanted, PING_TIMEOUT) is None:
                raise NotFound(f"No node with the id {target} was found on the grid.")
            pong = await guest.ping(wanted, timeout=PING_TIMEOUT)
    else:
        guest = await DhtNode.start(host_towards([target]), 0, mode="client")
        try:
            pong = await guest.ping(target, timeout=PING_TIMEOUT)
        finally:
            await guest.close()
    return {"id": pong.id.hex(), "name": pong.name, "rtt_ms": pong.rtt_ms, "state": pong.state}


def _address(target: str, base: Path | None) -> str:
    """What to ping: an own node's name becomes its address."""
    from p2pgrid.errors import BadAddress
    from p2pgrid.home import Home

    if HEX_ID.fullmatch(target):
        return target
    if ":" in target and "/" not in target:
        return target
    if ":" not in target:
        home = Home(target, base)
        if home.exists:
            return running(home).dht
    raise BadAddress(f"{target[:80]!r} is no host:port, no node id and no own node.")


async def _ask_owner(node: str | None, base: Path | None, verb: str, **args: Any) -> Any:
    async with visit(own_place(node, base)) as client:
        return await client.door.call(verb, **args)


def _ms(value: Any) -> str:
    return "" if value is None else f"{float(value):.1f} ms"


def _ago(moment: Any) -> str:
    if not moment:
        return ""
    seconds = max(0.0, time.time() - float(moment))
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
