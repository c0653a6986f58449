"""A process that reads a run's result through once, so that a forged one breaks nothing but this process.

It is forked before the run, since a process that has left its PID namespace to its children can start no thread
(unshare(2)), and Arrow's reader wants one.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Final, NoReturn

from p2pgrid import wire
from p2pgrid.domain.runner import confine

CHECK_BYTES: Final = 512 << 20
CHECK_SECONDS: Final = 30
CHECK_TASKS: Final = 64


class Checker:
    """Waits until it is given a result, or closed."""

    def __init__(self, user: int | None) -> None:
        inward, self._result = os.pipe()
        self._shape, outward = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _check(inward, outward, user)
        os.close(inward)
        os.close(outward)

    def shape(self, result: bytes) -> str | None:
        """The value in a few words, or ``None`` when it is no value.  Once."""
        left = memoryview(result)
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[os.write(self._result, left) :]
        self._close_result()
        with os.fdopen(self._shape, "rb") as pipe:
            word = pipe.read(4096)
        return word.decode("utf-8", "replace") or None

    def close(self) -> None:
        """End it, whether it was used or not."""
        self._close_result()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _close_result(self) -> None:
        if self._result >= 0:
            os.close(self._result)
        self._result = -1


def _check(inward: int, outward: int, user: int | None) -> NoReturn:
    try:
        confine.only_descriptors({inward, outward}, quiet=True)
        confine.limit_basics(CHECK_SECONDS, CHECK_TASKS, CHECK_TASKS)
        confine.become(user)
        confine.drop_capabilities()
        confine.no_new_privileges()
        confine.close_memory()
        confine.die_with_parent()
        with os.fdopen(inward, "rb") as pipe:
            result = pipe.read()
        confine.limit_memory(CHECK_BYTES)
        os.write(outward, shape_of(wire.unpack_value(result)).encode()[:4000])
    finally:
        os._exit(0)


def shape_of(value: Any) -> str:
    """A value in a few words, none of them from its content."""
    kind = type(value)
    if kind.__module__.split(".")[0] == "numpy":
        return f"numpy {value.dtype} {tuple(value.shape)}"
    if kind.__module__.split(".")[0] == "pandas":
        return f"{kind.__name__} {tuple(value.shape)}"
    if isinstance(value, str | bytes | list | tuple | dict):
        return f"{kind.__name__} ({len(value)})"
    return kind.__name__
