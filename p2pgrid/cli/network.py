"""``p2pgrid id`` and ``peers``: a node among others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out
from p2pgrid.cli.where import own_place, visit
from p2pgrid.errors import NothingFound

ID_EXAMPLES: Final = opt.examples("p2pgrid id", "p2pgrid id --node Bob --json")
PEERS_EXAMPLES: Final = opt.examples("p2pgrid peers --node Bob", "p2pgrid peers --sort latency")
STATES: Final = ("online", "busy", "offline")


class Sort(StrEnum):
    """The orders of a list of peers."""

    near = "near"
    name = "name"
    state = "state"
    latency = "latency"
    seen = "seen"


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


def peers(
    node: opt.Node = None,
    sort: Annotated[Sort, typer.Option(help="In which order; near: by distance between ids.")] = Sort.near,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the peers that a node knows, and how they are.

    Latency is the median of the last nine round trips.
    """
    found = asyncio.run(ask_owner(node, home, "node.peers"))
    out = Out(as_json=as_json)
    if not found:
        fix = "Give it a way in: p2pgrid launch NAME --bootstrap HOST:PORT"
        out.fail(NothingFound("The node knows no peer yet.", fix=fix), {"peers": []})
    if sort is not Sort.near:
        found.sort(key=_order(sort))
    out.document({"peers": found})
    rows = [
        (peer["name"], peer["id"], peer["address"], peer["state"], ms(peer["latency_ms"]), _ago(peer["last_seen"]))
        for peer in found
    ]
    out.table(("name", "id", "address", "state", "latency", "last seen"), rows, f"Peers ({len(found)})")
    counts = Counter(peer["state"] for peer in found)
    out.note(", ".join(f"{counts[state]} {state}" for state in STATES))


def _order(sort: Sort) -> Callable[[dict[str, Any]], Any]:
    match sort:
        case Sort.name:
            return lambda peer: (str(peer["name"]).casefold(), peer["id"])
        case Sort.state:
            return lambda peer: STATES.index(peer["state"]) if peer["state"] in STATES else len(STATES)
        case Sort.latency:
            return lambda peer: (peer["latency_ms"] is None, peer["latency_ms"] or 0.0)
    return lambda peer: -float(peer["last_seen"] or 0.0)


async def ask_owner(node: str | None, base: Path | None, verb: str, **args: Any) -> Any:
    """What one of your own running nodes answers.  Raises ``UnknownNode`` when it is not clear which, or none is up."""
    async with visit(own_place(node, base)) as client:
        return await client.door.call(verb, **args)


def ms(value: Any) -> str:
    """A latency for people."""
    return "" if value is None else f"{float(value):.1f} ms"


def _ago(moment: Any) -> str:
    if not moment:
        return ""
    seconds = max(0.0, time.time() - float(moment))
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
