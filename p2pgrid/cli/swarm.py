"""``p2pgrid swarm``: hundreds of real nodes on this machine, from one command."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.ending import INTERRUPTED
from p2pgrid.cli.output import Out, console, count_text
from p2pgrid.errors import InvalidInput

if TYPE_CHECKING:
    from p2pgrid.sim.swarm import Swarm

EXAMPLES: Final = opt.examples(
    "p2pgrid swarm --nodes 300 --keep",
    "p2pgrid swarm --nodes 50 --datasets sklearn:digits --keep",
    "p2pgrid swarm --nodes 1000 --processes 2 --json",
    "p2pgrid search '#digits' --bootstrap 127.0.0.1:PORT     # from another terminal",
)
REFRESH: Final = 1.0
"""Seconds between two looks at the nodes."""
AROUND_TABLE: Final = 9
"""Lines of a terminal beside the table's rows."""
COLUMNS: Final = ("name", "id", "address", "process", "state", "peers", "listings", "sent", "received", "datasets")
LIVE: Final = ("name", "address", "state", "peers", "listings", "sent", "datasets")
"""Those of a live table, so that it fits a narrow terminal."""
NUMBERS: Final = frozenset({"peers", "listings", "sent", "received"})
Row = Mapping[str, Any]


def swarm(
    nodes: Annotated[int, typer.Option("--nodes", "-n", min=1, max=10_000, help="How many.")] = 300,
    datasets: Annotated[
        list[str] | None,
        typer.Option("--datasets", "-d", help="A file or sklearn:digits and such, at a node each; repeatable."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Give every node a domain and an HTTP door.")] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Spread them over so many processes.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Keep them up, with a live table, until Ctrl-C.")] = False,
    host: Annotated[str, typer.Option(help="The address to listen at.", metavar="ADDRESS")] = "127.0.0.1",
    bootstrap: opt.Bootstrap = None,
    seed: Annotated[int, typer.Option(min=0, help="Of who joins through whom.")] = 1,
    as_json: opt.Json = False,
) -> None:
    """Bring up a swarm of real nodes on this machine.

    Their sockets, DHT and domains are real, and others can search into them. Without --keep they end once all are up.
    """
    from p2pgrid import loop
    from p2pgrid.sim.swarm import Swarm

    sources = datasets or []
    grid = Swarm(
        nodes,
        datasets=_by_name(sources),
        full=full,
        processes=processes,
        host=host,
        bootstrap=bootstrap or [],
        seed=seed,
    )
    if not loop.run(_run(grid, Out(as_json=as_json), nodes, keep)):
        raise typer.Exit(INTERRUPTED)


def _by_name(sources: Sequence[str]) -> dict[str, str]:
    """Files by name without folder and suffix, bundled datasets without their package.  Raises ``InvalidInput``."""
    named = {Path(source.rpartition(":")[2]).stem: source for source in sources}
    if len(named) < len(sources):
        raise InvalidInput("Two datasets have the same name.", fix="Name each dataset once; rename a file.")
    return named


async def _run(grid: Swarm, out: Out, count: int, keep: bool) -> bool:
    """Whether all came up before somebody stopped it."""
    stopped = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, stopped.set)
    try:
        return await _up(grid, out, count, keep, stopped)
    finally:
        with out.working("Ending all nodes"):
            await grid.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(number)


async def _up(grid: Swarm, out: Out, count: int, keep: bool, stopped: asyncio.Event) -> bool:
    began = time.perf_counter()
    start = asyncio.ensure_future(grid.__aenter__())
    stop = asyncio.ensure_future(stopped.wait())
    try:
        with _starting(out, grid, count) as told:
            while not start.done() and not stop.done():
                await asyncio.wait({start, stop}, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
                told()
        if not start.done():
            return False
        start.result()
        seconds = time.perf_counter() - began
        rows = await grid.status()
        document = {"nodes": len(rows), "seconds": round(seconds, 3), "bootstrap": grid.bootstrap, "members": rows}
        out.document(document)
        out.line(f"{count_text(len(rows), 'node')} up in {seconds:.1f} s; go in through {' '.join(grid.bootstrap)}")
        if keep and not (out.speaks and sys.stdout.isatty()):
            out.note("until Ctrl-C")
            await _stay(grid, out, stopped)
        elif keep:
            await _watch(grid, stopped)
        else:
            out.table(COLUMNS, [_cells(row) for row in rows])
        return True
    finally:
        for task in (start, stop):
            task.cancel()
        await asyncio.gather(start, stop, return_exceptions=True)


async def _stay(grid: Swarm, out: Out, stopped: asyncio.Event) -> None:
    """Until somebody stops it, say what is lost."""
    known: set[str] = set()
    while not stopped.is_set():
        for line in _lost(grid, known):
            out.note(line)
        await _pause(stopped)


async def _watch(grid: Swarm, stopped: asyncio.Event) -> None:
    """A table that changes with the nodes, until somebody stops it; above it, what is lost."""
    from rich.live import Live

    terminal = console(sys.stdout)
    known: set[str] = set()
    with Live(console=terminal, screen=False, auto_refresh=False) as live:
        while not stopped.is_set():
            rows = await grid.status()
            for line in _lost(grid, known):
                terminal.print(line)
            live.update(_drawn(rows, grid.bootstrap, terminal.height - AROUND_TABLE), refresh=True)
            await _pause(stopped)


def _lost(grid: Swarm, known: set[str]) -> list[str]:
    """A line for each process that died since; ``known``: names of nodes that were told, and are from now on."""
    new = [member for member in grid.lost if member.name not in known]
    known.update(member.name for member in new)
    died = Counter(member.process for member in new)
    return [f"process {one} died, and {count_text(died[one], 'node')} with it" for one in sorted(died)]


async def _pause(stopped: asyncio.Event) -> None:
    """Until the next look, or until somebody stops it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REFRESH):
            await stopped.wait()


def _drawn(rows: Sequence[Row], doors: Sequence[str], most: int) -> Any:
    from rich.table import Table

    online = [row["peers"] for row in rows if row["state"] == "online"]
    caption = (
        f"{len(online)} of {count_text(len(rows), 'node')} online, {sum(online) / max(1, len(online)):.0f} peers"
        f" each, {sum(row['sent'] for row in rows):,} packets sent; go in through {doors[0]}; Ctrl-C ends all"
    )
    table = Table(caption=caption)
    for column in LIVE:
        table.add_column(column, no_wrap=True, justify="right" if column in NUMBERS else "left")
    shown = sorted(rows, key=lambda row: (not row["datasets"], row["name"]))[: max(3, most)]
    for row in shown:
        table.add_row(*(str(cell) for cell in _cells(row, LIVE)))
    if len(shown) < len(rows):
        table.add_row(f"... {len(rows) - len(shown)} more")
    return table


def _cells(row: Row, columns: Sequence[str] = COLUMNS) -> list[Any]:
    whole = {**row, "id": row["id"][:8] if sys.stdout.isatty() else row["id"], "datasets": ", ".join(row["datasets"])}
    return [whole[column] for column in columns]


@contextmanager
def _starting(out: Out, grid: Swarm, count: int) -> Iterator[Any]:
    """A bar of the nodes that are up, where a person looks on."""
    if not (out.speaks and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=count)
        yield lambda: bar.update(task, completed=grid.up)
