"""The table of families in docs/threat-model.md."""

from __future__ import annotations

from typing import Final

from escape_suite.attacks import FAMILIES
from escape_suite.model import SUCCEEDS, USERS, Attack

TITLES: Final = {
    "files": "reading what is the node's or other people's; writing anything",
    "process": "signals, tracing, what outlives its run, other programs, the terminal",
    "network": "TCP, UDP, Unix sockets, pipes, queues, inherited descriptors",
    "kernel": "namespaces, mounts, and calls that no run has business with",
    "resources": "memory of every kind, processor and wall time, tasks, output, disk",
    "node": "what reading a run costs: a loop that stands still, descriptors, memory, a run that does not end",
    "results": "pickles, forged msgpack and Arrow, false reports",
    "state": "what one run leaves for the next",
    "reviewers": "terminal escapes, turned text, scripts in pages",
    "timing": "how long a run takes: documented, and not closed",
}
HEAD: Final = (
    "| family | attacks | succeed in a bare subprocess, as root | as a user | of what kind |",
    "|---|---|---|---|---|",
)


def table() -> str:
    """Markdown, one row a family and a sum; on a machine where every kernel setting allows what it can."""
    rows = [_row(family, TITLES[family], attacks) for family, attacks in FAMILIES.items()]
    return "\n".join([*HEAD, *rows, _row("all", "", tuple(one for family in FAMILIES.values() for one in family))])


def _row(name: str, title: str, attacks: tuple[Attack, ...]) -> str:
    controls = [sum(_succeeds(one, user) for one in attacks) for user in USERS]
    return f"| {name} | {len(attacks)} | {controls[0]} | {controls[1]} | {title} |"


def _succeeds(attack: Attack, user: str) -> bool:
    return (attack.control if user == "root" else attack.as_user or attack.control) == SUCCEEDS
