"""The rest of ``p2pgrid accounts``: changing and closing accounts, one's own login, sessions."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import people, shapes
from p2pgrid.cli.output import Out, count_text, short_id, short_time
from p2pgrid.cli.where import (
    KEY_VARIABLE,
    Target,
    address,
    ask_password,
    awaited,
    login_as,
    typed_password,
    visit_target,
)
from p2pgrid.errors import NotFound, NothingFound, WrongUse

NEW_PASSWORD_VARIABLE: Final = "P2PGRID_NEW_PASSWORD"  # noqa: S105 - its name, not its value

app: Final = people.app
UPDATE_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts update --on http://192.0.2.7:8080 --email jane@caltech.edu --website https://jane.example",
    "p2pgrid accounts update jane@caltech.edu --institution Caltech --node Bob",
)
ROLE_EXAMPLES: Final = opt.examples("p2pgrid accounts role jane@caltech.edu 'data owner' --node Bob")
CLOSE_EXAMPLES: Final = opt.examples("p2pgrid accounts deactivate jane@caltech.edu --node Bob")
OPEN_EXAMPLES: Final = opt.examples("p2pgrid accounts activate jane@caltech.edu --node Bob")
DELETE_EXAMPLES: Final = opt.examples("p2pgrid accounts delete jane@caltech.edu --yes --node Bob")
RESET_EXAMPLES: Final = opt.examples("p2pgrid accounts reset jane@caltech.edu --node Bob")
PASSWORD_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts password --on http://192.0.2.7:8080 --email jane@caltech.edu",
    "p2pgrid accounts password --on http://192.0.2.7:8080 --email jane@caltech.edu --code",
)
EMAIL_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts set-email jane@mit.edu --on http://192.0.2.7:8080 --email jane@caltech.edu"
)
KEY_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts set-key ~/jane.key --on http://192.0.2.7:8080 --email jane@caltech.edu",
    "p2pgrid accounts set-key --remove --on http://192.0.2.7:8080 --email jane@caltech.edu",
)
SIGN_UP_EXAMPLES: Final = opt.examples("p2pgrid accounts sign-up jane@caltech.edu --on http://192.0.2.7:8080")
SESSIONS_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts sessions --node Bob", "p2pgrid accounts sessions jane@caltech.edu --node Bob"
)
LOGOUT_EXAMPLES: Final = opt.examples(
    "p2pgrid accounts logout --session 3f2a --node Bob",
    "p2pgrid accounts logout jane@caltech.edu --node Bob",
)

Whose = Annotated[
    str | None, typer.Argument(metavar="[EMAIL]", help="Whose account; your own without.", show_default=False)
]
Theirs = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's e-mail.")]


@app.command("update", epilog=UPDATE_EXAMPLES)
def update(
    account: Whose = None,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    institution: Annotated[str | None, typer.Option(help="Where they work.")] = None,
    website: Annotated[str | None, typer.Option(help="Their page.")] = None,
    mail: Annotated[bool | None, typer.Option("--mail/--no-mail", help="Notifications as e-mails too.")] = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Change what an account says of its person, and whether it gets e-mails."""
    new = {"name": name, "institution": institution, "website": website, "mail": mail}
    if all(value is None for value in new.values()):
        raise WrongUse("Nothing to change was given.", fix="Look at: p2pgrid accounts update --help")
    _changed("account.update", Target(node, on, login_as(email), home), as_json, account=account, **new)


@app.command("role", epilog=ROLE_EXAMPLES)
def role(
    account: Theirs,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="guest, data scientist, data owner or admin.")],
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Give somebody another role, from now on."""
    _changed("account.set_role", Target(node, on, login_as(email), home), as_json, account=account, role=role)


@app.command("activate", epilog=OPEN_EXAMPLES)
def activate(
    account: Theirs,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Let somebody in who signed up, or whose account was closed."""
    _changed("account.activate", Target(node, on, login_as(email), home), as_json, account=account)


