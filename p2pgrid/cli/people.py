"""``p2pgrid accounts`` and ``audit``: who may come in, and what was done."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, short_id, short_time
from p2pgrid.cli.where import ask_password, own_place, visit

LIST_EXAMPLES: Final = opt.examples("p2pgrid accounts --node Bob")
ADD_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts add jane@caltech.edu --name 'Jane Doe' --generate",
    "P2PGRID_PASSWORD=... p2pgrid accounts add jane@caltech.edu --role guest",
)
AUDIT_EXAMPLES: Final = opt.examples("p2pgrid audit --node Bob --limit 20")
GENERATED_BYTES: Final = 15
LONG_HEX: Final = re.compile(r"[0-9a-f]{32,}")

app = typer.Typer(cls=Listing, help="Accounts at your node: list (the default), add.", epilog=LIST_EXAMPLES)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(node: opt.Node = None, home: opt.HomeFolder = None, as_json: opt.Json = False) -> None:
    """List the accounts of your node."""
    found = shapes.read_list(shapes.account, asyncio.run(_call(node, home, "account.list")))
    out = Out(as_json=as_json)
    out.document({"accounts": found})
    rows = [
        (item["email"], item["name"], item["role"], item["institution"], short_time(item["created_at"]))
        for item in found
    ]
    title = f"Accounts ({len(found)})"
    out.table(("e-mail", "name", "role", "institution", "since"), rows, title, whole=("role", "since"))


@app.command("add", epilog=ADD_EXAMPLES)
def add(
    email: Annotated[str, typer.Argument(help="Their e-mail address: what they log in with.", metavar="EMAIL")],
    name: Annotated[str | None, typer.Option(help="Their name; else the e-mail's beginning.")] = None,
    role: Annotated[str, typer.Option(help="data scientist, data owner, admin or guest.")] = "data scientist",
    institution: Annotated[str, typer.Option(help="Where they work.")] = "",
    website: Annotated[str, typer.Option(help="Their page.")] = "",
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it, once.")] = False,
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Register somebody at your node.

    The password is asked for, or taken from $P2PGRID_PASSWORD, or made with --generate.
    """
    place = own_place(node, home)
    password = (
        secrets.token_urlsafe(GENERATED_BYTES) if generate else ask_password(f"Password for {email}", confirm=True)
    )
    details = {"email": email, "name": name or email.split("@")[0], "role": role, "password": password}
    raw = asyncio.run(_call(place.label, home, "account.register", **details, institution=institution, website=website))
    account = shapes.read(shapes.account, raw)
    shown = {"password": password} if generate else {}
    out = Out(as_json=as_json)
    out.document({"account": account, **shown})
    out.pairs({**account, **shown}, "account")
    if generate:
        out.note("The password is shown this once and kept nowhere: hand it over by a safe way.")


def audit(
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="Newest entries, at most.")] = 50,
    before: Annotated[int | None, typer.Option(min=0, help="Only entries before this number.")] = None,
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Show your node's audit log: logins, verdicts, runs, reads."""
    more = {} if before is None else {"before": before}
    found = shapes.read_list(shapes.entry, asyncio.run(_call(node, home, "audit.list", limit=limit, **more)))
    out = Out(as_json=as_json)
    out.document({"entries": found})
    rows = [
        (item["seq"], short_time(item["time"]), item["actor"], item["action"], _brief(item["subject"]), _words(item))
        for item in found
    ]
    title = f"Audit log ({len(found)})"
    out.table(("no", "time", "who", "what", "on", "details"), rows, title, whole=("no", "time"))


def _words(item: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_brief(shapes.text(value)[:80])}" for key, value in item["details"].items())


def _brief(text: str) -> str:
    """An id or a digest is shortened where a line is short; other words stay."""
    return short_id(text) if LONG_HEX.fullmatch(text) else text


async def _call(node: str | None, home: Path | None, verb: str, **args: Any) -> Any:
    async with visit(own_place(node, home)) as client:
        return await client.door.call(verb, **args)
