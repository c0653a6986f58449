"""Verbs on jobs, and how a job is run: whatever ends it, its row says so in the transaction that ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from p2pgrid import wire
from p2pgrid.domain.accounts import permit
from p2pgrid.domain.fields import Args
from p2pgrid.domain.jobs import ENDED, MOVES, Event, Job, Side, State, Ticket, move
from p2pgrid.domain.models import Execution
from p2pgrid.domain.service import code, requests
from p2pgrid.domain.service.door import Caller, Domain, Who, verb
from p2pgrid.domain.service.queue import Live
from p2pgrid.domain.storage.database import DatabaseAway
from p2pgrid.domain.storage.tables import AccountRow, JobRow, RequestRow
from p2pgrid.errors import (
    InternalError,
    InvalidInput,
    JobCancelled,
    JobInterrupted,
    NotAllowed,
    NotFound,
    P2PError,
    StorageError,
    TooLarge,
)

log = logging.getLogger(__name__)

MAX_WAIT: Final = 25
"""Seconds that one call waits for a change: less than a caller's patience with any verb."""
MAX_GIVEN: Final = 1 << 20
PIECE: Final = 65_536
PATIENCE: Final = 600.0
"""Seconds for which the result of a job waits in memory for a database that is away."""
IDLE: Final = 1.0
"""Seconds between looks at a job that is open and not in the queue."""
LATER: Final = "Try again later: job.retry()."
STOPPED: Final = "The node stopped while the job ran."


@verb("job.start")
async def start(domain: Domain, who: Who, args: Args) -> Any:
    """Queue a call of approved code, with the arguments of ``code.call``; ``on`` the mock: a run for its author to see.

    Raises at once what ``code.call`` would raise before it runs anything.
    """
    side = _side(args)
    request = await code.callable_request(domain, who, args, on_mock=side is Side.MOCK)
    given, new_id = wire.pack_value(args.raw("inputs") if args.has("inputs") else {}), domain.new_id()
    if len(given) > MAX_GIVEN:
        raise TooLarge(f"The inputs of a job have {len(given)} bytes; at most {MAX_GIVEN} are kept.")

    def work(session: Session) -> Job:
        _make_room(domain, session, who.person.id)
        row = JobRow(
            id=new_id,
            position=(session.scalar(select(func.max(JobRow.position))) or 0) + 1,
            request=request.id,
            code_id=request.code_id,
            function=request.function,
            side=side.value,
            inputs=given,
            state=State.QUEUED.value,
            account=who.person.id,
            requested_by=who.person.email,
            queued_at=domain.clock(),
            output="",
            tries=0,
        )
        session.add(row)
        session.flush()
        domain.record(session, who.label, "job.start", row.id, request=request.id, on=side.value)
        return row.value()

    return _shown(domain, who, await _queued(domain, Ticket(new_id, who.person.id), work))


@verb("job.list")
async def list_jobs(domain: Domain, who: Who, args: Args) -> Any:
    """Jobs, oldest first: all of them for an owner, else one's own; the newest ``limit`` (100)."""
    limit, offset = args.number("limit", 1, 1000, default=100), args.number("offset", 0, 2**31, default=0)
    query = _visible(who).order_by(JobRow.position.desc()).limit(limit).offset(offset)
    found = await domain.read(lambda session: [row.value() for row in session.scalars(query)])
    return [_shown(domain, who, job) for job in found[::-1]]


@verb("job.get")
async def get(domain: Domain, who: Who, args: Args) -> Any:
    """One job.  Raises ``NotFound``, also for somebody else's."""
    return _shown(domain, who, await _read(domain, who, args))


@verb("job.wait")
async def wait(domain: Domain, who: Who, args: Args) -> Any:
    """The job once it has ended, or after ``seconds`` (25, the most)."""
    seconds = args.number("seconds", 0, MAX_WAIT, default=MAX_WAIT)
    job = await _read(domain, who, args)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while job.state not in ENDED and (left := deadline - loop.time()) > 0:
        live = domain.queue.live(job.id)
        if live is None:
            await asyncio.sleep(min(IDLE, left))
        while live is not None and not live.ended and (left := deadline - loop.time()) > 0:
            await live.change(left)
        job = await _read(domain, who, args)
    return _shown(domain, who, job)


