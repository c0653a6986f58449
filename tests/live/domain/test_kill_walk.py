"""kill -9 at 200 random moments while a domain is used at random: nothing lost, nothing released twice.

Each store is killed again and again: opened by a new process, used by three at once (uploads, requests, verdicts,
deposits, approved runs, jobs, deletions), killed, and looked at by another process.  A killed process is a bare
``DomainService`` over its store with a real ``Runner``: the same verbs that a node's link calls.  Whole nodes are
killed in ``tests/live/node/test_kill.py``.  The seed is printed; ``P2PGRID_KILL_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

KILLED = -9
QUICK_STORES, QUICK_KILLS, QUICK_MOST = 8, 20, 0.25
"""Lives without runs of code: 160 kills, each within a quarter of a second."""
RUN_STORES, RUN_KILLS, RUN_MOST = 4, 10, 4.0
"""Lives with approved runs: 40 kills; starting a zygote takes one or two seconds of each."""
TOTAL = sum(range(200_000))


class Store:
    """One store, and what must be in it after all that was said to be done there."""

    def __init__(self, folder: Path, chance: random.Random, *, runs: bool) -> None:
        self.folder, self.chance, self.runs = folder, chance, runs
        self.there, self.maybe = {"first"}, set[str]()
        self.status: dict[str, str | None] = {}
        self.released: dict[str, tuple[str, int]] = {}
        self.queued, self.finished = set[str](), dict[str, str]()
        folder.mkdir()
        (folder / "key").write_bytes(secrets.token_bytes(32))
        script = Path(__file__).with_name("kill_walker.py")
        self.process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.order("prepare")["status"] == 0

    def order(self, do: str, **more: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"folder": str(self.folder), "do": do, "runs": self.runs, "seed": self.chance.getrandbits(40), **more}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self, most: float) -> None:
        """One life that ends with a kill, and a look at what it left."""
        early = self.chance.random() < 0.1
        killed = self.order("walk", after=self.chance.uniform(0.0, most), early=early)
        assert killed["status"] == KILLED
        for fact in killed["said"]:
            self.hear(fact)
        looked = self.order("look")
        assert looked["status"] == 0
        self.check(looked["said"][-1]["facts"])

    def hear(self, fact: dict[str, Any]) -> None:
        what = fact.get("walk")
        if what in ("publishing", "deleting"):
            self.maybe.add(fact["name"])
        elif what == "published":
            self.maybe.discard(fact["name"])
            self.there.add(fact["name"])
        elif what == "deleted":
            self.maybe.discard(fact["name"])
            self.there.discard(fact["name"])
        elif what == "asked":
            self.status.setdefault(fact["request"], None)
        elif what == "deciding":
            self.status[fact["request"]] = None  # two may decide at once, and the later answer need not be the last
        elif what == "released":
            held = (fact["execution"], fact["value"])
            assert self.released.setdefault(fact["request"], held) == held
        elif what == "queued":
            self.queued.add(fact["job"])
        elif what == "finished":
            self.finished[fact["job"]] = fact["execution"]

    def check(self, facts: dict[str, Any]) -> None:
        """Everything that was answered is there, and nothing is there by half or twice."""
        assert (facts["integrity"], facts["flaw"], facts["staged"]) == ("ok", None, 0)
        assert all(facts["whole"])
        names = set(facts["datasets"])
        assert self.there - self.maybe <= names <= self.there | self.maybe
        self.there, self.maybe = names, set()
        assert facts["files"] == len(facts["whole"])
        actions = Counter(action for action, _, _ in facts["audit"])
        assert actions["dataset.create"] - actions["dataset.delete"] == len(names)
        self.check_requests(facts, actions)
        self.check_jobs(facts)

    def check_requests(self, facts: dict[str, Any], actions: Counter[str]) -> None:
        requests, released = facts["requests"], {request: (an_id, value) for request, an_id, value in facts["released"]}
        assert set(self.status) <= set(requests)
        assert len(released) == len(facts["released"]), "released twice"
        assert {request: row["spent"] for request, row in requests.items() if row["spent"]} == dict.fromkeys(
            released, 1
        )
        told = [(subject, execution) for action, subject, execution in facts["audit"] if action == "result.release"]
        assert sorted(told) == sorted((request, an_id) for request, (an_id, _) in released.items())
        for request, held in self.released.items():
            assert released[request] == held, "what was released changed"
        self.released = released
        assert facts["waiting"] == sorted(row["deposit"] for row in requests.values() if row["deposit"])
        assert actions["request.create"] == len(requests)
        for request, row in requests.items():
            verdicts = [action for action, subject, _ in facts["audit"] if subject == request and action in VERDICTS]
            assert row["status"] == (VERDICTS[verdicts[-1]] if verdicts else "PENDING")

    def check_jobs(self, facts: dict[str, Any]) -> None:
        jobs, executions = facts["jobs"], {an_id for _, an_id, _ in facts["released"]}
        assert self.queued <= set(jobs)
        for job, (state, execution) in jobs.items():
            assert state != "running"
            assert (execution is not None) == (state == "finished"), (job, state)
            assert execution is None or execution in executions
        for job, execution in self.finished.items():
            assert jobs[job] == ["finished", execution]

    def close(self) -> None:
        self.process.communicate(timeout=20)


VERDICTS = {"request.approve": "APPROVED", "request.deposit": "APPROVED", "request.deny": "DENIED"}


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("P2PGRID_KILL_SEED") or secrets.randbelow(2**32))
    print(f"P2PGRID_KILL_SEED={chosen}")
    return chosen


def lives(folder: Path, chance: random.Random, kills: int, most: float, *, runs: bool) -> Store:
    store = Store(folder, chance, runs=runs)
    try:
        for _ in range(kills):
            store.kill(most)
    finally:
        store.close()
    return store


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("stores", "kills", "most", "runs"),
    [(QUICK_STORES, QUICK_KILLS, QUICK_MOST, False), (RUN_STORES, RUN_KILLS, RUN_MOST, True)],
    ids=["data", "runs"],
)
def test_killed_at_200_random_moments_nothing_is_lost_or_released_twice(
    tmp_path: Path, seed: int, stores: int, kills: int, most: float, runs: bool
) -> None:
    with ThreadPoolExecutor(2) as pool:
        chances = [random.Random(seed + number) for number in range(stores)]
        begun = [
            pool.submit(lives, tmp_path / str(number), chance, kills, most, runs=runs)
            for number, chance in enumerate(chances)
        ]
        done = [future.result() for future in begun]
    released = [value for store in done for _, value in store.released.values()]
    datasets, jobs = sum(len(store.there) for store in done), sum(len(store.finished) for store in done)
    print(f"{stores * kills} kills: {len(released)} releases, {datasets} datasets, {jobs} jobs came through")
    assert len(released) > stores, "so few releases that little was tried"
    assert datasets > stores, "no upload came through"
    assert jobs, "no job came through"
    if runs:
        assert TOTAL in released, "no run came through"
