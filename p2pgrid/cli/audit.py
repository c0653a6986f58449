"""``p2pgrid audit``: what was done at a node, whether the log of it is whole, and a copy for somebody else."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Showing
from p2pgrid.cli.output import Out, count_text, short_id, short_time
from p2pgrid.cli.where import own_place, visit
from p2pgrid.errors import DamagedLog, InvalidInput, NothingFound, WrongIdentity

SHOW_EXAMPLES: Final = opt.examples(
    "p2pgrid audit --node Bob --limit 20", "p2pgrid audit show --action auth --since 2d", "p2pgrid audit show -s 3f2a"
)
VERIFY_EXAMPLES: Final = opt.examples(
    "p2pgrid audit verify --node Bob",
    "p2pgrid audit verify log.jsonl --id 3f2a...",
    "p2pgrid audit verify --noted 57:3fa0...",
)
EXPORT_EXAMPLES: Final = opt.examples("p2pgrid audit export log.jsonl --node Bob")
LONG_HEX: Final = re.compile(r"[0-9a-f]{32,}")
AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MOMENT_HELP: Final = "A moment (2026-11-22, 2026-11-22T18:30), or so long ago: 90m, 12h, 7d."

app = typer.Typer(cls=Showing, help="The audit log: show (the default), verify, export.", epilog=SHOW_EXAMPLES)


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="Newest entries, at most.")] = 50,
    before: Annotated[int | None, typer.Option(min=0, help="Only entries before this number.")] = None,
    actor: Annotated[str, typer.Option("--actor", "-a", help="Only what this e-mail, guest or node did.")] = "",
    action: Annotated[str, typer.Option(help="Only this, such as auth.login; auth is all of it.")] = "",
    subject: Annotated[str, typer.Option("--subject", "-s", help="Only on this id, or its beginning.")] = "",
    since: Annotated[str, typer.Option(help=MOMENT_HELP, metavar="TIME")] = "",
    until: Annotated[str, typer.Option(help="The same: only what was before it.", metavar="TIME")] = "",
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Show your node's audit log: logins, reads, verdicts, runs, releases, settings."""
    from p2pgrid.client.audit import details_text, wanted

    filters = wanted(actor, action, subject, read_moment(since), read_moment(until), before)
    out = Out(as_json=as_json)
    with out.working("Reading the log"):
        raw = asyncio.run(_call(node, home, "audit.list", limit=limit, **filters))
    found = shapes.read_list(shapes.entry, raw)
    if not found:
        out.fail(NothingFound("The log has no such entry.", fix="Look at all: p2pgrid audit show"), {"entries": []})
    out.document({"entries": found})
    rows = [
        (
            item["seq"],
            short_time(item["time"]),
            item["actor"],
            item["action"],
            _brief(item["subject"]),
            details_text(item["details"], _brief),
        )
        for item in found
    ]
    title = f"Audit log ({len(found)})"
    out.table(("no", "time", "who", "what", "on", "details"), rows, title, whole=("no", "time"))


@app.command("verify", epilog=VERIFY_EXAMPLES)
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An exported log; else your node's own.", metavar="[FILE]")
    ] = None,
    noted: Annotated[
        list[str] | None, typer.Option("--noted", help="An entry that you noted; repeatable.", metavar="NO:HASH")
    ] = None,
    node_id: Annotated[
        str | None, typer.Option("--id", help="The node that FILE must be of.", metavar="NODE_ID")
    ] = None,
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Check that no entry was changed, removed, inserted or moved.

    An exported FILE is checked right here, without any node.
    """
    out = Out(as_json=as_json)
    with out.working("Checking every entry"):
        found = _verify_file(file, noted or [], node_id) if file else _verify_node(node, home, noted or [])
    wrong = [item for item in (found["flaw"], *found["gaps"]) if item]
    for item in wrong:
        out.line(f"entry {item['seq']}: {item['why']}")
    if wrong:
        worst = wrong[0]
        out.fail(DamagedLog(f"The audit log is not whole: entry {worst['seq']}: {worst['why']}"), found)
    out.document(found)
    out.line(f"{out.mark(True)} {count_text(found['entries'], 'entry').replace('entrys', 'entries')}, all intact")
    if found.get("node"):
        out.line(f"of the node {found['node']} ({found['id']})")
    if found["entries"]:
        out.note(f"To find it changed by somebody who has the node's key, note: {found['entries']}:{found['hash']}")


@app.command("export", epilog=EXPORT_EXAMPLES)
def export(
    file: Annotated[Path, typer.Argument(help="A new file, for JSON lines.", metavar="FILE")],
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Write the whole log to a file that anybody can check with: p2pgrid audit verify FILE"""
    from p2pgrid.client.audit import exported

    out = Out(as_json=as_json)
    with out.working("Writing the log"):
        asyncio.run(_export(node, home, file))
    with exported(file) as (origin, rest):
        entries = sum(1 for _ in rest)
    out.document({"file": str(file), "entries": entries, "node": origin.name, "key": origin.key.hex()})
    out.line(f"{file}: {entries} entries of {origin.name}")


def read_moment(text: str, now: dt.datetime | None = None) -> dt.datetime | None:
    """A moment as people write it; without a zone it is in this machine's.  Raises ``InvalidInput``."""
    if not text:
        return None
    ago = AGO.fullmatch(text.strip())
    try:
        if ago:
            return (now or dt.datetime.now(dt.UTC)) - dt.timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return dt.datetime.fromisoformat(text.strip()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text[:60]!r} is no moment.", fix="Write 2026-11-22, 2026-11-22T18:30, or 12h.") from None


def _verify_file(file: Path, noted: list[str], node_id: str | None) -> dict[str, Any]:
    from p2pgrid.client.audit import exported
    from p2pgrid.domain.audit import read_noted
    from p2pgrid.domain.audit_lines import verify_lines
    from p2pgrid.ids import node_id as id_of

    heads = [read_noted(text) for text in noted]
    with exported(file) as (origin, rest):
        of = id_of(origin.key).hex()
        if node_id is not None and node_id.lower() != of:
            fix = "Check the id, or ask for another copy."
            raise WrongIdentity(f"The log in {file} is of the node {of}.", fix=fix)
        return {**verify_lines(origin, rest, heads).to_wire(), "node": origin.name, "id": of}


def _verify_node(node: str | None, home: Path | None, noted: list[str]) -> dict[str, Any]:
    return shapes.read(shapes.findings, asyncio.run(_call(node, home, "audit.verify", noted=noted)))


def _brief(text: str) -> str:
    """An id or a digest is shortened where a line is short; other words stay."""
    return short_id(text) if LONG_HEX.fullmatch(text) else text


async def _call(node: str | None, home: Path | None, verb: str, **args: Any) -> Any:
    from p2pgrid.client.audit import CHECK_TIMEOUT

    async with visit(own_place(node, home)) as client:
        return await client.door.call(verb, timeout=CHECK_TIMEOUT, **args)


async def _export(node: str | None, home: Path | None, file: Path) -> None:
    from p2pgrid.client.audit import export as write

    async with visit(own_place(node, home)) as client:
        await write(client.door, file)
