"""Kill -9 in the middle of publishing, of an approved run, and of a deposit: nothing half-done stays.

A domain is killed at each point that it passes on its way, opened again by a new process, and looked at: an
acknowledged step is still there, a dataset is whole or absent, and an output policy is spent exactly once.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KILLED = -9
END = -1
TOTAL = sum(range(200_000))
Orders = Callable[..., dict[str, Any]]


@pytest.fixture
def zygote() -> Iterator[Orders]:
    """Sends an order to a process that forks domains, and gives its answer."""
    script = Path(__file__).with_name("kill_zygote.py")
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def order(folder: Path, do: str, **more: Any) -> dict[str, Any]:
            process.stdin.write(json.dumps({"folder": str(folder), "do": do, **more}).encode() + b"\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield order
        process.stdin.close()
        process.wait(20)


@pytest.fixture
def fresh(tmp_path: Path, zygote: Orders) -> Callable[[], Path]:
    """A new copy of a domain with a dataset and a request that waits."""
    template = tmp_path / "template"
    template.mkdir()
    (template / "key").write_bytes(secrets.token_bytes(32))
    assert zygote(template, "prepare")["status"] == 0

    def make() -> Path:
        copy = tmp_path / secrets.token_hex(4)
        shutil.copytree(template, copy)
        return copy

    return make


def look(zygote: Orders, folder: Path) -> dict[str, Any]:
    """Open the domain again and check what must hold after any crash."""
    answer = zygote(folder, "inspect")
    assert answer["status"] == 0
    facts: dict[str, Any] = answer["facts"]
    assert facts["flaw"] is None
    assert all(facts["whole"])
    assert facts["files"] == 2 * len(facts["datasets"])
    assert facts["staged"] == 0
    assert facts["audit"].count("dataset.create") == len(facts["datasets"])
    assert facts["audit"].count("result.release") == facts["request"]["spent"] == len(facts["released"])
    assert facts["executions"] == len(facts["released"]) + bool(facts["request"]["deposit"])
    return facts


def points_of(zygote: Orders, folder: Path, do: str) -> int:
    answer = zygote(folder, do)
    assert answer["status"] == 0
    assert answer["points"] > 10
    return int(answer["points"])


def check_published(zygote: Orders, folder: Path, killed: dict[str, Any]) -> bool:
    facts = look(zygote, folder)
    there = facts["datasets"] == ["first", "second"]
    assert there or facts["datasets"] == ["first"]
    assert there or "published" not in killed["acks"]
    if not there:
        assert zygote(folder, "publish")["status"] == 0
    assert look(zygote, folder)["datasets"] == ["first", "second"]
    return there


def check_spent_once(zygote: Orders, folder: Path, do: str, killed: dict[str, Any]) -> int:
    facts = look(zygote, folder)
    verdict = "request.deposit" if do == "deposit" else "request.approve"
    assert facts["audit"].count(verdict) == (facts["request"]["status"] == "APPROVED")
    assert facts["request"]["status"] == "APPROVED" or "approved" not in killed["acks"]
    assert facts["request"]["spent"] or "released" not in killed["acks"]
    if do == "custom_run":  # its state is the count of what was released, and never ahead of it or behind
        assert facts["request"]["counted"] == ("1" if facts["request"]["spent"] else "")
    if facts["request"]["status"] != "APPROVED":
        assert zygote(folder, do)["status"] == 0
    again = zygote(folder, "result")
    assert again["acks"]["value"] == TOTAL
    assert killed["acks"].get("released", again["acks"]["released"]) == again["acks"]["released"]
    assert look(zygote, folder)["request"]["spent"] == 1
    return int(facts["request"]["spent"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_publishing_leaves_the_whole_dataset_or_none(zygote: Orders, fresh: Callable[[], Path]) -> None:
    outcomes = set()
    for at in range(1, points_of(zygote, fresh(), "publish") + 1):
        folder = fresh()
        killed = zygote(folder, "publish", at=at)
        assert killed["status"] == KILLED
        outcomes.add(check_published(zygote, folder, killed))
        shutil.rmtree(folder)
    assert outcomes == {True, False}


FEWER = 12
"""Points that one life may have fewer than the longest: the head of the audit log is written when there is time."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("do", ["approved_run", "custom_run", "deposit"])
def test_killed_at_any_point_spends_the_policy_exactly_once(zygote: Orders, fresh: Callable[[], Path], do: str) -> None:
    outcomes = set()
    points = max(points_of(zygote, fresh(), do) for _ in range(3))
    # Each point needs two cold starts: of the first ones every third is tried, from another one on each time; then
    # each of those around the release, which is at the end.
    near_the_end = max(1, points - FEWER)
    first = range(1 + secrets.randbelow(3), near_the_end, 3)
    for at in (*first, *range(near_the_end, points + 1), END):
        folder = fresh()
        killed = zygote(folder, do, at=at)
        spent = check_spent_once(zygote, folder, do, killed)
        if killed["status"] == KILLED:
            outcomes.add(spent)
            assert spent or at != END
        else:  # it came to its end before that many
            assert (killed["status"], spent) == (0, 1)
            assert at > points - FEWER
        shutil.rmtree(folder)
    assert outcomes == {0, 1}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("do", ["approved_run", "publish"])
def test_killed_at_any_moment_is_whole_again(zygote: Orders, fresh: Callable[[], Path], do: str) -> None:
    for step in range(16):
        folder = fresh()
        killed = zygote(folder, do, after=step * (0.015 if do == "approved_run" else 0.0015))
        if do == "publish":
            check_published(zygote, folder, killed)
        else:
            check_spent_once(zygote, folder, do, killed)
        shutil.rmtree(folder)
