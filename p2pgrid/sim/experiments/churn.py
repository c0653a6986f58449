"""A grid whose nodes come and go: what searches find, how long they take, and what it costs."""

from __future__ import annotations

from typing import Any, Final

from p2pgrid.sim.churn import Weibull
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.latency import LogNormal
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.result import Result, legend_of_both
from p2pgrid.sim.workload import Workload, percentile

BAMBOO: Final = 900.0
"""Bytes a node and second at most, with sessions of 1.4 minutes (Rhea et al., 2004, "Handling churn in a DHT")."""
BAMBOO_SESSION: Final = 84.0
WARM: Final = 0.25
"""Share of the measured time that passes before it."""


def measure(run: Run) -> None:
    """One grid for each mean session: grown, then churning, then measured."""
    for number, mean in enumerate(run["sessions"]):
        run.step(number, len(run["sessions"]))
        grid = run.grid(conditions=Conditions(LogNormal(run["latency"])))
        grid.grow(run.nodes)
        work = Workload(grid)
        work.publish(run["tags"])
        work.churn(Weibull(run["shape"], mean))
        seconds = 3600.0 * run["hours"]
        run.pass_time(grid, WARM * seconds, 0.0, WARM)
        before, deaths = grid.network.out, work.deaths
        work.search_over(seconds, run["searches"])
        run.pass_time(grid, seconds, WARM, 1.0)
        spent = grid.network.out - before
        grid.run(30.0)
        finds = work.finds
        rate = spent / run.nodes / seconds
        run.row(
            mean_session=mean,
            deaths=work.deaths - deaths,
            success_percent=100 * sum(find.right for find in finds) / max(1, len(finds)),
            first_p50=percentile([f.first for f in finds if f.first is not None], 0.5),
            first_p95=percentile([f.first for f in finds if f.first is not None], 0.95),
            complete_p50=percentile([f.complete for f in finds if f.complete is not None], 0.5),
            complete_p95=percentile([f.complete for f in finds if f.complete is not None], 0.95),
            unfinished=sum(find.complete is None for find in finds),
            bytes_a_node_and_second=rate,
            **(run.against(rate, BAMBOO, 0.0, better="less") if mean == BAMBOO_SESSION else {}),
        )


def draw(result: Result, axes: Any) -> None:
    """Success and traffic against the mean session."""
    means = [row["mean_session"] for row in result.rows]
    axes.plot(means, [row["success_percent"] for row in result.rows], "o-", label="searches that find the dataset")
    axes.set(xscale="log", xlabel="mean session, s", ylabel="%", ylim=(0, 102))
    other = axes.twinx()
    other.plot(means, [r["bytes_a_node_and_second"] for r in result.rows], "s--", color="C1", label="traffic")
    other.plot([BAMBOO_SESSION], [BAMBOO], "kx", label="Bamboo")
    other.set(ylabel="bytes a node and second", yscale="log")
    legend_of_both(axes, other)


def draw_times(result: Result, axes: Any) -> None:
    """Times of searches against the mean session."""
    means = [row["mean_session"] for row in result.rows]
    for name, line in (("first_p50", "o-"), ("first_p95", "o:"), ("complete_p50", "s-"), ("complete_p95", "s:")):
        axes.plot(means, [row[name] for row in result.rows], line, label=name.replace("_", " "))
    axes.set(xscale="log", xlabel="mean session, s", ylabel="seconds")
    axes.legend()


EXPERIMENT: Final = Experiment(
    "churn",
    "Searches in a grid whose nodes come and go",
    "Nodes stay for Weibull-distributed sessions, and another joins for each that leaves; searches all the while.",
    1_000,
    {
        "sessions": (84.0, 300.0, 1_000.0, 3_600.0, 10_000.0),
        "shape": 0.5,
        "hours": 0.5,
        "searches": 500,
        "tags": 50,
        "latency": 0.03,
    },
    measure,
    {"churn": draw, "churn-times": draw_times},
    {"sessions": (1, 1e9), "shape": (0.01, 100), "hours": (0.001, 100_000), "latency": (1e-5, 60), "tags": (1, 10_000)},
)
