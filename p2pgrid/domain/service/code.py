"""Verbs on approved code: calling it, and reading what it released."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain.catalogue import Catalogue
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest, Execution
from p2pgrid.domain.policies import MAX_INPUTS, Given, Step, next_step
from p2pgrid.domain.review import MAX_NAME
from p2pgrid.domain.runner.spec import RunReport
from p2pgrid.domain.service import runs
from p2pgrid.domain.service.datasets import CHUNK
from p2pgrid.domain.service.door import Domain, Who, fit, verb
from p2pgrid.domain.service.requests import visible
from p2pgrid.domain.states import Status
from p2pgrid.domain.storage.tables import ExecutionRow, RequestRow
from p2pgrid.errors import Denied, InvalidInput, NotAllowed, NotFound, P2PError, Pending, PolicyRefused, TooManyTries

AGAIN: Final = "Ask the data owner to approve the request again, or to deposit the result."


@verb("code.list")
async def list_code(domain: Domain, who: Who, args: Args) -> Any:
    """Functions in order of their sending: the newest ``limit`` (1000), as ``request.list`` has them."""
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    query = visible(who).order_by(RequestRow.position.desc()).limit(limit).offset(offset)
    rows = await domain.read(lambda session: [row.value().to_code() for row in session.scalars(query)])
    fit(rows, lambda row: len(row["code"].encode()) + 500, {"code": ""})
    return rows[::-1]


@verb("code.call")
async def call(domain: Domain, who: Who, args: Args) -> Any:
    """Get the result of approved code: by running it, by releasing a deposit, or the one released before.

    Raises ``Pending``, ``Denied``, ``NotAllowed``, ``PolicyRefused``, ``RunFailed``, ``LimitExceeded`` or
    ``NotConfined``.
    """
    code_id, name = args.maybe_id("id"), None if args.has("id") else args.text("name", MAX_NAME)
    given = _read_given(args)
    request = await domain.read(lambda session: _find(session, who, code_id, name))
    async with domain.turn(request.id):
        # Read again in our turn: an earlier call of the same code may have spent its policy meanwhile.
        request = await domain.read(lambda session: _find(session, who, request.code_id, None))
        _check(domain, who, request, given)
        # A later denial closes the function; what was released before stays released.
        approved = request.status is Status.APPROVED
        step = next_step(request.output_policy, request.spending) if approved else Step.AGAIN
        if step in (Step.RUN, Step.RELEASE) and request.account != who.person.id:
            # An owner may look at what was released; what is granted is not theirs to spend.
            fix = "Run it on your own copy of the data, and deposit the result."
            raise NotAllowed(
                f"Calling {request.function} would spend what was granted to {request.requested_by}.", fix=fix
            )
        if step is Step.AGAIN:
            execution = await domain.read(lambda session: _last(session, request.id))
        elif step is Step.RELEASE:
            execution = await domain.write(lambda session: _release(domain, session, who, request))
        elif step is Step.RUN:
            execution = await _run(domain, who, request)
        else:
            raise PolicyRefused("The output policy releases nothing for this request.", fix=AGAIN)
    return execution.to_wire()


@verb("result.read")
async def read_result(domain: Domain, who: Who, args: Args) -> Any:
    """A piece of a released result, for the request's author and for owners."""
    an_id = args.id("execution")
    offset, limit = args.number("offset", 0, 2**31, default=0), args.number("limit", 1, CHUNK, default=CHUNK)
    piece = func.substr(ExecutionRow.result, offset + 1, limit)

    def work(session: Session) -> dict[str, Any]:
        query = select(ExecutionRow.size, piece).join(RequestRow, RequestRow.id == ExecutionRow.request)
        query = query.where(ExecutionRow.id == an_id)
        if not who.owns:
            query = query.where(RequestRow.account == who.person.id, ExecutionRow.serial.is_not(None))
        found = session.execute(query).first()
        if found is None:
            raise NotFound(f"There is no released result {an_id} here.")
        return {"data": bytes(found[1] or b""), "total": found[0]}

    return await domain.read(work)


def _read_given(args: Args) -> dict[str, Given]:
    given = {}
    for name in args.named("inputs", MAX_INPUTS):
        value = args.child("inputs").child(name)
        if value.has("asset"):
            given[name] = Given(asset=value.id("asset"))
        elif value.has("digest"):
            given[name] = Given(digest=value.digest("digest"))
        else:
            raise InvalidInput(f"The input {name} is neither an asset nor a digest.")
    return given


def _find(session: Session, who: Who, code_id: str | None, name: str | None) -> CodeRequest:
    """A function by id, or the caller's own newest of a name, approved ones first.  Raises ``NotFound``."""
    if code_id is not None:
        query = visible(who).where(RequestRow.code_id == code_id)
    else:
        query = visible(who).where(RequestRow.function == name, RequestRow.account == who.person.id)
    query = query.order_by(RequestRow.status != Status.APPROVED.value, RequestRow.position.desc()).limit(1)
    row = session.scalars(query).first()
    if row is None:
        raise NotFound(f"There is no function {(code_id or name or '')[:80]!r} here.")
    return row.value()


