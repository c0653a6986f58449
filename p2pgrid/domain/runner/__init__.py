"""Submitted code, run in processes apart: the door is ``Runner`` and a few small records.

``Runner`` is loaded when it is asked for: the process that runs submitted code imports this package too, and has
no use for asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2pgrid.domain.runner.spec import LAYERS, TIERS, Limits, RunInput, RunReport, RunSpec

if TYPE_CHECKING:
    from p2pgrid.domain.runner.runner import Runner

__all__ = ["LAYERS", "TIERS", "Limits", "RunInput", "RunReport", "RunSpec", "Runner"]


def __getattr__(name: str) -> Any:
    if name == "Runner":
        from p2pgrid.domain.runner.runner import Runner

        return Runner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
