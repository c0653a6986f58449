"""Many runs as points with error bars: one point for what was varied, over all the seeds that it was run with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING, Any, Final

from p2pgrid.sim.experiments import named
from p2pgrid.sim.result import Draw, Result, Row

if TYPE_CHECKING:
    from p2pgrid.sim.sweep import Job

Z: Final = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""
MOST_NAMED: Final = 12
"""Lines of a picture that a legend has room for."""
WIDE: Final = 50.0
"""Greatest over least from which an axis is logarithmic."""


@dataclass(slots=True)
class Spread:
    """One measure at one point: what each run found, and how often in how many tries where that was counted.

    ``scale``: what all of the tries would be, 1 or 100.
    """

    scale: float = 1.0
    runs: list[float] = field(default_factory=list)
    hits: float = 0.0
    tries: float = 0.0

    @property
    def value(self) -> float | None:
        """Of all tries where they were counted, else the mean of the runs; None when none found any."""
        if self.tries:
            return self.scale * self.hits / self.tries
        return mean(self.runs) if self.runs else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of what was counted; None when nothing was."""
        if not self.tries:
            return None
        low, high = wilson(self.hits, self.tries)
        return self.scale * low, self.scale * high

    @property
    def bar(self) -> tuple[float, float] | None:
        """The interval where there is one, else the least and the most of the runs."""
        return self.interval or ((min(self.runs), max(self.runs)) if self.runs else None)


@dataclass(frozen=True, slots=True)
class Point:
    """``varied``: what differs from other points, but the seed; ``apart``: which of an experiment's rows it is;
    ``verdicts``: of the rows that have a reference."""

    varied: Row
    apart: Row
    measures: Mapping[str, Spread]
    verdicts: list[bool] = field(default_factory=list)

    def row(self) -> Row:
        """As a row of a table: of each measure its value, its interval where it has one, least and most of the runs."""
        row = {**self.varied, **self.apart, "runs": max((len(one.runs) for one in self.measures.values()), default=0)}
        for name, spread in self.measures.items():
            row[name] = spread.value
            if spread.interval is not None:
                row[f"{name}_low"], row[f"{name}_high"] = spread.interval
            row[f"{name}_least"], row[f"{name}_most"] = min(spread.runs, default=None), max(spread.runs, default=None)
        return {**row, "holds": all(self.verdicts)} if self.verdicts else row


def wilson(hits: float, tries: float) -> tuple[float, float]:
    """The 95 % interval of a share of which so many of the tries were hits (Wilson, 1927): within 0..1, and of some
    width even where all or none were.

    It takes tries for independent; those of one run share a grid, hence look at the spread over seeds as well.
    """
    share, z2 = hits / tries, Z * Z
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    half = Z * math.sqrt(share * (1 - share) / tries + z2 / (4 * tries * tries)) / (1 + z2 / tries)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def points(done: Sequence[tuple[Job, Result]]) -> list[Point]:
    """All runs, which are of one experiment, as points in the order of the first runs."""
    found: dict[str, Point] = {}
    for job, result in done:
        experiment = named(job.experiment)
        own = {*experiment.measures, *experiment.measures.values(), *experiment.apart}
        varied = {f"given_{k}" if k in own else k: v for k, v in job.varied.items() if k != "seed"}
        groups: dict[str, tuple[Row, list[Row]]] = {}
        for row in result.rows:
            apart = {name: row.get(name) for name in experiment.apart}
            groups.setdefault(repr(apart), (apart, []))[1].append(row)
        for apart, rows in groups.values():
            fresh = Point(varied, apart, {name: Spread(_scale(name)) for name in experiment.measures})
            point = found.setdefault(repr((varied, apart)), fresh)
            for name, counted in experiment.measures.items():
                if name in experiment.of_run:
                    value = experiment.of_run[name](result)
                    point.measures[name].runs.extend([value] if value is not None else [])
                else:
                    _add(point.measures[name], rows, name, counted)
            point.verdicts.extend(row["holds"] for row in rows if row.get("holds") is not None)
    return list(found.values())


def _add(spread: Spread, rows: Sequence[Row], name: str, counted: str) -> None:
    """Of one run."""
    pairs = [(row[name], row[counted] if counted else 1) for row in rows if row.get(name) is not None]
    tries = sum(count for _, count in pairs)
    if not tries:
        return
    total = sum(value * count for value, count in pairs)
    spread.runs.append(total / tries)
    if counted:
        spread.hits += total / spread.scale
        spread.tries += tries


def _scale(name: str) -> float:
    return 100.0 if name.endswith("_percent") else 1.0


# ---------------------------------------------------------------- pictures


def pictures(found: Sequence[Point]) -> dict[str, Draw]:
    """A picture of each measure against what was varied."""
    names = dict.fromkeys(name for point in found for name in point.measures)
    return {f"sweep-{name}": partial(_draw, found, name) for name in names}


def _draw(found: Sequence[Point], measure: str, result: Result, axes: Any) -> None:
    """Values with error bars, one line for whatever else differs, and each run as a dot."""
    places = [{**point.varied, **point.apart} for point in found]
    differ = [name for name in places[0] if len({repr(place.get(name)) for place in places}) > 1]
    across, *rest = differ or [""]
    lines: dict[str, list[tuple[Any, Spread]]] = {}
    for place, point in zip(places, found, strict=True):
        spread = point.measures[measure]
        if spread.value is not None:
            label = ", ".join(_label(name, place[name]) for name in rest)
            lines.setdefault(label, []).append((place.get(across, ""), spread))
    numbers = all(isinstance(at, (int, float)) for line in lines.values() for at, _ in line)
    for label, line in lines.items():
        ordered = sorted(line, key=lambda one: one[0]) if numbers else [(str(at), spread) for at, spread in line]
        _draw_line(axes, ordered, label, "o-" if numbers else "o")
    if numbers:
        _scale_axis(axes, [at for line in lines.values() for at, _ in line])
    else:
        axes.tick_params(axis="x", labelrotation=20)
    axes.set(xlabel=across.replace("_", " ") or "all seeds", ylabel=measure.replace("_", " "))
    if measure.endswith(("_percent", "share")):
        axes.set_ylim(0, 1.02 * _scale(measure))
    if 1 < len(lines) <= MOST_NAMED:
        axes.legend(fontsize="small")


def _label(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name.replace('_', ' ')} {value}"


def _draw_line(axes: Any, line: Sequence[tuple[Any, Spread]], label: str, kind: str) -> None:
    values = [spread.value or 0.0 for _, spread in line]
    bars = [spread.bar or (value, value) for value, (_, spread) in zip(values, line, strict=True)]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, bars, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, bars, strict=True)]
    drawn = axes.errorbar([at for at, _ in line], values, [below, above], fmt=kind, capsize=3, label=label)
    dots = [(at, value) for at, spread in line for value in spread.runs]
    axes.plot(*zip(*dots, strict=True), ".", color=drawn[0].get_color(), alpha=0.35)


def _scale_axis(axes: Any, values: Sequence[float]) -> None:
    if values and min(values) > 0 and max(values) / min(values) >= WIDE:
        axes.set_xscale("log")
