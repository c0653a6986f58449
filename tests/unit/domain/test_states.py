"""Every triple of status, what was released, and verdict."""

from __future__ import annotations

import itertools

import pytest

from p2pgrid.domain.states import MOVES, Released, Status, Verdict, move, released
from p2pgrid.errors import Conflict

#          after: approve     deny      deposit     withdraw
EXPECTED = {
    ("PENDING", "nothing"): ("APPROVED", "DENIED", "APPROVED", None),
    ("DENIED", "nothing"): ("APPROVED", "DENIED", "APPROVED", "PENDING"),
    ("APPROVED", "nothing"): (None, "DENIED", "APPROVED", "PENDING"),
    ("APPROVED", "some"): (None, "DENIED", "APPROVED", None),
    ("DENIED", "some"): ("APPROVED", "DENIED", "APPROVED", None),
    ("APPROVED", "all"): (None, "DENIED", None, None),
    ("DENIED", "all"): ("APPROVED", "DENIED", None, None),
    ("PENDING", "some"): (None, None, None, None),
    ("PENDING", "all"): (None, None, None, None),
}


@pytest.mark.parametrize(("status", "so_far", "verdict"), list(itertools.product(Status, Released, Verdict)))
def test_every_triple(status: Status, so_far: Released, verdict: Verdict) -> None:
    expected = EXPECTED[status.value, so_far.value][list(Verdict).index(verdict)]
    if expected is None:
        with pytest.raises(Conflict):
            move(status, so_far, verdict)
    else:
        assert move(status, so_far, verdict).value == expected


def test_the_table_holds_nothing_else() -> None:
    assert len(MOVES) == sum(after is not None for row in EXPECTED.values() for after in row)


def test_nothing_leads_back_to_waiting_once_a_result_was_released() -> None:
    back = {so_far for (_, so_far, _), after in MOVES.items() if after is Status.PENDING}
    assert back == {Released.NOTHING}


@pytest.mark.parametrize(
    ("spent", "limit", "so_far"), [(0, 1, "nothing"), (0, 3, "nothing"), (1, 3, "some"), (3, 3, "all"), (1, 1, "all")]
)
def test_how_much_was_released(spent: int, limit: int, so_far: str) -> None:
    assert released(spent, limit) == so_far
