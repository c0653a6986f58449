"""The DHT beside its peers: kademlia (Python), OpenDHT and libtorrent (C++), all in one run on loopback.

Each system and size runs in a process of its own, and the systems take turns, round by round, so that a busy moment
of the machine hits all alike; figures are medians over the rounds.  All are started alike: ten nodes at a time, each
through one random node that was up before.  Values have 150 bytes (ours: a listing of 163 and its signature of 64).

Ours and kademlia run on the same event loop in each row with a ratio: uvloop where it is installed, since that is what
p2pgrid takes then; the rows that end in "stock loop" are both on asyncio's own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from dht_peers.figures import rows_of
from dht_peers.scenarios import Task
from dht_peers.scenarios import main as measure
from harness import options, report

MODULES: Final = {"kademlia": "kademlia", "OpenDHT": "opendht", "libtorrent": "libtorrent"}
HOW: Final = {
    "kademlia": "it comes with p2pgrid",
    "OpenDHT": "pip install opendht, or Debian's python3-opendht",
    "libtorrent": "pip install libtorrent",
}
SIZES: Final = (50, 100, 300, 1000)
OURS_TOO: Final = 1024
"""What hivemind's published run has."""
PATIENCE: Final = 420.0
"""Seconds that one process may take; a deadlock in a binding ends here."""
QUICK_SECONDS: Final = 38.0


