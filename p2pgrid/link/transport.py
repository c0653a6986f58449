"""The seam under a link: whole messages in order, over a WebSocket or over nothing at all.

A test, a simulation or another transport gives an object with three methods; the link above does not change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from p2pgrid.errors import LinkClosed

QUEUED_MESSAGES: Final = 16
"""Messages that a direction of the in-memory twin holds before its sender waits."""


class MessageStream(Protocol):
    """Whole messages, in order, both ways.  It promises nothing about who is at the other end."""

    async def send(self, message: bytes) -> None:
        """Send one message; waits while the other side does not read.  Raises ``LinkClosed``."""

    async def receive(self) -> bytes:
        """The next message.  Raises ``LinkClosed`` at the end, another ``RemoteError`` for what is no message."""

    async def close(self) -> None:
        """End both directions and free what is held; may be called again."""


class _Pipe:
    """One direction of the in-memory twin."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, message: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or len(self._messages) < QUEUED_MESSAGES)
            if self._ended:
                raise LinkClosed("The stream has ended.")
            self._messages.append(message)
            self._changed.notify_all()

    async def get(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or bool(self._messages))
            if not self._messages:
                raise LinkClosed("The stream has ended.")
            message = self._messages.popleft()
            self._changed.notify_all()
            return message

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


class MemoryStream:
    """One end of the in-memory twin; made in pairs by ``memory_pair``."""

    def __init__(self, inward: _Pipe, outward: _Pipe) -> None:
        self._inward, self._outward = inward, outward

    async def send(self, message: bytes) -> None:
        """Hand one message to the other end; waits while ``QUEUED_MESSAGES`` are unread."""
        await self._outward.put(message)

    async def receive(self) -> bytes:
        """The next message; those sent before the end are still read."""
        return await self._inward.get()

    async def close(self) -> None:
        """End both directions."""
        await self._inward.end()
        await self._outward.end()


def memory_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one in-memory stream."""
    there, back = _Pipe(), _Pipe()
    return MemoryStream(back, there), MemoryStream(there, back)