@verb("job.logs")
async def logs(domain: Domain, who: Who, args: Args) -> Any:
    """What a job printed from a character ``offset`` on; waits up to ``seconds`` (0) for more while it runs.

    What a run on private data prints is for owners.
    """
    offset, seconds = args.number("offset", 0, 2**31, default=0), args.number("seconds", 0, MAX_WAIT, default=0)
    job = await _read(domain, who, args)
    if not job.shows_output(private=who.owns):
        fix = "Ask the data owner; on the mock it prints for you too."
        raise NotAllowed("What a run on private data prints is for its owner.", fix=fix)
    live = domain.queue.live(job.id)
    if live is not None and seconds and len(live.text) <= offset:
        await live.change(seconds)
    job = await _read(domain, who, args)
    if live is None or live.ended:
        text, ended = job.output, job.state in ENDED
    else:
        text, ended = live.text, False
    part = text[offset : offset + PIECE]
    done = ended and offset + len(part) >= len(text)
    return {"text": part, "next": offset + len(part), "status": job.state.value, "ended": done}


@verb("job.cancel")
async def cancel(domain: Domain, who: Who, args: Args) -> Any:
    """End a job that waits or runs; its author and owners may.  Raises ``Conflict`` for one that has ended.

    A run on private data that had begun stays counted as one without a result.
    """
    an_id = args.id("id")

    def work(session: Session) -> Job:
        row = _find(session, who, an_id)
        job = _end(row, Event.CANCEL, JobCancelled(f"{who.label} cancelled the job.").to_wire(), domain.clock())
        domain.record(session, who.label, "job.cancel", row.id, request=row.request)
        return job

    return _shown(domain, who, await domain.write(work, lambda job: domain.queue.drop(job.id)))


@verb("job.retry")
async def retry(domain: Domain, who: Who, args: Args) -> Any:
    """Queue a job again that failed, was cancelled or interrupted; its author may."""
    an_id = (await _read(domain, who, args)).id

    def work(session: Session) -> Job:
        row = _find(session, who, an_id)
        if row.account != who.person.id:
            raise NotAllowed("A job is queued again by whoever queued it.")
        request = session.get(RequestRow, row.request)
        if request is not None and row.side == Side.DATA.value:
            code.refuse_failed(domain, request.value())
        row.state = move(State(row.state), Event.RETRY).value
        _make_room(domain, session, row.account, besides=row.id)
        row.queued_at, row.started_at, row.ended_at, row.error, row.output = domain.clock(), None, None, None, ""
        domain.record(session, who.label, "job.retry", row.id, request=row.request)
        return row.value()

    return _shown(domain, who, await _queued(domain, Ticket(an_id, who.person.id), work))


async def _queued(domain: Domain, ticket: Ticket, work: Callable[[Session], Job]) -> Job:
    """Do ``work``, which queues a job in the database, and queue it here."""

    def queue(_: Job) -> None:
        domain.queue.drop(ticket.job)  # a try that goes on, though it was ended, by a commit whose answer was lost
        domain.queue.add(ticket)

    try:
        return await domain.write(work, queue)
    except DatabaseAway:
        # It may be queued there all the same.  If it is not, its turn comes to nothing.
        if domain.queue.live(ticket.job) is None:
            domain.queue.add(ticket)
        raise


def close_jobs(domain: Domain, session: Session) -> list[Ticket]:
    """Say of jobs that ran when the node stopped that they were interrupted; those that waited still do."""
    stopped = JobInterrupted(STOPPED).to_wire()
    for row in session.scalars(select(JobRow).where(JobRow.state == State.RUNNING.value)):
        _end(row, Event.INTERRUPT, stopped, domain.clock())
        domain.record(session, "node", "job.interrupt", row.id, request=row.request)
    waiting = select(JobRow).where(JobRow.state == State.QUEUED.value).order_by(JobRow.position)
    return [Ticket(row.id, row.account) for row in session.scalars(waiting)]


