"""The life of an account through the command line: asked for, opened, changed, forgotten, closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

JANE = "jane@caltech.edu"
PASSWORD = {"P2PGRID_PASSWORD": "abc123"}


@pytest.fixture
def bob(shell: Any) -> str:
    """The URL of Bob's node."""
    return str(shell.json("launch", "Bob", "--detach")["url"])


def test_an_account_from_sign_up_to_deletion(shell: Any, bob: str, tmp_path: Path) -> None:
    there = ("--on", bob)
    me = (*there, "--email", JANE)
    refused = shell("accounts", "sign-up", JANE, *there, **PASSWORD)
    refused.is_one_message("P2P-0402", 1, "Nobody signs up")

    assert shell.json("settings", "set", "sign_up", "approval")["settings"]["sign_up"] == "approval"
    assert shell.json("accounts", "sign-up", JANE, "--name", "Jane Doe", *there, **PASSWORD)["sign_up"] == "approval"
    shell("accounts", "sessions", *me, **PASSWORD).is_one_message("P2P-0402", 1, "waits for a data owner")
    told = shell.json("notifications")
    assert (told["unread"], told["notifications"][0]["kind"]) == (1, "account.sign_up")
    assert "Somebody asks for an account." in shell("notifications").out
    assert "waits" in shell("accounts").out
    assert shell.json("notifications", "read", told["notifications"][0]["id"][:6]) == {"unread": 0}
    shell("notifications", "list", "--unread").is_one_message("P2P-0903", 3, "Nothing is new")

    assert shell.json("accounts", "activate", JANE)["account"]["active"]
    [session] = shell.json("accounts", "sessions", *me, **PASSWORD)["sessions"]
    assert (session["how"], session["this"]) == ("auth.login", True)
    changed = shell.json("accounts", "update", "--website", "jane.example", "--no-mail", *me, **PASSWORD)["account"]
    assert (changed["website"], changed["mail"]) == ("https://jane.example", False)
    changed = shell.json("accounts", "update", JANE, "--institution", "Caltech")["account"]
    assert (changed["website"], changed["institution"]) == ("https://jane.example", "Caltech")
    shell("accounts", "--on", bob).is_one_message("P2P-0703", 1, "--email")
    assert shell.json("accounts", "role", JANE, "data owner")["account"]["role"] == "data owner"
    assert len(shell.json("accounts", *me, **PASSWORD)["accounts"]) == 2

    new = {"P2PGRID_NEW_PASSWORD": "better password"}
    shell.json("accounts", "password", *me, **PASSWORD, **new)
    shell("accounts", "sessions", *me, **PASSWORD).is_one_message("P2P-0403", 1)
    code = shell.json("accounts", "reset", JANE)["code"]
    again = {"P2PGRID_PASSWORD": code, "P2PGRID_NEW_PASSWORD": "another password"}
    assert shell.json("accounts", "password", "--code", *me, **again) == {"email": JANE, "changed": True}
    now = {"P2PGRID_PASSWORD": "another password"}
    assert shell.json("accounts", "set-email", "jane@mit.edu", *me, **now)["account"]["email"] == "jane@mit.edu"
    mine = (*there, "--email", "jane@mit.edu")
    file = tmp_path / "jane.key"
    shell.json("accounts", "set-key", str(file), *mine, **now)
    assert file.stat().st_mode & 0o777 == 0o600
    by_key = {"P2PGRID_KEY_FILE": str(file)}
    assert {one["how"] for one in shell.json("accounts", "sessions", *mine, **by_key)["sessions"]} == {"auth.key"}
    shell("accounts", "sessions", *there, "--email", "info@openmined.org", **by_key).is_one_message("P2P-0403", 1)
    shell.json("accounts", "set-key", "--remove", *mine, **now, **by_key)
    shell("accounts", "sessions", *mine, **by_key).is_one_message("P2P-0403", 1)
    file.chmod(0o644)
    shell("accounts", "sessions", *mine, **by_key).is_one_message("P2P-0021", 1, "chmod 600")
    assert shell.json("accounts", "logout", *mine, **now) == {"ended": 1}

    assert not shell.json("accounts", "deactivate", "jane@mit.edu")["account"]["active"]
    shell.json("accounts", "activate", "jane@mit.edu")
    assert shell.json("accounts", "delete", "jane@mit.edu", "--yes", *mine, **now)["deleted"]
    assert len(shell.json("accounts")["accounts"]) == 1
    entries = shell.json("audit", "--limit", "100")["entries"]
    assert {"account.sign_up", "settings.set", "account.role", "account.delete"} <= {one["action"] for one in entries}
    assert not any(secret in str(entries) for secret in (code, "abc123", "another password"))


def test_wrong_uses_say_what_is_missing(shell: Any, bob: str) -> None:
    for words in (
        ("accounts", "password"),
        ("accounts", "set-email", "new@x"),
        ("accounts", "set-key"),
        ("accounts", "set-key", "a.key"),
        ("accounts", "set-key", "a.key", "--remove", "--email", JANE),
        ("accounts", "update"),
        ("accounts", "sign-up", JANE),
        ("accounts", "delete", JANE),
        ("notifications", "read"),
        ("notifications", "read", "ffff", "--all"),
    ):
        shell(*words, **PASSWORD).is_one_message("P2P-0900", 2)
    shell("accounts", "logout", "--session", "zzzz").is_one_message("P2P-0400", 3, "p2pgrid accounts sessions")
    shell("notifications", "read", "zz").is_one_message("P2P-0400", 3, "p2pgrid notifications list")
    shell("settings", "set", "sign_up", "maybe").is_one_message("P2P-0002", 2, "closed, approval, open")
    shell("accounts", "role", JANE, "king").is_one_message("P2P-0002", 2, "data scientist")
    shell("accounts", "deactivate", JANE).is_one_message("P2P-0400", 3)
    shell("accounts", "deactivate", "info@openmined.org").is_one_message("P2P-0401", 1, "last admin")
    assert "Settings" in shell("settings").out


def test_one_of_several_sessions_is_ended(shell: Any, bob: str) -> None:
    [session] = shell.json("accounts", "sessions")["sessions"]
    gone = shell("accounts", "logout", "--session", session["id"])
    gone.is_one_message("P2P-0400", 3, "No sessions")  # it ended with its command
    assert "auth.key" in shell("accounts", "sessions").out


def test_a_code_comes_with_the_command_that_takes_it(shell: Any, bob: str) -> None:
    shell.json("accounts", "add", JANE, **PASSWORD)
    done = shell("accounts", "reset", JANE)
    assert done.err.splitlines()[-1] == f"p2pgrid accounts password --code --on {bob} --email {JANE}"
    shell.json("accounts", "sessions", "--on", bob, "--email", JANE, **PASSWORD)