@dataclass
class Run:
    """What was measured so far, by system and loop, size and figure."""

    figures: dict[tuple[str, str, int], dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ends: float = float("inf")
    tasks: set[tuple[str, str, int]] = field(default_factory=set)

    def take(self, task: Task) -> None:
        """Measure one, and keep what it told."""
        left = self.ends - time.monotonic()
        what = f"{task.system}, {task.scenario}, n={task.count}"
        if left <= 1:
            self.notes.append(f"{what}: left out, the time of a quick run was over.")
            return
        self.tasks.add((task.system, task.loop, task.count))
        began = time.monotonic()
        lines, fault = _in_process(task, min(PATIENCE, left))
        print(f"{what}, {task.loop}: {time.monotonic() - began:.1f} s {fault}", file=sys.stderr, flush=True)
        if fault:
            self.notes.append(f"{what} on {task.loop}: {fault}")
        kept = self.figures.setdefault((task.system, task.loop, task.count), {})
        for name, value in lines:
            kept.setdefault(name, []).append(value)

    def medians(self) -> dict[tuple[str, str, int], dict[str, float]]:
        """Over the rounds; a system that told nothing has no figures."""
        found = {
            key: {name: statistics.median(values) for name, values in kept.items()}
            for key, kept in self.figures.items()
        }
        return {**{key: {} for key in self.tasks}, **found}


def _in_process(task: Task, patience: float) -> tuple[list[tuple[str, float]], str]:
    """What a process of its own tells until it ends or its time is over, and what went wrong."""
    command = [sys.executable, os.path.abspath(__file__), "--worker", json.dumps(asdict(task))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(patience, end)
    timer.start()
    lines = [json.loads(line) for line in process.stdout or () if line.startswith("[")]
    code = process.wait()
    timer.cancel()
    reader.join(1.0)
    if late.is_set():
        return lines, f"did not finish within {patience:.0f} s."
    if code:
        return lines, f"did not finish: ended with {code}, {said[-1].strip() if said else 'without a word'}"
    return lines, ""


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", default="", help="sizes, as 50,100")
    parser.add_argument("--only", default="", help="systems, as ours,kademlia")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=200, help="keys a phase")
    parser.add_argument("--one-loop", action="store_true", help="only the event loop that p2pgrid takes")
    parser.add_argument("--no-idle", action="store_true", help="leave the idle networks out")
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def _candidates(only: Iterable[str], run: Run) -> list[tuple[str, str]]:
    """Systems with their loop, in the order of their turns; those missing are noted by name."""
    wanted = [name for name in only if name] or ["ours", *MODULES]
    if unknown := set(wanted) - {"ours", *MODULES}:
        raise SystemExit(f"unknown systems: {', '.join(sorted(unknown))}; there are ours, {', '.join(MODULES)}")
    fast = importlib.util.find_spec("uvloop") is not None
    if not fast:
        run.notes.append("uvloop is not installed: everything ran on asyncio's own loop.")
    found = []
    for name in ("ours", *MODULES):
        if name not in wanted:
            run.notes.append(f"{name}: left out by --only.")
        elif name in MODULES and importlib.util.find_spec(MODULES[name]) is None:
            run.notes.append(f"{name}: not installed ({HOW[name]}).")
        else:
            found.append((name, "uvloop" if fast and name in ("ours", "kademlia") else "stock"))
    if fast:
        found += [(name, "stock") for name in ("ours", "kademlia") if (name, "uvloop") in found]
    return found


def quick(run: Run, candidates: list[tuple[str, str]], sizes: list[int]) -> None:
    """Small and short, and over in time whatever hangs."""
    run.ends = time.monotonic() + QUICK_SECONDS
    run.notes.append("--quick: one short round, 32 at once only; only ours were killed, no idle network was watched.")
    python = [one for one in candidates if one[0] in ("ours", "kademlia")][:2]
    task = Task("", "steady", "", 0, keys=40, settle=1.0, burst=1.0, widths=(32,), kills=False, seed=1)
    for count in sizes:
        for system, loop in python:
            run.take(replace(task, system=system, loop=loop, count=count, kills=system == "ours"))
    for system, loop in python:
        run.take(replace(task, system=system, loop=loop, scenario="rpc", count=10, keys=100))
    for system, loop in candidates:
        if (system, loop) not in python and system not in ("ours", "kademlia"):
            run.take(replace(task, system=system, loop=loop, count=min(sizes)))


def full(run: Run, candidates: list[tuple[str, str]], sizes: list[int], chosen: argparse.Namespace) -> None:
    """Every system, size and phase, in turns."""
    first = dict(reversed(candidates))  # p2pgrid's own loop comes before the stock one
    task = Task("", "steady", "", 0, keys=chosen.keys, settle=35.0, burst=5.0, widths=(32, 256), kills=True, seed=1)
    for number in range(chosen.rounds):
        for system, loop in candidates:
            if system in ("ours", "kademlia"):
                run.take(replace(task, system=system, loop=loop, scenario="rpc", count=10, seed=number))
        for count in [*sizes, *([OURS_TOO] if max(sizes) >= 1000 else [])]:
            for system, loop in candidates:
                if count == OURS_TOO and (system, loop) != ("ours", first.get("ours")):
                    continue
                # kademlia waits for 5 s a dead peer, on any loop: once is enough.
                kills = loop == first[system] and (system != "kademlia" or number == 0)
                one = replace(task, system=system, loop=loop, count=count, seed=number, kills=kills)
                run.take(one)
                if kills and count != OURS_TOO:
                    run.take(replace(one, scenario="half"))
    if not chosen.no_idle:
        for count in [size for size in sizes if size in (100, 1000)] or sizes[:1]:
            for system, loop in first.items():
                run.take(replace(task, system=system, loop=loop, scenario="idle", count=count))


def main() -> int:
    """All rows; 1 when a target is missed."""
    chosen = options(__doc__ or "", _more)
    if chosen.worker:
        measure(Task(**json.loads(chosen.worker)))
    run = Run()
    sizes = [50, 100] if chosen.quick else list(SIZES)
    if chosen.nodes:
        sizes = [int(size) for size in chosen.nodes.split(",")]
    candidates = _candidates(chosen.only.split(","), run)
    if chosen.one_loop:
        candidates = list({system: (system, loop) for system, loop in reversed(candidates)}.values())[::-1]
    if chosen.quick:
        quick(run, candidates, sizes)
    else:
        full(run, candidates, sizes, chosen)
    return report(rows_of(run.medians()), chosen, run.notes)


if __name__ == "__main__":
    sys.exit(main())
