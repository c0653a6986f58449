"""A gateway as a process: logs, signals, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from gateway.server import Gateway
from gateway.settings import GatewaySettings
from p2pgrid import logs
from p2pgrid.link.connections import raise_open_files


def run(settings: GatewaySettings, *, started: Callable[[Gateway], None] | None = None) -> None:
    """Run a gateway until SIGTERM or SIGINT; ``started`` is called once it listens.  Raises what ``start`` raises."""
    logs.set_up(as_json=settings.log_json)
    raise_open_files()
    asyncio.run(_serve(settings, started))


async def _serve(settings: GatewaySettings, started: Callable[[Gateway], None] | None) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.LoopFaults(logging.getLogger("gateway")))
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
