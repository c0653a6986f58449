"""Running submitted code: on mocks when it arrives, on private data when it was approved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from p2pgrid.domain.models import CodeRequest
from p2pgrid.domain.runner.spec import RunInput, RunReport, RunSpec
from p2pgrid.domain.service.door import Domain
from p2pgrid.domain.storage.files import file_name
from p2pgrid.errors import LimitExceeded, NotConfined, P2PError, RunFailed

MAX_OUTPUT: Final = 16_384
"""Characters kept of what a run printed."""
MAX_ERROR: Final = 4096
STOPPED: Final = frozenset({"time", "cpu", "memory", "output"})
"""Failures that are a limit's doing."""


async def on_mocks(domain: Domain, request: CodeRequest) -> dict[str, Any]:
    """Run a request's code on the mocks of its inputs, and report; an input without a mock is reported as that."""
    inputs = {}
    for name, an_id in request.input_policy.inputs.items():
        asset = domain.catalogue.asset(an_id)
        if asset.mock is None:
            return {**to_report(RunReport(ok=False, error=f"no mock: {asset.name!r} has none")), "skipped": "no mock"}
        inputs[name] = _input(domain, an_id, "mock", asset.mock.kind)
    try:
        return to_report(await domain.runner.run(_spec(domain, request, inputs)))
    except P2PError as error:
        return to_report(unavailable(error))


async def on_data(domain: Domain, request: CodeRequest, begin: Callable[[], Awaitable[None]]) -> RunReport:
    """Run a request's code on its private inputs; ``begin`` is awaited before anything starts, if it comes to that.

    Raises what ``begin`` raises, ``NotFound`` when an input was deleted, ``StorageError`` when its file is gone.
    """
    held = {name: (an_id, domain.catalogue.asset(an_id)) for name, an_id in request.input_policy.inputs.items()}
    inputs = {name: _input(domain, an_id, "data", asset.data.kind) for name, (an_id, asset) in held.items()}
    report = await domain.runner.run(_spec(domain, request, inputs), begin)
    if report.ok and (report.result is None or len(report.result) > domain.limits.result_bytes):
        error = f"The result is over {domain.limits.result_bytes} bytes."
        return replace(report, ok=False, result=None, result_shape="", failure="result", error=error)
    return report


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
        "result_shape": report.result_shape[:200],
        "confinement": list(report.confinement),
    }


def failure(report: RunReport) -> P2PError:
    """What the author learns of a private run without a result: the kind, and nothing that the code could choose."""
    if report.failure == "unavailable":
        fix = "Try again shortly; if it repeats, ask the data owner to deposit the result."
        return NotConfined("The node cannot run code on its private data now.", fix=fix)
    if report.failure in STOPPED:
        return LimitExceeded("The run on the private data was stopped at a limit; its owner can see which.")
    return RunFailed(
        "The run on the private data ended without a result; its owner can see why.",
        fix="Ask the data owner; an error's text may tell of the data, so it is not shown here.",
    )


def _input(domain: Domain, asset: str, side: str, kind: str) -> RunInput:
    return RunInput(kind, str(domain.storage.files.path(file_name(asset, side, kind))))


def _spec(domain: Domain, request: CodeRequest, inputs: Mapping[str, RunInput]) -> RunSpec:
    return RunSpec(request.runnable, request.function, inputs, domain.limits.run)
