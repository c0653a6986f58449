"""What the node prepares for a run, and clears away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pgrid.domain.runner.confine import PRIVATE, private_places
from p2pgrid.domain.runner.launch import _remove, environment


def test_environment_holds_nothing_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_OWNER_PASSWORD", "very-secret")
    found = environment("/folder")
    assert found["HOME"] == found["TMPDIR"] == "/folder"
    assert "very-secret" not in repr(found)
    assert not {"PATH", "PYTHONPATH", "LD_PRELOAD", "USER", "SSH_AUTH_SOCK"} & set(found)


def test_folder_left_in_a_bad_state_is_removed_and_nothing_else_is_touched(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(0o755)
    (outside / "kept").write_text("kept")
    inner = tmp_path / "run" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (inner / "link").symlink_to(outside, target_is_directory=True)
    (tmp_path / "run" / "a" / "link").symlink_to(outside, target_is_directory=True)
    os.chmod(inner, 0)
    os.chmod(inner.parent, 0o500)
    _remove(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert (outside / "kept").read_text() == "kept"
    assert outside.stat().st_mode & 0o777 == 0o755


def test_homes_that_no_run_could_do_without_are_not_covered() -> None:
    kept = private_places("/", "/usr", "/usr/sbin", "/bin", "/dev/null", "relative", "")
    assert kept == PRIVATE
    assert private_places("/var/lib/p2pgrid", "/home/jane") == (*PRIVATE, "/var/lib/p2pgrid", "/home/jane")
