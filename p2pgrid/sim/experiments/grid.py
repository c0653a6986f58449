"""A grid as people use it; what ``p2pgrid.sim.Simulation`` does, with plain numbers."""

from __future__ import annotations

from typing import Final

from p2pgrid.sim.churn import Weibull
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.latency import LogNormal
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.simulation import PICTURES, Simulation


def measure(run: Run) -> None:
    """Grow it, and let it live."""
    simulation = Simulation(
        run.nodes,
        seed=run.seed,
        churn=Weibull(run["shape"], run["mean_session"]) if run["mean_session"] else None,
        conditions=Conditions(
            LogNormal(run["latency"], run["sigma"]),
            loss=run["loss"],
            duplicate=run["duplicate"],
            reorder=run["reorder"],
            uplink=run["uplink"] or None,
        ),
        tags=run["tags"],
    )
    simulation.measure(run, run["hours"], run["searches"])


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
        "latency": 0.03,
        "sigma": 0.5,
        "loss": 0.0,
        "duplicate": 0.0,
        "reorder": 0.0,
        "uplink": 0.0,
    },
    measure,
    PICTURES,
    {
        "hours": (0.001, 100_000),
        "shape": (0.01, 100),
        "latency": (1e-5, 60),
        "sigma": (0, 5),
        "loss": (0, 1),
        "duplicate": (0, 1),
        "reorder": (0, 1),
    },
)
