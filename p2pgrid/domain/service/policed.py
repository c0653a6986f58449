"""Policies applied around a run: custom ones and rules run confined, each in a run of its own, never in the node.

What a function returned is not read here: its bytes go from one run to the next, and only plain answers are unpacked.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from p2pgrid import assets, wire
from p2pgrid.domain.models import CodeRequest
from p2pgrid.domain.policies import (
    CustomInputPolicy,
    CustomOutputPolicy,
    Decision,
    MaximumResultSize,
    PolicyState,
    Rule,
    Value,
)
from p2pgrid.domain.policies import custom as code
from p2pgrid.domain.runner.answer import shape_in
from p2pgrid.domain.runner.spec import Limits, RunInput, RunReport, RunSpec
from p2pgrid.domain.runner.text import printable
from p2pgrid.domain.service.door import Domain
from p2pgrid.errors import NotConfined, P2PError, PolicyRefused, RemoteError

CHECKING: Final = "from p2pgrid.domain.checks import judge\n"
"""What a run on a result is, to see which rules it keeps to."""
MAX_WHY: Final = 1000


@dataclass(frozen=True, slots=True)
class LetOut:
    """A report whose result the policies let out (or whose failure says why not), and the policy's next state."""

    report: RunReport
    state: PolicyState | None = None


