"""Mistakes that are easily made in a sandbox, each by its name."""

from __future__ import annotations

import pytest
from escape_suite.attacks import ATTACKS
from escape_suite.matrix import Matrix
from escape_suite.model import USERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("user", USERS),
    pytest.mark.parametrize("tier", ["strong", "kernel"]),
]


def stopped(matrix: Matrix, tier: str, user: str, *names: str) -> None:
    """None of these attacks came through."""
    outcome = matrix.outcome(tier, user)
    assert not outcome.fault, outcome.fault
    if outcome.unavailable:
        pytest.skip(f"not applicable: {outcome.unavailable}")
    assert set(names) <= set(ATTACKS)
    assert [one for one in outcome.verdicts if one.attack in names and (one.succeeded or one.fault)] == []


def test_paths_built_from_the_nodes_import_path_expose_its_key(matrix: Matrix, tier: str, user: str) -> None:
    stopped(matrix, tier, user, "a-folder-on-the-nodes-own-import-path", "the-nodes-module-by-its-name", "node-key")


def test_owning_a_descriptor_signals_the_node(matrix: Matrix, tier: str, user: str) -> None:
    names = [name for name in ATTACKS if name.startswith("signals-the-node")]
    assert len(names) == 5
    stopped(matrix, tier, user, *names)


def test_mmap_keeps_a_descriptor_of_the_input(matrix: Matrix, tier: str, user: str) -> None:
    names = (
        "opens-its-inputs-descriptor-again-to-write",
        "changes-its-input-by-the-descriptor-that-mmap-kept",
        "sets-the-time-of-its-input-by-a-descriptor",
        "makes-the-mapping-of-its-input-writable",
    )
    stopped(matrix, tier, user, *names)


def test_forged_arrow_crashes_its_reader(matrix: Matrix, tier: str, user: str) -> None:
    stopped(matrix, tier, user, "forged-arrow")


def test_the_kernels_limit_of_processes_does_not_bind_root(matrix: Matrix, tier: str, user: str) -> None:
    stopped(matrix, tier, user, "fork-bomb", "many-processes", "many-threads", "memory-by-many-processes")


def test_a_layer_is_skipped_silently(matrix: Matrix, tier: str, user: str) -> None:
    outcome = matrix.outcome(tier, user)
    assert not outcome.fault, outcome.fault
    if outcome.unavailable:
        pytest.skip(f"not applicable: {outcome.unavailable}")
    assert outcome.tier == tier, "a run in another tier than the one that was accepted"


def test_a_result_is_unpickled(matrix: Matrix, tier: str, user: str) -> None:
    stopped(matrix, tier, user, *(name for name in ATTACKS if "pickle" in name))
