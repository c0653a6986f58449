"""What an experiment found: tables, a summary and pictures, to look at, to save and to load elsewhere."""

from __future__ import annotations

import csv
import errno
import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pgrid.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Row = dict[str, Any]
Draw = Callable[["Result", Any], None]
"""Draws a result into matplotlib axes."""

SUMMARY: Final = "summary.json"
"""The file that every folder of results has."""
EXTRA: Final = "Install it with: pip install 'p2pgrid[sim]'"
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
SIZE: Final = (6.4, 4.0)
STYLE: Final[Any] = {
    "svg.hashsalt": "p2pgrid",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


@dataclass(slots=True, repr=False)
class Result:
    """One run.

    ``rows``: the experiment's own table, one row a point; ``tables``: more of them by name; ``unjoined``: joins that
    nobody answered in its grids; ``unheld``: announcements after which nobody held the listing; ``unfinished``:
    searches and lookups that did not end in the time they had; ``complete``: False when an interrupt or an error ended
    it, and what was finished is here.
    """

    experiment: str
    title: str
    nodes: int
    seed: int
    parameters: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    events: int = 0
    virtual_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_rss_mib: float = 0.0
    digest: str = ""
    unjoined: int = 0
    unheld: int = 0
    unfinished: int = 0
    complete: bool = True
    pictures: Mapping[str, Draw] = field(default_factory=dict)
    whole: Row | None = None
    """The document, where it is of several runs."""

    def __repr__(self) -> str:
        tables = {"rows": self.rows, **self.tables}
        held = ", ".join(f"{name}: {len(rows)}" for name, rows in tables.items())
        return f"<Result {self.title!r}: {self.nodes} nodes, seed {self.seed}, digest {self.digest or '-'}; {held}>"

    @property
    def summary(self) -> Row:
        """The run in one flat row."""
        return {
            "experiment": self.experiment,
            "nodes": self.nodes,
            "seed": self.seed,
            "events": self.events,
            "virtual_seconds": round(self.virtual_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "peak_rss_mib": round(self.peak_rss_mib, 1),
            "digest": self.digest,
            "unjoined": self.unjoined,
            "unheld": self.unheld,
            "unfinished": self.unfinished,
            "complete": self.complete,
        }

    @property
    def notes(self) -> list[str]:
        """What must be known beside the figures, a sentence each: what they are of is not all that was asked for."""
        notes = []
        if self.unjoined:
            notes.append(f"{self.unjoined:,} joins were answered by nobody: those nodes were not in the grid then.")
        if self.unheld:
            notes.append(f"{self.unheld:,} announcements ended with a listing that nobody held.")
        if self.unfinished:
            notes.append(f"{self.unfinished:,} searches or lookups did not end in the time they had.")
        return notes

    @property
    def holds(self) -> bool | None:
        """Whether every point with a reference is within its tolerance; None when there is no such point."""
        verdicts = [row["holds"] for row in self.rows if row.get("holds") is not None]
        return all(verdicts) if verdicts else None

    def document(self) -> Row:
        """Everything but the longer tables, as plain values for JSON."""
        if self.whole is not None:
            return self.whole
        return {**self.summary, "parameters": dict(self.parameters), "holds": self.holds, "rows": self.rows}

    def frame(self, table: str = "") -> pd.DataFrame:
        """The experiment's rows, or another table, as pandas has it.  Raises ``MissingExtra``, ``InvalidInput``."""
        try:
            import pandas
        except ImportError as error:
            raise MissingExtra("Tables need pandas, which is not installed.", fix=EXTRA) from error
        if table and table not in self.tables:
            raise InvalidInput(f"There is no table {table!r}; there are {', '.join(self.tables) or 'none'}.")
        return pandas.DataFrame(self.tables[table] if table else self.rows)

    def plot(self, picture: str = "") -> Figure:
        """One of its pictures, the first unless named.  Raises ``MissingExtra``, ``InvalidInput``."""
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra("Pictures need matplotlib, which is not installed.", fix=EXTRA) from error
        name = picture or next(iter(self.pictures), "")
        if name not in self.pictures:
            raise InvalidInput(f"There is no picture {name!r}; there are {', '.join(self.pictures) or 'none'}.")
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=SIZE, layout="constrained")
            self.pictures[name](self, figure.subplots())
        return figure

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``summary.json``, each table as CSV and as parquet, each picture as PNG and SVG, in this order.

        What needs a package that is not installed is left out, and so is the parquet of a table that it cannot hold;
        CSV and the summary are always there.  Returns what was written.  Raises ``InvalidInput`` when the folder cannot
        be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return self._save(folder)
        except OSError as error:
            raise unwritable(folder, error) from error

    def _save(self, folder: Path) -> list[Path]:
        written = [folder / SUMMARY]
        with _replaced(written[0]) as part:
            part.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
        tables = {name: rows for name, rows in {"rows": self.rows, **self.tables}.items() if rows}
        written += [write_csv(folder / f"{name}.csv", rows, columns_of(rows)) for name, rows in tables.items()]
        for name, rows in tables.items():
            written += _write_parquet(folder / f"{name}.parquet", rows)
        for name in self.pictures if self.rows else ():
            written += self._draw(folder, name)
        return written

    def _draw(self, folder: Path, name: str) -> list[Path]:
        try:
            figure = self.plot(name)
        except MissingExtra:
            return []
        import matplotlib as mpl

        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        with mpl.rc_context(STYLE), _replaced(png) as one, _replaced(svg) as other:
            figure.savefig(one, format="png", dpi=160)
            figure.savefig(other, format="svg", metadata={"Date": None})
        return [png, svg]

    def _repr_html_(self) -> str:
        head = "".join(f"<tr><th>{_cell(k)}</th><td>{_cell(v)}</td></tr>" for k, v in self.summary.items())
        notes = "".join(f"<p>{_cell(note)}</p>" for note in self.notes)
        return f"<table><caption>{_cell(self.title)}</caption>{head}</table>{notes}{_table(self.rows)}"


def legend_of_both(axes: Any, other: Any) -> None:
    """One legend for two scales, above them."""
    handles, names = (
        one + two for one, two in zip(*(a.get_legend_handles_labels() for a in (axes, other)), strict=True)
    )
    other.spines["right"].set_visible(True)
    axes.figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 2))


def unwritable(folder: str | Path, error: OSError) -> InvalidInput:
    """What to tell of a folder for results that cannot be written."""
    fix = "Free some space there, or choose another folder." if error.errno in FULL else "Choose another folder."
    return InvalidInput(f"The results cannot be written to {folder}: {error.strerror or error}.", fix=fix)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every column, in the order of its first row."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> Path:
    """A table as a file, whole or not at all."""
    with _replaced(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file beside this one, that takes its place at the end: whoever dies meanwhile leaves what was there before."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _column(values: Sequence[Any]) -> Sequence[Any]:
    """Values of one type, as a column of parquet needs them: text where they differ."""
    kinds = {type(value) for value in values if value is not None}
    mixed = len(kinds - {int, float, bool}) > (0 if kinds & {int, float} else 1)
    return [None if value is None else str(value) for value in values] if mixed else values


def _write_parquet(path: Path, rows: Sequence[Row]) -> list[Path]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return []
    try:
        table = pyarrow.table({name: _column([row.get(name) for row in rows]) for name in columns_of(rows)})
    except (OverflowError, pyarrow.ArrowException):
        return []
    with _replaced(path) as part:
        parquet.write_table(table, part)
    return [path]


def _table(rows: Sequence[Row]) -> str:
    names = columns_of(rows)
    head = "".join(f"<th>{_cell(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(text)
