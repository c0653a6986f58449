"""Verbs on approved code: calling it, and reading what it released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid import crypto, wire
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest, Execution
from p2pgrid.domain.policies import (
    MAX_INPUTS,
    MAX_VALUE,
    Given,
    PolicyState,
    Rule,
    Step,
    Value,
    next_step,
    parse_value,
)
from p2pgrid.domain.review import MAX_NAME
from p2pgrid.domain.runner.spec import RunReport
from p2pgrid.domain.service import runs
from p2pgrid.domain.service.door import Domain, Who, fit, verb
from p2pgrid.domain.service.floors import rules_of
from p2pgrid.domain.service.policed import LetOut
from p2pgrid.domain.service.requests import visible
from p2pgrid.domain.service.uploads import CHUNK
from p2pgrid.domain.states import Status
from p2pgrid.domain.storage.tables import ExecutionRow, RequestRow
from p2pgrid.errors import Denied, InvalidInput, NotAllowed, NotFound, P2PError, Pending, PolicyRefused, TooManyTries

Outcome = TypeVar("Outcome", bound=Execution | P2PError)
INLINE: Final = 16 << 10
"""Bytes of a result that a call's answer holds."""
RUN: Final = "run"
"""Where the report of a run on the private data says which one it was."""
AGAIN: Final = "Ask the data owner to approve the request again, or to deposit the result."


@verb("code.list")
async def list_code(domain: Domain, who: Who, args: Args) -> Any:
    """Functions in order of their sending: the newest ``limit`` (1000), as ``request.list`` has them."""
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    query = visible(who).order_by(RequestRow.position.desc()).limit(limit).offset(offset)
    rows = await domain.read(lambda session: [row.value().to_code() for row in session.scalars(query)])
    fit(rows, lambda row: len(row["code"].encode()) + 500, {"code": ""})
    return rows[::-1]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while code is called.

    ``on_output`` is told what a run prints; ``settled`` is called in the transaction that releases a result, or
    that records a run without one; ``patience``: seconds for which a result waits for a database that is away.
    """

    on_output: Callable[[str], None] | None = None
    settled: Callable[[Session, Execution | P2PError], None] | None = None
    patience: float = 0.0

    def note(self, session: Session, outcome: Outcome) -> Outcome:
        """Tell the outcome, and hand it on."""
        if self.settled is not None:
            self.settled(session, outcome)
        return outcome


@verb("code.call")
async def call(domain: Domain, who: Who, args: Args) -> Any:
    """Get the result of approved code: by running it, by releasing a deposit, or the one released before.

    The answer holds a small result itself; a larger one is read piece by piece.
    Raises ``Pending``, ``Denied``, ``NotAllowed``, ``PolicyRefused``, ``RunFailed``, ``LimitExceeded`` or
    ``NotConfined``.
    """
    return (await execute(domain, who, args, Watch())).to_wire()


async def callable_request(domain: Domain, who: Who, args: Args, *, on_mock: bool = False) -> CodeRequest:
    """The request behind a call, if it may be called now.  Raises as ``code.call`` does before anything runs."""
    code_id, name = args.maybe_id("id"), None if args.has("id") else args.text("name", MAX_NAME)
    request = await domain.read(lambda session: _find(session, who, code_id, name))
    if not on_mock:
        _check(domain, who, request, _read_given(args))
    return request


async def execute(domain: Domain, who: Who, args: Args, watch: Watch) -> Execution:
    """What ``code.call`` does, watched."""
    code_id, name = args.maybe_id("id"), None if args.has("id") else args.text("name", MAX_NAME)
    given = _read_given(args)
    written = domain.written
    request = await domain.read(lambda session: _find(session, who, code_id, name))
    async with domain.turn(request.id):
        if domain.written != written:  # it may have been an earlier call of the same code, which spent its policy
            request = await domain.read(lambda session: _find(session, who, request.code_id, None))
        values = _check(domain, who, request, given)
        own = own_digest(request, values)
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
            execution = await domain.read(lambda session: _last(session, request.id, own))
        elif step is Step.RELEASE:
            execution = await domain.write(
                lambda session: watch.note(session, _release(domain, session, who, request, own))
            )
        elif step is Step.RUN:
            execution = await _run(domain, who, request, values, watch)
        else:
            raise PolicyRefused("The output policy releases nothing for this request.", fix=AGAIN)
    return execution


@verb("result.read")
async def read_result(domain: Domain, who: Who, args: Args) -> Any:
    """A piece of a released result, for the request's author and for owners."""
    an_id = args.id("execution")
    offset, limit = args.number("offset", 0, 2**30, default=0), args.number("limit", 1, CHUNK, default=CHUNK)
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
        elif value.has("value"):
            given[name] = Given(value=parse_value(value.raw("value"), name, MAX_VALUE))
        else:
            raise InvalidInput(f"The input {name} is no asset, digest or value.")
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


