"""Grids on one machine: real nodes on real sockets (``Swarm``), or real engines in virtual time (``Simulation``).

::

    from p2pgrid.sim import Simulation, Weibull

    found = Simulation(nodes=1_000, seed=7, churn=Weibull(shape=0.5, mean=3_600)).run(hours=1)
    found.frame("searches").describe()
    found.plot().savefig("grid.png")
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from p2pgrid.sim.churn import Weibull
    from p2pgrid.sim.experiments import everyone, named
    from p2pgrid.sim.grid import Grid
    from p2pgrid.sim.journal import Journal
    from p2pgrid.sim.latency import Constant, LogNormal, Regions, Uniform
    from p2pgrid.sim.network import Conditions
    from p2pgrid.sim.result import Result
    from p2pgrid.sim.simulation import Simulation
    from p2pgrid.sim.swarm import Swarm
    from p2pgrid.sim.sweep import jobs_of, merged, run_all

_HOMES: Final = MappingProxyType(
    {
        "Conditions": "network",
        "Constant": "latency",
        "Grid": "grid",
        "Journal": "journal",
        "LogNormal": "latency",
        "Regions": "latency",
        "Result": "result",
        "Simulation": "simulation",
        "Swarm": "swarm",
        "Uniform": "latency",
        "Weibull": "churn",
        "everyone": "experiments",
        "jobs_of": "sweep",
        "merged": "sweep",
        "named": "experiments",
        "run_all": "sweep",
    }
)

__all__ = [
    "Conditions",
    "Constant",
    "Grid",
    "Journal",
    "LogNormal",
    "Regions",
    "Result",
    "Simulation",
    "Swarm",
    "Uniform",
    "Weibull",
    "everyone",
    "jobs_of",
    "merged",
    "named",
    "run_all",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
