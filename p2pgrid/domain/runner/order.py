"""What the node tells a warden about one run, and what the warden tells the node: two messages, one pipe each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.domain.runner.spec import FAILURES, MAX_CODE_BYTES, MEASURES, Limits, RunReport, RunSpec
from p2pgrid.errors import Malformed, RemoteError

MAX_ORDER: Final = 2 * MAX_CODE_BYTES
REPORT_ROOM: Final = 64 << 10
"""Bytes of a report besides its result."""


@dataclass(frozen=True, slots=True)
class Order:
    """A ``RunSpec`` in which open descriptors stand for the files.

    ``inputs``: (argument, kind, descriptor).  ``input_bytes``: their sizes together.  ``hide``: folders to be empty
    for the run.  ``private``: folders of which it sees no more than the program.  ``require``: measures without
    which nothing is run.  ``needed``: the program's folders; the warden fills them in.
    """

    code: str
    function: str
    inputs: tuple[tuple[str, str, int], ...]
    input_bytes: int
    limits: Limits
    hide: tuple[str, ...]
    private: tuple[str, ...]
    require: tuple[str, ...]
    needed: tuple[str, ...] = ()


def pack_order(
    spec: RunSpec,
    descriptors: dict[str, int],
    input_bytes: int,
    hide: tuple[str, ...],
    private: tuple[str, ...],
    require: tuple[str, ...],
) -> bytes:
    """Length (4 bytes, big-endian), then msgpack."""
    body = wire.pack(
        {
            "code": spec.code.encode("utf-8", "surrogatepass"),
            "function": spec.function,
            "inputs": [[name, spec.inputs[name].kind, fd] for name, fd in descriptors.items()],
            "input_bytes": input_bytes,
            "limits": spec.limits.to_wire(),
            "hide": list(hide),
            "private": list(private),
            "require": list(require),
        }
    )
    return len(body).to_bytes(4, "big") + body


def read_order(body: bytes, needed: tuple[str, ...]) -> Order:
    """The order in ``body``.  It comes from the node, so a fault in it is ours and simply raises."""
    raw = wire.unpack(body, limit=MAX_ORDER)
    return Order(
        code=raw["code"].decode("utf-8", "surrogatepass"),
        function=raw["function"],
        inputs=tuple((name, kind, fd) for name, kind, fd in raw["inputs"]),
        input_bytes=raw["input_bytes"],
        limits=Limits(**raw["limits"]),
        hide=tuple(raw["hide"]),
        private=tuple(raw["private"]),
        require=tuple(raw["require"]),
        needed=needed,
    )


def pack_report(report: RunReport) -> bytes:
    """The warden's half of a report: all but the output, which the node reads itself."""
    return wire.pack(
        {
            "result": report.result,
            "error": report.error,
            "failure": report.failure,
            "wall": report.wall_seconds,
            "cpu": report.cpu_seconds,
            "rss": report.max_rss,
            "shape": report.result_shape,
            "started": report.started,
            "held": list(report.confinement),
        }
    )


def read_report(body: bytes, limits: Limits) -> RunReport | None:
    """The report in ``body``, or ``None`` when there is none: a warden that was killed says nothing or half a word.

    Checked like a stranger's bytes all the same, since the warden read a stranger's answer.
    """
    try:
        return _report(wire.unpack(body, limit=limits.result_bytes + REPORT_ROOM), limits)
    except (RemoteError, KeyError, TypeError, ValueError):
        return None


def _report(raw: Any, limits: Limits) -> RunReport:
    failure, result, held = str(raw["failure"]), raw["result"], set(raw["held"])
    good = isinstance(result, bytes) and len(result) <= limits.result_bytes
    started = raw["started"] is True
    if failure not in FAILURES or not held <= set(MEASURES) or good != (failure == "") or good > started:
        raise Malformed("A report contradicts itself.")
    return RunReport(
        ok=good,
        result=result if good else None,
        error=str(raw["error"]),
        failure=failure,
        wall_seconds=max(0.0, float(raw["wall"])),
        cpu_seconds=max(0.0, float(raw["cpu"])),
        max_rss=max(0, int(raw["rss"])),
        result_shape=str(raw["shape"])[:200],
        started=started,
        confinement=tuple(word for word in MEASURES if word in held),
    )
