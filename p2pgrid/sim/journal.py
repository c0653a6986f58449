"""What runs have found so far, on disk as each is done: whoever kills a sweep keeps what was finished."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from p2pgrid.errors import InvalidInput
from p2pgrid.sim.result import SUMMARY, Result, Row, columns_of, unwritable, write_csv
from p2pgrid.sim.sweep import Job, common, merged, merged_tables


class Journal:
    """Takes a folder for these jobs, and adds the rows of each to its CSV files, in the order in which they are done.

    ``Result.save`` of the whole sweep writes the same files anew, in the order of the jobs.  Raises ``InvalidInput``
    when the folder holds other results, or cannot be written.
    """

    def __init__(self, folder: str | Path, jobs: Sequence[Job]) -> None:
        self._folder = Path(folder)
        self._columns: dict[str, list[str]] = {}
        must_be_free(self._folder)
        about = {
            "experiment": jobs[0].experiment,
            "complete": False,
            "parameters": common(jobs),
            "planned": [job.varied for job in jobs],
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / SUMMARY).open("x", encoding="utf-8") as file:
                json.dump(about, file, indent=2)
                file.write("\n")
        except FileExistsError as error:  # made since by somebody else's run, or no folder at all
            must_be_free(self._folder)
            raise unwritable(self._folder, error) from error
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def discard(self) -> None:
        """Give the folder back; for what ended before anything was finished."""
        with suppress(OSError):
            (self._folder / SUMMARY).unlink()

    def add(self, job: Job, result: Result) -> None:
        """One run is done.  Raises ``InvalidInput`` when it cannot be written."""
        done = [(job, result)]
        rows, runs = merged(done)
        try:
            for name, table in {"rows": rows, "runs": runs, **merged_tables(done)}.items():
                if table:
                    self._append(name, table)
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def _append(self, name: str, rows: Sequence[Row]) -> None:
        path = self._folder / f"{name}.csv"
        known = self._columns.get(name, [])
        new = [column for column in columns_of(rows) if column not in known]
        if new:  # those before have nothing there
            before: list[Row] = []
            if known:
                with path.open(newline="", encoding="utf-8") as file:
                    before = [dict(row) for row in csv.DictReader(file)]
            self._columns[name] = [*known, *new]
            write_csv(path, [*before, *rows], self._columns[name])
        else:
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, known).writerows(rows)


def must_be_free(folder: str | Path) -> None:
    """Results of two runs in one folder could not be told apart.  Raises ``InvalidInput``."""
    if (Path(folder) / SUMMARY).exists():
        raise InvalidInput(
            f"{folder} holds the results of another run.", fix="Choose another folder, or remove that one first."
        )
