"""Approving with a run at once: the result waits for its author, and the owner can look at it before."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain import policies
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest
from p2pgrid.domain.runner.spec import RunReport
from p2pgrid.domain.service import runs
from p2pgrid.domain.service.code import execution_of, note_run, was_settled
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.service.floors import check_rules, rules_of
from p2pgrid.domain.service.policed import LetOut
from p2pgrid.domain.service.requests import find_request, next_status
from p2pgrid.domain.states import Status, Verdict
from p2pgrid.domain.storage.tables import ExecutionRow, RequestRow
from p2pgrid.errors import Conflict, P2PError, RunFailed


@verb("request.run")
async def run_now(domain: Domain, who: Who, args: Args) -> Any:
    """Run on the private data first, then approve: both in one step, or neither.

    The result is ready for the owner to read at once, and is released, and the policy spent, when the author calls.
    Until then ``request.withdraw`` and ``request.deny`` drop it.  Raises ``RunFailed`` with what the run said when
    there is no result to let out; the request is then as it was.
    """
    an_id, rules = args.id("id"), policies.parse_rules(args.raw("rules"))
    wires = [rule.to_wire() for rule in rules]

    def look(session: Session) -> CodeRequest:
        row = find_request(session, who, an_id)
        _must_be_open(row)
        request = row.value()
        check_rules(session, request.input_policy.inputs.values(), rules)
        return request

    async with domain.turn(an_id):
        request = await domain.read(look)
        if request.input_policy.user_owned:
            names = ", ".join(request.input_policy.user_owned)
            raise Conflict(f"The run needs values that its author hands in: {names}.", fix="Approve it without a run.")
        let = await _run(domain, who, request, rules)
        new_id = domain.new_id()

        def settle(session: Session, let: LetOut) -> CodeRequest | P2PError:
            if was_settled(session, request.id, new_id):
                there = session.get(ExecutionRow, new_id) is not None
                return session.get_one(RequestRow, request.id).value() if there else _none(let.report)
            return _settle(domain, session, who, request, let, wires, new_id)

        settled = await runs.settled(domain, let, settle, f"a run of {request.id}")
    if isinstance(settled, P2PError):
        raise settled
    return settled.to_wire(private=True)


def _must_be_open(row: RequestRow) -> Status:
    """The status after the approval.  Raises ``Conflict``."""
    if row.deposit is not None:
        raise Conflict("A result waits to be released already.", fix="Withdraw the verdict first.")
    return next_status(row, Verdict.APPROVE)


async def _run(domain: Domain, who: Who, request: CodeRequest, more: tuple[policies.Rule, ...]) -> LetOut:
    def begun(session: Session) -> tuple[policies.Rule, ...]:
        domain.record(session, who.label, "code.run.begin", request.id)
        return policies.all_rules(rules_of(session, request), more)

    try:
        return await runs.on_data(domain, request, lambda: domain.write(begun), request.input_policy.constants)
    except P2PError as error:
        return LetOut(runs.unavailable(error))


def _settle(
    domain: Domain,
    session: Session,
    who: Who,
    request: CodeRequest,
    let: LetOut,
    wires: list[dict[str, Any]],
    new_id: str,
) -> CodeRequest | P2PError:
    """Keep the run; with a result also the result and the approval, in this same transaction."""
    row, report = session.get_one(RequestRow, request.id), let.report
    note_run(domain, session, who, row, report, new_id)
    if not report.ok or report.result is None:
        return _none(report)
    try:
        status = _must_be_open(row)
    except Conflict as error:
        return error
    held = execution_of(domain, session, row, report.result, let.state, new_id)
    session.flush()
    row.status, row.deposit, row.rules = status.value, held.id, wires
    row.runnable, row.failures, row.denial, row.updated_at = True, 0, None, domain.clock()
    digest = crypto.digest(report.result).hex()
    domain.record(session, who.label, "request.approve", row.id, ready=held.id, result=digest)
    session.flush()
    return row.value()


def _none(report: RunReport) -> RunFailed:
    fix = "Look at it with 'p2pgrid requests show'; the request is as it was."
    return RunFailed(f"There is no result to release ({report.failure}): {report.error[:500]}", fix=fix)
