"""Reading a result as the node does, in a forked process: what it does to its reader is evidence."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

SECONDS: Final = 8.0
MEMORY: Final = 512 << 20
TEXT: Final = 1 << 20
PLAIN: Final = (
    "NoneType",
    "bool",
    "int",
    "float",
    "complex",
    "str",
    "bytes",
    "list",
    "tuple",
    "dict",
    "datetime",
    "UUID",
)


def read(result: bytes, *, ours: bool) -> tuple[str, str]:
    """(the value as text, what harm was done)."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(source)
        _reader(result, sink, open_value if ours else unpickle)
    os.close(sink)
    end, parts = time.monotonic() + SECONDS, bytearray()
    os.set_blocking(source, False)
    status = None
    while status is None and time.monotonic() < end:
        try:
            if not (part := os.read(source, 1 << 16)):
                _done, found, used = os.wait4(pid, 0)
                status = found
                break
            parts += part
        except BlockingIOError:
            time.sleep(0.002)
    os.close(source)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "", "its reader came to no end"
    code = os.waitstatus_to_exitcode(status)
    if code:
        return "", f"its reader ended with {code}"
    if used.ru_maxrss * 1024 > MEMORY:
        return "", "its reader used too much memory"
    harm, _, text = parts.decode("utf-8", "replace").partition("\0")
    return text, harm


def _reader(result: bytes, sink: int, how: Callable[[bytes], tuple[str, Any]]) -> None:
    try:
        signal.alarm(int(SECONDS))
        harm, value = how(result)
        words = (harm + "\0" + text_of(value)).encode("utf-8", "replace")[:TEXT]
        while words:
            words = words[os.write(sink, words) :]
        os._exit(0)
    finally:
        os._exit(9)


def text_of(value: Any) -> str:
    """A value as text; bytes as Latin-1, so that a token in them is found."""
    if isinstance(value, bytes):
        return value[:TEXT].decode("latin1")
    return value if isinstance(value, str) else repr(value)


def open_value(result: bytes) -> tuple[str, Any]:
    """As the node and the client open what the runner gave."""
    from p2pgrid import wire
    from p2pgrid.errors import P2PError

    try:
        value = wire.unpack_value(result)
    except P2PError:
        return "", ""
    except BaseException as error:
        return f"its reader raised {type(error).__name__}", ""
    strange = strangest(value)
    return (f"it is a {strange}" if strange else ""), value


def unpickle(answer: bytes) -> tuple[str, Any]:
    """As a careless node opens what its subprocess wrote."""
    import pickle

    try:
        _, value = pickle.loads(answer)
    except Exception:
        return "", ""
    if isinstance(value, bytes) and value[:4] == b"\xff\xff\xff\xff":
        import pyarrow.ipc

        return "", pyarrow.ipc.open_stream(value).read_all().to_pandas()
    return "", value


def strangest(value: Any, depth: int = 0) -> str:
    """The name of a type in ``value`` that no result may have."""
    import numpy as np

    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return "array of objects" if value.dtype.hasobject or value.dtype.fields else ""
    if kind.__module__.startswith("pandas."):
        return ""
    if kind.__name__ not in PLAIN or depth > 100:
        return kind.__name__
    inner = [*value, *value.values()] if kind is dict else value if kind in (list, tuple) else ()
    return next((word for item in inner if (word := strangest(item, depth + 1))), "")
