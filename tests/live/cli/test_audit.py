"""The audit log from a shell: shown, exported, checked away from the node, and found out when it was changed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bob(grid: Any) -> Any:
    wrong = grid(
        "requests", "list", "--on", "Bob", "--email", "sheldon@caltech.edu", P2PGRID_PASSWORD="not the password"
    )
    assert wrong.code == 1, wrong
    np.save(grid.base.parent / "ages.npy", np.arange(20, 60))
    grid.json("publish", str(grid.base.parent / "ages.npy"), "--node", "Bob")
    return grid.json("id", "--node", "Bob")


def test_entries_are_filtered(grid: Any, bob: Any) -> None:
    assert grid("audit", "--node", "Bob").code == 0
    failed = grid.json("audit", "show", "--action", "auth.failed", "--since", "1h", "--node", "Bob")["entries"]
    assert [(entry["actor"], entry["action"]) for entry in failed] == [("guest", "auth.failed")]
    settings = grid.json("audit", "--actor", "node", "--action", "node.settings", "--node", "Bob")["entries"]
    assert settings[0]["details"]["allow_unsandboxed"] is False
    grid("audit", "--until", "2001-01-01", "--node", "Bob").is_one_message("P2P-0903", 3, "no such entry")
    grid("audit", "--since", "noon", "--node", "Bob").is_one_message("P2P-0002", 2, "noon")


def test_the_nodes_own_log_is_checked(grid: Any, bob: Any) -> None:
    found = grid.json("audit", "verify", "--node", "Bob")
    assert found["intact"]
    assert found["entries"] > 4
    said = grid("audit", "verify", "--node", "Bob", "--noted", f"{found['entries']}:{found['hash']}")
    assert said.code == 0
    assert "all intact" in said.out
    wrong = grid("audit", "verify", "--node", "Bob", "--noted", f"2:{found['hash']}", "--json")
    assert wrong.code == 1
    assert wrong.document["flaw"]["seq"] == 2
    assert wrong.document["error"]["code"] == "P2P-0420"


def test_an_exported_log_is_checked_by_somebody_else(grid: Any, bob: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    done = grid.json("audit", "export", str(file), "--node", "Bob")
    found = grid.json("audit", "verify", str(file), "--id", bob["id"])
    assert (found["intact"], found["entries"], found["id"]) == (True, done["entries"], bob["id"])
    grid("audit", "export", str(file), "--node", "Bob").is_one_message("P2P-0002", 2, "already")
    grid("audit", "verify", str(file), "--id", "0" * 40).is_one_message("P2P-0108", 1, bob["id"])

    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    removed = grid("audit", "verify", str(file))
    assert removed.code == 1
    assert "entry 3: it is missing" in removed.out
    file.write_text("\n".join(lines[:-1]) + "\n")
    assert grid("audit", "verify", str(file), "--json").document["flaw"]["seq"] == done["entries"]
    changed = json.loads(lines[2])
    file.write_text("\n".join([*lines[:2], json.dumps({**changed, "actor": "mallory"}), *lines[3:]]))
    assert "readable part" in grid("audit", "verify", str(file)).out
    (tmp_path / "empty").write_text("")
    grid("audit", "verify", str(tmp_path / "empty")).is_one_message("P2P-0101", 1, "audit export")
    grid("audit", "verify", str(tmp_path / "gone")).is_one_message("P2P-0002", 2, "gone")


def test_entries_cut_off_the_database_are_named(grid: Any, bob: Any) -> None:
    grid.json("launch", "Cut", "--detach")
    assert grid.json("audit", "verify", "--node", "Cut")["intact"]
    grid.json("land", "Cut")
    with sqlite3.connect(grid.base / "Cut" / "domain.sqlite") as database:
        database.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    grid.json("launch", "Cut", "--detach")
    done = grid("audit", "verify", "--node", "Cut")
    assert done.code == 1
    assert "were cut off" in done.out
    grid.json("land", "Cut")
