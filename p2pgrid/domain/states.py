"""The life of a code request, as a table.

An owner may change their mind as long as nothing was released: a denied request may still be approved or answered with
a result, and an approval may be taken back.  What was released stays released; after that an owner can only stop what
is still to come, or allow it again.
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


class Released(StrEnum):
    """How much of what its output policy allows a request has released."""

    NOTHING = "nothing"
    SOME = "some"
    ALL = "all"


class Verdict(StrEnum):
    """What an owner may do with a request."""

    APPROVE = "approve"
    DENY = "deny"
    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    """Undo a verdict: the request waits again."""


MOVES: Final[Mapping[tuple[Status, Released, Verdict], Status]] = MappingProxyType(
    {
        (Status.PENDING, Released.NOTHING, Verdict.APPROVE): Status.APPROVED,
        (Status.PENDING, Released.NOTHING, Verdict.DENY): Status.DENIED,
        (Status.PENDING, Released.NOTHING, Verdict.DEPOSIT): Status.APPROVED,
        (Status.DENIED, Released.NOTHING, Verdict.APPROVE): Status.APPROVED,
        (Status.DENIED, Released.NOTHING, Verdict.DENY): Status.DENIED,
        (Status.DENIED, Released.NOTHING, Verdict.DEPOSIT): Status.APPROVED,
        (Status.DENIED, Released.NOTHING, Verdict.WITHDRAW): Status.PENDING,
        (Status.APPROVED, Released.NOTHING, Verdict.DENY): Status.DENIED,
        (Status.APPROVED, Released.NOTHING, Verdict.DEPOSIT): Status.APPROVED,
        (Status.APPROVED, Released.NOTHING, Verdict.WITHDRAW): Status.PENDING,
        (Status.APPROVED, Released.SOME, Verdict.DENY): Status.DENIED,
        (Status.APPROVED, Released.SOME, Verdict.DEPOSIT): Status.APPROVED,
        (Status.DENIED, Released.SOME, Verdict.APPROVE): Status.APPROVED,
        (Status.DENIED, Released.SOME, Verdict.DENY): Status.DENIED,
        (Status.DENIED, Released.SOME, Verdict.DEPOSIT): Status.APPROVED,
        (Status.APPROVED, Released.ALL, Verdict.DENY): Status.DENIED,
        (Status.DENIED, Released.ALL, Verdict.APPROVE): Status.APPROVED,
        (Status.DENIED, Released.ALL, Verdict.DENY): Status.DENIED,
    }
)
"""Approving what is approved is left out: nothing would change, and a second owner should know.  So is every way back
to PENDING once something was released, and a deposit that the policy could not release."""


_AFTER: Final[Mapping[Released, str]] = MappingProxyType(
    {
        Released.NOTHING: "",
        Released.SOME: " and has released a result, which is for good,",
        Released.ALL: " and whose output policy is spent",
    }
)


def released(spent: int, limit: int) -> Released:
    """How much was released of ``limit`` results."""
    return Released.NOTHING if not spent else Released.SOME if spent < limit else Released.ALL


def move(status: Status, so_far: Released, verdict: Verdict) -> Status:
    """The status after ``verdict``.  Raises ``Conflict`` for what is not in ``MOVES``."""
    try:
        return MOVES[status, so_far, verdict]
    except KeyError:
        raise Conflict(f"A request that is {status}{_AFTER[so_far]} cannot be changed by {verdict}.") from None