@app.command("deactivate", epilog=CLOSE_EXAMPLES)
def deactivate(
    account: Theirs,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Log somebody out and let them in no more; their requests stay as they are."""
    _changed("account.deactivate", Target(node, on, login_as(email), home), as_json, account=account)


@app.command("delete", epilog=DELETE_EXAMPLES)
def delete(
    account: Theirs,
    yes: opt.Yes = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Delete an account for good; requests that wait are denied, results that were released stay.

    Your own needs your password, which --email asks for.
    """
    opt.be_sure(f"Delete the account {account} for good?", yes=yes, as_json=as_json)
    login = login_as(email, by_password=True)
    password = login.password if login else None
    done = asyncio.run(_call(Target(node, on, login, home), "account.delete", account=account, password=password))
    out = Out(as_json=as_json)
    out.document({"deleted": shapes.read(lambda raw: str(raw["id"]), done)})
    out.line(f"The account {account} is deleted.")


@app.command("reset", epilog=RESET_EXAMPLES)
def reset(
    account: Theirs,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Make a code with which somebody who forgot their password chooses a new one, once."""
    target = Target(node, on, login_as(email), home)
    done = asyncio.run(_call(target, "account.reset", account=account))
    shown = shapes.read(lambda raw: {"email": str(raw["email"]), "code": str(raw["code"]), "hours": raw["hours"]}, done)
    out = Out(as_json=as_json)
    out.document(shown)
    out.pairs(shown, "reset")
    out.note("The code is shown this once: hand it over by a safe way. They then say:")
    theirs = f"--on {address(target)} --email {shlex.quote(shown['email'])}"
    out.note(f"p2pgrid accounts password --code {theirs}")


@app.command("password", epilog=PASSWORD_EXAMPLES)
def password(
    code: Annotated[
        bool, typer.Option("--code", help="With a code from the data owner, instead of the old one.")
    ] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Choose a new password; all other sessions of the account end.

    The old one, or the code, is asked for or $P2PGRID_PASSWORD; the new one is asked for or $P2PGRID_NEW_PASSWORD.
    """
    if not email:
        raise WrongUse("Whose password?", fix="Say it with --email EMAIL.")
    old = ask_password(f"Code for {email}" if code else f"Password of {email}")
    new = os.environ.get(NEW_PASSWORD_VARIABLE) or typed_password("New password", confirm=True)
    target = Target(node, on, None, home)
    asyncio.run(_redeem(target, email, old, new) if code else _set_password(target, email, old, new))
    out = Out(as_json=as_json)
    out.document({"email": email, "changed": True})
    out.line(f"The password of {email} is changed.")


@app.command("set-email", epilog=EMAIL_EXAMPLES)
def set_email(
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new e-mail address.")],
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Change the e-mail that you log in with."""
    login = login_as(email, by_password=True)
    if login is None:
        raise WrongUse("Whose e-mail?", fix="Log in with --email EMAIL.")
    _changed("account.set_email", Target(node, on, login, home), as_json, email=new, password=login.password)


@app.command("set-key", epilog=KEY_EXAMPLES)
def set_key(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The key file; made when it is not there.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="No key may log in any more.")] = False,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Let a key log in to your account in place of the password: name its file in $P2PGRID_KEY_FILE."""
    if (file is None) is not remove:
        raise WrongUse("Which key?", fix="Give either the path of a key file, or --remove.")
    login = login_as(email, by_password=True)
    if login is None:
        raise WrongUse("Whose key?", fix="Log in with --email EMAIL.")
    from p2pgrid.client.keys import key_path

    file = key_path(file) if file else None
    asyncio.run(_set_key(Target(node, on, login, home), file, login.password or ""))
    out = Out(as_json=as_json)
    out.document({"email": login.email, "key_file": None if file is None else str(file)})
    if file is None:
        out.line(f"No key logs in to the account {login.email} any more.")
        return
    out.line(f"The key in {file} logs in to the account {login.email}.")
    out.note(f"Use it with --email {login.email} and: export {KEY_VARIABLE}={shlex.quote(str(file))}")


@app.command("sign-up", epilog=SIGN_UP_EXAMPLES)
def sign_up(
    account: Annotated[str, typer.Argument(metavar="EMAIL", help="Your e-mail address.")],
    name: Annotated[str | None, typer.Option(help="Your name; else the e-mail's beginning.")] = None,
    institution: Annotated[str, typer.Option(help="Where you work.")] = "",
    website: Annotated[str, typer.Option(help="Your page.")] = "",
    on: opt.On = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Ask for an account at somebody's node, if its owner lets strangers.

    The password is asked for, or taken from $P2PGRID_PASSWORD.
    """
    if not on:
        raise WrongUse("At which node?", fix="Say it with --on NODE.")
    secret = ask_password(f"Password for {account}", confirm=True)
    fields = {"email": account, "name": name or account.split("@")[0], "institution": institution, "website": website}
    done = asyncio.run(_sign_up(on, home, {**fields, "password": secret}))
    out = Out(as_json=as_json)
    out.document(done)
    out.line(done["text"])


@app.command("sessions", epilog=SESSIONS_EXAMPLES)
def sessions(
    account: Whose = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """List where an account is logged in."""
    raw = asyncio.run(_call(Target(node, on, login_as(email), home), "session.list", account=account))
    found = shapes.read_list(shapes.session, raw)
    out = Out(as_json=as_json)
    if not found:
        out.fail(NothingFound("The account is logged in nowhere.", fix="Nothing to do."), {"sessions": []})
    out.document({"sessions": found})
    rows = [
        (
            short_id(one["id"]),
            one["how"],
            one["remote"],
            short_time(one["since"]),
            short_time(one["last_seen"]),
            here(one),
        )
        for one in found
    ]
    columns = ("id", "by", "from", "since", "last seen", "")
    out.table(columns, rows, f"Sessions ({len(found)})", whole=("id", "since", "last seen"))


@app.command("logout", epilog=LOGOUT_EXAMPLES)
def logout(
    account: Whose = None,
    session: Annotated[
        str | None, typer.Option("--session", help="Only this one: its id, or the beginning of it.", metavar="ID")
    ] = None,
    node: opt.Node = None,
    on: opt.On = None,
    email: opt.Email = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Log an account out everywhere, or end one of its sessions."""
    done = asyncio.run(_log_out(Target(node, on, login_as(email), home), account, session))
    out = Out(as_json=as_json)
    out.document({"ended": done})
    out.line(f"{count_text(done, 'session')} ended.")


def here(session: dict[str, Any]) -> str:
    """Which of the sessions is the one that asks."""
    return "this one" if session["this"] else ""


def _changed(verb: str, target: Target, as_json: bool, **args: Any) -> None:
    account = shapes.read(shapes.account, asyncio.run(_call(target, verb, **args)))
    out = Out(as_json=as_json)
    out.document({"account": account})
    out.pairs(account, "account")


async def _call(target: Target, verb: str, **args: Any) -> Any:
    async with visit_target(target) as client:
        return await client.door.call(verb, **args)


async def _set_password(target: Target, email: str, old: str, new: str) -> None:
    async with visit_target(target) as client:
        await client.door.call("auth.login", email=email, password=old)
        await client.door.call("account.set_password", old=old, new=new)


async def _set_key(target: Target, file: Path | None, password: str) -> None:
    async with visit_target(target) as client:
        await awaited(client.set_key(file, password=password))


async def _redeem(target: Target, email: str, code: str, new: str) -> None:
    await _call(target, "auth.redeem", email=email, code=code, password=new)


async def _sign_up(on: str, home: Path | None, fields: dict[str, str]) -> dict[str, str]:
    from p2pgrid.client.people import signed_up

    answer = await _call(Target(None, on, None, home), "account.sign_up", **fields)
    how = shapes.read(lambda raw: str(raw["sign_up"]), answer)
    return {"email": fields["email"], "sign_up": how, "text": signed_up(how)}


async def _log_out(target: Target, account: str | None, session: str | None) -> int:
    async with visit_target(target) as client:
        if session is None:
            done = await client.door.call("session.end_all", account=account)
            return shapes.read(lambda raw: int(raw["ended"]), done)
        found = shapes.read_list(shapes.session, await client.door.call("session.list", account=account))
        ids = [one["id"] for one in found if one["id"].startswith(session)]
        if not ids:
            fix = "List them: p2pgrid accounts sessions"
            raise NotFound(f"No sessions have an id that starts with {session[:40]!r}.", fix=fix)
        if len(ids) > 1:
            cause = f"{len(ids)} sessions have an id that starts with {session[:40]!r}."
            raise WrongUse(cause, fix="Give more of the id.")
        await client.door.call("session.end", id=ids[0])
        return 1
