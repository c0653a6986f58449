"""The command line at a terminal: passwords are typed unseen, progress shows, an interrupt is quiet."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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


def test_what_cannot_be_undone_is_asked_about(grid: Any, terminal: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "sure.npy", np.arange(9))
    grid.json("publish", str(tmp_path / "sure.npy"), "--node", "Bob")
    for answer, code, left in (("n\n", 130, 0), ("y\n", 0, 3)):
        at = terminal("datasets", "delete", "sure", "--node", "Bob")
        assert at.read_until(lambda shown: b"Delete the dataset sure with its files for good? [y/N]: " in shown)
        at.type(answer)
        assert at.code() == code
        assert grid("datasets", "show", "sure", "--node", "Bob").code == left


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


def test_lists_fit_a_terminal_of_80_columns(grid: Any, terminal: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "ages.npy", np.arange(20, 60))
    grid.json("publish", str(tmp_path / "ages.npy"), "--node", "Bob", "--tag", "wide-tag", "--tag", "another-tag")
    (tmp_path / "study.py").write_text("def mean_of_ages(ages):\n    return float(ages.mean())\n")
    words = ("--to", grid.json("id", "--node", "Bob")["url"], "--dataset", "ages", "--email", "sheldon@caltech.edu")
    request = grid.json("submit", f"{tmp_path / 'study.py'}:mean_of_ages", *words, P2PGRID_PASSWORD="changethis")
    bob = grid.json("id", "--node", "Bob")

    for line, told in (
        (("requests", "--node", "Bob"), request["request"]["id"][:8]),
        (("audit", "--node", "Bob", "--limit", "30"), "dataset.create"),
        (("accounts", "--node", "Bob"), "sheldon@caltech.edu"),
        (("search", "wide-tag", "another-tag"), bob["url"]),
    ):
        at = terminal(*line)
        assert at.code() == 0
        shown = [row for row in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", at.shown).decode().splitlines() if row.strip()]
        assert max(len(row.split("\r")[-1]) for row in shown) <= 80, shown
        assert any(told in row for row in shown)
        if line[0] != "search":
            assert any(re.search(r"\b\d\d-\d\d \d\d:\d\d\b", row) for row in shown), shown
            assert not any("T" in row and "+00:00" in row for row in shown)
        if line[0] == "requests":
            assert not any("purpose" in row for row in shown)
    assert bob["id"] in grid("search", "wide-tag").out
