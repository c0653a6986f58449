"""A link that runs: a channel over a message stream, with a deadline for every wait and an owner for every task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.errors import (
    InternalError,
    InvalidInput,
    LinkClosed,
    NotFound,
    P2PError,
    RemoteError,
    Unreachable,
    all_errors,
    from_wire,
)
from p2pgrid.ids import NodeId, node_id, short
from p2pgrid.link.channel import (
    MAX_IN_FLIGHT,
    STRANGER,
    TRUSTED,
    Allowance,
    Answered,
    Channel,
    Closed,
    Event,
    Failed,
    TimedOut,
    Withdrawn,
)
from p2pgrid.link.frames import MAX_FRAME, Call, is_verb
from p2pgrid.link.handshake import Secured
from p2pgrid.link.transport import MessageStream

log = logging.getLogger(__name__)

SEND_TIMEOUT: Final = 30.0
"""Seconds for which the other side may leave one record unread before the link ends."""
CLOSE_TIMEOUT: Final = 2.0
LARGE_ARGS: Final = 64 << 10
"""Bytes of packed arguments from which on a thread unpacks them, so that other links go on meanwhile."""


class CallTimeout(Exception):
    """A call's deadline passed; becomes ``Unreachable`` with the verb and the time."""


class LinkPeer:
    """Who is at the other end of a served link, for as long as it lasts."""

    __slots__ = ("_channel", "key", "remote", "state")

    def __init__(self, key: bytes, remote: str, channel: Channel) -> None:
        self.key = key
        """The peer's Ed25519 public key, proven by the handshake."""
        self.remote = remote
        """The address it came from, as text."""
        self.state: dict[str, Any] = {}
        """The application's own notes on this session, such as the account that logged in."""
        self._channel = channel

    @property
    def id(self) -> NodeId:
        """The node id of the proven key."""
        return node_id(self.key)

    @property
    def trusted(self) -> bool:
        """Whether the application trusts it."""
        return self._channel.allowance is TRUSTED

    def trust(self) -> None:
        """Let it send frames up to ``MAX_FRAME`` and have more calls served at once: it has logged in."""
        self._channel.allowance = TRUSTED

    def distrust(self) -> None:
        """Take ``trust`` back: it has logged out."""
        self._channel.allowance = STRANGER

    def __repr__(self) -> str:
        return f"<LinkPeer {short(self.id)} from {self.remote}>"


Dispatch = Callable[[LinkPeer, str, dict[str, Any]], Awaitable[Any]]
"""``await dispatch(peer, verb, args) -> value``: what a node does with a call."""


