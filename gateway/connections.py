"""The TCP connections of the gateway: how many, from whom, and how long an answer may lie unread.

A node's are bounded alike in ``p2pgrid.link.connections``, which a gateway does not know.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from gateway.settings import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_IP, OPEN_FILES, WRITE_DEADLINE


class Connections:
    """The table of a server's connections; ``protocol`` is the factory for ``loop.create_server``."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol | None],
        *,
        most: int | None = None,
        most_each: int | None = None,
    ) -> None:
        """``serve`` makes what handles one connection.

        ``most`` is ``MAX_CONNECTIONS``, or less where few files may be open; ``most_each`` is
        ``MAX_CONNECTIONS_PER_IP``, or half of ``most``.
        """
        self.most = share_of_files() if most is None else most
        self.most_each = min(MAX_CONNECTIONS_PER_IP, max(1, self.most // 2)) if most_each is None else most_each
        self.refused = 0
        """Connections closed because they were one too many."""
        self.unread = 0
        """Connections cut because their other side did not read."""
        self._serve = serve
        self._sources: Counter[str] = Counter()

    def protocol(self) -> asyncio.Protocol:
        """One connection's protocol."""
        return _Connection(self)

    def enter(self, source: str) -> asyncio.Protocol | None:
        """What handles a new connection from ``source``, or None if it is one too many; ``leave`` follows."""
        free = self._sources.total() < self.most and self._sources.get(source, 0) < self.most_each
        handler = self._serve() if free else None
        if handler is None:
            self.refused += 1
        else:
            self._sources[source] += 1
        return handler

    def leave(self, source: str) -> None:
        """A connection that ``enter`` let in has ended."""
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]


class _Connection(asyncio.Protocol):
    """Hands everything to the server's own protocol, and cuts the connection when nothing is read at the other end."""

    def __init__(self, table: Connections) -> None:
        self._table = table
        self._inner: asyncio.Protocol | None = None
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._source = _source(transport.get_extra_info("peername"))
        self._inner = self._table.enter(self._source)
        if self._inner is None:
            transport.close()
            return
        # Whatever the system does not take at once counts as unread.
        self._transport.set_write_buffer_limits(high=0)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        if self._inner is not None:
            self._table.leave(self._source)
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        self._cut = asyncio.get_running_loop().call_later(WRITE_DEADLINE, self._unread)
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._in_time()
        if self._inner is not None:
            self._inner.resume_writing()

    def _in_time(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def _unread(self) -> None:
        self._table.unread += 1
        self._transport.abort()


def _source(peer: Any) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 /64, since a /64 is what one customer gets."""
    try:
        ip = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, IndexError, ValueError):
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ip.ipv4_mapped
        return str(mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def share_of_files() -> int:
    """``MAX_CONNECTIONS``, or half of the files that this process may open: the rest is for its own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft // 2))


def raise_open_files() -> None:
    """Let this process open up to ``OPEN_FILES`` files, as far as the system allows; it must be the gateway's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
