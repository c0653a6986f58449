"""Every attack, under every tier, as root and as an ordinary user, is stopped; the control shows that it is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from escape_suite.attacks import ATTACKS, FAMILIES
from escape_suite.drive import Verdict
from escape_suite.matrix import Matrix
from escape_suite.model import SUCCEEDS, USERS
from escape_suite.page import table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TIERS = ("strong", "kernel")
THREATS = Path(__file__).resolve().parents[3] / "docs" / "threat-model.md"
SANDBOX = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "true")


def verdict(matrix: Matrix, name: str, way: str, user: str) -> Verdict:
    """What became of an attack; not applicable where this machine has no such way or user."""
    outcome = matrix.outcome(way, user)
    assert not outcome.fault, outcome.fault
    if outcome.unavailable:
        pytest.skip(f"not applicable: {outcome.unavailable}")
    found = next(one for one in outcome.verdicts if one.attack == name)
    assert not found.fault, found.fault
    return found


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_stopped(matrix: Matrix, name: str, tier: str, user: str) -> None:
    found = verdict(matrix, name, tier, user)
    assert found.succeeded == bool(ATTACKS[name].allowed), found.evidence
    assert found.cost == "", found.evidence


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_control_does_what_is_said_of_it(matrix: Matrix, name: str, user: str) -> None:
    found, expected = verdict(matrix, name, "bare", user), ATTACKS[name].expected(user)
    if found.absent:
        expected = "fails: this kernel is built without the call"
    assert found.succeeded == (expected == SUCCEEDS), f"{expected}; {found.evidence}"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("tier", TIERS)
def test_no_tier_is_left_out_where_the_machine_gives_it(matrix: Matrix, tier: str, user: str) -> None:
    outcome = matrix.outcome(tier, user)
    assert not outcome.fault, outcome.fault
    gives = shutil.which("bwrap") and subprocess.run(SANDBOX, capture_output=True, check=False).returncode == 0
    if not gives or (outcome.tier == "" and "root" in outcome.unavailable):
        pytest.skip(f"not applicable: {outcome.unavailable or 'no bubblewrap here'}")
    assert (outcome.unavailable, outcome.tier) == ("", tier)


def test_there_are_more_than_ninety_attacks() -> None:
    assert len(ATTACKS) > 90
    assert sum(len(family) for family in FAMILIES.values()) == len(ATTACKS), "two attacks have one name"
    assert all(attack.family == family for family, attacks in FAMILIES.items() for attack in attacks)


def test_every_control_that_fails_says_why() -> None:
    for attack in ATTACKS.values():
        for word in filter(None, (attack.control, attack.as_user)):
            assert word == SUCCEEDS or word.startswith("fails: "), f"{attack.name}: {word}"


def test_only_run_time_is_allowed() -> None:
    assert [attack.name for attack in ATTACKS.values() if attack.allowed] == ["a-secret-told-by-run-time"]


def test_the_threat_model_lists_the_families() -> None:
    assert table() in THREATS.read_text(encoding="utf-8"), f"write this into docs/threat-model.md:\n{table()}"
