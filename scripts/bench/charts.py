"""Charts of the DHT's figures: ``python scripts/bench/charts.py dht.json`` writes SVG files into docs/charts.

Sizes that were measured in several runs may come as several documents.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

FOLDER: Final = Path(__file__).parents[2] / "docs" / "charts"
NAME: Final = re.compile(r"(?P<what>.+), n=(?P<n>\d+)$")
COLOURS: Final = {"ours": "#1b6ac9", "kademlia": "#d1495b", "OpenDHT": "#7a9e1f", "libtorrent": "#8a4fbf"}
MARKS: Final = {"ours": "o", "kademlia": "s", "OpenDHT": "^", "libtorrent": "D"}
STYLE: Final = {
    "svg.hashsalt": "p2pgrid",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
Series = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One file: panels of a figure each.  ``up``: more is better."""

    file: str
    title: str
    unit: str
    panels: Mapping[str, str]
    up: bool = False


CHARTS: Final = (
    Chart("dht-join", "Join: until all nodes are up", "s", {"": "join until all nodes are up"}),
    Chart(
        "dht-search",
        "Search or get, nobody dead, median",
        "ms",
        {
            "that stops at the first result": "search that stops at the first result (limit=1) p50",
            "first result": "search/get, first result p50",
            "complete": "search/get, complete p50",
        },
    ),
    Chart(
        "dht-rates",
        "Lookups a second, up to the first result",
        "1/s",
        {
            "32 at once": "lookups/s up to the first result, 32 at once",
            "256 at once": "lookups/s up to the first result, 256 at once",
        },
        up=True,
    ),
    Chart(
        "dht-killed",
        "Right after nodes died, 95th percentile",
        "ms",
        {
            "20 % dead": "right after 20 % died, first result p95",
            "50 % dead": "right after 50 % died, first result p95",
        },
    ),
    Chart("dht-memory", "Memory a node", "KiB", {"": "memory a node"}),
)


def series(document: Mapping[str, Any]) -> dict[str, Series]:
    """Figure -> system -> size -> value."""
    found: dict[str, Series] = {}
    for row in document["rows"]:
        match = NAME.match(row["name"])
        if match is None:
            continue
        values = {"ours": row["ours"], **row["peers"]}
        lines = found.setdefault(match["what"], {})
        for system, value in values.items():
            if value is not None and system in COLOURS:
                lines.setdefault(system, {})[int(match["n"])] = value
    return found


def draw(chart: Chart, found: Mapping[str, Series], folder: Path) -> Path | None:
    """One file; None when nothing of it was measured."""
    panels = {label: found[what] for label, what in chart.panels.items() if found.get(what)}
    if not panels:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.6 * len(panels) + 0.6, 3.4), sharey=True, squeeze=False, layout="constrained"
        )
        sizes = sorted({n for lines in panels.values() for points in lines.values() for n in points if n != 1024})
        for axis, (label, lines) in zip(axes[0], panels.items(), strict=True):
            _panel(axis, label, lines, sizes)
        axes[0][0].set_ylabel(chart.unit)
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        better = "more" if chart.up else "less"
        figure.suptitle(f"{chart.title} ({better} is better)", fontsize=11)
        path = folder / f"{chart.file}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path


def _panel(axis: Any, label: str, lines: Series, sizes: list[int]) -> None:
    for system, colour in COLOURS.items():
        points = sorted((n, value) for n, value in lines.get(system, {}).items() if n != 1024)
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, marker=MARKS[system], markersize=5, label=system)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5), numticks=12))
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("nodes")
    if label:
        axis.set_title(label, fontsize=10)


def table(document: Mapping[str, Any], size: int) -> str:
    """The rows of one size, in Markdown."""
    rows = [row for row in document["rows"] if row["name"].endswith(f", n={size}")]
    systems = list(dict.fromkeys(name for row in rows for name in row["peers"]))
    lines = [f"| n={size} | ours | {' | '.join(systems)} | target |", "|---" * (len(systems) + 3) + "|"]
    for row in rows:
        cells = [row["name"].rsplit(", n=", 1)[0], _cell(row["ours"], row["unit"])]
        cells += [_cell(row["peers"].get(name), "") for name in systems]
        lines.append(f"| {' | '.join([*cells, _target(row)])} |")
    return "\n".join(lines)


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{shown} {unit}".strip()


def _target(row: Mapping[str, Any]) -> str:
    if row["target"] is None:
        return ""
    sign = ">=" if row["at_least"] else "<="
    of = f"ratio {row['ratio']:.2g} " if row["target_of"] == "ratio" and row["ratio"] else ""
    return f"{of}{sign} {row['target']:g}: {'holds' if row['holds'] else 'missed'}"


def main() -> int:
    """Every chart that the document has figures for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path, nargs="+", help="what dht.py wrote with --out")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--table", type=int, metavar="N", help="print the rows of this size in Markdown instead")
    chosen = parser.parse_args()
    document = {"rows": [row for path in chosen.documents for row in json.loads(path.read_text("utf-8"))["rows"]]}
    if chosen.table:
        print(table(document, chosen.table))
        return 0
    found = series(document)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        path = draw(chart, found, chosen.folder)
        print(path or f"{chart.file}: no figures", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
