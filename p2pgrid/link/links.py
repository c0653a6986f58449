"""The two ends of a link: ``open_link`` calls, ``accept_link`` serves, over any message stream."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any, Final

from p2pgrid.crypto import Identity, Random
from p2pgrid.errors import Unreachable
from p2pgrid.ids import NodeId
from p2pgrid.link import handshake
from p2pgrid.link.channel import TRUSTED
from p2pgrid.link.session import CLOSE_TIMEOUT, Dispatch, Session
from p2pgrid.link.transport import MessageStream

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT: Final = 10.0
STRANGER_IDLE: Final = 300.0
"""Seconds after which a link is closed whose peer has not logged in and makes no calls."""


class Link:
    """The calling end of a link.  Calls run concurrently, ``MAX_IN_FLIGHT`` at most; further ones wait.

    It does not connect again by itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._task = asyncio.create_task(session.run())

    @property
    def peer(self) -> bytes:
        """The peer's proven Ed25519 public key."""
        return self._session.peer.key

    @property
    def peer_id(self) -> NodeId:
        """The peer's node id."""
        return self._session.peer.id

    @property
    def closed(self) -> bool:
        """Whether the link has ended: a call would raise ``LinkClosed``."""
        return self._session.closed

    async def call(self, verb: str, args: dict[str, Any] | None = None, *, timeout: float = 30.0) -> Any:
        """What ``verb`` comes to at the peer.

        The values in ``args`` and the answer are whatever ``wire.pack_value`` takes.
        Raises the ``P2PError`` that the peer answered with, ``Unreachable`` after ``timeout`` seconds,
        ``LinkClosed``, ``TooLarge`` for args that fit no frame, ``BadValue`` for args that cannot travel.
        """
        return await self._session.call(verb, {} if args is None else args, timeout=timeout)

    async def ended(self) -> None:
        """Wait until the link has ended, by whichever end."""
        await asyncio.wait([self._task])

    async def close(self) -> None:
        """Say good-bye and free everything; may be called again."""
        self._session.stop()
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT):
                await asyncio.shield(self._task)
        except TimeoutError:
            self._task.cancel()
            await asyncio.wait([self._task])
        except Exception:
            log.exception("A link ended by a fault of ours.")

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def open_link(
    stream: MessageStream,
    identity: Identity,
    *,
    expect: NodeId | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
    dispatch: Dispatch | None = None,
    random: Random = secrets.token_bytes,
) -> Link:
    """Prove ourselves and the peer over ``stream``; the link then owns it.

    Raises ``WrongIdentity`` when the peer is not ``expect``, ``Unreachable`` after ``timeout`` seconds, ``LinkClosed``,
    or the ``RemoteError`` of a handshake that is wrong; the stream is closed then.
    """
    try:
        async with asyncio.timeout(timeout):
            hello, awaiting = handshake.start(identity, random, expect)
            await stream.send(hello)
            proof, secured = awaiting.receive(await stream.receive())
            await stream.send(proof)
    except TimeoutError:
        await stream.close()
        raise Unreachable(f"The handshake of a link took longer than {timeout:g} s.") from None
    except BaseException:
        await stream.close()
        raise
    # Whoever calls a node has chosen it, and asks for answers as large as it asks for.
    return Link(Session(stream, secured, dispatch=dispatch, allowance=TRUSTED))


async def accept_link(
    stream: MessageStream,
    identity: Identity,
    dispatch: Dispatch,
    *,
    remote: str = "",
    timeout: float = HANDSHAKE_TIMEOUT,
    idle: float | None = STRANGER_IDLE,
    gate: asyncio.Semaphore | None = None,
    random: Random = secrets.token_bytes,
) -> Session:
    """The serving end: prove both sides, then ``run`` what is returned.

    Raises a ``RemoteError`` for a handshake that is wrong, ``Unreachable`` for one that is too slow; the stream is
    the caller's to close then.
    """
    try:
        async with asyncio.timeout(timeout):
            welcome, awaiting = handshake.respond(identity, random, await stream.receive())
            await stream.send(welcome)
            secured = awaiting.receive(await stream.receive())
    except TimeoutError:
        raise Unreachable(f"The handshake of a link took longer than {timeout:g} s.") from None
    return Session(stream, secured, dispatch=dispatch, remote=remote, idle=idle, gate=gate)
