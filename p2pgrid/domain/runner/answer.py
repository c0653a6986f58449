"""What a worker's end and answer mean: an answer is a stranger's bytes."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.columns import Outline
from p2pgrid.domain.runner.order import Answer
from p2pgrid.domain.runner.spec import Limits, RunReport
from p2pgrid.domain.runner.zygotes import End
from p2pgrid.errors import RemoteError

MAX_VALUES: Final = 1 << 20
"""Values in one result; an array or a table is several (``wire``)."""
AT_ONCE: Final = 8 << 10
"""Bytes of a result that are read through on the loop itself; more is done in a thread."""


def worker_ended(end: End, limits: Limits) -> RunReport:
    """The report of a worker that ended without an answer, or in spite of one."""
    if end.code in (-signal.SIGXCPU, -signal.SIGKILL) and end.cpu >= limits.cpu_seconds - 0.2:
        return _failed("cpu", f"The run used more than its {limits.cpu_seconds} s of processor time.")
    if end.code < 0:
        return _failed("crash", f"The run was ended by signal {-end.code} ({signal.strsignal(-end.code)}).")
    return _failed("crash", f"The run ended without a result (exit code {end.code}).")


async def read_answer(raw: bytes, limits: Limits) -> RunReport:
    """The report that an answer makes, its result read through."""
    try:
        answer = Answer.unpack(raw, limits)
    except RemoteError:
        return _failed("result", "What the run answered is no result.")
    if answer.failure:
        told = {
            "memory": f"The run used more than its {limits.memory_bytes >> 20} MiB of memory.",
            "result": f"The result is over its limit of {limits.result_bytes} bytes.",
        }
        return _failed(answer.failure, answer.error or told.get(answer.failure, ""))
    if len(answer.result) > limits.result_bytes:
        return _failed("result", f"The result is over its limit of {limits.result_bytes} bytes.")
    try:
        if len(answer.result) <= AT_ONCE:
            shape = shape_in(answer.result)
        else:
            shape = await asyncio.to_thread(shape_in, answer.result)
    except RemoteError as error:
        return _failed("result", f"What the run answered is no value: {error.cause}")
    return RunReport(ok=True, result=answer.result, result_shape=shape)


def shape_in(result: bytes) -> str:
    """A packed value in a few words.  Raises ``RemoteError`` when the bytes are no value that a run may answer."""
    return shape_of(wire.unpack_value(result, items=MAX_VALUES, build=False))


def shape_of(value: Any) -> str:
    """A value in a few words, none of them from its content."""
    kind = type(value)
    if kind is Outline:
        return str(value)
    if kind.__module__.split(".")[0] == "numpy":
        return f"numpy {value.dtype} {tuple(value.shape)}"
    if kind.__module__.split(".")[0] == "pandas":
        return f"{kind.__name__} {tuple(value.shape)}"
    if isinstance(value, str | bytes | list | tuple | dict):
        return f"{kind.__name__} ({len(value)})"
    return kind.__name__


def _failed(failure: str, error: str) -> RunReport:
    return RunReport(ok=False, failure=failure, error=error)
