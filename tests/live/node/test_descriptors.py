"""One address takes all the connections it can get, on a system that lets a process open few files."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

FILES = 256
FLOOD = 600


@contextlib.contextmanager
def launched(home: Path, *words: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a node or gateway that may open ``FILES`` files."""
    limited = ["sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh", sys.executable, "-m", "p2pgrid"]
    environment = {**os.environ, "P2PGRID_HOME": str(home)}
    done = subprocess.run(
        [*limited, "launch", "flooded", *words, "--detach", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pid = json.loads((home / "flooded" / "run.json").read_bytes())["pid"]
    try:
        yield int(json.loads(done.stdout)["url"].rpartition(":")[2]), pid
    finally:
        psutil.Process(pid).kill()


def healthy(port: int, source: str) -> int:
    """The status that a caller from ``source`` gets."""
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        caller.request("GET", "/health-check")
        return caller.getresponse().status
    finally:
        caller.close()


@pytest.mark.parametrize("words", [(), ("gateway", "--port", "0")], ids=["node", "gateway"])
def test_a_flood_of_connections_leaves_descriptors_and_the_log_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    with launched(tmp_path, *words) as (port, pid), contextlib.ExitStack() as held:
        for _ in range(FLOOD):
            client = held.enter_context(socket.socket())
            client.settimeout(5)
            with contextlib.suppress(OSError):
                client.connect(("127.0.0.1", port))
        assert healthy(port, "127.0.0.2") == 200, "others get in"
        assert psutil.Process(pid).num_fds() < FILES - 32
    written = (tmp_path / "flooded" / "log").read_text()
    assert "Too many open files" not in written
    assert len(written.splitlines()) < 20
