"""``scripts/run_node.py``: a node left up by a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "run_node.py"


class Running:
    """The script as a process, its log read line by line."""

    def __init__(self, *options: str, **variables: str) -> None:
        environment = {**os.environ, **variables}
        command = [sys.executable, "-W", "error", str(SCRIPT), *options]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.log = self.process.stderr
        self.lines: list[str] = []

    def until(self, words: str) -> str:
        """The first line that holds the words."""
        for line in self.log:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without {words!r}: {''.join(self.lines)}")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        self.lines += self.log.readlines()
        return self.process.wait(30)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(*options: str, **variables: str) -> Running:
        made.append(Running(*options, **variables))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait(30)
        one.log.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_settings_from_a_file_and_a_graceful_stop(run: Callable[..., Running], tmp_path: Path, number: int) -> None:
    config = tmp_path / "node.toml"
    config.write_text('name = "bob"\nhost = "127.0.0.1"\n')
    node = run("--config", str(config), "--home", str(tmp_path / "home"))
    line = node.until("serving; others join with --bootstrap 127.0.0.1:")
    assert line.split()[2] == "INFO"
    assert (tmp_path / "home" / "bob" / "run.json").exists()
    assert node.stop(signal.Signals(number)) == 0
    assert not (tmp_path / "home" / "bob" / "run.json").exists()
    assert any("landing" in line for line in node.lines)
    assert not any("Traceback" in line for line in node.lines)


def test_settings_from_the_environment_and_log_lines_as_json(run: Callable[..., Running], tmp_path: Path) -> None:
    node = run("--log-json", P2PGRID_NAME="alice", P2PGRID_HOME=str(tmp_path))
    entry = json.loads(node.until("serving"))
    assert entry["level"] == "INFO"
    assert entry["url"].startswith("http://127.0.0.1:")
    assert len(entry["node_id"]) == 40
    assert node.stop(signal.SIGTERM) == 0
    assert [json.loads(line) for line in node.lines]


@pytest.mark.parametrize(
    ("options", "variables", "code", "says"),
    [
        (["--config", "no such file.toml"], {}, 2, "P2P-0013"),
        ([], {"P2PGRID_PORT": "many"}, 2, "P2P-0013"),
        ([], {"P2PGRID_HOST": "0.0.0.0"}, 2, "P2P-0024"),
    ],
)
def test_wrong_settings_end_in_one_message(
    run: Callable[..., Running], options: list[str], variables: dict[str, str], code: int, says: str
) -> None:
    node = run(*options, **variables)
    assert node.process.wait(30) == code
    said = node.log.read()
    assert says in said
    assert "fix:" in said
    assert "Traceback" not in said
