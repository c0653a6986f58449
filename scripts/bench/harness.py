"""What every bench shares: rows of ours beside a peer, medians of interleaved runs, the machine, table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """One measured thing.  ``ratio`` is ours over the first peer; ``target`` bounds the ratio or ours itself.

    None in place of a figure: there is none, and a note says why.  ``at_least``: the target is a lower bound.
    """

    name: str
    unit: str
    ours: float | None
    peers: dict[str, float | None] = field(default_factory=dict)
    target: float | None = None
    of_ratio: bool = False
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours over the first peer."""
        first = next(iter(self.peers.values()), None)
        return self.ours / first if first and self.ours is not None else None

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; ``None`` without one."""
        if self.target is None:
            return None
        value = self.ratio if self.of_ratio else self.ours
        if value is None:
            return False
        return value >= self.target if self.at_least else value <= self.target

    def to_json(self) -> dict[str, Any]:
        """As the JSON document has it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "peers": {name: _rounded(value) for name, value in self.peers.items()},
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "target": self.target,
            "target_of": "ratio" if self.of_ratio else "ours",
            "at_least": self.at_least,
            "holds": self.holds,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def interleaved(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each candidate's figure, taken in turns so that a busy moment of the machine hits all alike."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, measure in candidates.items():
            figures[name].append(measure())
    return {name: statistics.median(values) for name, values in figures.items()}


def timed(work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def options(
    description: str, more: Callable[[argparse.ArgumentParser], object] = lambda parser: None
) -> argparse.Namespace:
    """The command line of a bench; ``more`` adds options of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; ends within 45 s")
    more(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--out", type=Path, help="also write the JSON document to this file")
    return parser.parse_args()


def report(rows: list[Row], chosen: argparse.Namespace, notes: Sequence[str] = ()) -> int:
    """Print the table or the document; 1 when a target is missed.  ``notes``: what a reader must know of the rows."""
    document: dict[str, Any] = {"machine": machine(), "rows": [row.to_json() for row in rows]}
    if notes:
        document["notes"] = list(notes)
    if chosen.out:
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if chosen.json:
        print(json.dumps(document))
    else:
        _print_table(rows, document["machine"])
        for note in notes:
            print(note)
    return int(any(row.holds is False for row in rows))


def _print_table(rows: list[Row], where: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=", ".join(f"{value}" for value in where.values()), title_justify="left")
    for column in ("what", "ours", "peer", "ratio", "target", ""):
        table.add_column(column, justify="left" if column in ("what", "peer") else "right")
    for row in rows:
        peers = ", ".join(f"{name} {_shown(value)}" for name, value in row.peers.items())
        sign = ">=" if row.at_least else "<="
        target = "" if row.target is None else f"{'ratio ' if row.of_ratio else ''}{sign} {row.target:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        verdict = {True: "holds", False: "MISSED", None: ""}[row.holds]
        table.add_row(row.name, f"{_shown(row.ours)} {row.unit}", peers, ratio, target, verdict)
    Console(width=max(118, Console().width) if not sys.stdout.isatty() else None).print(table)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
