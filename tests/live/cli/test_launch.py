"""Launching, finding and landing real processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import psutil
import pytest


def read_line(process: Any) -> str:
    return str(process.stdout.readline())


def ends(process: psutil.Process) -> bool:
    """Whether a process that is not our child ends soon (nobody may have collected it yet)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_in_the_foreground_until_a_signal(shell: Any) -> None:
    process = shell.start("launch", "Bob", "--json")
    lines = ""
    while not lines.endswith("}\n"):
        lines += read_line(process)
    about = json.loads(lines)
    assert shell("check", "Bob", "--wait").code == 0
    assert shell.json("id")["url"] == about["url"]

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "is landing" in err
    assert "Traceback" not in err
    assert shell.json("id")["running"] is False


def test_log_lines_as_json(shell: Any) -> None:
    process = shell.start("launch", "Bob", "--log-json", "--json")
    assert shell("check", "Bob", "--wait", "--silent").code == 0
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert {json.loads(line)["logger"] for line in err.splitlines()} == {"p2pgrid.node"}


def test_in_the_background_healthy_when_it_returns(shell: Any) -> None:
    about = shell.json("launch", "Bob", "--detach")
    process = psutil.Process(about["pid"])

    assert shell("check", "Bob").code == 0
    [disk] = [row for row in shell("check", "Bob", "--json").document["nodes"][0]["checks"] if row["what"] == "disk"]
    assert disk["ok"]
    assert disk["info"].endswith(" GB free")
    assert os.getsid(about["pid"]) == about["pid"]
    assert stat.S_IMODE(Path(about["log"]).stat().st_mode) == 0o600
    assert "is up at" in Path(about["log"]).read_text()
    assert shell.json("land", "Bob") == {"landed": ["Bob"]}
    assert ends(process)
    assert list((shell.base / "Bob").glob("run.json")) == []


def test_the_same_node_again_with_its_settings(shell: Any) -> None:
    first = shell.json("launch", "Bob", "--detach", "--owner-email", "bob@example.org")
    shell.json("land", "all")
    again = shell.json("launch", "Bob", "--detach")
    assert again["id"] == first["id"]
    assert shell.json("accounts")["accounts"][0]["email"] == "bob@example.org"
    shell.json("land", "all")

    new = shell.json("launch", "Bob", "--detach", "--reset")
    assert new["id"] != first["id"]
    assert shell.json("accounts")["accounts"][0]["email"] == "info@openmined.org"


@pytest.mark.parametrize("way", ["environment", "file", "standard input"])
def test_the_owners_password_never_stands_in_a_command_line(shell: Any, tmp_path: Path, way: str) -> None:
    password = "correct horse battery"
    (tmp_path / "password").write_text(password + "\n")
    words, stdin, environment = {
        "environment": ([], "", {"P2PGRID_OWNER_PASSWORD": password}),
        "file": (["--owner-password-file", str(tmp_path / "password")], "", {}),
        "standard input": (["--owner-password-file", "-"], password + "\n", {}),
    }[way]
    done = shell("launch", "Bob", "--detach", "--json", *words, stdin=stdin, **environment)
    assert done.code == 0, done

    assert password not in " ".join(psutil.Process(done.document["pid"]).cmdline())
    assert password not in (shell.base / "Bob" / "config.toml").read_text()
    login = ("accounts", "--json")
    assert shell(*login).code == 0
    owner = ("requests", "--on", done.document["url"], "--email", "info@openmined.org")
    assert shell(*owner, P2PGRID_PASSWORD=password).code == 3
    shell(*owner, P2PGRID_PASSWORD="changethis").is_one_message("P2P-0403", 1)


def test_a_killed_node_is_seen_and_launched_again(shell: Any) -> None:
    about = shell.json("launch", "Bob", "--detach")
    process = psutil.Process(about["pid"])
    process.send_signal(signal.SIGKILL)
    assert ends(process)
    seen = shell("check", "--json")
    assert seen.code == 4
    assert seen.document["nodes"][0]["checks"][0]["info"] == "not running. Start it with: p2pgrid launch Bob"
    shell("land", "Bob").is_one_message("P2P-0023", 3, "is not running")
    (shell.base / "Bob" / "config.toml").unlink()  # as if a script had started it
    info = shell("check", "Bob", "--json").document["nodes"][0]["checks"][0]["info"]
    assert info == "not running. Start it as before."
    assert shell.json("launch", "Bob", "--detach")["id"] == about["id"]


def test_waiting_for_a_node_that_is_still_to_come(shell: Any) -> None:
    waiting = shell.start("check", "--wait", "--silent", "--timeout", "50")
    shell.json("launch", "Bob", "--detach")

    assert waiting.communicate(timeout=60) == ("", "")
    assert waiting.returncode == 0


def test_no_node_at_all(shell: Any) -> None:
    shell("check").is_one_message("P2P-0023", 3, "p2pgrid launch")
    shell("land", "all").is_one_message("P2P-0023", 3)
    shell("id").is_one_message("P2P-0023", 3)


def test_a_gateway_that_is_joined_searched_and_landed(shell: Any) -> None:
    gateway = shell.json("launch", "Gate", "gateway", "--port", "0", "--detach")
    shell.json("launch", "Bob", "--detach", "--gateway", gateway["url"])
    shell.json("publish", "sklearn:diabetes", "--node", "Bob", "--mock", "none")
    deadline = time.monotonic() + 20
    while shell("search", "medical", "--gateway", gateway["url"]).code == 3 and time.monotonic() < deadline:
        pass

    bare = gateway["url"].removeprefix("http://")
    assert len(shell.json("search", "medical", "--gateway", bare)["results"]) == 1
    found = shell.json("search", "medical", "diabetes", "--gateway", gateway["url"], "--details")["results"]
    assert [item["node"] for item in found] == ["Bob"]
    assert found[0]["datasets"][0]["name"] == "diabetes"
    assert len(shell.json("search", "nope", "diabetes", "--any", "--gateway", gateway["url"])["results"]) == 1
    assert shell("search", "nope", "diabetes", "--gateway", gateway["url"]).code == 3
    assert shell("check", "Gate").code == 0
    assert "knows 1 node " in shell("check", "all").out
    shell("requests", "--node", "Gate").is_one_message("P2P-0023", 3, "gateway")
    assert shell.json("land", "all")["landed"] == ["Bob", "Gate"]
    assert shell.json("launch", "Gate", "--detach")["kind"] == "gateway"


def test_a_reader_that_goes_away_leaves_no_noise(shell: Any) -> None:
    process = shell.start("--help")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(30)

    assert err == ""
