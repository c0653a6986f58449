"""The table: every attack, by family."""

from __future__ import annotations

from typing import Final

from escape_suite.attacks import files, kernel, network, node, process, resources, results, reviewers, state, timing
from escape_suite.model import Attack

FAMILIES: Final = {
    "files": files.ATTACKS,
    "process": process.ATTACKS,
    "network": network.ATTACKS,
    "kernel": kernel.ATTACKS,
    "resources": resources.ATTACKS,
    "node": node.ATTACKS,
    "results": results.ATTACKS,
    "state": state.ATTACKS,
    "reviewers": reviewers.ATTACKS,
    "timing": timing.ATTACKS,
}
ATTACKS: Final[dict[str, Attack]] = {attack.name: attack for family in FAMILIES.values() for attack in family}
