"""What a run may see, and how that is told to bubblewrap."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from p2pgrid.domain.runner.jail import PACKAGE, environment, in_namespaces, interpreter, refuse_seen
from p2pgrid.errors import InvalidInput, LocalError


def test_environment_holds_nothing_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_OWNER_PASSWORD", "very-secret")
    found = environment()
    assert "very-secret" not in repr(found)
    assert not {"PATH", "PYTHONPATH", "LD_PRELOAD", "USER", "SSH_AUTH_SOCK", "TMPDIR"} & set(found)


async def test_key_in_a_folder_of_the_nodes_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which a node was started is in its ``sys.path``, and so is a checkout that holds its home."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = await interpreter(sys.executable, [tmp_path / "home"])
    assert str(tmp_path) not in found.readable
    assert os.path.dirname(PACKAGE) not in found.readable, "of a checkout the package alone is seen"
    assert all(Path(place).name in ("site-packages", "dist-packages") or "python" in place for place in found.modules)


async def test_program_that_is_no_python() -> None:
    for program in ("/bin/false", "/nowhere/python"):
        with pytest.raises(LocalError, match="cannot be started"):
            await interpreter(program, [])


def test_folder_that_runs_would_see(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for place in (tmp_path / "home", tmp_path, tmp_path / "link" / "home"):
        with pytest.raises(InvalidInput, match="cannot be hidden"):
            refuse_seen([str(place)], [str(tmp_path)])
    refuse_seen([str(tmp_path)], [str(tmp_path / "environments" / "own")])


@pytest.mark.parametrize("root", [True, False])
def test_nothing_is_shown_that_may_be_written(tmp_path: Path, root: bool) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    readable = [str(tmp_path / "b"), str(tmp_path / "link")]
    command = in_namespaces("/usr/bin/bwrap", readable, ["python"], root=root)
    assert command[-2:] == ["--", "python"]
    assert "--bind" not in command
    assert "--dev-bind" not in command
    assert command[command.index("--remount-ro") + 1] == "/"
    shown = [command[at + 1] for at, word in enumerate(command) if word == "--ro-bind"]
    assert shown == [str(tmp_path / "b")]
    assert {"--unshare-net", "--unshare-all"} & set(command)
    assert {"--die-with-parent", "--new-session", "--clearenv"} <= set(command)
    assert ("--disable-userns" in command) != root
