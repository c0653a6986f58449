"""Every pair of status and verdict."""

from __future__ import annotations

import itertools

import pytest

from p2pgrid.domain.states import MOVES, Status, Verdict, move
from p2pgrid.errors import Conflict

EXPECTED = {
    ("PENDING", "approve"): "APPROVED",
    ("PENDING", "deny"): "DENIED",
    ("PENDING", "deposit"): "APPROVED",
    ("DENIED", "approve"): "APPROVED",
    ("DENIED", "deny"): "DENIED",
    ("DENIED", "deposit"): "APPROVED",
    ("APPROVED", "approve"): None,
    ("APPROVED", "deny"): "DENIED",
    ("APPROVED", "deposit"): "APPROVED",
}


@pytest.mark.parametrize(("status", "verdict"), list(itertools.product(Status, Verdict)))
def test_every_pair(status: Status, verdict: Verdict) -> None:
    expected = EXPECTED[status.value, verdict.value]
    if expected is None:
        with pytest.raises(Conflict):
            move(status, verdict)
    else:
        assert move(status, verdict).value == expected


def test_the_table_holds_nothing_else() -> None:
    assert {(status.value, verdict.value) for status, verdict in MOVES} == {
        pair for pair, after in EXPECTED.items() if after
    }
