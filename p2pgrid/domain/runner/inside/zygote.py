"""The zygote: a process with the heavy libraries imported, that holds no data and forks one worker a run.

It runs nothing of a stranger's and reads nothing that one wrote: orders go to the workers past it.  It starts as a
clean interpreter, is confined itself where there are namespaces, and ends when its socket to the node closes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.domain.runner.inside import confine, landlock
from p2pgrid.domain.runner.inside.worker import Post, work
from p2pgrid.domain.runner.order import MAX_ORDER, Setup

FIRST: Final = ("numpy", "numpy.random")
"""What every run needs: imported before the zygote is ready."""
LATER: Final = ("pandas", "pyarrow")
"""What most runs need, and takes long: imported when no run is under way.  What is not installed is left out."""
IDLE_MS: Final = 200
"""How long the first run is waited for before that."""
AFTER_MS: Final = 20
PATIENCE_MS: Final = 1500
"""Milliseconds of silence after which it is done all the same."""
SETUP_SECONDS: Final = 60.0


def main(fd: int) -> None:
    """Serve the node at the socket ``fd`` until it closes."""
    node = socket.socket(fileno=fd)
    node.settimeout(SETUP_SECONDS)  # a node that was killed at this moment never says a word
    setup = Setup.unpack(node.recv(MAX_ORDER))
    node.settimeout(None)
    held = _settle(setup)
    _preload(FIRST)
    rules = landlock.ruleset(setup.readable) if setup.landlock else None
    node.send(wire.pack({"ready": held}))
    _silence()
    _Nursery(node, setup, rules).serve()


def _settle(setup: Setup) -> list[str]:
    """Become nobody in particular, for the zygote and all that it forks; the layers that this gives."""
    held = []
    if setup.user and os.getuid() == 0:
        if confine.become(setup.user, setup.readable):
            held.append("other-user")
        elif setup.must_become:
            raise OSError(f"user {setup.user} cannot read the interpreter")
    if confine.LINUX:
        confine.drop_capabilities()
        if not (confine.no_new_privileges() and confine.close_memory()):
            raise OSError("prctl")
    # The node's death closes the socket; this is for a node that dies while a zygote is busy forking.
    confine.die_with_parent()
    return held


def _preload(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what workers share with it is not moved by their collectors


def _silence() -> None:
    """Leave the streams that told of a failed start."""
    nothing = os.open(os.devnull, os.O_RDWR) if os.path.exists(os.devnull) else 0
    for standard in (1, 2):
        os.dup2(nothing, standard)
    if nothing > 2:
        os.close(nothing)


class _Nursery:
    """The workers that live, and the words about them to the node."""

    def __init__(self, node: socket.socket, setup: Setup, rules: int | None) -> None:
        self.node, self.setup, self.rules = node, setup, rules
        self.living: dict[int, tuple[int, int]] = {}
        """pidfd -> (number of the run, process id)."""
        self.poll = select.poll()
        self.poll.register(node, select.POLLIN)

    def serve(self) -> None:
        """Until the node goes."""
        later, pause = list(LATER), IDLE_MS
        while True:
            found = self.poll.poll((PATIENCE_MS if self.living else pause) if later else None)
            if not found:
                _preload([later.pop(0)])
                if not later:
                    self._tell({"loaded": True})
            for fd, _ in found:
                if fd != self.node.fileno():
                    self._bury(fd)
                    pause = AFTER_MS
                elif not self._fork():
                    return self._end()

    def _fork(self) -> bool:
        """One worker at the end of the channel that the node sent; false when the node is gone."""
        number, descriptors, _, _ = socket.recv_fds(self.node, 16, 1)
        if not number:
            return False
        try:
            pid = os.fork()
        except OSError as error:
            self._tell({"run": number, "refused": error.strerror})
            return True
        if pid == 0:
            work(Post(descriptors[0], self.setup, self.rules))
        for fd in descriptors:
            os.close(fd)
        self._tell_born(number, pid)
        return True

    def _tell_born(self, number: bytes, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        self.living[pidfd] = (int.from_bytes(number, "big"), pid)
        self.poll.register(pidfd, select.POLLIN)
        with contextlib.suppress(OSError):  # the node is gone, as the next word from it tells
            socket.send_fds(self.node, [wire.pack({"run": number, "born": pid})], [pidfd])

    def _bury(self, pidfd: int) -> None:
        number, pid = self.living.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        _, status, used = os.wait4(pid, 0)
        word = {
            "run": number.to_bytes(4, "big"),
            "ended": os.waitstatus_to_exitcode(status),
            "cpu": used.ru_utime + used.ru_stime,
            "rss": used.ru_maxrss * 1024,
        }
        self._tell(word)

    def _tell(self, word: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the node is gone, as the next word from it tells
            self.node.send(wire.pack(word))

    def _end(self) -> None:
        for pidfd, (_, pid) in self.living.items():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.waitpid(pid, 0)
        sys.exit(0)
