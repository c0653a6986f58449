"""The experiments, one a module."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Final

from p2pgrid.errors import BadExperiment
from p2pgrid.sim.experiment import Experiment

NAMES: Final = (
    "grid",
    "hops",
    "skademlia",
    "churn",
    "dead-nodes",
    "hot-tag",
    "bought-neighbourhood",
    "partition",
    "bootstrap-loss",
    "flash-crowd",
)
"""Each is a module of that name, with underscores."""


def named(name: str) -> Experiment:
    """The experiment of exactly that name.  Raises ``BadExperiment``."""
    if name not in NAMES:
        close = get_close_matches(name.lower().replace("_", "-"), NAMES, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise BadExperiment(
            f"There is no experiment {name[:80]!r}.", fix=f"{meant}List them with: p2pgrid simulate --list"
        )
    found: Experiment = import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT
    return found


def everyone() -> list[Experiment]:
    """All of them."""
    return [named(name) for name in NAMES]
