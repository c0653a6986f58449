"""The guide, as its reader would follow it: every command in a shell, every snippet in one program."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.md"
PORT = "8080"
"""The port that the guide uses; the test takes a free one in its place."""
REQUEST = "3f2a"
"""How the guide's request begins; the test puts the real one in its place."""
COMMAND_SECONDS = 60

RUN_SNIPPETS = """
import sys, pathlib
names = {"__name__": "__main__"}
for path in map(pathlib.Path, sys.argv[1:]):
    exec(compile(path.read_text(), str(path), "exec"), names)
"""


def blocks(kind: str) -> list[str]:
    """The guide's fenced blocks of a kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def free_port() -> int:
    """A number that is free for UDP and TCP now."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return int(tcp.getsockname()[1])


def clean_environment(home: Path) -> dict[str, str]:
    """Ours without any setting of p2pgrid, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("P2PGRID_")}
    return {**kept, "P2PGRID_HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"}


class Shells:
    """One shell for each person of the guide: a home folder and exported variables of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        self.environments: dict[str, dict[str, str]] = {}

    def type(self, who: str, line: str) -> subprocess.CompletedProcess[str]:
        """Run one line at somebody's prompt; ``export`` stays."""
        environment = self.environments.setdefault(who, clean_environment(self.folder / f"home-{who}"))
        line = line.replace(PORT, self.port)
        if REQUEST in line:
            line = line.replace(REQUEST, self.newest_request()[:8])
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environment[name] = value
        done = subprocess.run(
            ["bash", "-c", line],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, f"{line}\n{done.stderr}"
        return done

    def newest_request(self) -> str:
        """Its id, as the owner sees it."""
        listed = self.type("owner", "p2pgrid requests list --json")
        assert listed.returncode == 0, listed.stdout
        return str(json.loads(listed.stdout)["requests"][-1]["id"])

    def land(self) -> None:
        """Stop whatever a failed line left up."""
        for who in list(self.environments):
            self.type(who, "p2pgrid land all")


@pytest.mark.slow
def test_every_command_of_the_guide_ends_as_it_says(tmp_path: Path) -> None:
    for block in blocks("python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
    shells = Shells(tmp_path)
    try:
        for line in "".join(blocks("console")).splitlines():
            who, _, command = line.partition("$ ")
            command, _, note = command.partition("   # ends with ")
            done = shells.type(who, command)
            assert done.returncode == int(note or 0), f"{line}\n{done.stdout}{done.stderr}"
            assert command.startswith(("export ", "p2pgrid land")) or done.stdout or note, line
    finally:
        shells.land()
    ink = json.loads((tmp_path / "ink.json").read_text(encoding="utf-8"))
    assert sorted(ink) == [str(digit) for digit in range(10)]
    assert all(2 < value < 8 for value in ink.values())


def test_every_snippet_of_the_guide_runs(tmp_path: Path) -> None:
    port = str(free_port())
    snippets = [block.replace(PORT, port) for block in blocks("python") if not block.startswith("# study.py")]
    paths = []
    for number, snippet in enumerate(snippets):
        paths.append(tmp_path / f"snippet_{number}.py")
        paths[-1].write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_SNIPPETS, *map(str, paths)],
        env=clean_environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert "True float" in printed, "the run on the mock"
    assert printed.count("\n54.0") == 3, "unsafe_function, the result, and the same result again"
    assert "AttributeError: 'numpy.ndarray' object has no attribute 'medain'" in printed
    assert "was denied: The largest age is one person's." in printed
    assert "[P2P-0407]" in printed
    assert "\nover 70\n" in printed
    assert "\nages hospital http://127.0.0.1:" in printed, "the search"
    assert "\nField recordings at second, id " in printed
    assert "\nsecond is online, " in printed
    assert "\n['songs']\n" in printed
    assert "P2P-0403 | The e-mail and password do not belong" in printed
