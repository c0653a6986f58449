"""A gateway as a process: logs, signals, an orderly end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable

from gateway.server import Gateway
from gateway.settings import GatewaySettings


class JsonLines(logging.Formatter):
    """Each record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(*, as_json: bool) -> None:
    """Send the gateway's log lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log = logging.getLogger("gateway")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def run(settings: GatewaySettings, *, started: Callable[[Gateway], None] | None = None) -> None:
    """Run a gateway until SIGTERM or SIGINT; ``started`` is called once it listens.  Raises what ``start`` raises."""
    log_to_stderr(as_json=settings.log_json)
    asyncio.run(_serve(settings, started))


async def _serve(settings: GatewaySettings, started: Callable[[Gateway], None] | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = await Gateway.start(settings)
    try:
        if started is not None:
            started(gateway)
        await stop.wait()
        logging.getLogger("gateway").info("stopping")
    finally:
        await gateway.close()
