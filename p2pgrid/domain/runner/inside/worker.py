"""The process that holds a stranger's code: confined first, then inputs, then the code, then one answer.

It is forked by the zygote and ends with ``os._exit``, so that nothing of the code runs after its answer.  Its answer
is believed by nobody.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import inspect
import os
import random
import signal
import socket
import sys
import types
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from p2pgrid import assets, wire
from p2pgrid.domain.runner.inside import confine, landlock
from p2pgrid.domain.runner.order import HEAD, LOADED, MAX_ERROR, PARSING_ROOM, READY, Answer, Order, Setup, frame
from p2pgrid.errors import BadValue, P2PError

SOURCE: Final = "<submitted code>"
OUR_DECORATORS: Final = frozenset({"grid_function", "syft_function", "syft_function_single_use"})
MAX_SENT: Final = 64
"""Descriptors of one run."""
OUR_TASKS: Final = 64
"""Zygotes and workers that wait: the kernel counts them with the run's where they share a user."""


class Failed(Exception):
    """The run has no result; ``failure`` is one of ``spec.FAILURES``."""

    def __init__(self, failure: str, error: str) -> None:
        super().__init__(error)
        self.failure, self.error = failure, error


@dataclass(frozen=True, slots=True)
class Post:
    """What the zygote hands its worker: its channel to the node, and how to confine itself."""

    channel: int
    setup: Setup
    rules: int | None


def work(post: Post) -> NoReturn:
    """Everything after the fork."""
    try:
        statm = _confine(post)
        order, inputs = _ordered(post, statm)
        _send(post.channel, frame(READY))
        values = _inputs(order, inputs)
        _send(post.channel, frame(LOADED))
        confine.limit_memory(statm.read(), order.limits.memory_bytes)
        statm.close()
        _answer(post.channel, _run(order, values))
    except Failed as failed:  # an input that cannot be read
        _send(post.channel, frame(failed.error.encode("utf-8", "replace")[:MAX_ERROR]))
    finally:
        os._exit(1)


def _confine(post: Post) -> confine.Statm:
    """What needs no order, and so is done before one comes.  Raises ``OSError`` for a layer that cannot be set."""
    rules = () if post.rules is None else (post.rules,)
    confine.only_descriptors((post.channel, *rules))
    statm = confine.Statm()
    _speak()
    os.setsid()
    signal.set_wakeup_fd(-1)
    confine.close_memory()
    confine.no_new_privileges()
    confine.die_with_parent()
    _fresh_chance()
    if not post.setup.shared_count:
        _keep_to(post)
    return statm


def _ordered(post: Post, statm: confine.Statm) -> tuple[Order, tuple[int, ...]]:
    """The order, its inputs' descriptors, and every layer that is left.  Raises ``OSError`` when one cannot be set."""
    order, (output, *inputs) = _order(post.channel)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    limits = order.limits
    confine.limit_basics(limits.cpu_seconds, limits.open_files, _tasks(post.setup, limits.threads))
    confine.limit_memory(statm.read(), limits.memory_bytes + PARSING_ROOM * order.input_bytes)
    if post.setup.shared_count:  # the other tasks are counted where Landlock hides them
        _keep_to(post)
    if post.setup.calls:
        confine.filter_calls(post.setup.calls)
    return order, tuple(inputs)


def _order(channel: int) -> tuple[Order, list[int]]:
    """Blocks until the node sends one; its first bytes carry the descriptors of the run's output and inputs."""
    with socket.socket(fileno=os.dup(channel)) as node:
        head, descriptors, _, _ = socket.recv_fds(node, HEAD, MAX_SENT)
    if len(head) < HEAD:
        os._exit(0)  # the node gave up
    return Order.unpack(_exactly(channel, int.from_bytes(head, "big"))), descriptors


def _keep_to(post: Post) -> None:
    """Files: what the rules name, from now on."""
    if post.rules is not None:
        landlock.restrict(post.rules)
        os.close(post.rules)


def _speak() -> None:
    """Standard output and errors are written line by line, and so in their order, to the pipe that comes later."""
    ends = os.pipe()
    for fd, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(ends[1], fd)  # a stream takes note of what it is opened on
        stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    for end in ends:
        os.close(end)


def _tasks(setup: Setup, threads: int) -> int:
    """The kernel's limit counts all of a user's tasks: a backstop; the node counts each run's own."""
    others = confine.tasks_of_user(os.getuid()) if setup.shared_count else 0
    return others + OUR_TASKS + threads * setup.at_once


def _fresh_chance() -> None:
    """No two runs share a sequence of random numbers, and none tells what another one drew."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _exactly(channel: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(channel, size - len(parts))
        if not part:
            os._exit(0)  # the node gave up
        parts += part
    return bytes(parts)


def _run(order: Order, inputs: dict[str, Any]) -> Answer:
    """What comes of the code.  Whatever it raises ends here."""
    try:
        return Answer("", "", _packed(_call(order, inputs), order.limits.result_bytes))
    except Failed as failed:
        return Answer(failed.failure, failed.error[:MAX_ERROR], b"")
    except MemoryError:
        return Answer("memory", "", b"")


def _inputs(order: Order, descriptors: tuple[int, ...]) -> dict[str, Any]:
    return {name: _load(kind, fd) for (name, kind), fd in zip(order.inputs, descriptors, strict=True)}


def _load(kind: str, fd: int) -> Any:
    try:
        return assets.load_file(kind, fd)
    except MemoryError:
        raise
    except Exception as error:
        raise Failed("unavailable", f"An input cannot be read: {_named(error)}.") from error
    finally:
        os.close(fd)


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
        raise Failed("error", _told(error) + _ban(error)) from error
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
        packed = wire.pack_value(result, arrow=False)
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


def _ban(error: BaseException) -> str:
    """A word to whoever met a wall that is ours, since the kernel's own word does not say so."""
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return "; submitted code has no files, network or other processes"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "; submitted code has a limit of threads"
    return ""


def _named(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    try:
        text = error.cause if isinstance(error, P2PError) else str(error)
    except BaseException:  # a stranger's __str__
        text = ""
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_ERROR]


def _answer(channel: int, answer: Answer) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    _send(channel, answer.pack())
    os.read(channel, 1)  # the node looks what was used, and ends this
    os._exit(0)


def _send(channel: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(channel, left) :]
