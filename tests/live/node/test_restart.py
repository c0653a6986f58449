"""A node killed with SIGKILL comes back with what it held for others, from the last save."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import p2pgrid
from p2pgrid import aio
from p2pgrid.home import Home

OWNER = {"email": "info@openmined.org", "password": "changethis"}

OFTEN = """
import sys
from p2pgrid import node
from p2pgrid.cli import main
node.FIRST_SAVE = node.SAVE_INTERVAL = 0.1
sys.argv = ["p2pgrid", "launch", "holder"]
main()
"""


@contextmanager
def killed_in_the_end(base: Path) -> Iterator[None]:
    """A node that saves often, and ends by SIGKILL."""
    environment = {**os.environ, "P2PGRID_HOME": str(base)}
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-c", OFTEN], env=environment, stdout=quiet, stderr=quiet) as holder:
        try:
            yield
        finally:
            holder.kill()


async def test_a_killed_holder_still_hands_out_what_it_held(nodes: Any, until: Any, tmp_path: Path) -> None:
    base = tmp_path / "grid"
    with killed_in_the_end(base):
        state = await until(Home("holder", base).running)
        publisher = nodes("publisher", "--bootstrap", state.dht)
        owner = await aio.login(url=publisher.url, **OWNER)
        asset = p2pgrid.Asset("a", np.arange(3))
        await owner.upload_dataset(p2pgrid.Dataset("plain", [asset], tags=["#kept"]), progress=False)
        await owner.close()
        file = base / "holder" / "holdings"
        await until(lambda: file.exists() and b"kept" in file.read_bytes())
    publisher.kill()
    again = nodes("holder")
    assert again.dht == state.dht

    async def found() -> list[Any]:
        return [item async for item in aio.search("#kept", bootstrap=[again.dht], timeout=2.0)]

    assert [item.title for item in await until(found)] == ["plain"]
