"""The one channel that stays open, and is documented: how long a run takes, its author can see."""

from __future__ import annotations

from typing import Final

from escape_suite.model import Attack, Evidence

BIT: Final = 0.5
"""Seconds that a run waits to tell a one."""


def _told_by_time(seen: Evidence) -> bool:
    return seen.notes.get("one", 0.0) - seen.notes.get("zero", 0.0) > BIT / 2


ATTACKS: Final = (
    Attack(
        "a-secret-told-by-run-time",
        family="timing",
        judge=_told_by_time,
        source=f"def f(): time.sleep({BIT})",
        then="def f(): return 0",
        allowed="how long a run takes can be seen by its author; documented in docs/threat-model.md",
    ),
)
