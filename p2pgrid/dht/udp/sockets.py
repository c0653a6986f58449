"""Sockets and names: what the shell of the DHT needs of the system."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from asyncio_dgram.aio import Protocol

from p2pgrid.dht.contacts import Endpoint
from p2pgrid.errors import BadAddress, PortTaken
from p2pgrid.records import Address

MAX_RESOLVED: Final = 4
"""Addresses of one name that are tried."""


class DirectProtocol(Protocol):
    """asyncio-dgram's protocol without its unbounded queue and its late errors.

    A datagram goes to the engine at once, so what waits, waits in the kernel's bounded buffer; an error is counted
    when it happens instead of surfacing at the next unrelated call.
    """

    def __init__(self) -> None:
        unused: asyncio.Queue[Any] = asyncio.Queue(1)  # once for both: 3 KB a node
        self.queues: tuple[Any, Any, asyncio.Event] = (unused, unused, asyncio.Event())
        super().__init__(*self.queues)
        self.sink: Callable[[bytes, tuple[Any, ...]], None] | None = None
        self.fault: Callable[[Exception], None] | None = None
        self.full = False
        """More bytes wait for the socket than the transport's limit."""

    def pause_writing(self) -> None:
        self.full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.full = False
        super().resume_writing()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.sink is not None:
            self.sink(data, addr)

    def error_received(self, exc: Exception) -> None:
        if self.fault is not None:
            self.fault(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.sink = self.fault = None
        self._transport = None


def split_host(text: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port".  Raises ``BadAddress``."""
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise BadAddress(f"{text[:80]!r} is no host:port.")
    return host, int(port)


async def resolve(where: str | Address, family: int) -> list[Endpoint]:
    """Endpoints of a "host:port"; a name that nobody knows is none.  Raises ``BadAddress``."""
    host, port = (where.ip, where.udp) if isinstance(where, Address) else split_host(where)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    return [(str(info[4][0]), int(info[4][1])) for info in found[:MAX_RESOLVED]]


async def bind(host: str, port: int) -> socket.socket:
    """A bound UDP socket.  Raises ``PortTaken`` or ``BadAddress``."""
    loop = asyncio.get_running_loop()
    try:
        family, _, _, _, where = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise BadAddress(f"{host}:{port} cannot be listened on: {error}.") from error
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"UDP port {port} of {host} is in use.") from error
        raise BadAddress(f"{host}:{port} cannot be listened on: {error.strerror}.") from error
    return sock


def likely_ip(family: int) -> str:
    """The address that packets to the outside would carry; a guess until peers tell.  Sends nothing."""
    v6 = family == socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1", 9) if v6 else ("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if v6 else "127.0.0.1"