class Session:
    """One running link: reads, writes, serves and keeps deadlines until either end closes.

    Without ``dispatch`` it serves no calls.  While the peer is a stranger its link is closed after ``idle`` seconds
    without calls, and its calls pass ``gate``, which all strangers of a node share.
    """

    def __init__(
        self,
        stream: MessageStream,
        secured: Secured,
        *,
        dispatch: Dispatch | None = None,
        allowance: Allowance = STRANGER,
        remote: str = "",
        idle: float | None = None,
        gate: asyncio.Semaphore | None = None,
    ) -> None:
        self._stream, self._dispatch = stream, dispatch
        self._idle, self._gate = idle, gate
        self._channel = Channel(secured, allowance)
        self.peer = LinkPeer(secured.peer, remote, self._channel)
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._awaited: dict[int, asyncio.Future[bytes]] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._unpacking = asyncio.Lock()
        self._outgoing = asyncio.Event()
        self._over = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_call = self._clock()
        self.ended_by: P2PError | None = None
        """Why the link ended; a ``RemoteError`` other than ``LinkClosed`` is an offence of the peer."""

    # ------------------------------------------------------------ the life of a link

    async def run(self) -> None:
        """Run until either end closes.  Owns every task of the link; raises nothing of the peer's making."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                ends = [tasks.create_task(self._read()), tasks.create_task(self._write())]
                self._arm()
                await self._over.wait()
                for task in (*ends, *self._serving.values()):
                    task.cancel()
        finally:
            self._end(LinkClosed("The link was closed."))
            if self._timer is not None:
                self._timer.cancel()
            for number in tuple(self._awaited):
                self._fail(number, self._closed_error())
            await self._stream.close()

    def stop(self, code: str = "") -> None:
        """Say good-bye and end within ``CLOSE_TIMEOUT``; may be called again."""
        if not self._channel.closed:
            self._channel.close(code)
            self._outgoing.set()
            self._loop.call_later(CLOSE_TIMEOUT, self._over.set)

    async def quiet(self) -> None:
        """Wait until no call of the peer is being served."""
        await self._quiet.wait()

    @property
    def closed(self) -> bool:
        """Whether no further call can be made."""
        return self._channel.closed or self._over.is_set()

    # ------------------------------------------------------------ our calls

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float) -> Any:
        """See ``Link.call``."""
        if not is_verb(verb):
            raise InvalidInput(f"{verb[:80]!r} is no name of a verb.")
        deadline = self._clock() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise Unreachable(f"{verb} waited {timeout:g} s for a free place on the link.") from None
        try:
            value = await self._ask(verb, args, deadline)
        except CallTimeout:
            raise Unreachable(f"{verb} was not answered within {timeout:g} s.") from None
        finally:
            self._slots.release()
        return wire.unpack_value(value, limit=MAX_FRAME)

    async def _ask(self, verb: str, args: dict[str, Any], deadline: float) -> bytes:
        if self.closed:
            raise self._closed_error()
        packed = wire.pack_value(args)  # only now: calls that wait for a place hold no copy
        now = self._clock()
        number = self._channel.call(verb, packed, timeout=deadline - now, now=now)
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._awaited[number] = future
        self._outgoing.set()
        self._arm()
        try:
            return await future
        finally:
            if self._awaited.pop(number, None) is not None:  # cancelled by its caller
                self._channel.cancel(number)
                self._outgoing.set()

    # ------------------------------------------------------------ the two directions

    async def _read(self) -> None:
        try:
            while True:
                record = await self._stream.receive()
                for event in self._channel.receive(record, self._clock()):
                    self._heed(event)
                self._serve_next()
                self._arm()
        except LinkClosed as error:
            self._end(error)
        except RemoteError as error:
            self.ended_by = self.ended_by or error
            self.stop(error.code)

    async def _write(self) -> None:
        try:
            while not self._channel.said_goodbye:
                record = self._channel.next_record()
                if record is None:
                    self._outgoing.clear()
                    await self._outgoing.wait()
                    continue
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self._stream.send(record)
                self._serve_next()
            self._end(LinkClosed("The link was closed."))
        except TimeoutError:
            self._end(LinkClosed(f"The peer read nothing for {SEND_TIMEOUT:g} s."))
        except RemoteError as error:
            self._end(error)

    def _end(self, error: P2PError) -> None:
        self.ended_by = self.ended_by or error
        self._over.set()

    def _heed(self, event: Event) -> None:
        match event:
            case Answered(id=number, value=value):
                if (future := self._awaited.pop(number, None)) and not future.done():
                    future.set_result(value)
            case Failed(id=number, error=error):
                self._fail(number, from_wire(error))
            case TimedOut(id=number):
                self._fail(number, CallTimeout())
            case Withdrawn(id=number):
                if task := self._serving.get(number):
                    task.cancel()
            case Closed(code=code):
                self._end(goodbye(code))

    def _fail(self, number: int, error: Exception) -> None:
        if (future := self._awaited.pop(number, None)) and not future.done():
            future.set_exception(error)
            future.exception()  # its caller may be cancelled in this very moment: no complaint about it then

    def _closed_error(self) -> LinkClosed:
        """A fresh one each time: an exception object must not be raised in several tasks."""
        if self.ended_by is None or isinstance(self.ended_by, LinkClosed):
            return LinkClosed(self.ended_by.cause if self.ended_by else "The link is closed.")
        return LinkClosed(f"The link ended: {self.ended_by.cause}")

    # ------------------------------------------------------------ the peer's calls

    def _serve_next(self) -> None:
        while not self._over.is_set() and (call := self._channel.take()) is not None:
            self._last_call = self._clock()
            self._quiet.clear()
            task = self._serving[call.id] = self._tasks.create_task(self._serve(call))
            task.add_done_callback(partial(self._served, call.id))

    def _served(self, number: int, task: asyncio.Task[None]) -> None:
        """Runs for a task that was cancelled before its first step too."""
        self._last_call = self._clock()
        del self._serving[number]
        if task.cancelled():
            self._channel.drop(number)
            self._serve_next()
        if not self._serving:
            self._quiet.set()
        self._outgoing.set()

    async def _serve(self, call: Call) -> None:
        if self._gate is None or self.peer.trusted:
            await self._answer(call)
        else:
            async with self._gate:
                await self._answer(call)

    async def _answer(self, call: Call) -> None:
        try:
            if self._dispatch is None:
                raise NotFound("This end of the link serves no calls.")
            async with self._unpacking:  # calls begin in the order in which they came
                args = await self._named(call.args)
            value = wire.pack_value(await self._dispatch(self.peer, call.verb, args))
            self._channel.answer(call.id, value)
        except P2PError as error:
            self._channel.fail(call.id, error.to_wire())
        except Exception:
            log.exception("A call of %s failed by a fault of ours.", call.verb)
            self._channel.fail(call.id, InternalError("The node failed at this call.").to_wire())

    async def _named(self, packed: bytes) -> dict[str, Any]:
        values = self._channel.allowance.values
        unpack = partial(wire.unpack_value, packed, limit=MAX_FRAME, items=values, build=False)
        args = await asyncio.to_thread(unpack) if len(packed) > LARGE_ARGS else unpack()
        if not isinstance(args, dict) or not all(isinstance(name, str) for name in args):
            raise InvalidInput("The arguments of a call are no map of names.")
        return args

    # ------------------------------------------------------------ time

    def _arm(self) -> None:
        """Have ``_tick`` run at the next deadline; a timer that is due earlier stays."""
        dues = [due for due in (self._channel.next_deadline, self._idle_deadline()) if due is not None]
        due = min(dues, default=None)
        if self.closed or due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock()
        for event in self._channel.poll(now):
            self._heed(event)
        idle = self._idle_deadline()
        if idle is not None and idle <= now:
            self.stop()
        self._outgoing.set()
        self._arm()

    def _idle_deadline(self) -> float | None:
        if self._idle is None or self.peer.trusted:
            return None
        return (self._clock() if self._serving else self._last_call) + self._idle


def goodbye(code: str) -> LinkClosed:
    """The peer's good-bye as an error; ``code`` is the reason it gave, or empty."""
    kind = all_errors().get(code)
    if kind is None or kind is LinkClosed:
        return LinkClosed("The peer closed the link.")
    return LinkClosed(f"The peer closed the link because of {kind.code}: {(kind.__doc__ or '').splitlines()[0]}")
