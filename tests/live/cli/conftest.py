"""The command line as real processes, each test with a home of its own that is emptied of nodes at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pgrid.home import homes

TIMEOUT = 60.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def is_one_message(self, code: str, exit_code: int, *words: str) -> None:
        """A failed command says one thing: cause, fix and code."""
        assert (self.code, self.out) == (exit_code, ""), self
        lines = self.err.splitlines()
        assert len(lines) == 2, self.err
        assert lines[0].startswith(f"error[{code}]: "), self.err
        assert lines[1].startswith("fix: "), self.err
        for word in words:
            assert word in self.err


class Shell:
    """Runs ``p2pgrid`` with one home folder."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def environment(self, **more: str) -> dict[str, str]:
        """As in a fresh shell."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("P2PGRID_")}
        return {**plain, "P2PGRID_HOME": str(self.base), "COLUMNS": "200", "PYTHONWARNINGS": "error", **more}

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> Done:
        """Run one command to its end; whatever it does, it shows no traceback."""
        command = [sys.executable, "-m", "p2pgrid", *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT, env=self.environment(**environment)
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str, **environment: str) -> Any:
        """The document of a command that must succeed."""
        done = self(*words, "--json", **environment)
        assert done.code == 0, done
        assert done.err == ""
        return done.document

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a command that stays; whoever starts it ends it."""
        command = [sys.executable, "-m", "p2pgrid", *words]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(**environment)
        )

    def kill_all(self) -> None:
        """End the nodes that this home's run states name."""
        running = [(home, state) for home in homes(self.base) if (state := home.running()) is not None]
        for _, state in running:
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(home.in_use for home, _ in running) and time.monotonic() < deadline:
            time.sleep(0.02)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path / "home")
    yield made
    made.kill_all()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Two nodes that know each other: Bob, with the document's data scientist, and Jane."""
    made = Shell(tmp_path_factory.mktemp("grid") / "home")
    bob = made.json("launch", "Bob", "--dev", "--detach")
    made.json("launch", "Jane", "--detach", "--bootstrap", bob["dht"])
    yield made
    made.kill_all()
