"""One engine on one UDP socket: hands it datagrams, sends what it has to say, and wakes it when something is due."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any, Final, cast

from asyncio_dgram.aio import DatagramServer

from p2pgrid.dht.contacts import Endpoint
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.udp.sockets import DirectProtocol

READ_BYTES: Final = 2048
"""asyncio reads each datagram into 256 KiB otherwise (a third to a half of the cost of a packet)."""
READ_AT_ONCE: Final = 63
"""Further datagrams read at one wake-up; then others have their turn."""
SEND_BUFFER: Final = 1 << 20
"""Bytes that may wait for the socket before packets are dropped."""
CLOCK_STEP: Final = 0.001
"""Seconds.  The steps of uvloop's clock: without this each timer would wake us in vain ten times before it is due."""
RARELY: Final = 1.0
"""Seconds: a timer is put off only by more, as that costs a fifth of being woken in vain."""
AFTER_FAULT: Final = 1.0
"""Seconds to the next try after a fault of our own."""

log = logging.getLogger(__name__)


class Shell:
    """The socket and the timer of one engine.  Made by ``open``, ended by ``close``."""

    def __init__(
        self, engine: Engine, stream: DatagramServer, protocol: DirectProtocol, sock: socket.socket | None
    ) -> None:
        """``sock``: read and written past the transport, where its kind lets us."""
        self.engine = engine
        self._stream, self._protocol, self._sock = stream, protocol, sock
        self.transport: Any = cast(Any, stream)._transport
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._news = False
        self._told: set[tuple[type[Exception], str, int]] = set()
        self.closed = False
        engine.report = self._report

    @classmethod
    async def open(cls, engine: Engine, sock: socket.socket) -> Shell:
        """On a bound socket, which is closed if that fails."""
        loop = asyncio.get_running_loop()
        protocol = DirectProtocol()
        try:
            made, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        transport = cast(Any, made)
        transport.set_write_buffer_limits(high=SEND_BUFFER, low=SEND_BUFFER)
        plain = hasattr(transport, "max_size")  # asyncio's own, which reads and writes the socket as we can
        if plain:
            transport.max_size = READ_BYTES
        shell = cls(engine, DatagramServer(transport, *protocol.queues), protocol, sock if plain else None)
        protocol.sink, protocol.fault = shell._received, shell._fault
        return shell

    @property
    def family(self) -> int:
        """Of the socket."""
        return int(self._stream.socket.family)

    async def close(self) -> None:
        """Free the port."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._stream.close()
        await asyncio.sleep(0)  # the transport closes its socket at the loop's next turn

    def flush(self, now: float | None = None) -> None:
        """Send what is ready, and set the timer."""
        if self.closed or self.transport.is_closing():
            return
        now = time.monotonic() if now is None else now
        wake = now + AFTER_FAULT
        try:
            datagrams, wake = self.engine.poll(now)
            for data, endpoint in datagrams:
                self._send(data, endpoint)
        except Exception as error:  # a fault of ours must not silence the node for the rest of its life
            self.engine.fault(error)
        if wake < self._timer_at or wake > self._timer_at + RARELY:
            self._arm(wake)

    def tell(self) -> None:
        """A search has found something."""
        self._news = True

    # ------------------------------------------------------------ inside

    def _received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        now = time.monotonic()
        self.engine.receive(data, addr[:2], now)
        if self._sock is not None:
            self._read_on(self._sock, now)
        self._news = False
        self.flush(now)

    def _read_on(self, sock: socket.socket, now: float) -> None:
        """Take what else has arrived: asyncio's own transport reads one datagram a wake-up, at 10 us each."""
        for _ in range(READ_AT_ONCE):
            if self._news:  # first whoever waits for it, then the rest
                break
            try:
                data, addr = sock.recvfrom(READ_BYTES)
            except OSError:  # nothing more; what else may be wrong, the transport's next read will tell
                break
            self.engine.receive(data, addr[:2], now)

    def _fault(self, error: Exception) -> None:
        # An ICMP answer to something sent earlier; the time-out of whoever sent it will tell.
        self.engine.counters["socket-error"] += 1

    def _arm(self, wake: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake
        self._timer = self._loop.call_later(wake - time.monotonic() + CLOCK_STEP, self._wake)

    def _wake(self) -> None:
        late = time.monotonic() - self._timer_at
        self._timer, self._timer_at = None, float("inf")
        self.engine.rate_load(late)
        self.flush()

    def _send(self, data: bytes, endpoint: Endpoint) -> None:
        if self._protocol.full:
            # UDP may lose packets, and a queue that grows helps nobody: drop, and let time-outs do their work.
            self.engine.counters["send-full"] += 1
            return
        try:
            if self._sock is not None:
                self._sock.sendto(data, endpoint)  # the transport's detour costs 1 us more
            else:
                self.transport.sendto(data, endpoint)
        except BlockingIOError:
            self.transport.sendto(data, endpoint)  # it waits there until the socket takes more
        except (OSError, ValueError):
            self.engine.counters["socket-error"] += 1

    def _report(self, error: Exception) -> None:
        """Log a fault of ours, once a place in the code: what repeats is counted only."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
        if (type(error), *where) not in self._told:
            self._told.add((type(error), *where))
            log.error("the DHT met a fault of its own and goes on", exc_info=error)
