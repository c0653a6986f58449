"""Verbs on code requests: sending them, and an owner's verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from p2pgrid import crypto, wire
from p2pgrid.domain import policies
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest
from p2pgrid.domain.review import MAX_CODE, MAX_NAME, ReviewedCode, check_inputs, review, statement
from p2pgrid.domain.runner.spec import RunReport
from p2pgrid.domain.service import runs
from p2pgrid.domain.service.door import Domain, Who, fit, verb
from p2pgrid.domain.service.floors import check_rules, rules_of
from p2pgrid.domain.service.projects import find_project
from p2pgrid.domain.states import Status, Verdict, move, released
from p2pgrid.domain.storage.tables import ExecutionRow, RequestRow
from p2pgrid.errors import (
    BadSignature,
    BadValue,
    InvalidInput,
    NoMock,
    NotFound,
    RemoteError,
    RunFailed,
    TooLarge,
)

CONTEXT: Final = b"code-request"
MAX_REASON: Final = 2000
_CUT: Final[Mapping[str, Any]] = {
    "code": "",
    "imports": [],
    "calls": [],
    "mock_run": None,
    "private_run": None,
    "purpose": "",
    "input_policy": "",
    "output_policy": "",
}
"""What a request has in a list where there is no room for it."""


@verb("request.create")
async def create_request(domain: Domain, who: Who, args: Args) -> Any:
    """Send a function for review.  It runs on the mocks at once; however that ends, the request is kept.

    The run goes on if the caller leaves meanwhile.
    """
    new = await asyncio.to_thread(_read_new, args, domain.identity.id.hex(), who)
    _refuse_unknown_environment(domain, new.environment)
    for asset in new.input_policy.inputs.values():
        domain.catalogue.current(asset)
    return (await domain.finish(_insert_and_run(domain, who, new))).to_wire(private=who.owns)


async def _insert_and_run(domain: Domain, who: Who, new: _NewRequest) -> CodeRequest:
    request = await domain.write(lambda session: _insert(domain, session, who, new))
    return await _run_on_mocks(domain, who, request)


async def run_on_mocks(domain: Domain, who: Who, an_id: str, on_output: Callable[[str], None]) -> None:
    """Run a request's code on the mocks again.  Raises ``NoMock``."""
    request = await domain.read(lambda session: find_request(session, who, an_id).value())
    done = await _run_on_mocks(domain, who, request, on_output)
    report = done.mock_run or {}
    if report.get("skipped"):
        raise NoMock(str(report["error"]))
    if not report.get("ok"):
        raise RunFailed(f"The run on the mock ended without a result: {report.get('error')}")


async def _run_on_mocks(
    domain: Domain, who: Who, request: CodeRequest, on_output: Callable[[str], None] | None = None
) -> CodeRequest:
    rules = await domain.read(lambda session: rules_of(session, request))
    kept, report = await runs.on_mocks(domain, request, rules, on_output)

    def store(session: Session) -> CodeRequest:
        row = session.get_one(RequestRow, request.id)
        row.mock_run = kept
        if report is not None:
            facts = {**runs.order_facts(domain, request, "mock"), **runs.end_facts(report)}
            domain.record(session, who.label, "code.mock_run", row.id, **facts)
        return row.value()

    return await domain.write(store)


def close_runs(session: Session) -> None:
    """Say of mock runs that ended with an earlier life of the node that they did.

    They are not begun again: code that brings a node down would do so at each start.
    """
    cut = "The node stopped before the run on the mock had ended; send the request again to see it run."
    report = runs.to_report(RunReport(ok=False, failure="unavailable", error=cut))
    session.execute(update(RequestRow).where(RequestRow.mock_run.is_(None)).values(mock_run=report))


@verb("request.list")
async def list_requests(domain: Domain, who: Who, args: Args) -> Any:
    """Requests in order of their making, all of them for an owner; of a ``project``, if one is named.

    The newest ``limit`` (1000) are given, after leaving out the newest ``offset`` (0).  Where the code of many is more
    than one answer holds, the newest keep theirs; the others come without, marked ``cut``.
    """
    project = args.maybe_id("project")
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)

    def work(session: Session) -> list[dict[str, Any]]:
        query = visible(who).order_by(RequestRow.position.desc()).limit(limit).offset(offset)
        if project is not None:
            find_project(session, who, project, None)
            query = query.where(RequestRow.project == project)
        return [row.value().to_wire(private=who.owns) for row in session.scalars(query)]

    rows = await domain.read(work)
    fit(rows, _weight, _CUT)
    return rows[::-1]


@verb("request.get")
async def get_request(domain: Domain, who: Who, args: Args) -> Any:
    """One request.  Raises ``NotFound``, also for somebody else's."""
    an_id = args.id("id")
    found = await domain.read(lambda session: find_request(session, who, an_id).value())
    return found.to_wire(private=who.owns)


