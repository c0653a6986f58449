"""A grid whose nodes come and go: what searches find, how long they take, and what it costs."""

from __future__ import annotations

from math import log
from typing import Any, Final

from p2pgrid.sim.axes import log_x
from p2pgrid.sim.churn import Weibull
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.result import Result, Row, legend_of_both
from p2pgrid.sim.workload import Workload, times

BAMBOO: Final = 900.0
"""Bytes a node and second at most, at median sessions of 1.4 minutes (Rhea et al., 2004, "Handling churn in a DHT")."""
BAMBOO_MEDIAN: Final = 84.0
BAMBOO_NODES: Final = 1_000
FOUND: Final = 95.0
"""Percent of the searches that must find their dataset for a figure of traffic to count."""
WARM: Final = 0.25
"""Share of the measured time that passes before it."""


def measure(run: Run) -> None:
    """One grid for each mean session, and one with the sessions of the reference."""
    kinds = [Weibull(run["shape"], mean) for mean in run["sessions"]]
    if run["bamboo"]:
        kinds.append(Weibull(1.0, BAMBOO_MEDIAN / log(2)))  # exponential: as long as its median says
    for number, sessions in enumerate(kinds):
        run.step(number, len(kinds))
        grid = run.grid()
        grid.grow(run.nodes)
        work = Workload(grid)
        work.publish(run["tags"])
        work.churn(sessions)
        seconds = 3600.0 * run["hours"]
        run.pass_time(grid, WARM * seconds, 0.0, WARM)
        before, deaths = grid.network.out, work.deaths
        work.search_over(seconds, run["searches"])
        run.pass_time(grid, seconds, WARM, 1.0)
        spent = grid.network.out - before
        grid.run(30.0)
        rate = spent / run.nodes / seconds
        success = 100 * sum(find.right for find in work.finds) / max(1, len(work.finds))
        like_bamboo = sessions.shape == 1.0 and run.nodes == BAMBOO_NODES
        verdict = run.against(rate, BAMBOO, 0.0, better="less") if like_bamboo else {}
        if verdict:
            verdict["holds"] = verdict["holds"] and success >= FOUND
        run.row(
            mean_session=sessions.mean,
            shape=sessions.shape,
            deaths=work.deaths - deaths,
            searches=len(work.finds),
            success_percent=success,
            unfinished=sum(find.complete is None for find in work.finds),
            **times(work.finds),
            bytes_a_node_and_second=rate,
            **verdict,
        )


def _of_shape(result: Result) -> list[Row]:
    """The rows of the curve, without the one for the reference."""
    return sorted(
        (row for row in result.rows if row["shape"] == result.parameters["shape"]), key=lambda row: row["mean_session"]
    )


def draw(result: Result, axes: Any) -> None:
    """Success and traffic against the mean session."""
    rows = _of_shape(result)
    means = [row["mean_session"] for row in rows]
    axes.plot(means, [row["success_percent"] for row in rows], "o-", label="searches that find the dataset")
    log_x(axes, means)
    axes.set(xlabel="mean session, s", ylabel="searches, %", ylim=(0, 102))
    other = axes.twinx()
    other.plot(means, [row["bytes_a_node_and_second"] for row in rows], "s--", color="C1", label="traffic")
    for row in result.rows:
        if row.get("reference"):
            at, label = row["mean_session"], "exponential sessions"
            other.plot([at], [row["bytes_a_node_and_second"]], "D", color="C1", label=label)
            other.plot([at], [BAMBOO], "kx", label="Bamboo, the same")
    seen = any(row["bytes_a_node_and_second"] > 0 for row in result.rows)
    other.set(ylabel="bytes a node and second", yscale="log" if seen else "linear")
    legend_of_both(axes, other)


def draw_times(result: Result, axes: Any) -> None:
    """Times of searches against the mean session."""
    rows = _of_shape(result)
    means = [row["mean_session"] for row in rows]
    for name, line in (("first_p50", "o-"), ("first_p95", "o:"), ("complete_p50", "s-"), ("complete_p95", "s:")):
        axes.plot(means, [row[name] for row in rows], line, label=name.replace("_", " "))
    log_x(axes, means)
    axes.set(xlabel="mean session, s", ylabel="seconds", ylim=(0, None))
    axes.legend()


EXPERIMENT: Final = Experiment(
    "churn",
    "Searches in a grid whose nodes come and go",
    "Nodes stay for Weibull-distributed sessions, and another joins for each that leaves; searches all the while.",
    1_000,
    {
        "sessions": (84.0, 300.0, 1_000.0, 3_600.0, 10_000.0),
        "shape": 0.5,
        "hours": 0.25,
        "searches": 300,
        "bamboo": 1,
        "tags": 50,
        **network("lognormal:0.03"),
    },
    measure,
    {"churn": draw, "churn-times": draw_times},
    {
        "sessions": (1, 1e9),
        "shape": (0.01, 100),
        "hours": (0.001, 100_000),
        "searches": (0, 1e6),
        "tags": (1, 10_000),
        "bamboo": (0, 1),
    },
    measures={"success_percent": "searches", "first_p50": "", "complete_p50": "", "bytes_a_node_and_second": ""},
    apart=("mean_session", "shape"),
)
