"""``p2pgrid simulate`` when an experiment fails in its middle: what was finished is shown and written."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from p2pgrid.cli.app import app
from p2pgrid.errors import BrokenInvariant
from p2pgrid.sim.experiment import Run
from p2pgrid.sim.experiments import flash_crowd

FAULTS = [(BrokenInvariant("A node did it."), "P2P-0500"), (MemoryError("no room"), "P2P-0004")]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets ``flash-crowd`` raise this after so many rows."""

    def arrange(fault: Exception, after: int) -> None:
        def measure(run: Run) -> None:
            for number in range(after):
                run.row(number=number)
            raise fault

        monkeypatch.setattr(
            flash_crowd, "EXPERIMENT", dataclasses.replace(flash_crowd.EXPERIMENT, measure=measure, pictures={})
        )

    return arrange


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=["known", "unforeseen"])
def test_rows_that_were_finished_before_an_error_are_shown_and_written(
    broken: Any, tmp_path: Path, fault: Exception, code: str
) -> None:
    broken(fault, 2)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["simulate", "flash-crowd", "--out", str(out)])
    assert done.exit_code == 1
    assert "number" in done.stdout
    assert done.stderr.splitlines()[0].startswith(f"written to {out}: ")
    assert f"error[{code}]: " in done.stderr
    assert json.loads((out / "summary.json").read_text())["complete"] is False
    with (out / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["0", "1"]

    done = CliRunner().invoke(app, ["simulate", "flash-crowd", "--json"])
    assert (done.exit_code, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert (document["complete"], document["rows"]) == (False, [{"number": 0}, {"number": 1}])
    assert document["error"]["code"] == code


def test_an_error_before_the_first_row_is_told_alone_and_leaves_no_folder(broken: Any, tmp_path: Path) -> None:
    broken(FAULTS[0][0], 0)
    done = CliRunner().invoke(app, ["simulate", "flash-crowd", "--out", str(tmp_path / "made" / "out")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error[P2P-0500]: A node did it.")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays_with_what_it_has(broken: Any, tmp_path: Path) -> None:
    broken(FAULTS[0][0], 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for folder in ("out", "empty"):
        assert CliRunner().invoke(app, ["simulate", "flash-crowd", "--out", str(tmp_path / folder)]).exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    assert (tmp_path / "empty").is_dir()