def own_digest(request: CodeRequest, values: Mapping[str, Value]) -> str:
    """One digest over the values that the author handed in; empty when the policy asks for none."""
    own = {name: values[name].digest for name in sorted(request.input_policy.user_owned) if name in values}
    return crypto.digest(wire.pack_canonical(own)).hex() if own else ""


def _check(domain: Domain, who: Who, request: CodeRequest, given: dict[str, Given]) -> dict[str, Value]:
    """The values to run with.  Raises what keeps the call from anything."""
    if request.status is not Status.APPROVED and not request.spending.spent:
        raise _unapproved(request)
    # An asset may have been deleted since: what was released or deposited is answered all the same.
    digests = {an_id: domain.catalogue.digest(an_id) for an_id in request.input_policy.inputs.values()}
    # A digest that is refused is a guess at private content that failed: a few are mistakes, many are a search.
    guessing = any(value.digest is not None for value in given.values())
    if guessing and (wait := domain.guesses.take(who.person.id, domain.clock())):
        raise TooManyTries(f"Too many inputs did not match; wait {wait:.0f} seconds, or pass the assets themselves.")
    values = request.input_policy.check(given, digests)
    if guessing:
        domain.guesses.give_back(who.person.id)
    return values


async def _run(domain: Domain, who: Who, request: CodeRequest, values: Mapping[str, Value], watch: Watch) -> Execution:
    """Run on the private data.  The run is counted before it starts, so that no way of ending it escapes the count."""
    begun, own = False, own_digest(request, values)

    async def begin() -> tuple[Rule, ...]:
        nonlocal begun
        rules = await domain.write(lambda session: _begin(domain, session, who, request, own))
        begun = True
        return rules

    refuse_failed(domain, request)
    try:
        let = await runs.on_data(domain, request, begin, values, watch.on_output)
    except P2PError as error:
        if not begun:
            raise
        let = LetOut(runs.unavailable(error))
    if not begun:
        raise runs.failure(let.report)

    new_id = domain.new_id()

    def settle(session: Session, let: LetOut) -> Execution | P2PError:
        if was_settled(session, request.id, new_id):
            there = session.get(ExecutionRow, new_id)
            return _with_result(there) if there is not None else _without(let.report)
        return watch.note(session, _settle(domain, session, who, request, let, own, new_id))

    settled = await runs.settled(domain, let, settle, f"a run of {request.id}", watch.patience)
    if isinstance(settled, P2PError):
        raise settled
    return settled


def refuse_failed(domain: Domain, request: CodeRequest) -> None:
    """Raise ``PolicyRefused`` when too many runs on the private data ended without a result."""
    if request.failures >= domain.limits.failed_runs:
        fix = f"{AGAIN} A run that is still going on counts until it ends with one."
        raise PolicyRefused(f"{request.failures} runs on the private data ended without a result.", fix=fix)


def _begin(domain: Domain, session: Session, who: Who, request: CodeRequest, own: str) -> tuple[Rule, ...]:
    """Count a run as one without a result until ``_settle`` knows better; the rules that hold for it.

    It may have waited long for its turn.
    """
    row = session.get_one(RequestRow, request.id)
    now = row.value()
    if now.status is not Status.APPROVED:
        raise _unapproved(now)
    refuse_failed(domain, now)
    row.failures += 1
    facts = runs.order_facts(domain, now, "data")
    domain.record(session, who.label, "code.run.begin", row.id, **facts, **({"given": own} if own else {}))
    return rules_of(session, now)


