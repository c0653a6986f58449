"""Running submitted code: on mocks when it arrives, on private data when it was approved."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.assets import AssetMeta
from p2pgrid.domain.models import CodeRequest
from p2pgrid.domain.policies import Rule, Value
from p2pgrid.domain.policies.rules import KINDS
from p2pgrid.domain.runner.spec import RunInput, RunReport, RunSpec
from p2pgrid.domain.service.door import Domain
from p2pgrid.domain.service.policed import LetOut, filtered, kept_back, let_out, limits_of, with_values
from p2pgrid.domain.storage.files import file_name
from p2pgrid.errors import LimitExceeded, NotConfined, NotFound, P2PError, PolicyRefused, RunFailed

T = TypeVar("T")

MAX_OUTPUT: Final = 16_384
"""Characters kept of what a run printed."""
MAX_ERROR: Final = 4096
STOPPED: Final = frozenset({"time", "cpu", "memory", "output"})
"""Failures that are a limit's doing."""


async def on_mocks(
    domain: Domain,
    request: CodeRequest,
    rules: tuple[Rule, ...] = (),
    on_output: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], RunReport | None]:
    """Run a request's code on the mocks of its inputs: what to keep of it, and the report of what ran.

    An input without a mock is reported as that, and nothing runs.  What is kept tells under ``policy`` what its output
    policy and ``rules`` make of the result on the mock.
    """
    inputs = {}
    for name, an_id in request.input_policy.inputs.items():
        asset = domain.catalogue.asset(an_id)
        if asset.mock is None:
            return _skipped("no mock", f"no mock: {asset.name!r} has none"), None
        inputs[name] = await _input(domain, an_id, "mock", asset.mock)
    owned = request.input_policy.user_owned
    examples = {name: item.example for name, item in owned.items() if item.example is not None}
    if len(examples) < len(owned):
        without = ", ".join(sorted(set(owned) - set(examples)))
        return (_skipped("no example", f"no example: none is given for {without}"), None)
    try:
        values = await filtered(domain, request, {**request.input_policy.constants, **examples}, "mock")
        report = await _run(domain, request, inputs, values, "mock", on_output=on_output)
        told = to_report(report)
        if report.ok:
            kept = (await let_out(domain, request, report, inputs, rules, "mock")).report
            told["policy"] = "would be released" if kept.ok else f"would be kept back: {kept.error}"
        return told, report
    except P2PError as error:
        report = unavailable(error)
    return to_report(report), report


async def on_data(
    domain: Domain,
    request: CodeRequest,
    begin: Callable[[], Awaitable[tuple[Rule, ...]]],
    values: Mapping[str, Value],
    on_output: Callable[[str], None] | None = None,
) -> LetOut:
    """Run a request's code on its private inputs; ``begin`` is awaited before anything starts, if it comes to that.

    The answer holds what its output policy and the rules that ``begin`` gives let out.
    Raises what ``begin`` raises, ``NotFound`` when an input was deleted, ``PolicyRefused`` when a custom input policy
    refuses the values, ``StorageError`` when a file is gone.
    """
    held = {name: (an_id, domain.catalogue.asset(an_id)) for name, an_id in request.input_policy.inputs.items()}
    inputs = {name: await _input(domain, an_id, "data", asset.data) for name, (an_id, asset) in held.items()}
    let_in = await filtered(domain, request, values, "private")
    rules: tuple[Rule, ...] = ()

    async def begun() -> None:
        nonlocal rules
        rules = await begin()

    report = await _run(domain, request, inputs, let_in, "private", begun, on_output)
    let = await let_out(domain, request, report, inputs, rules, "private")
    if let.report.ok and len(let.report.result or b"") > domain.limits.result_bytes:
        error = f"The result is over {domain.limits.result_bytes} bytes."
        failed = replace(let.report, ok=False, result=None, result_shape="", failure="result", error=error)
        return LetOut(failed)
    return let


