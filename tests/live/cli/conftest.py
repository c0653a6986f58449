"""The command line as real processes, each test with a home of its own that is emptied of nodes at its end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
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


class Watched:
    """A command as a session of its own at a terminal, where a person sees its errors and, unless piped, its output."""

    def __init__(self, shell: Shell, *words: str, piped: bool = False, **environment: str) -> None:
        self.shown = b""
        self._way, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pgrid", *words],
            stdin=end,
            stdout=subprocess.PIPE if piped else end,
            stderr=end,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0),  # so that Ctrl-C is for all its processes
            env=shell.environment(TERM="xterm", COLUMNS="120", LINES="40", **environment),
        )
        os.close(end)

    def read_until(self, good: Callable[[bytes], bool], seconds: float = 30.0) -> bool:
        """Whether what is shown becomes good before it ends, or the time is over."""
        deadline = time.monotonic() + seconds
        while not good(self.shown) and time.monotonic() < deadline:
            readable, _, _ = select.select([self._way], [], [], 0.1)
            if not readable:
                if self.process.poll() is not None:
                    break
                continue
            try:
                part = os.read(self._way, 4096)
            except OSError:  # Linux says so when the last process at the terminal has ended
                break
            self.shown += part
        return good(self.shown)

    def type(self, text: str) -> None:
        """As by hand; a Ctrl-C goes to all its processes."""
        os.write(self._way, text.encode())

    def end(self) -> tuple[int, str]:
        """Read to the end: the exit code, and what was piped."""
        self.read_until(lambda shown: False)
        out = self.process.communicate(timeout=TIMEOUT)[0] or b""
        return self.process.returncode, out.decode()

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        os.close(self._way)


@pytest.fixture
def watched(shell: Shell) -> Iterator[Callable[..., Watched]]:
    """Begins commands at terminals."""
    begun = []

    def begin(*words: str, **more: Any) -> Watched:
        begun.append(Watched(shell, *words, **more))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


@pytest.fixture
def begin(shell: Shell) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begins commands that stay, without a terminal."""
    begun = []

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        begun.append(shell.start(*words, **environment))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


class Family:
    """A process and all that it has begun."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.members = [psutil.Process(process.pid)]

    def look(self) -> list[psutil.Process]:
        """Those of now; whoever was seen once is remembered."""
        with suppress(psutil.NoSuchProcess):
            now = self.members[0].children(recursive=True)
            self.members += [one for one in now if one not in self.members]
        return self.members

    def ended(self) -> bool:
        """Whether all have, or do within ten seconds."""
        return not psutil.wait_procs(self.members, timeout=10)[1]


@pytest.fixture
def family() -> type[Family]:
    return Family


@pytest.fixture
def soon() -> Callable[..., Any]:
    """Waits for a condition with a deadline, looking often; what it gives."""

    def wait(true: Callable[[], Any], seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while not (answer := true()):
            assert time.monotonic() < end, "it did not come true in time"
            time.sleep(0.02)
        return answer

    return wait


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
