"""The command line at a terminal: passwords are typed unseen, progress shows, an interrupt is quiet."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, shell: Any, *words: str) -> None:
        self.shown = b""
        self.pid, self._way = pty.fork()
        if self.pid == 0:
            environment = shell.environment(TERM="xterm", COLUMNS="80")
            os.execve(sys.executable, [sys.executable, "-m", "p2pgrid", *words], environment)

    def read_until(self, good: Callable[[bytes], bool]) -> bool:
        """Whether what is shown becomes good before it ends, or half a minute is over."""
        deadline = time.monotonic() + 30
        while not good(self.shown) and time.monotonic() < deadline:
            readable, _, _ = select.select([self._way], [], [], 0.5)
            if not readable:
                continue
            try:
                part = os.read(self._way, 4096)
            except OSError:  # Linux says so when the last process at the terminal has ended
                break
            if not part:
                break
            self.shown += part
        return good(self.shown)

    def type(self, text: str) -> None:
        """As by hand."""
        os.write(self._way, text.encode())

    def code(self) -> int:
        """Read to the end; the exit code."""
        self.read_until(lambda shown: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """End it, if it has not ended."""
        os.close(self._way)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


@pytest.fixture
def terminal(grid: Any) -> Iterator[Callable[..., Terminal]]:
    opened = []

    def begin(*words: str) -> Terminal:
        opened.append(Terminal(grid, *words))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def test_a_password_is_asked_for_and_not_shown(grid: Any, terminal: Any) -> None:
    url = grid.json("id", "--node", "Bob")["url"]
    at = terminal("requests", "--on", url, "--email", "sheldon@caltech.edu")
    assert at.read_until(lambda shown: b"Password of sheldon@caltech.edu: " in shown)
    at.type("changethis\n")

    assert at.code() == 3
    assert b"There are no requests." in at.shown
    assert b"changethis" not in at.shown


def test_a_new_accounts_password_is_asked_for_twice(grid: Any, terminal: Any) -> None:
    at = terminal("accounts", "add", "amy@caltech.edu", "--node", "Bob")
    assert at.read_until(lambda shown: b"Password for amy@caltech.edu: " in shown)
    at.type("correct horse\n")
    assert at.read_until(lambda shown: b"Repeat for confirmation: " in shown)
    at.type("correct horse\n")

    assert at.code() == 0
    assert b"correct horse" not in at.shown


def test_progress_and_signs_at_a_terminal(terminal: Any) -> None:
    at = terminal("check", "Bob")

    assert at.code() == 0
    assert b"Checking" in at.shown
    assert "✅".encode() in at.shown


def test_an_interrupt_ends_a_command_quietly(terminal: Any) -> None:
    at = terminal("check", "http://127.0.0.1:9", "--wait", "--timeout", "60")
    assert at.read_until(lambda shown: b"Checking" in shown)
    at.type("\x03")

    assert at.code() == 130
    assert b"Traceback" not in at.shown
    assert b"error[" not in at.shown


def test_an_interrupt_at_a_prompt(grid: Any, terminal: Any) -> None:
    url = grid.json("id", "--node", "Bob")["url"]
    at = terminal("requests", "--on", url, "--email", "sheldon@caltech.edu")
    assert at.read_until(lambda shown: b"Password" in shown)
    at.type("\x03")

    assert at.code() == 130
    assert b"Traceback" not in at.shown
