"""One more process of a swarm: ``python -m p2pgrid.sim.worker``.

It reads commands as lines of JSON and answers each with one; when its input ends, because the swarm closed it or died,
it leaves what it is at, ends all its nodes and itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any, Final, TextIO

from p2pgrid import loop
from p2pgrid.errors import InternalError, P2PError
from p2pgrid.sim.share import Order, Share

LONGEST_LINE: Final = 1 << 26


def main() -> None:
    """Take our output for answers, and do what comes in."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever else is printed is no answer
        loop.run(serve(answers))


async def serve(answers: TextIO) -> None:
    """Do what comes in, until nothing does."""
    running = asyncio.get_running_loop()
    running.add_signal_handler(signal.SIGINT, lambda: None)  # an interrupt is for the swarm, which then closes us
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    way, _ = await running.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    obeying = asyncio.create_task(_obey(lines, answers))
    hearing = asyncio.create_task(_hear(reader, lines))
    await asyncio.wait([obeying, hearing], return_when=asyncio.FIRST_COMPLETED)
    for task in (obeying, hearing):
        task.cancel()
    await asyncio.wait([obeying, hearing])
    way.close()
    await asyncio.sleep(0)  # the transport closes at the loop's next turn


async def _hear(reader: asyncio.StreamReader, lines: asyncio.Queue[bytes]) -> None:
    while line := await reader.readline():
        lines.put_nowait(line)


async def _obey(lines: asyncio.Queue[bytes], answers: TextIO) -> None:
    share: Share | None = None
    try:
        while True:
            command = json.loads(await lines.get())
            if command["do"] == "start":
                share = Share(Order(**command["order"]))
            answer = await _answer(share, command)
            print(json.dumps({**answer, "number": command["number"]}), file=answers, flush=True)
    finally:
        if share is not None:
            await share.close()


async def _answer(share: Share | None, command: dict[str, Any]) -> dict[str, Any]:
    try:
        if share is None:
            raise InternalError("Nothing was started.")
        if command["do"] == "start":
            return {"members": [asdict(member) for member in await share.start()]}
        if command["do"] == "kill":
            await share.kill(command["names"])
            return {}
        return {"rows": share.status()}
    except P2PError as error:
        return {"error": error.to_wire()}
    except Exception as error:
        return {"error": InternalError(f"A process of the swarm failed: {error!r}").to_wire()}


if __name__ == "__main__":
    main()