@contextmanager
def in_memory(kind: str, data: bytes) -> Iterator[RunInput]:
    """An input of a run that is on no disk: a crash leaves nothing of it.  Raises ``NotConfined`` off Linux."""
    if not hasattr(os, "memfd_create"):
        raise NotConfined("This system cannot hand a value to a confined run.")
    handle = os.memfd_create("p2pgrid-input", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(data)
        yield RunInput(kind, f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


@contextmanager
def with_values(inputs: Mapping[str, RunInput], values: Mapping[str, Value]) -> Iterator[dict[str, RunInput]]:
    """The inputs of a run: files, and values beside them as long as this lasts."""
    with ExitStack() as stack:
        held = {name: stack.enter_context(in_memory(value.kind, value.data)) for name, value in values.items()}
        yield {**inputs, **held}


def limits_of(domain: Domain, side: str) -> Limits:
    """What a run on mocks or on private data may use."""
    return domain.limits.mock_run if side == "mock" else domain.limits.private_run


async def filtered(domain: Domain, request: CodeRequest, values: Mapping[str, Value], side: str) -> dict[str, Value]:
    """The values of a call after a custom input policy.  Raises ``PolicyRefused`` when it refuses them."""
    policy = request.input_policy
    if not isinstance(policy, CustomInputPolicy):
        return dict(values)
    kwargs: dict[str, Any] = {name: {"asset": asset} for name, asset in policy.inputs.items()}
    kwargs |= {name: value.json() for name, value in values.items()}
    about = {"init": dict(policy.code.init), "kwargs": kwargs, "context": _context(request)}
    said = {"about": _finite(policy, about)}
    report = await _run(domain, code.input_program(policy.code), code.ENTRY, said, {}, side)
    let = code.read_input(report.result) if report.ok and report.result is not None else None
    changed = {name: let[name] for name in values if name in let} if let is not None else {}
    if let is None or set(let) != policy.names or any(let[name] != kwargs[name] for name in policy.inputs):
        raise PolicyRefused(f"The input policy {policy.code.name} refuses these inputs.")
    made = {name: _finite(policy, value) for name, value in changed.items()}
    for name, value in made.items():
        try:
            policy.user_owned[name].check(name, value)
        except PolicyRefused as error:
            raise PolicyRefused(
                f"The input policy {policy.code.name} made a value that may not go in. {error.cause}"
            ) from None
    return made


def _finite(policy: CustomInputPolicy, value: Any) -> Value:
    try:
        return _json(value)
    except (ValueError, RecursionError):
        raise PolicyRefused(
            f"The input policy {policy.code.name} takes and gives JSON without NaN and infinity."
        ) from None


async def let_out(
    domain: Domain,
    request: CodeRequest,
    report: RunReport,
    sources: Mapping[str, RunInput],
    rules: tuple[Rule, ...],
    side: str,
) -> LetOut:
    """A run's report after the output policy and the rules: with what may come out, or as a failure.

    Whatever goes wrong here, the answer says that the code ran.
    """
    if not report.ok or report.result is None:
        return LetOut(report)
    try:
        return await _judged(domain, request, report, sources, rules, side)
    except Exception as error:  # a fault must not give back a run that happened
        cause = error.cause if isinstance(error, P2PError) else type(error).__name__
        return LetOut(kept_back(report, "unavailable", f"The result could not be judged: {cause}"))


async def _judged(
    domain: Domain,
    request: CodeRequest,
    report: RunReport,
    sources: Mapping[str, RunInput],
    rules: tuple[Rule, ...],
    side: str,
) -> LetOut:
    state = request.policy_state
    policy = request.output_policy
    if isinstance(policy, CustomOutputPolicy):
        about = {
            "init": dict(policy.code.init),
            "state": state.text if state else None,
            "context": _context(request),
        }
        values = {"outputs": Value("bytes", report.result or b""), "about": _json(about)}
        ran = await _run(domain, code.output_program(policy.code), code.ENTRY, values, {}, side)
        if not ran.ok or ran.result is None:
            return LetOut(kept_back(report, "policy", f"{policy.code.name} failed: {ran.error or ran.failure}"))
        decision = read_decision(ran.result, limits_of(domain, side).result_bytes)
        if decision.out is None or decision.state is None:
            return LetOut(kept_back(report, "policy", f"{policy.code.name}: {decision.why}"))
        shape = await asyncio.to_thread(_shape, decision.out)
        if shape is None:
            return LetOut(kept_back(report, "policy", f"{policy.code.name} let out something that is no value"))
        report, state = replace(report, result=decision.out, result_shape=shape), decision.state
    broken = await _broken(domain, report.result or b"", sources, rules, side)
    return LetOut(kept_back(report, "rules", broken)) if broken else LetOut(report, state)


def read_decision(packed: bytes, limit: int) -> Decision:
    """What an output policy decided; its texts are fit to be shown."""
    read = code.read_output(packed, limit)
    public = printable(read.state.public)[: code.MAX_PUBLIC] if read.state else ""
    state = replace(read.state, public=public) if read.state else None
    return replace(read, why=printable(read.why)[: code.MAX_WHY], state=state)


async def _broken(
    domain: Domain, result: bytes, sources: Mapping[str, RunInput], rules: tuple[Rule, ...], side: str
) -> str:
    """Which rules a packed result does not keep to; the empty text when it keeps to all."""
    for rule in rules:
        if isinstance(rule, MaximumResultSize) and rule.bytes is not None and len(result) > rule.bytes:
            return f"{rule.kind}: the result has {len(result)} bytes, {rule.bytes} may come out"
    if not rules:
        return ""
    values = {"result": Value("bytes", result), "rules": _json([rule.to_wire() for rule in rules])}
    numbered = {f"asset_{place}": source for place, source in enumerate(sources.values())}
    report = await _run(domain, CHECKING, "judge", values, numbered, side)
    if not report.ok or report.result is None:
        return f"the rules could not be checked: {report.error or report.failure}"
    try:
        found = wire.unpack(report.result, limit=1 << 20)
        return "; ".join(f"{kind}: {why}" for kind, why in found)
    except (RemoteError, TypeError, ValueError):
        return "the rules could not be checked"


async def _run(
    domain: Domain, text: str, function: str, values: Mapping[str, Value], inputs: Mapping[str, RunInput], side: str
) -> RunReport:
    """A run beside the author's own; one that the node could not give is tried once more: that is not their doing.

    Raises ``NotConfined`` when it cannot give that either.
    """
    with with_values(inputs, values) as given:
        spec = RunSpec(text, function, given, _limits(limits_of(domain, side)), side)
        for _ in range(2):
            report = await domain.runner.run(spec)
            if report.failure != "unavailable":
                return report
    raise NotConfined(f"The node could not run a policy. {report.error}")


def _shape(packed: bytes) -> str | None:
    """What a policy let out, in a few words; ``None`` when the bytes are no value that a run may answer."""
    try:
        return shape_in(packed)
    except RemoteError:
        return None


def _limits(limits: Limits) -> Limits:
    """Room for a result that holds another one."""
    return replace(limits, result_bytes=min(limits.result_bytes + (1 << 20), 64 << 20))


def kept_back(report: RunReport, by: str, why: str) -> RunReport:
    """A run that happened, without its result.  ``by``: ``policy``, ``rules`` or one of a run's own failures."""
    return replace(report, ok=False, result=None, result_shape="", failure=by, error=why[:MAX_WHY], started=True)


def _context(request: CodeRequest) -> dict[str, Any]:
    """What a custom policy may know of a call."""
    return {
        "requester": request.requested_by,
        "function": request.function,
        "released": request.spending.spent,
    }


def _json(value: Any) -> Value:
    return Value("json", json.dumps(value, allow_nan=False).encode())


def value_of(value: Any) -> Value:
    """A value in the form in which a run reads it."""
    dumped = assets.dump(value)
    return Value(dumped.meta.kind, dumped.tobytes())
