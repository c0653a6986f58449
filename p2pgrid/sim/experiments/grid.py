"""A grid as people use it; what ``p2pgrid.sim.Simulation`` does, with plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from p2pgrid.errors import BadExperiment
from p2pgrid.sim.churn import Weibull
from p2pgrid.sim.conditions import conditions_of, network
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.result import Result
from p2pgrid.sim.simulation import LEAST_SESSION, MOST_SEARCHES, MOST_TAGS, PICTURES, Simulation
from p2pgrid.sim.workload import percentile


def check(nodes: int, given: Mapping[str, Any]) -> None:
    """Raises ``BadExperiment``."""
    if 0 < given["mean_session"] < LEAST_SESSION:
        raise BadExperiment(f"grid: mean_session is 0 for none, or from {LEAST_SESSION:g} s on.")


def measure(run: Run) -> None:
    """Grow it, and let it live."""
    simulation = Simulation(
        run.nodes,
        seed=run.seed,
        churn=Weibull(run["shape"], run["mean_session"]) if run["mean_session"] else None,
        conditions=conditions_of(run.result.parameters),
        tags=run["tags"],
    )
    simulation.measure(run, run["hours"], run["searches"])


def _median(column: str) -> Callable[[Result], float | None]:
    """Of all searches of a run: the rows' are of a slice of its time each, with few or none."""

    def of(result: Result) -> float | None:
        finds = [row for row in result.tables.get("searches", []) if not (row["local"] and column == "first")]
        return percentile([row[column] for row in finds if row[column] is not None], 0.5)

    return of


EXPERIMENT: Final = Experiment(
    "grid",
    "A grid as people use it",
    "Nodes join one by one, announce datasets and search, for some hours; with mean_session they come and go.",
    300,
    {
        "hours": 1.0,
        "searches": 1_000,
        "tags": 50,
        "mean_session": 0.0,
        "shape": 0.5,
        **network("lognormal:0.03"),
    },
    measure,
    PICTURES,
    {
        "hours": (0.001, 100_000),
        "searches": (0, MOST_SEARCHES),
        "tags": (0, MOST_TAGS),
        "mean_session": (0, 1e9),
        "shape": (0.01, 100),
    },
    measures={"success_percent": "searches", "first_p50": "", "complete_p50": "", "bytes_a_node_and_second": ""},
    of_run={"first_p50": _median("first"), "complete_p50": _median("complete")},
    check=check,
)
