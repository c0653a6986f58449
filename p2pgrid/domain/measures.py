"""How a run's time and memory are told to somebody who may not see the data: in steps, so that few bits are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SECONDS: Final = (0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
MEMORY: Final = 64 << 20
"""Bytes of a step of memory."""


def coarse_seconds(seconds: float) -> float:
    """The next step of ``SECONDS``, and whole hours above."""
    for step in SECONDS:
        if seconds <= step:
            return step
    return 3600.0 * -(-seconds // 3600.0)


def coarse_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """A report on a run with its measures in steps."""
    told = dict(run)
    for name in ("seconds", "cpu_seconds"):
        if name in told:
            told[name] = coarse_seconds(float(told[name] or 0.0))
    if "memory" in told:
        told["memory"] = -(-int(told["memory"] or 0) // MEMORY) * MEMORY
    return told
