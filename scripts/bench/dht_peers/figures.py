"""Rows of the report, with the targets, from what the processes told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from harness import Row

Key = tuple[str, str, int]
Medians = Mapping[Key, Mapping[str, float]]
HIVEMIND: Final = {"join": 105.0, "put p50": 14.87, "first p50": 6.64, "found": 200.0}
"""Its published run with 1,024 peers, on other hardware (seconds, milliseconds; of 200)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A target for some sizes."""

    value: float
    sizes: tuple[int, ...]
    of_ratio: bool = False
    at_least: bool = False


ALL: Final = (50, 100, 300, 1000, 1024)
LARGE: Final = (100, 300, 1000)

FIGURES: Final[dict[str, tuple[str, str, tuple[Bound, ...]]]] = {
    "join": (
        "join until all nodes are up",
        "s",
        (Bound(0.5, (300, 1000), of_ratio=True), Bound(8.0, (1024,))),
    ),
    "memory": ("memory a node", "KiB", (Bound(80.0, (1000, 1024)),)),
    "put p50": ("announce/set p50", "ms", (Bound(5.0, (1024,)),)),
    "put p95": ("announce/set p95", "ms", ()),
    "first p50": (
        "search/get, first result p50",
        "ms",
        (Bound(0.7, (100,), of_ratio=True), Bound(0.2, (1000,), of_ratio=True), Bound(2.5, (1024,))),
    ),
    "first p95": ("search/get, first result p95", "ms", ()),
    "found": ("found of 200, nobody dead", "", (Bound(200.0, ALL, at_least=True),)),
    "complete p50": ("search/get, complete p50", "ms", ()),
    "complete p95": ("search/get, complete p95", "ms", ()),
    "complete/first": ("complete over first, p50", "x", (Bound(4.0, ALL),)),
    "one p50": (
        "search that stops at the first result (limit=1) p50",
        "ms",
        (Bound(0.7, (100,), of_ratio=True), Bound(0.2, (1000,), of_ratio=True)),
    ),
    "one p95": ("search that stops at the first result (limit=1) p95", "ms", ()),
    "checked one p50": (
        "the same p50, every signature checked",
        "ms",
        (Bound(0.7, (100,), of_ratio=True), Bound(0.2, (1000,), of_ratio=True)),
    ),
    "checked one p95": ("the same p95, every signature checked", "ms", ()),
    "one at once 32": (
        "lookups/s up to the first result, 32 at once",
        "/s",
        (Bound(1.5, (300,), of_ratio=True, at_least=True),),
    ),
    "checked one at once 32": (
        "the same, every signature checked",
        "/s",
        (Bound(1.5, (300,), of_ratio=True, at_least=True),),
    ),
    "one at once 256": ("lookups/s up to the first result, 256 at once", "/s", ()),
    "complete at once 32": ("complete lookups/s, 32 at once", "/s", ()),
    "complete at once 256": ("complete lookups/s, 256 at once", "/s", ()),
    "cpu a lookup": ("CPU of one complete lookup, all nodes", "ms", ()),
    "requests a lookup": ("requests a complete lookup", "", ()),
    "requests a lookup of one": ("requests a lookup that stops at the first result", "", ()),
    "recall": ("recall of the true k nearest", "", (Bound(0.999, LARGE, at_least=True),)),
    "cpu a find_node": (
        "CPU per RPC, both ends, find_node in walks",
        "us",
        (Bound(0.35, LARGE, of_ratio=True),),
    ),
    "cpu a ping": ("CPU per RPC, both ends, ping", "us", ()),
    "requests a ping": ("requests a ping", "", ()),
    "killed 20 p50": ("right after 20 % died, first result p50", "ms", ()),
    "killed 20 p95": ("right after 20 % died, first result p95", "ms", (Bound(40.0, (300,)),)),
    "killed 20 found": ("right after 20 % died, found of 200", "", (Bound(200.0, ALL, at_least=True),)),
    "killed 50 p50": ("right after 50 % died, first result p50", "ms", ()),
    "killed 50 p95": ("right after 50 % died, first result p95", "ms", (Bound(100.0, (300,)),)),
    "killed 50 found": ("right after 50 % died, found of 200", "", (Bound(200.0, ALL, at_least=True),)),
    "idle cpu": ("idle, after 1,000 announces: CPU of all nodes", "% of a core", (Bound(5.0, (1000,)),)),
    "idle bytes": ("idle, after 1,000 announces: a node's bytes a minute", "B", (Bound(2000.0, (1000,)),)),
    "idle bytes an hour": ("idle, after 1,000 announces: a node's kB an hour", "kB", ()),
}
"""Name, unit and targets of each figure."""

BESIDE_LIBTORRENT: Final = ("one at once 32", 300, Bound(1.0, (300,), of_ratio=True, at_least=True))


def rows_of(medians: Medians) -> list[Row]:
    """Ours beside whoever was measured, on the same loop; first those on the loop that p2pgrid takes."""
    found = {key: _derived(figures) for key, figures in medians.items()}
    python = [loop for loop in ("uvloop", "stock") if any(key[1] == loop and key[0] in _LOOPED for key in found)]
    rows: list[Row] = []
    for place, loop in enumerate(python):
        for count in sorted({key[2] for key in found}):
            rows += _rows(found, count, loop, main=place == 0)
    return rows


_LOOPED: Final = ("ours", "kademlia")


def _rows(found: Medians, count: int, loop: str, main: bool) -> Iterator[Row]:
    ours = found.get(("ours", loop, count))
    peers = {"kademlia": found.get(("kademlia", loop, count))}
    if main:
        peers |= {name: found.get((name, "stock", count)) for name in ("OpenDHT", "libtorrent")}
        if loop != "stock":
            peers["kademlia, stock loop"] = found.get(("kademlia", "stock", count))
    there = {name: figures for name, figures in peers.items() if figures is not None}
    where = f"n={count}" + ("" if main else ", stock loop")
    for key, (title, unit, bounds) in FIGURES.items():
        values = {name: figures[key] for name, figures in there.items() if key in figures}
        if main and count == 1024 and key in HIVEMIND:
            values["hivemind, published"] = HIVEMIND[key]
        mine = (ours or {}).get(key)
        if mine is None and not values:
            continue
        bound = next((bound for bound in bounds if count in bound.sizes and (main or bound.of_ratio)), None)
        bound = bound if ours is not None else None
        yield _row(f"{title}, {where}", unit, mine, values, bound)
        if main and ours is not None and (key, count) == BESIDE_LIBTORRENT[:2] and "libtorrent" in values:
            beside = {"libtorrent": values["libtorrent"]}
            yield _row(f"{title}, beside libtorrent, {where}", unit, mine, beside, BESIDE_LIBTORRENT[2])


def _row(name: str, unit: str, mine: float | None, values: Mapping[str, float], bound: Bound | None) -> Row:
    row = Row(name, unit, mine, dict(values))
    if bound is not None and not (bound.of_ratio and not values):
        row.target, row.of_ratio, row.at_least = bound.value, bound.of_ratio, bound.at_least
    return row


def _derived(figures: Mapping[str, float]) -> dict[str, float]:
    more = dict(figures)
    if figures.get("first p50") and "complete p50" in figures:
        more["complete/first"] = figures["complete p50"] / figures["first p50"]
    for name in ("one p50", "one p95"):  # who knows of no others stops at the first result anyway
        if name not in figures and name.replace("one", "first") in figures:
            more[name] = figures[name.replace("one", "first")]
    for name in ("one p50", "one p95", "one at once 32"):  # values without a signature
        if f"checked {name}" not in figures and name in more:
            more[f"checked {name}"] = more[name]
    if "idle bytes" in figures:
        more["idle bytes an hour"] = figures["idle bytes"] * 60 / 1000
    return more