@verb("request.proof")
async def get_proof(domain: Domain, who: Who, args: Args) -> Any:
    """What the author of a request signed, byte for byte, with key and signature.  Raises ``NotFound``."""
    an_id = args.id("id")

    def work(session: Session) -> dict[str, Any]:
        row = find_request(session, who, an_id)
        if not row.statement:
            raise NotFound("What was signed was forgotten with the account of its author.")
        return {"statement": row.statement, "key": bytes.fromhex(row.verify_key), "signature": row.signature}

    return await domain.read(work)


@verb("request.approve")
async def approve(domain: Domain, who: Who, args: Args) -> Any:
    """Let the code run on the private data when its author calls it; ``rules`` hold besides those that hold anyway.

    An approval that was used up by runs without a result is given anew so; its rules stay unless there are others.
    """
    rules = policies.parse_rules(args.raw("rules"))

    def change(row: RequestRow, session: Session) -> None:
        check_rules(session, row.value().input_policy.inputs.values(), rules)
        if args.has("rules") or not used_up(domain, row):
            row.rules = [rule.to_wire() for rule in rules]
        row.runnable, row.failures, row.denial = True, 0, None

    told = {"rules": ", ".join(rule.kind for rule in rules)} if rules else {}
    return await _decide(domain, who, args, Verdict.APPROVE, change, **told)


@verb("request.withdraw")
async def withdraw(domain: Domain, who: Who, args: Args) -> Any:
    """Undo a verdict before anything was released: the request waits again, and a result that waited is dropped."""

    def change(row: RequestRow, session: Session) -> None:
        row.runnable, row.denial, row.rules = False, None, []
        drop_ready(session, row)

    return await _decide(domain, who, args, Verdict.WITHDRAW, change)


@verb("request.deny")
async def deny(domain: Domain, who: Who, args: Args) -> Any:
    """Say no, with a reason; a result that waits to be released is dropped."""
    reason = args.text("reason", MAX_REASON, default="")

    def change(row: RequestRow, session: Session) -> None:
        row.runnable, row.denial = False, reason
        drop_ready(session, row)

    return await _decide(domain, who, args, Verdict.DENY, change, reason=reason)


@verb("request.deposit")
async def deposit(domain: Domain, who: Who, args: Args) -> Any:
    """Answer with a result of the owner's own, released when the author calls the code."""
    result = args.blob("result", domain.limits.result_bytes, least=1)
    await asyncio.to_thread(_check_value, result)

    def change(row: RequestRow, session: Session) -> None:
        drop_ready(session, row)
        held = ExecutionRow(
            id=domain.new_id(),
            request=row.id,
            source="deposit",
            serial=None,
            size=len(result),
            created_at=domain.clock(),
            result=result,
        )
        session.add(held)
        session.flush()
        row.deposit, row.denial = held.id, None

    digest = crypto.digest(result).hex()
    return await _decide(domain, who, args, Verdict.DEPOSIT, change, result=digest, size=len(result))


def visible(who: Who) -> Select[RequestRow]:
    """The requests that the caller may know of."""
    query = select(RequestRow)
    return query if who.owns else query.where(RequestRow.account == who.person.id)


def find_request(session: Session, who: Who, an_id: str) -> RequestRow:
    """A request that the caller may know of.  Raises ``NotFound``."""
    row = session.scalars(visible(who).where(RequestRow.id == an_id)).first()
    if row is None:
        raise NotFound(f"There is no request {an_id} here.")
    return row


@dataclass(frozen=True, slots=True)
class _NewRequest:
    code: ReviewedCode
    project: str | None
    input_policy: policies.InputPolicy
    output_policy: policies.OutputPolicy
    purpose: str
    environment: str
    key: bytes
    signature: bytes
    statement: bytes


def _read_new(args: Args, node: str, who: Who) -> _NewRequest:
    source = args.text("code", MAX_CODE)
    code = review(source)
    name = args.text("name", MAX_NAME, default=code.function)
    if name != code.function:
        raise InvalidInput(f"The request names {name!r}; its code defines {code.function!r}.")
    given = args.named("inputs", policies.MAX_INPUTS)
    inputs = {argument: Args(given, "inputs").id(argument) for argument in given}
    wanted = _or(args, "input_policy", policies.ExactMatch.kind)
    if isinstance(wanted, str) and wanted == policies.ExactMatch.kind:  # an array is neither true nor false
        check_inputs(code, set(inputs))
    key, signature, signed = _read_signature(args, node, who)
    new = _NewRequest(
        code=code,
        project=args.maybe_id("project"),
        input_policy=policies.parse_input(wanted, inputs),
        output_policy=policies.parse_output(_or(args, "output_policy", policies.SingleExecutionExactOutput.kind)),
        purpose=args.text("reason", MAX_REASON, default=""),
        environment=args.text("environment", MAX_NAME, default=""),
        key=key,
        signature=signature,
        statement=signed,
    )
    check_inputs(code, new.input_policy.names)
    policies.check_code(new.input_policy, new.output_policy)
    return new