async def settled(
    domain: Domain, let: LetOut, work: Callable[[Session, LetOut], T], what: str, patience: float = 0.0
) -> T:
    """Do ``work`` in one transaction; a result that cannot be kept is none, and that the code ran is recorded.

    While the database is away it waits ``patience`` seconds, and again so long to record a run without a result.
    ``work`` must bear being done again after it was done.
    """
    try:
        return await domain.insist(lambda session: work(session, let), what, patience)
    except Exception as error:
        if not let.report.ok:
            raise
        cause = error.cause if isinstance(error, P2PError) else type(error).__name__
        failed = LetOut(kept_back(let.report, "unavailable", f"The result could not be kept: {cause}"))
        return await domain.insist(lambda session: work(session, failed), what, patience)


def order_facts(domain: Domain, request: CodeRequest, side: str) -> dict[str, Any]:
    """What the audit log says of a run before it starts: digests of the code and of each input, and the limits."""
    inputs: dict[str, str | None] = {}
    for name, an_id in request.input_policy.inputs.items():
        with contextlib.suppress(NotFound):  # deleted meanwhile: the run will say so
            asset = domain.catalogue.asset(an_id)
            meta = asset.data if side == "data" else asset.mock
            inputs[name] = meta.digest if meta else None
    code = crypto.digest(request.source.encode()).hex()
    limits = domain.limits.private_run if side == "data" else domain.limits.mock_run
    return {"code": code, "inputs": inputs, "limits": limits.to_wire()}


def end_facts(report: RunReport) -> dict[str, Any]:
    """What the audit log says of a run that ended: how, what it used, and which measures confined it."""
    return {
        "ok": report.ok,
        "failure": report.failure,
        "seconds": round(report.wall_seconds, 6),
        "cpu": round(report.cpu_seconds, 3),
        "memory": report.max_rss,
        "tier": report.tier,
        "confinement": list(report.confinement),
    }


def unavailable(error: P2PError) -> RunReport:
    """The report of a run that the node could not start."""
    return RunReport(ok=False, failure="unavailable", error=error.cause)


def to_report(report: RunReport) -> dict[str, Any]:
    """A run without its result, as plain values."""
    return {
        "ok": report.ok,
        "failure": report.failure,
        "error": report.error[:MAX_ERROR],
        "output": report.output[:MAX_OUTPUT],
        "seconds": round(report.wall_seconds, 6),
        "cpu_seconds": round(report.cpu_seconds, 6),
        "memory": report.max_rss,
        "result_shape": report.result_shape[:200],
        "tier": report.tier,
        "confinement": list(report.confinement),
    }


def failure(report: RunReport) -> P2PError:
    """What the author learns of a private run without a result: the kind, and nothing that the code could choose."""
    if report.failure == "unavailable":
        fix = "Try again shortly; if it repeats, ask the data owner to deposit the result."
        return NotConfined("The node cannot run code on its private data now.", fix=fix)
    if report.failure in ("policy", "rules"):
        kinds = ", ".join(kind for kind in KINDS if report.failure == "rules" and kind in report.error)
        fix = "Return less, or coarser numbers; the data owner can see what was found."
        return PolicyRefused(f"The result was kept back by {kinds or 'its output policy'}.", fix=fix)
    if report.failure in STOPPED:
        return LimitExceeded("The run on the private data was stopped at a limit; its owner can see which.")
    return RunFailed(
        "The run on the private data ended without a result; its owner sees why in the request.",
        fix="Ask the data owner; an error's text may tell of the data, so it is not shown here.",
    )


async def _input(domain: Domain, asset: str, side: str, meta: AssetMeta) -> RunInput:
    path = await asyncio.to_thread(domain.storage.files.path, file_name(asset, side, meta.kind), meta.digest)
    return RunInput(meta.kind, str(path))


async def _run(
    domain: Domain,
    request: CodeRequest,
    inputs: Mapping[str, RunInput],
    values: Mapping[str, Value],
    side: str,
    begin: Callable[[], Awaitable[None]] | None = None,
    on_output: Callable[[str], None] | None = None,
) -> RunReport:
    with with_values(inputs, values) as given:
        spec = RunSpec(request.runnable, request.function, given, limits_of(domain, side), side, request.environment)
        return await domain.runner.run(spec, begin, on_output)


def _skipped(why: str, error: str) -> dict[str, Any]:
    return {**to_report(RunReport(ok=False, error=error)), "skipped": why}
