"""``p2pgrid simulate`` when something goes wrong in its middle: what was finished is shown and written."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from p2pgrid.cli.app import app
from p2pgrid.errors import BrokenInvariant
from p2pgrid.sim.experiment import Run
from p2pgrid.sim.experiments import flash_crowd
from p2pgrid.sim.result import Result, unwritable

QUICK = ["simulate", "grid", "--nodes", "5", "--hours", "0.01", "--set", "searches=2", "--set", "tags=2"]
FAULTS = [(BrokenInvariant("A node did it."), "P2P-0500"), (MemoryError("no room"), "P2P-0004")]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets ``flash-crowd`` raise this after so many rows."""

    def arrange(fault: BaseException, after: int) -> None:
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


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when results are saved."""

    def save(self: Result, folder: Path) -> list[Path]:
        raise unwritable(folder, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(Result, "save", save)


@pytest.mark.parametrize("seeds", [("1",), ("1", "2")])
def test_results_that_cannot_be_saved_are_told_in_the_one_document(
    full: None, tmp_path: Path, seeds: tuple[str, ...]
) -> None:
    words = [*QUICK, *(word for seed in seeds for word in ("--seed", seed)), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (2, "")
    assert document["error"]["code"] == "P2P-0002"
    assert "Free some space" in document["error"]["fix"]
    assert len(document["rows"]) >= len(seeds)


def test_a_folder_is_taken_as_soon_as_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    seen: list[Any] = []

    def measure(run: Run) -> None:
        seen.append(json.loads((out / "summary.json").read_text())["complete"])
        seen.append(CliRunner().invoke(app, [*QUICK, "--out", str(out)]))
        run.row(number=1)

    monkeypatch.setattr(
        flash_crowd, "EXPERIMENT", dataclasses.replace(flash_crowd.EXPERIMENT, measure=measure, pictures={})
    )
    done = CliRunner().invoke(app, ["simulate", "flash-crowd", "--out", str(out)])
    assert done.exit_code == 0
    complete, second = seen
    assert complete is False
    assert second.exit_code == 2
    assert "holds the results of another run" in second.stderr
    assert json.loads((out / "summary.json").read_text())["complete"] is True


def test_a_second_interrupt_leaves_pictures_out_and_still_tells_what_was_finished(
    broken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(KeyboardInterrupt(), 2)

    def draw(self: Result, folder: Path, name: str) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setattr(flash_crowd, "EXPERIMENT", dataclasses.replace(flash_crowd.EXPERIMENT, pictures={"one": print}))
    monkeypatch.setattr(Result, "_draw", draw)
    done = CliRunner().invoke(app, ["simulate", "flash-crowd", "--out", str(tmp_path / "out")])
    assert done.exit_code == 130
    assert "number" in done.stdout
    first, written, last = done.stderr.splitlines()
    assert first.startswith("interrupted; writing what was finished")
    assert "rows.csv" in written
    assert last == "interrupted; what was finished is above"


@pytest.mark.parametrize("seed", ["9223372036854775808", "99999999999999999999999"])
def test_a_seed_that_no_table_holds_is_refused_before_anything_runs(tmp_path: Path, seed: str) -> None:
    done = CliRunner().invoke(app, [*QUICK, "--seed", "1", "--seed", seed, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert f"not {seed}." in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_list_writes_parameters_as_they_are_set() -> None:
    listed = CliRunner().invoke(app, ["simulate", "--list"]).stdout
    assert "sessions=84,300,1000,3600,10000," in listed
    for line in listed.splitlines()[1::2]:
        words = [word.strip() for word in line.partition(";")[2].split(", ")]
        assert all(word.count("=") == 1 for word in words)
