"""How well this machine confines a run: found out by attacking it, never by believing what it says of itself."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from p2pgrid.domain.runner.calls import program
from p2pgrid.domain.runner.jail import Interpreter, bubblewrap, in_namespaces, spare_user
from p2pgrid.domain.runner.order import Setup
from p2pgrid.domain.runner.spec import LAYERS, Limits, RunSpec
from p2pgrid.domain.runner.zygotes import Zygote
from p2pgrid.errors import LocalError

NEEDS: Final = {
    "strong": ("namespaces", "landlock", "seccomp", "rlimits"),
    "kernel": ("landlock", "seccomp", "rlimits"),
}
"""Tier -> the layers without which it is not that tier."""

ATTACKS: Final = '''
import ctypes, fcntl, os, socket

CANARY, FOLDER, PORT, NODE = {canary!r}, {folder!r}, {port}, {node}
libc = ctypes.CDLL(None, use_errno=True)


def reads_a_file():
    return open(CANARY).read()


def lists_a_folder():
    return os.listdir(FOLDER)


def writes_a_file():
    return open(os.path.join(FOLDER, "written"), "w")


def reads_the_node():
    return open(f"/proc/{{NODE}}/environ", "rb").read()


def signals_the_node():
    os.kill(NODE, 0)
    return True


def signals_by_a_descriptor():
    return fcntl.fcntl(1, 8, NODE) == 0


def traces_the_node():
    return libc.ptrace(16, NODE, 0, 0) == 0


def connects():
    return socket.create_connection(("127.0.0.1", PORT), 1)


def makes_a_socket():
    return socket.socket(socket.AF_UNIX)


def forks():
    if os.fork() == 0:
        os._exit(0)
    return True


def starts_a_program():
    os.execv("/bin/true", ["true"])


def makes_a_namespace():
    return libc.unshare(0x10000000) == 0


def attack():
    done = []
    for way in (
        reads_a_file, lists_a_folder, writes_a_file, reads_the_node, signals_the_node, signals_by_a_descriptor,
        traces_the_node, connects, makes_a_socket, forks, makes_a_namespace, starts_a_program,
    ):
        try:
            if way():
                done.append(way.__name__)
        except Exception:
            pass
    return done
'''  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tier:
    """What was found: one of ``spec.TIERS``, its layers, and why it is not a better one (or that it is the best)."""

    name: str
    layers: tuple[str, ...]
    why: str


@contextlib.contextmanager
def self_test() -> Iterator[RunSpec]:
    """A run that attacks a file, a port and the node itself; its result is a list of what succeeded."""
    with (
        tempfile.TemporaryDirectory(prefix="p2pgrid-canary-") as folder,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        canary = os.path.join(folder, "canary")
        with open(canary, "w") as file:
            file.write(secrets.token_hex(16))
        os.chmod(canary, 0o600)
        code = ATTACKS.format(canary=canary, folder=folder, port=door.getsockname()[1], node=os.getpid())
        yield RunSpec(code, "attack", {}, Limits(wall_seconds=30.0))


def system_lacks() -> str:
    """Why nothing can be confined on this system at all; empty when it may be."""
    if not sys.platform.startswith("linux"):
        return f"Confinement needs Linux; this is {sys.platform}."
    return ""


async def start_zygote(found: Interpreter, tier: str, at_once: int) -> Zygote:
    """A zygote of ``tier`` in the interpreter ``found``.  Raises ``LocalError`` when a layer of it cannot be had."""
    root = spare_user()
    calls = b"" if tier == "none" else _filter()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = found.command(theirs.fileno())
    if tier == "strong":
        bwrap = bubblewrap()
        if bwrap is None:
            ours.close()
            theirs.close()
            raise LocalError("bubblewrap is not installed (such as by: apt install bubblewrap).")
        command = in_namespaces(bwrap, found.readable, command, root=bool(root))
    setup = Setup(
        readable=found.readable,
        user=root,
        must_become=bool(root) and tier == "strong",
        landlock=tier != "none",
        calls=calls,
        shared_count=tier != "strong",
        at_once=at_once,
    )
    zygote = Zygote()
    try:
        await zygote.start(command, setup, theirs, ours)
    except BaseException:
        await zygote.close()
        raise
    return zygote


def _filter() -> bytes:
    try:
        return program()
    except (ImportError, OSError, RuntimeError) as error:
        raise LocalError(f"libseccomp gives no filter of system calls: {error}.") from error


def layers_of(tier: str, zygote: Zygote) -> tuple[str, ...]:
    """The layers around a worker of ``zygote``: those of its tier, and those that the zygote tells of itself."""
    held = {*NEEDS.get(tier, ("rlimits",)), *zygote.held}
    return tuple(layer for layer in LAYERS if layer in held)
