"""What stands above each attack's source: where everything is, and short ways to try things.

The attacks know all that an attacker could find out, so that nothing is safe because it was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent
from typing import Any, Final

HELPERS: Final = r'''
import os, sys, time, errno, ctypes, struct, signal, socket, threading

libc = ctypes.CDLL(None, use_errno=True)

def attempt(what, *given):
    """What it answers, or the name of its error."""
    try:
        return what(*given)
    except Exception as error:
        return type(error).__name__

def slurp(path):
    """The first bytes of a file, as text."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 65536).decode("latin1")
    finally:
        os.close(fd)

def slurp_all(paths):
    return [attempt(slurp, path) for path in paths]

def raw(number, *given):
    """(answer, name of errno) of a system call."""
    ctypes.set_errno(0)
    given = [ctypes.c_long(item) if isinstance(item, int) else item for item in given]
    answer = libc.syscall(ctypes.c_long(number), *given)
    return answer, errno.errorcode.get(ctypes.get_errno(), "OK") if answer == -1 else "OK"

def call(name, number, *given):
    """The same as one word for the judge."""
    return "call:%s=%s" % (name, raw(number, *given)[1])

def opened(path, flags=os.O_RDONLY):
    """Whether a file can be opened, as one word for the judge; it is closed at once."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
        return "call:open %s=OK" % path
    except OSError as error:
        word = errno.errorcode.get(error.errno, "OTHER")
        return "call:open %s=%s" % (path, {"ENOENT": "ENOSYS", "EROFS": "EPERM"}.get(word, word))

def drop(folder, content=None):
    """Write a file that carries the mark; closed and left."""
    path = os.path.join(folder, AT["mark"])
    with open(path, "w") as file:
        file.write(content or AT["mark"])
    return path

def send(family, kind, address, protocol=0):
    """Connect and send the mark."""
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(1)
        sock.connect(address)
        sock.send(AT["mark"].encode())

def background(seconds=30, again=False):
    """A process of its own session; its parent goes on at once."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
    except OSError:
        pass
    if again and os.fork():
        os._exit(0)
    end = time.time() + seconds
    while time.time() < end:
        time.sleep(0.1)
    os._exit(0)
'''


def submitted(source: str, places: Mapping[str, Any]) -> str:
    """The text that is run."""
    return f"AT = {dict(places)!r}\n{HELPERS}\n{dedent(source)}"