async def run_job(domain: Domain, an_id: str, live: Live) -> None:
    """Run a job to its end, whichever that is.  Cancelling it ends the run.

    Its begin, its result and its end wait for a database that is away.
    """
    begun = await _begun(domain, an_id)
    if begun is None:
        return
    job, who, args = begun
    ended_at: float | None = None

    def end(session: Session, event: Event, error: dict[str, str], execution: str | None = None) -> None:
        nonlocal ended_at
        ended_at = ended_at or domain.clock()  # what comes after is waiting
        row = session.get(JobRow, job.id)
        if row is None or row.tries != job.tries:
            return  # it was forgotten, or queued again meanwhile: that is another try
        row.output = live.text
        if (State(row.state), event) in MOVES:  # else it ended already, such as by being cancelled
            row.execution = execution
            job_now = _end(row, event, error, ended_at)
            domain.record(session, "node", "job.end", row.request, job=row.id, state=job_now.state.value)

    def settled(session: Session, outcome: Execution | P2PError) -> None:
        if isinstance(outcome, Execution):
            end(session, Event.FINISH, {}, outcome.id)
        else:
            end(session, Event.FAIL, outcome.to_wire())

    event, error, execution = Event.FAIL, InternalError("The job ended by a fault of the node.").to_wire(), None
    try:
        permit("code.call", who.person.role)
        if not who.person.active:  # closed while the job waited, maybe through a restart
            raise NotAllowed(f"The account of {job.requested_by} is closed.")
        if job.side is Side.MOCK:
            await requests.run_on_mocks(domain, who, job.request, live.write)
        else:
            watch = code.Watch(live.write, settled, PATIENCE)
            execution = (await code.execute(domain, who, args, watch)).id
        event, error = Event.FINISH, {}
    except asyncio.CancelledError:
        await domain.write(lambda session: end(session, Event.INTERRUPT, JobInterrupted(STOPPED).to_wire()))
        return
    except StorageError as fault:
        log.error("the job %s failed: %s", job.id, fault.cause)  # it may name what is not for its author
        error = StorageError("The node could not use its database, or a file.", fix=LATER).to_wire()
    except P2PError as fault:
        error = fault.to_wire()
    except Exception:
        log.exception("a job failed by a fault of the node")
    try:
        await domain.insist(lambda session: end(session, event, error, execution), f"the end of the job {job.id}")
    except asyncio.CancelledError:
        await domain.write(lambda session: end(session, event, error, execution))


async def _begun(domain: Domain, an_id: str) -> tuple[Job, Who, Args] | None:
    """A job that runs from now on; ``None`` when it is not to be run."""
    try:
        return await domain.insist(lambda session: _begin(domain, session, an_id), f"the begin of the job {an_id}")
    except asyncio.CancelledError:
        await domain.write(lambda session: _put_back(session, an_id))  # a write that was on its way may have begun it
        raise


def _begin(domain: Domain, session: Session, an_id: str) -> tuple[Job, Who, Args] | None:
    row = session.get(JobRow, an_id)
    # One that runs is this one, begun by a commit whose answer was lost.
    if row is None or State(row.state) not in (State.QUEUED, State.RUNNING):
        return None
    if State(row.state) is State.QUEUED:
        row.state = move(State.QUEUED, Event.START).value
        row.started_at, row.ended_at, row.tries = domain.clock(), None, row.tries + 1
    account = session.get_one(AccountRow, row.account).value()
    args = {"id": row.code_id, "inputs": wire.unpack_value(bytes(row.inputs))}
    return row.value(), Who(Caller(), account), Args(args, "job.start")


def _put_back(session: Session, an_id: str) -> None:
    row = session.get(JobRow, an_id)
    if row is not None and (State(row.state), Event.PUT_BACK) in MOVES:
        row.state = move(State(row.state), Event.PUT_BACK).value
        row.started_at, row.tries = None, row.tries - 1


def _end(row: JobRow, event: Event, error: dict[str, str], at: float) -> Job:
    row.state, row.ended_at, row.error = move(State(row.state), event).value, at, error or None
    return row.value()


def _make_room(domain: Domain, session: Session, account: str, besides: str = "") -> None:
    """Refuse one job too many of somebody, and forget their oldest that ended.  Raises ``TooLarge``."""
    limits = domain.limits
    own = select(JobRow).where(JobRow.account == account, JobRow.id != besides)
    open_states = (State.QUEUED.value, State.RUNNING.value)
    count = select(func.count()).select_from(own.where(JobRow.state.in_(open_states)).subquery())
    if session.scalars(count).one() >= limits.jobs_each:
        raise TooLarge(f"{limits.jobs_each} of your jobs wait or run already.", fix="Wait for one, or cancel one.")
    ended = own.where(JobRow.state.not_in(open_states)).order_by(JobRow.position.desc())
    for row in session.scalars(ended.offset(limits.jobs_kept - 1)):
        session.delete(row)


def _visible(who: Who) -> Select[JobRow]:
    query = select(JobRow)
    return query if who.owns else query.where(JobRow.account == who.person.id)


def _find(session: Session, who: Who, an_id: str) -> JobRow:
    row = session.scalars(_visible(who).where(JobRow.id == an_id)).first()
    if row is None:
        raise NotFound(f"There is no job {an_id} here.")
    return row


async def _read(domain: Domain, who: Who, args: Args) -> Job:
    an_id = args.id("id")
    return await domain.read(lambda session: _find(session, who, an_id).value())


def _shown(domain: Domain, who: Who, job: Job) -> dict[str, Any]:
    return job.to_wire(domain.clock(), private=who.owns, ahead=domain.queue.ahead(job.id))


def _side(args: Args) -> Side:
    text = args.text("on", 8, default=Side.DATA.value)
    if text not in tuple(Side):
        raise InvalidInput(f"on is {text!r}; it must be data or mock.")
    return Side(text)