def _settle(
    domain: Domain, session: Session, who: Who, request: CodeRequest, let: LetOut, own: str, new_id: str
) -> Execution | P2PError:
    """Record a run; store its result and spend the policy in this same transaction.

    What keeps a result from being released (no result, an approval taken back while it ran) is answered and not
    raised: that the code ran must be recorded all the same.
    """
    row, report = session.get_one(RequestRow, request.id), let.report
    note_run(domain, session, who, row, report, new_id)
    if report.ok or not report.started:
        row.failures = max(0, row.failures - 1)
    if not report.ok or report.result is None:
        return runs.failure(report)
    now = row.value()
    if now.status is not Status.APPROVED:
        return _unapproved(now)
    same_state = now.policy_state == request.policy_state
    if next_step(now.output_policy, now.spending) is not Step.RUN or not same_state:
        return PolicyRefused("The output policy was spent, or changed, while the code ran.")
    execution = execution_of(domain, session, row, report.result, let.state, new_id, own)
    return _spend(domain, session, who, row, execution, crypto.digest(report.result).hex())


def note_run(domain: Domain, session: Session, who: Who, row: RequestRow, report: RunReport, new_id: str) -> None:
    """Keep the report of a run on the private data, and record that it was; ``new_id`` is what it is known by."""
    row.private_run = {**runs.to_report(report), RUN: new_id}
    domain.record(session, who.label, "code.run", row.id, **runs.end_facts(report))


def was_settled(session: Session, request: str, new_id: str) -> bool:
    """Whether a run was noted already: only the answer of that commit was lost."""
    return (session.get_one(RequestRow, request).private_run or {}).get(RUN) == new_id


def _without(report: RunReport) -> P2PError:
    if not report.ok:
        return runs.failure(report)
    return PolicyRefused("The approval was taken back, or its policy spent or changed, while the code ran.")


def execution_of(
    domain: Domain,
    session: Session,
    row: RequestRow,
    result: bytes,
    state: PolicyState | None,
    new_id: str,
    own: str = "",
) -> ExecutionRow:
    """The result of a run, not released yet, with the state that its policy has once it is."""
    execution = ExecutionRow(
        id=new_id,
        request=row.id,
        source="run",
        serial=None,
        size=len(result),
        created_at=domain.clock(),
        given=own,
        state=state.to_row() if state else None,
        result=result,
    )
    session.add(execution)
    return execution


def _release(domain: Domain, session: Session, who: Who, request: CodeRequest, own: str) -> Execution:
    """Release the result that waits and spend the policy, in one transaction."""
    row = session.get_one(RequestRow, request.id)
    now = row.value()
    if now.status is not Status.APPROVED:
        raise _unapproved(now)
    if next_step(now.output_policy, now.spending) is not Step.RELEASE:
        raise PolicyRefused("The deposited result was taken back.")
    execution = session.get_one(ExecutionRow, row.deposit)
    row.deposit, execution.given = None, own
    return _spend(domain, session, who, row, execution, crypto.digest(execution.result).hex())


def _spend(domain: Domain, session: Session, who: Who, row: Any, execution: ExecutionRow, digest: str) -> Execution:
    row.spent += 1
    execution.serial = row.spent
    if execution.state is not None:
        row.policy_state = execution.state
    session.flush()
    domain.record(session, who.label, "result.release", row.id, execution=execution.id, serial=row.spent, result=digest)
    return _with_result(execution)


def _with_result(row: ExecutionRow) -> Execution:
    execution = row.value()
    return replace(execution, inline=bytes(row.result)) if execution.size <= INLINE else execution


def _last(session: Session, request: str, own: str) -> Execution:
    """The last result released for these values of the author.  Raises ``PolicyRefused`` when they had none."""
    query = select(ExecutionRow).where(ExecutionRow.request == request, ExecutionRow.serial.is_not(None))
    query = query.where(ExecutionRow.given == own).order_by(ExecutionRow.serial.desc()).limit(1)
    row = session.scalars(query).first()
    if row is None:
        raise PolicyRefused("What was released before was for other values; nothing more comes out.", fix=AGAIN)
    return _with_result(row)