def _unapproved(request: CodeRequest) -> P2PError:
    if request.status is Status.DENIED:
        return Denied(f"The request for {request.function} was denied: {request.denial or 'no reason was given'}")
    return Pending(f"The request for {request.function} has no verdict yet.")


def _check(domain: Domain, who: Who, request: CodeRequest, given: dict[str, Given]) -> None:
    if request.status is not Status.APPROVED and not request.spending.spent:
        raise _unapproved(request)
    catalogue: Catalogue = domain.catalogue
    # An asset may have been deleted since: what was released or deposited is answered all the same.
    digests = {an_id: catalogue.digest(an_id) for an_id in request.input_policy.inputs.values()}
    # A digest that is refused is a guess at private content that failed: a few are mistakes, many are a search.
    guessing = any(value.digest is not None for value in given.values())
    if guessing and (wait := domain.guesses.take(who.person.id, domain.clock())):
        raise TooManyTries(f"Too many inputs did not match; wait {wait:.0f} seconds, or pass the assets themselves.")
    request.input_policy.check(given, digests)
    if guessing:
        domain.guesses.give_back(who.person.id)


async def _run(domain: Domain, who: Who, request: CodeRequest) -> Execution:
    """Run on the private data.  The run is counted before it starts, so that no way of ending it escapes the count."""
    begun = False

    async def begin() -> None:
        nonlocal begun
        await domain.write(lambda session: _begin(domain, session, who, request))
        begun = True

    _refuse_failed(domain, request)
    try:
        report = await runs.on_data(domain, request, begin)
    except P2PError as error:
        if not begun:
            raise
        report = runs.unavailable(error)
    if not begun:
        raise runs.failure(report)
    settled = await domain.write(lambda session: _settle(domain, session, who, request, report))
    if isinstance(settled, P2PError):
        raise settled
    return settled


def _refuse_failed(domain: Domain, request: CodeRequest) -> None:
    if request.failures >= domain.limits.failed_runs:
        raise PolicyRefused(f"{request.failures} runs on the private data ended without a result.", fix=AGAIN)


def _begin(domain: Domain, session: Session, who: Who, request: CodeRequest) -> None:
    """Count a run as one without a result until ``_settle`` knows better; it may have waited long for its turn."""
    row = session.get_one(RequestRow, request.id)
    now = row.value()
    if now.status is not Status.APPROVED:
        raise _unapproved(now)
    _refuse_failed(domain, now)
    row.failures += 1
    domain.record(session, who.label, "code.run.begin", row.id)


def _settle(
    domain: Domain, session: Session, who: Who, request: CodeRequest, report: RunReport
) -> Execution | P2PError:
    """Record a run; store its result and spend the policy in this same transaction.

    What keeps a result from being released (no result, an approval taken back while it ran) is answered and not
    raised: that the code ran must be recorded all the same.
    """
    row = session.get_one(RequestRow, request.id)
    row.private_run = runs.to_report(report)
    seconds = round(report.wall_seconds, 6)
    domain.record(session, who.label, "code.run", row.id, ok=report.ok, failure=report.failure, seconds=seconds)
    if report.ok or not report.started:
        row.failures = max(0, row.failures - 1)
    if not report.ok or report.result is None:
        return runs.failure(report)
    now = row.value()
    if now.status is not Status.APPROVED:
        return _unapproved(now)
    if next_step(now.output_policy, now.spending) is not Step.RUN:
        return PolicyRefused("The output policy was spent, or changed, while the code ran.")
    execution = ExecutionRow(
        id=domain.new_id(),
        request=row.id,
        source="run",
        serial=None,
        size=len(report.result),
        created_at=domain.clock(),
        result=report.result,
    )
    session.add(execution)
    return _spend(domain, session, who, row, execution, crypto.digest(report.result).hex())


def _release(domain: Domain, session: Session, who: Who, request: CodeRequest) -> Execution:
    """Release the deposited result and spend the policy, in one transaction."""
    row = session.get_one(RequestRow, request.id)
    now = row.value()
    if now.status is not Status.APPROVED:
        raise _unapproved(now)
    if next_step(now.output_policy, now.spending) is not Step.RELEASE:
        raise PolicyRefused("The deposited result was taken back.")
    execution = session.get_one(ExecutionRow, row.deposit)
    row.deposit = None
    return _spend(domain, session, who, row, execution, crypto.digest(execution.result).hex())


def _spend(domain: Domain, session: Session, who: Who, row: Any, execution: ExecutionRow, digest: str) -> Execution:
    row.spent += 1
    execution.serial = row.spent
    session.flush()
    domain.record(session, who.label, "result.release", row.id, execution=execution.id, serial=row.spent, result=digest)
    return execution.value()


def _last(session: Session, request: str) -> Execution:
    query = select(ExecutionRow).where(ExecutionRow.request == request, ExecutionRow.serial.is_not(None))
    return session.scalars(query.order_by(ExecutionRow.serial.desc()).limit(1)).one().value()
