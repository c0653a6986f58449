"""The experiments, one a module."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from p2pgrid.errors import BadExperiment
from p2pgrid.sim.experiment import Experiment

MODULES: Final = (
    "grid",
    "hops",
    "skademlia",
    "churn",
    "dead_nodes",
    "hot_tag",
    "bought_neighbourhood",
    "partition",
    "bootstrap_loss",
    "flash_crowd",
)


def named(name: str) -> Experiment:
    """The experiment of that name.  Raises ``BadExperiment``."""
    module = name.replace("-", "_")
    if module not in MODULES:
        raise BadExperiment(f"There is no experiment {name!r}.")
    found: Experiment = import_module(f"{__name__}.{module}").EXPERIMENT
    return found


def everyone() -> list[Experiment]:
    """All of them."""
    return [named(module) for module in MODULES]
