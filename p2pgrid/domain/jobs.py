"""Long runs as jobs: their states as a table, how a job looks to whom, and whose turn is next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.domain.models import moment
from p2pgrid.errors import Conflict


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The node stopped while it ran."""


class Event(StrEnum):
    """What happens to a job."""

    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    PUT_BACK = "put back"
    """The node stopped before the run began."""
    RETRY = "retry"


class Side(StrEnum):
    """What a job runs on."""

    DATA = "data"
    MOCK = "mock"


MOVES: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.QUEUED, Event.START): State.RUNNING,
        (State.QUEUED, Event.CANCEL): State.CANCELLED,
        (State.RUNNING, Event.FINISH): State.FINISHED,
        (State.RUNNING, Event.FAIL): State.FAILED,
        (State.RUNNING, Event.CANCEL): State.CANCELLED,
        (State.RUNNING, Event.INTERRUPT): State.INTERRUPTED,
        (State.RUNNING, Event.PUT_BACK): State.QUEUED,
        (State.CANCELLED, Event.FINISH): State.FINISHED,
        (State.FAILED, Event.RETRY): State.QUEUED,
        (State.CANCELLED, Event.RETRY): State.QUEUED,
        (State.INTERRUPTED, Event.RETRY): State.QUEUED,
    }
)
"""A finished job stays finished: its result was released.  It may have been while the job was being cancelled."""
ENDED: Final = frozenset({State.FINISHED, State.FAILED, State.CANCELLED, State.INTERRUPTED})


def move(state: State, event: Event) -> State:
    """The state after ``event``.  Raises ``Conflict`` for a pair that is not in ``MOVES``."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise Conflict(f"A job that is {state} cannot be changed by {event}.") from None


@dataclass(frozen=True, slots=True)
class Job:
    """A run that waits, runs, or has ended.

    ``execution``: the released result.  ``error``: why there is none, as its author may know it.  ``output``: what
    it printed.  ``tries``: how often it was started.
    """

    id: str
    request: str
    code_id: str
    function: str
    side: Side
    state: State
    account: str
    requested_by: str
    queued_at: float
    started_at: float | None
    ended_at: float | None
    execution: str | None
    error: Mapping[str, str] | None
    output: str
    tries: int

    def shows_output(self, *, private: bool) -> bool:
        """Whether what it prints may be seen: of a run on private data by owners only (``private``)."""
        return private or self.side is Side.MOCK

    def to_wire(self, now: float, *, private: bool, ahead: int = 0) -> dict[str, Any]:
        """For its author, or ``private``: for an owner.

        How long private data kept a run busy can tell of the data: its author sees whole seconds, rounded up.
        """
        exact = self.shows_output(private=private)
        seconds = 0.0
        if self.started_at is not None:
            seconds = max(0.0, (self.ended_at if self.ended_at is not None else now) - self.started_at)
        return {
            "id": self.id,
            "request": self.request,
            "code_id": self.code_id,
            "function": self.function,
            "on": self.side.value,
            "status": self.state.value,
            "ahead": ahead,
            "requested_by": self.requested_by,
            "queued_at": moment(math.floor(self.queued_at)),
            "seconds": round(seconds, 3) if exact else float(math.ceil(seconds)),
            "tries": self.tries,
            "execution": self.execution,
            "error": dict(self.error) if self.error else None,
        }


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job in the queue."""

    job: str
    account: str


def next_ticket(waiting: Iterable[Ticket], running: Collection[str], *, at_once: int, each: int) -> Ticket | None:
    """The oldest job that may start: ``at_once`` run in all, ``each`` of one account.

    ``running``: the account of each job that runs.  Somebody with a long queue keeps nobody else waiting behind it.
    """
    if len(running) >= at_once:
        return None
    busy = list(running)
    return next((ticket for ticket in waiting if busy.count(ticket.account) < each), None)