def _read_signature(args: Args, node: str, who: Who) -> tuple[bytes, bytes, bytes]:
    """Key, signature and what was signed; the key must be the one that the caller's link has proven."""
    key = args.blob("key", crypto.KEY_BYTES, least=crypto.KEY_BYTES)
    signature = args.blob("signature", crypto.SIGNATURE_BYTES, least=crypto.SIGNATURE_BYTES)
    names = ("project", "name", "code", "inputs", "input_policy", "output_policy", "reason")
    try:
        signed = statement(
            node=node,
            account=who.person.email,
            environment=args.text("environment", MAX_NAME, default=""),
            **{field: args.raw(field) for field in names},
        )
        crypto.verify(key, CONTEXT, signed, signature)
    except (BadSignature, BadValue, TypeError, RecursionError):
        raise InvalidInput(
            "The request's signature does not fit its key, its content, your account and this node."
        ) from None
    if key != who.caller.key:
        raise InvalidInput("The request was signed by another key than the one that its sender has proven.")
    return key, signature, signed


def _refuse_unknown_environment(domain: Domain, name: str) -> None:
    known = domain.runner.environments
    if name and name not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise InvalidInput(f"There is no environment {name[:80]!r} at this node; {has}.")


def _or(args: Args, name: str, default: str) -> Any:
    """A policy as it came: arrays and the like are neither true nor false."""
    return args.raw(name) if args.has(name) else default


def _insert(domain: Domain, session: Session, who: Who, new: _NewRequest) -> CodeRequest:
    if new.project is not None:
        find_project(session, who, new.project, None)
    check_rules(session, new.input_policy.inputs.values(), new.output_policy.rules)
    own = select(func.count()).select_from(RequestRow).where(RequestRow.account == who.person.id)
    if session.scalars(own.where(RequestRow.status == Status.PENDING.value)).one() >= domain.limits.pending_each:
        raise TooLarge(f"{domain.limits.pending_each} of your requests wait for a verdict already.")
    if session.scalars(own).one() >= domain.limits.requests_each:
        raise TooLarge(f"You have sent {domain.limits.requests_each} requests already.")
    row = RequestRow(
        id=domain.new_id(),
        position=(session.scalar(select(func.max(RequestRow.position))) or 0) + 1,
        code_id=domain.new_id(),
        project=new.project,
        account=who.person.id,
        function=new.code.function,
        source=new.code.source,
        runnable_source=new.code.runnable,
        uses={"imports": list(new.code.imports), "calls": list(new.code.calls)},
        inputs=dict(new.input_policy.inputs),
        input_policy=new.input_policy.to_wire(),
        output_policy=new.output_policy.to_wire(),
        rules=[],
        status=Status.PENDING.value,
        purpose=new.purpose,
        environment=new.environment,
        requested_by=who.person.email,
        verify_key=new.key.hex(),
        signature=new.signature,
        statement=new.statement,
        requested_at=domain.clock(),
        spent=0,
        runnable=False,
        failures=0,
    )
    session.add(row)
    session.flush()
    code = crypto.digest(new.code.source.encode()).hex()
    domain.record(session, who.label, "request.create", row.id, function=row.function, code=code)
    return row.value()


async def _decide(domain: Domain, who: Who, args: Args, verdict: Verdict, change: Any, **details: Any) -> Any:
    """One verdict, its effects and its audit entry in one transaction."""
    an_id = args.id("id")

    def work(session: Session) -> CodeRequest:
        row = find_request(session, who, an_id)
        if verdict is not Verdict.APPROVE or not used_up(domain, row):
            row.status = next_status(row, verdict).value
        change(row, session)
        row.updated_at = domain.clock()
        domain.record(session, who.label, f"request.{verdict}", row.id, **details)
        session.flush()
        return row.value()

    return (await domain.write(work)).to_wire(private=True)


def used_up(domain: Domain, row: RequestRow) -> bool:
    """Whether an approval lets nothing run any more: too many runs ended without a result."""
    return row.status == Status.APPROVED.value and row.failures >= domain.limits.failed_runs


def next_status(row: RequestRow, verdict: Verdict) -> Status:
    """Where a verdict leads.  Raises ``Conflict`` for one that cannot be given now."""
    limit = policies.parse_output(row.output_policy).limit
    return move(Status(row.status), released(row.spent, limit), verdict)


def drop_ready(session: Session, row: RequestRow) -> None:
    """Forget the result that waits to be released."""
    if row.deposit is not None:
        session.delete(session.get(ExecutionRow, row.deposit))
        row.deposit = None


def _check_value(result: bytes) -> None:
    try:
        wire.unpack_value(result)
    except RemoteError as error:
        raise BadValue(f"The deposited result cannot be read: {error.cause}") from error


def _weight(row: Mapping[str, Any]) -> int:
    total = len(row["code"].encode()) + len(row["purpose"]) + 2000
    total += sum(len(str(row[name])) for name in ("input_policy", "output_policy") if not isinstance(row[name], str))
    for report in (row.get("mock_run"), row.get("private_run")):
        if report:
            total += len(str(report.get("output", "")).encode()) + len(str(report.get("error", "")).encode())
    return total + sum(len(name) + 4 for name in (*row["imports"], *row["calls"]))
