"""An aiohttp application on a port, bounded in connections and in the time it takes to stop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2pgrid.errors import BadAddress, PortTaken
from p2pgrid.link.connections import Connections

log = logging.getLogger(__name__)

KEEPALIVE: Final = 15.0
"""Seconds that a connection may be open without the whole head of a request."""
BACKLOG: Final = 256
"""Connections that the system takes for us, at most; all of them may need a descriptor at one moment."""
CLOSE_GRACE: Final = 2.0
"""Seconds that requests have to finish when the server closes, and again to stop once they are cancelled."""

CLOSE_FIRST: Final[web.AppKey[Callable[[], Awaitable[None]]]] = web.AppKey("close_first")
"""What to await before connections stop being read: the good-byes of links."""


class AppServer:
    """Runs one application on one port."""

    def __init__(self, app: web.Application, *, connections: int | None = None, each: int | None = None) -> None:
        """``connections`` in all, by default as many as the process has files for, and ``each`` of one address."""
        self._app = app
        self.connections = Connections(self._handler, most=connections, most_each=each)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=KEEPALIVE,
            lingering_time=1.0,
            shutdown_timeout=CLOSE_GRACE,
            auto_decompress=False,
            logger=_QuietLog(self, log),
        )
        self._listener: asyncio.Server | None = None
        self.host = ""
        self.port = 0
        self.on_loopback = True
        """Whether only this machine can reach it; known once it listens."""
        self.broken = 0
        """Requests that were none of HTTP, or whose sender left."""

    async def start(self, host: str, port: int) -> None:
        """Listen; ``port`` 0 takes a free one, told by ``.port``.  Raises ``PortTaken`` or ``BadAddress``."""
        await self._runner.setup()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self.connections.protocol, host, port, backlog=max(1, min(BACKLOG, self.connections.most // 4))
            )
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise _cannot_listen(host, port, error) from error
        names = [listening.getsockname() for listening in self._listener.sockets]
        self.host, self.port = host, int(names[0][1])
        self.on_loopback = all(ipaddress.ip_address(name[0].partition("%")[0]).is_loopback for name in names)

    async def close(self) -> None:
        """Listen no more, let requests finish for ``CLOSE_GRACE`` seconds, end all connections; may be called again."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        if CLOSE_FIRST in self._app:
            await self._app[CLOSE_FIRST]()
        await self._runner.cleanup()

    def _handler(self) -> asyncio.Protocol | None:
        return self._runner.server() if self._runner.server else None


class _QuietLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp writes a traceback for each request that is no HTTP or breaks off: strangers would write our log."""

    def __init__(self, server: AppServer, logger: logging.Logger) -> None:
        super().__init__(logger)
        self._server = server

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        """Count what is a stranger's fault, log what is ours."""
        if isinstance(exc_info, (HttpProcessingError, ConnectionError)):
            self._server.broken += 1
        else:
            super().exception(msg, *args, exc_info=exc_info, **kwargs)


def _cannot_listen(host: str, port: int, error: Exception) -> PortTaken | BadAddress:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return PortTaken(f"Port {port} of {host} is in use.")
    if number in (errno.EACCES, errno.EPERM):
        return PortTaken(f"Port {port} of {host} is reserved by the system.")
    if isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return BadAddress(f"{host!r} is no address of this machine.", fix="Use 127.0.0.1, 0.0.0.0 or one of its own.")
    return BadAddress(f"Nothing can listen on {host!r}, port {port}: {error}.")
