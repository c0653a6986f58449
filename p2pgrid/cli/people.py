"""``p2pgrid accounts``: who may come in."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, short_time
from p2pgrid.cli.where import Target, ask_password, login_as, own_place, visit_target
from p2pgrid.errors import NothingFound

LIST_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts --node Bob", "p2pgrid accounts --on http://192.0.2.7:8080 --email ann@caltech.edu"
)
ADD_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts add jane@caltech.edu --name 'Jane Doe' --generate",
    "P2PGRID_PASSWORD=... p2pgrid accounts add jane@caltech.edu --role guest",
)
GENERATED_BYTES: Final = 15

app = typer.Typer(
    cls=Listing,
    help="Accounts: list those of your node (the default), add, change, close; your own.",
    epilog=LIST_EXAMPLES,
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the accounts of a node."""
    raw = asyncio.run(_call(Target(node, on, login_as(email), home), "account.list"))
    found = shapes.read_list(shapes.account, raw)
    out = Out(as_json=as_json)
    if not found:
        out.fail(NothingFound("The node names no account.", fix="Ask its owner."), {"accounts": []})
    out.document({"accounts": found})
    rows = [
        (
            *(item[name] for name in ("email", "name", "role", "institution")),
            short_time(item["created_at"]),
            _shut(item),
        )
        for item in found
    ]
    title = f"Accounts ({len(found)})"
    out.table(("e-mail", "name", "role", "institution", "since", "state"), rows, title, whole=("role", "since"))


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
    target = Target(own_place(node, home).label, None, None, home)
    password = (
        secrets.token_urlsafe(GENERATED_BYTES) if generate else ask_password(f"Password for {email}", confirm=True)
    )
    details = {"email": email, "name": name or email.split("@")[0], "role": role, "password": password}
    raw = asyncio.run(_call(target, "account.register", **details, institution=institution, website=website))
    account = shapes.read(shapes.account, raw)
    shown = {"password": password} if generate else {}
    out = Out(as_json=as_json)
    out.document({"account": account, **shown})
    out.pairs({**account, **shown}, "account")
    if generate:
        out.note("The password is shown this once and kept nowhere: hand it over by a safe way.")


def _shut(item: dict[str, Any]) -> str:
    return "" if item["active"] else "closed" if item["last_login"] else "waits"


async def _call(target: Target, verb: str, **args: Any) -> Any:
    async with visit_target(target) as client:
        return await client.door.call(verb, **args)
