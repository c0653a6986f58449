"""What the JSON door answers with, cut to a size that anybody may ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

MAX_ANSWER: Final = 256 << 10
"""Bytes of an answer's body."""
SHORT_DESCRIPTION: Final = 200
"""Characters that are left of a description when an answer would be over ``MAX_ANSWER``."""
SHORT_ASSETS: Final = 16
"""Assets of one dataset that are left then."""


def fit_search(answer: dict[str, Any], limit: int = MAX_ANSWER) -> dict[str, Any]:
    """An answer to a search whose JSON has at most ``limit`` bytes; ``"cut": true`` tells that something is missing.

    Descriptions and long lists of assets are cut first, then the last datasets.  The work is bounded by ``limit``, not
    by the answer.
    """
    cut = {**answer, "datasets": [], "cut": True}
    room = limit - len(json.dumps(cut))
    datasets = answer["datasets"]
    if len(_fitting(datasets, room)) == len(datasets):
        return answer
    cut["datasets"] = _fitting(map(_short, datasets), room)
    return cut


def fit_list(items: list[str], limit: int = MAX_ANSWER) -> list[str]:
    """The first of ``items`` whose JSON has at most ``limit`` bytes."""
    return _fitting(items, limit - 2)


def _fitting(items: Iterable[Any], room: int) -> list[Any]:
    found = []
    for item in items:
        room -= len(json.dumps(item)) + 2
        if room < 0:
            break
        found.append(item)
    return found


def _short(dataset: dict[str, Any]) -> dict[str, Any]:
    description = dataset["description"]
    if len(description) > SHORT_DESCRIPTION:
        description = description[: SHORT_DESCRIPTION - 1] + "…"
    return {**dataset, "description": description, "assets": dataset["assets"][:SHORT_ASSETS]}
