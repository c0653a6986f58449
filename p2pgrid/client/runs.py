"""A run in words, as the command line and a notebook say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

KEPT: Final = 16_384
"""Characters of what a run printed that a node keeps."""
TIME: Final = frozenset({"time", "cpu"})
"""Failures by a limit of time: the run on the mock has less of it than the run on the data."""


def is_coarse(request: Mapping[str, Any]) -> bool:
    """Whether a request's answer tells measures in steps, each the upper end of its step.

    A node tells only owners what was measured, and only to them of the run on the data.
    """
    return "private_run" not in request


def printed(run: Mapping[str, Any], most: int = KEPT) -> str:
    """The beginning of what the function printed in a run, and how much of it is not there."""
    whole = str(run.get("output") or "")
    text = whole[:most].rstrip("\n")
    if len(whole) > most:
        return f"{text}\n... {len(whole) - most:,} more characters"
    if len(whole) >= KEPT:
        return f"{text}\n... the node keeps {KEPT:,} characters; there may have been more"
    return text


def printed_end(run: Mapping[str, Any], most: int, fix: str) -> str:
    """The end of what the function printed in a run, which names an error; ``fix`` tells where all of it is."""
    text = printed(run).strip("\n")
    return text if len(text) <= most else f"({len(text) - most:,} characters before this: {fix})\n{text[-most:]}"
