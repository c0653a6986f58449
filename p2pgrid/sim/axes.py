"""Axes of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from typing import Any, Final

ROOM: Final = 10
"""Ticks that have room side by side with their numbers."""


def log_x(axes: Any, values: Iterable[float]) -> None:
    """A logarithmic x axis with ticks where something was measured, but for those too near to the one before."""
    ordered = sorted(set(values))
    shown: list[float] = []
    for value in ordered:
        if not shown or ROOM * log(value / shown[-1]) >= log(ordered[-1] / ordered[0]):
            shown.append(value)
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{value:,.10g}" for value in shown])
    axes.set_xticks([], minor=True)
