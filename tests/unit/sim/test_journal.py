"""What a sweep has found so far, on disk."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from p2pgrid.errors import InvalidInput
from p2pgrid.sim import journal as journals
from p2pgrid.sim.journal import Journal, must_be_free
from p2pgrid.sim.result import Result
from p2pgrid.sim.sweep import Job, Sweep

JOBS = [Job("hops", 10, seed, {"lookups": 5, "sizes": (size,)}, {"seed": seed}) for seed, size in ((1, 10), (2, 20))]


def found(job: Job, *rows: dict[str, Any], **tables: list[dict[str, Any]]) -> Result:
    return Result("hops", "Hops", 10, job.seed, job.parameters, list(rows), tables)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_run_is_there_when_it_is_done(tmp_path):
    folder = tmp_path / "deep" / "out"
    journal = Journal(folder, JOBS)
    begun = json.loads((folder / "summary.json").read_text())
    assert begun == {
        "experiment": "hops",
        "complete": False,
        "parameters": {"lookups": 5},
        "planned": [{"seed": 1}, {"seed": 2}],
    }
    journal.add(JOBS[1], found(JOBS[1], {"k": 8, "hops": 1.5}, searches=[{"at": 1}, {"at": 2}], none=[]))
    assert rows_of(folder / "rows.csv") == [{"seed": "2", "k": "8", "hops": "1.5"}]
    assert [row["seed"] for row in rows_of(folder / "searches.csv")] == ["2", "2"]
    journal.add(JOBS[0], found(JOBS[0], {"k": 8, "hops": 2.5}))
    assert [row["hops"] for row in rows_of(folder / "rows.csv")] == ["1.5", "2.5"]
    assert [row["seed"] for row in rows_of(folder / "runs.csv")] == ["2", "1"]
    names = {"summary.json", "rows.csv", "runs.csv", "searches.csv"}
    assert {path.name for path in folder.iterdir()} == names, "nothing half written is left"


def test_a_column_that_later_runs_have_is_empty_in_those_before(tmp_path):
    journal = Journal(tmp_path, JOBS)
    journal.add(JOBS[0], found(JOBS[0], {"k": 8, "title": 'a "word",\nand a line'}))
    journal.add(JOBS[1], found(JOBS[1], {"k": 8, "reference": 1.4}, {"k": 20}))
    assert rows_of(tmp_path / "rows.csv") == [
        {"seed": "1", "k": "8", "title": 'a "word",\nand a line', "reference": ""},
        {"seed": "2", "k": "8", "title": "", "reference": "1.4"},
        {"seed": "2", "k": "20", "title": "", "reference": ""},
    ]


def test_the_whole_sweep_takes_the_place_of_what_was_written_as_it_went(tmp_path):
    journal = Journal(tmp_path, JOBS)
    done = [(job, found(job, {"k": 8, "hops": job.seed + 0.5, "nodes": 10, "tables": "full"})) for job in JOBS]
    for job, result in reversed(done):
        journal.add(job, result)
    Sweep(JOBS, done, []).result().save(tmp_path)
    assert [row["seed"] for row in rows_of(tmp_path / "rows.csv")] == ["1", "2"]
    assert json.loads((tmp_path / "summary.json").read_text())["complete"] is True


def test_a_folder_with_other_results_is_refused_and_left_as_it_was(tmp_path):
    found(JOBS[0], {"k": 8}).save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidInput, match="holds the results of another run"):
        Journal(tmp_path, JOBS)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_with_other_files_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Journal(tmp_path, JOBS).add(JOBS[0], found(JOBS[0], {"k": 8}))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(InvalidInput, match="cannot be written"):
        Journal(tmp_path / "file" / "below", JOBS)
    journal = Journal(tmp_path / "out", JOBS)
    (tmp_path / "out" / "rows.csv").mkdir()
    with pytest.raises(InvalidInput, match="cannot be written"):
        journal.add(JOBS[0], found(JOBS[0], {"k": 8}))


def test_a_folder_that_is_given_back_is_free_again(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Journal(tmp_path, JOBS).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    Journal(tmp_path, JOBS).add(JOBS[0], found(JOBS[0], {"k": 8}))


def test_of_two_that_take_a_folder_at_the_same_time_one_gets_it(tmp_path, monkeypatch):
    asked = []

    def seems_free(folder):
        asked.append(folder)
        if len(asked) == 1:  # another run takes it right after we looked
            (tmp_path / "summary.json").write_text("theirs")
        else:
            must_be_free(folder)

    monkeypatch.setattr(journals, "must_be_free", seems_free)
    with pytest.raises(InvalidInput, match="holds the results of another run"):
        Journal(tmp_path, JOBS)
    assert (tmp_path / "summary.json").read_text() == "theirs"
