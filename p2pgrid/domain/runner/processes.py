"""Starting a process so that whoever asked for it may give up at any moment.

asyncio's own ``create_subprocess_exec``, when it is cancelled, kills the process and then waits until nobody holds its
pipes any more, which a grandchild may do without end: it is never cancelled here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, Final

END_SECONDS: Final = 5.0


async def start(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """A process in a session of its own.  Cancelling ends it first.  Raises ``OSError``.

    ``options``: as of ``asyncio.create_subprocess_exec``.
    """
    options["start_new_session"] = True
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([starting])
        if starting.exception() is None:
            await end(starting.result())
        raise


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill it with its group, and wait until it is gone; one that ended already is left as it is."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):  # asyncio waits for its pipes too, which somebody may still hold
        await asyncio.wait_for(process.wait(), END_SECONDS)
