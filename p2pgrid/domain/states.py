"""The life of a code request, as a table.

An owner may change their mind as long as nothing was released: a denied request may still be approved or answered with
a result, and an approval may be taken back.  What was released stays released.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from p2pgrid.errors import Conflict


class Status(StrEnum):
    """Where a request stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DENIED = "DENIED"


class Verdict(StrEnum):
    """What an owner may do with a request."""

    APPROVE = "approve"
    DENY = "deny"
    DEPOSIT = "deposit"


MOVES: Final[Mapping[tuple[Status, Verdict], Status]] = MappingProxyType(
    {
        (Status.PENDING, Verdict.APPROVE): Status.APPROVED,
        (Status.PENDING, Verdict.DENY): Status.DENIED,
        (Status.PENDING, Verdict.DEPOSIT): Status.APPROVED,
        (Status.DENIED, Verdict.APPROVE): Status.APPROVED,
        (Status.DENIED, Verdict.DENY): Status.DENIED,
        (Status.DENIED, Verdict.DEPOSIT): Status.APPROVED,
        (Status.APPROVED, Verdict.DENY): Status.DENIED,
        (Status.APPROVED, Verdict.DEPOSIT): Status.APPROVED,
    }
)
"""Approving what is approved is the one pair left out: nothing would change, and a second owner should know."""


def move(status: Status, verdict: Verdict) -> Status:
    """The status after ``verdict``.  Raises ``Conflict`` for a pair that is not in ``MOVES``."""
    try:
        return MOVES[status, verdict]
    except KeyError:
        raise Conflict(f"A request that is {status} cannot be changed by {verdict}.") from None
