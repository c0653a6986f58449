"""``p2pgrid notifications`` and ``p2pgrid settings``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out, short_id, short_time
from p2pgrid.cli.where import Target, login_as, visit_target
from p2pgrid.errors import NotFound, NothingFound, WrongUse

LIST_EXAMPLES: Final = opt.examples(
    "p2pgrid notifications --node Bob",
    "p2pgrid notifications list --unread --on http://192.0.2.7:8080 --email jane@caltech.edu",
)
READ_EXAMPLES: Final = opt.examples("p2pgrid notifications read 3f2a --node Bob", "p2pgrid notifications read --all")
SETTINGS_EXAMPLES: Final = opt.examples("p2pgrid settings --node Bob")
SET_EXAMPLES: Final = opt.examples(
    "p2pgrid settings set sign_up approval --node Bob", "p2pgrid settings set guests nothing --node Bob"
)

notifications = typer.Typer(
    cls=Listing, help="What you were told at a node: list (the default), read.", epilog=LIST_EXAMPLES
)
settings = typer.Typer(
    cls=Listing, help="What an owner may change while a node runs: list (the default), set.", epilog=SETTINGS_EXAMPLES
)


@notifications.command("list", epilog=LIST_EXAMPLES)
def list_(
    unread: Annotated[bool, typer.Option("--unread", help="Only those that are new.")] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List what you were told, newest first, and how much of it is new."""
    count, found = asyncio.run(_list(Target(node, on, login_as(email), home), unread))
    out = Out(as_json=as_json)
    if not found:
        what = "Nothing is new." if unread else "There are no notifications."
        out.fail(NothingFound(what, fix="Nothing to do."), {"unread": count, "notifications": []})
    out.document({"unread": count, "notifications": found})
    rows = [
        (short_id(one["id"]), short_time(one["created_at"]), one["text"], short_id(one["subject"]), new(one))
        for one in found
    ]
    columns = ("id", "at", "what", "on", "")
    out.table(columns, rows, f"Notifications ({count} new)", whole=("id", "at", "on"))


@notifications.command("read", epilog=READ_EXAMPLES)
def read(
    notification: Annotated[
        str | None, typer.Argument(metavar="[NOTIFICATION]", help="Its id, or the beginning of it.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Mark as read."""
    if all_ == bool(notification):
        raise WrongUse("Name one notification, or say --all.", fix="Look at: p2pgrid notifications read --help")
    left = asyncio.run(_mark(Target(node, on, login_as(email), home), notification))
    out = Out(as_json=as_json)
    out.document({"unread": left})
    out.line(f"{left} still new.")


@settings.command("list", epilog=SETTINGS_EXAMPLES)
def list_settings(
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List the settings of your node that hold from now on when changed."""
    _show(asyncio.run(_call(Target(node, on, login_as(email), home), "settings.get")), as_json)


@settings.command("set", epilog=SET_EXAMPLES)
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="sign_up, guests, session_hours or idle_hours.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Change one setting; the audit log keeps who did and what it was before.

    sign_up: closed, approval or open. guests: nothing, metadata or mocks. The others are numbers of hours.
    """
    _show(asyncio.run(_call(Target(node, on, login_as(email), home), "settings.set", name=name, value=value)), as_json)


def new(notification: dict[str, Any]) -> str:
    """The mark of what nobody read yet."""
    return "" if notification["read"] else "new"


def _show(raw: Any, as_json: bool) -> None:
    found = shapes.read(lambda raw: {str(name): value for name, value in raw.items()}, raw)
    out = Out(as_json=as_json)
    out.document({"settings": found})
    out.table(("setting", "value"), list(found.items()), "Settings")


async def _call(target: Target, verb: str, **args: Any) -> Any:
    async with visit_target(target) as client:
        return await client.door.call(verb, **args)


async def _list(target: Target, unread: bool) -> tuple[int, list[dict[str, Any]]]:
    raw = await _call(target, "notification.list", unread=unread)
    found = shapes.read(lambda raw: (int(raw["unread"]), raw["notifications"]), raw)
    return found[0], shapes.read_list(shapes.notification, found[1])


async def _mark(target: Target, notification: str | None) -> int:
    async with visit_target(target) as client:
        ids = None
        if notification is not None:
            raw = (await client.door.call("notification.list", limit=1000))["notifications"]
            found = [one["id"] for one in shapes.read_list(shapes.notification, raw)]
            ids = [one for one in found if one.startswith(notification)]
            if not ids:
                fix = "List them: p2pgrid notifications list"
                raise NotFound(f"No notifications have an id that starts with {notification[:40]!r}.", fix=fix)
            if len(ids) > 1:
                cause = f"{len(ids)} notifications have an id that starts with {notification[:40]!r}."
                raise WrongUse(cause, fix="Give more of the id.")
        return shapes.read(lambda raw: int(raw["unread"]), await client.door.call("notification.read", ids=ids))
