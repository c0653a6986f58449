"""The process that holds a stranger's code: confined first, then inputs, then the code, then one answer.

It is forked by the warden, is the first process of its own PID namespace where there are any, and ends with
``os._exit`` so that nothing of the code runs after its answer.  Its answer is believed by nobody.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import sys
import types
from typing import Any, Final, NoReturn

from p2pgrid import assets, wire
from p2pgrid.domain.runner import confine
from p2pgrid.domain.runner.order import Order
from p2pgrid.errors import BadValue, P2PError

SOURCE: Final = "<submitted code>"
OUR_DECORATORS: Final = frozenset({"grid_function", "syft_function", "syft_function_single_use"})
MAX_ERROR: Final = 4000
OUR_TASKS: Final = 4
"""Warden and checker, with a thread each: the kernel counts them with the run's where they share a user."""
PARSING_ROOM: Final = 4
"""Reading an input may take this many times its size for a moment; the limit is tightened afterwards."""
LOADED: Final = b"loaded"
"""Told to the warden once the inputs are there; anything else is why they are not."""


class Failed(Exception):
    """The run has no result; ``failure`` is one of ``spec.FAILURES``."""

    def __init__(self, failure: str, error: str) -> None:
        super().__init__(error)
        self.failure, self.error = failure, error


def work(order: Order, ready: int, loaded: int, answer: int, held: set[str], user: int | None) -> NoReturn:
    """Everything after the fork.  ``ready``, ``loaded`` and ``answer`` are the write ends of pipes to the warden.

    The first two are closed before the code begins: it cannot say of itself that it never did.
    """
    me = os.getpid()
    try:
        _confine(order, held, user, keep=(ready, loaded, answer))
        missing = sorted(set(order.require) - held)
        os.write(ready, wire.pack(sorted(held)))
        os.close(ready)
        if missing:
            os._exit(0)
        content = _run(order, loaded)
        if os.getpid() == me:  # a process that the code forked, and that came back here, has nothing to say
            _answer(answer, content)
    finally:
        os._exit(1)


def _confine(order: Order, held: set[str], user: int | None, keep: tuple[int, ...]) -> None:
    """Set every measure that this system has; ``held`` gains their names."""
    confine.die_with_parent()
    confine.only_descriptors({*keep, *(fd for _, _, fd in order.inputs)})
    if os.geteuid() == 0 or "user-namespace" in held:
        held |= confine.own_files(order.hide, order.private, order.needed)
    limits = order.limits
    own_count = user is not None or "user-namespace" in held
    others = OUR_TASKS if own_count else confine.tasks_of_user(os.getuid())
    confine.limit_basics(limits.cpu_seconds, limits.open_files, limits.threads + others)
    if confine.become(user):
        held.add("other-user")
    if confine.drop_capabilities():
        held.add("no-capabilities")
    if confine.no_new_privileges():
        held.add("no-new-privileges")
    confine.close_memory()
    confine.die_with_parent()
    # Last, so that until here one signal to the warden's group reaches this process too.
    os.setsid()
    confine.limit_memory(limits.memory_bytes + PARSING_ROOM * order.input_bytes)
    held.add("rlimits")
    held.discard("user-namespace")


def _run(order: Order, loaded: int) -> dict[str, Any]:
    """The answer's content.  Whatever the code raises ends here."""
    try:
        inputs = _inputs(order, loaded)
        confine.limit_memory(order.limits.memory_bytes)
        result = _packed(_call(order, inputs), order.limits.result_bytes)
        return {"failure": "", "error": "", "result": result}
    except Failed as failed:
        return {"failure": failed.failure, "error": failed.error[:MAX_ERROR], "result": b""}
    except MemoryError:
        return {"failure": "memory", "error": "", "result": b""}


def _inputs(order: Order, loaded: int) -> dict[str, Any]:
    try:
        inputs = {name: _load(kind, fd) for name, kind, fd in order.inputs}
    except Failed as failed:
        os.write(loaded, failed.error.encode("utf-8", "replace")[:MAX_ERROR])
        os._exit(0)
    os.write(loaded, LOADED)
    os.close(loaded)
    return inputs


def _load(kind: str, fd: int) -> Any:
    with os.fdopen(fd, "rb") as file:
        try:
            if kind == "numpy":
                import numpy as np

                return np.load(file, allow_pickle=False)
            return assets.load(kind, file.read())
        except MemoryError:
            raise
        except Exception as error:
            raise Failed("unavailable", f"An input cannot be read: {_named(error)}.") from error


def _call(order: Order, inputs: dict[str, Any]) -> Any:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [""]
    try:
        exec(compile(_tree(order), SOURCE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this room is for
        function = module.__dict__.get(order.function)
        if not callable(function):
            raise Failed("error", f"The code defines no function {order.function!r}.")
        result = function(**inputs)
    except (Failed, MemoryError):
        raise
    except BaseException as error:  # also SystemExit and KeyboardInterrupt, which the code may raise
        raise Failed("error", _told(error)) from error
    _refuse_unfinished(result)
    return result


def _tree(order: Order) -> ast.Module:
    """The code without our own decorators: they mean something to the client only."""
    tree = ast.parse(order.code, SOURCE)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == order.function:
            node.decorator_list = [item for item in node.decorator_list if _name_of(item) not in OUR_DECORATORS]
    return tree


def _name_of(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def _refuse_unfinished(result: Any) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise Failed("value", "The function is asynchronous; write it with 'def' and return a value.")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise Failed("value", "The function is a generator; return its values in a list.")


def _packed(result: Any, limit: int) -> bytes:
    try:
        packed = wire.pack_value(result)
    except BadValue as error:
        raise Failed("value", f"{error.cause} {error.fix}") from error
    except MemoryError:
        raise
    except BaseException as error:  # the value's own methods are the stranger's code too
        raise Failed("value", f"The result cannot be sent: {_named(error)}.") from error
    if len(packed) > limit:
        raise Failed("result", f"The result takes {len(packed)} bytes; the limit is {limit}.")
    return packed


def _told(error: BaseException) -> str:
    """The last line of a traceback, and the last line of the submitted code on the way there."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == SOURCE else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SOURCE:
            line = trace.tb_lineno
        trace = trace.tb_next
    text = _named(error)
    return f"{text} (line {line} of the submitted code)" if line else text


def _named(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    try:
        text = error.cause if isinstance(error, P2PError) else str(error)
    except BaseException:  # a stranger's __str__
        text = ""
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_ERROR]


def _answer(answer: int, content: dict[str, Any]) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    left = memoryview(wire.pack(content))
    while left:
        left = left[os.write(answer, left) :]
    os._exit(0)
