"""``p2pgrid land``: stop nodes that run in the home folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out
from p2pgrid.cli.where import own_place, visit
from p2pgrid.errors import NotInTime, P2PError, UnknownNode

if TYPE_CHECKING:
    from pathlib import Path

    from p2pgrid.home import Home

EXAMPLES: Final = opt.examples("p2pgrid land Bob", "p2pgrid land all")
POLL: Final = 0.05


def land(
    name: Annotated[str, typer.Argument(help="A node's name, or: all.", metavar="NAME|all")],
    timeout: Annotated[float, opt.timeout("Seconds until it must be down.")] = 15,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Stop nodes gracefully.

    What they hold stays in their homes, for the next launch.
    """
    out = Out(as_json=as_json)
    landed, failed = [], []
    for place in _chosen(name, home):
        try:
            landed.append(_land(place, home, timeout, out))
        except P2PError as error:
            failed.append(error)  # one that does not land keeps no other up
    if failed:
        raise failed[0]
    out.document({"landed": landed})


def _chosen(name: str, base: Path | None) -> list[Home]:
    from p2pgrid.home import Home, base_folder, homes

    if name != opt.ALL:
        chosen = Home(name, base)
        if not (chosen.exists or chosen.in_use):
            raise UnknownNode(f"No node named {name!r} lives in {base_folder(base)}.")
        if chosen.running() is None:
            what = "is still starting" if chosen.in_use else "is not running"
            raise UnknownNode(f"The node {name!r} {what}.", fix="See what runs with: p2pgrid check")
        return [chosen]
    found = [home for home in homes(base) if home.running()]
    if not found:
        raise UnknownNode(f"No node is running in {base_folder(base)}.", fix="Nothing to do: there is none to land.")
    return found


def _land(home: Home, base: Path | None, timeout: float, out: Out) -> str:
    deadline = time.monotonic() + timeout
    state = home.running()
    with out.working(f"Landing {home.name}"):
        if state is not None and not (state.kind == "domain" and asyncio.run(_ask(home.name, base))):
            _terminate(home, state.pid)
        while home.in_use:
            if time.monotonic() > deadline:
                raise NotInTime(f"{home.name} was asked to land and is still up after {timeout:g} s.")
            time.sleep(POLL)
    out.line(f"{home.name} has landed.")
    return home.name


def _terminate(home: Home, pid: int) -> None:
    """Ask the process itself; while the home's lock is held, it is the one that the run state names."""
    if home.in_use:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


async def _ask(name: str, base: Path | None) -> bool:
    """Whether the node heard its owner's wish over its own door."""
    try:
        async with visit(own_place(name, base)) as client:
            await client.door.call("node.land")
    except P2PError:
        return False
    return True
