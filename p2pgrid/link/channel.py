"""Calls and answers on a proven link, as a machine without I/O: numbers, deadlines, shares, order.

Both ends may call.  What the other end may cost us is an ``Allowance``: small for a stranger, larger once the
application trusts it.  Feed ``receive`` each record from the transport, send each ``next_record``, run each
``take``, and call ``poll`` at ``next_deadline``; a ``RemoteError`` from any of them ends the link.  Times are
seconds of one clock that never jumps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from p2pgrid.errors import LimitReached, LinkClosed, Malformed, Oversized, TooLarge
from p2pgrid.link.frames import (
    CLOSE,
    FRAME_HEAD,
    LAST,
    MAX_DEADLINE_MS,
    MAX_FRAME,
    MAX_RECORDS,
    MAX_VALUES,
    MORE,
    RECORD,
    STRANGER_FRAME,
    STRANGER_VALUES,
    Answer,
    Call,
    Cancel,
    Failure,
    Frame,
    Opener,
    Sealer,
    decode,
    encode,
)
from p2pgrid.link.handshake import Secured

MAX_IN_FLIGHT: Final = 16
"""Calls that one end may have open at once; its own further calls wait, a peer that opens more is cut off."""
MAX_VALUE: Final = MAX_FRAME - FRAME_HEAD
"""Bytes of packed args, or of a packed value, that fit one frame."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a peer may cost us on one link: bytes of a frame, calls served at once, bytes of calls that wait, values in
    the arguments of a call."""

    frame: int
    serving: int
    waiting: int
    values: int


STRANGER: Final = Allowance(frame=STRANGER_FRAME, serving=2, waiting=4 * STRANGER_FRAME, values=STRANGER_VALUES)
TRUSTED: Final = Allowance(frame=MAX_FRAME, serving=8, waiting=MAX_IN_FLIGHT * MAX_FRAME, values=MAX_VALUES)


@dataclass(frozen=True, slots=True)
class Answered:
    """Our call ``id`` came to this still packed value."""

    id: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer answered our call ``id`` with an error."""

    id: int
    error: dict[str, str]


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Our call ``id`` was not answered within its deadline."""

    id: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nobody waits for the peer's call ``id`` any more: stop serving it."""

    id: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer said good-bye; ``code`` is the error code it gave as reason, or empty."""

    code: str


Event = Answered | Failed | TimedOut | Withdrawn | Closed


class Channel:
    """One end of a proven link."""

    def __init__(self, secured: Secured, allowance: Allowance = STRANGER, *, max_records: int = MAX_RECORDS) -> None:
        self.allowance = allowance
        self._sealer = Sealer(secured.send_key, max_records)
        self._opener = Opener(secured.receive_key, max_records)
        self._partial = bytearray()
        self._last_out = 0
        self._last_in = 0
        self._awaited: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        self._queue: deque[Call] = deque()
        self._queued_bytes = 0
        self._serving: set[int] = set()
        self._outbox: deque[tuple[memoryview, int]] = deque()
        self._closing: str | None = None
        self._said_goodbye = False
        self._heard_goodbye = False

    # ------------------------------------------------------------ our calls

    def call(self, verb: str, args: bytes, *, timeout: float, now: float) -> int:
        """Open a call and return its number.

        Raises ``TooLarge`` for args over ``MAX_VALUE``, ``LimitReached`` with ``MAX_IN_FLIGHT`` calls open, and
        ``LinkClosed`` after a close.
        """
        if self.closed:
            raise LinkClosed("The link is closed.")
        if len(args) > MAX_VALUE:
            raise TooLarge(f"The arguments of a call take {len(args)} bytes, more than the {MAX_VALUE} of one frame.")
        if len(self._awaited) >= MAX_IN_FLIGHT:
            raise LimitReached(f"{MAX_IN_FLIGHT} calls are open already.")
        self._last_out += 1
        deadline_ms = min(max(1, round(timeout * 1000)), MAX_DEADLINE_MS)
        self._awaited[self._last_out] = now + deadline_ms / 1000
        self._post(Call(self._last_out, deadline_ms, verb, args))
        return self._last_out

    def cancel(self, number: int) -> None:
        """Stop waiting for our call and tell the peer; nothing happens when it has ended."""
        if self._awaited.pop(number, None) is not None and not self.closed:
            self._post(Cancel(number))

    # ------------------------------------------------------------ the peer's calls

    def take(self) -> Call | None:
        """The peer's next call to serve, if its share has room; end it by ``answer``, ``fail`` or ``drop``."""
        if not self._queue or len(self._serving) >= self.allowance.serving:
            return None
        call = self._queue.popleft()
        self._queued_bytes -= len(call.args)
        self._serving.add(call.id)
        return call

    def answer(self, number: int, value: bytes) -> None:
        """Answer the peer's call.  Raises ``TooLarge`` for a value over ``MAX_VALUE``: the call is still open."""
        if len(value) > MAX_VALUE:
            raise TooLarge(f"An answer takes {len(value)} bytes, more than the {MAX_VALUE} of one frame.")
        self._reply(number, Answer(number, value))

    def fail(self, number: int, error: dict[str, str]) -> None:
        """Answer the peer's call with the three strings of an error."""
        self._reply(number, Failure(number, error))

    def drop(self, number: int) -> None:
        """Give a call's share back without an answer."""
        self._asked.pop(number, None)
        self._serving.discard(number)

    # ------------------------------------------------------------ bytes and time

    def receive(self, record: bytes, now: float) -> list[Event]:
        """What one record from the transport brings.  Raises a ``RemoteError`` that ends the link."""
        if self._heard_goodbye:
            raise Malformed("A record came after its sender's good-bye.")
        flag, payload = self._opener.open(record)
        if flag == CLOSE:
            self._heard_goodbye = True
            return [Closed(bytes(payload[:16]).decode("ascii", "replace"))]
        if len(self._partial) + len(payload) > self.allowance.frame:
            raise Oversized(f"A frame is over the {self.allowance.frame} bytes that this peer may send.")
        if flag == MORE and len(payload) != RECORD:
            raise Malformed("A record that is not its frame's last is not full.")
        self._partial += payload
        if flag == MORE:
            return []
        frame = decode(self._partial, limit=self.allowance.frame)
        self._partial = bytearray()
        return self._take_in(frame, now)

    def next_record(self) -> bytes | None:
        """The next record to send, if any.  An answer's share is given back as its last record is handed out."""
        if self._said_goodbye:
            return None
        if self._closing is not None or (self._outbox and self._sealer.room == 1):
            self._said_goodbye = True
            self._outbox.clear()
            reason = LimitReached.code if self._closing is None else self._closing
            return self._sealer.seal(CLOSE, reason.encode("ascii"))
        if not self._outbox:
            return None
        rest, frees = self._outbox[0]
        if len(rest) > RECORD:
            self._outbox[0] = (rest[RECORD:], frees)
            return self._sealer.seal(MORE, rest[:RECORD])
        self._outbox.popleft()
        if frees:
            self.drop(frees)
        return self._sealer.seal(LAST, rest)

    def poll(self, now: float) -> list[Event]:
        """Calls of both sides whose deadline has passed."""
        events: list[Event] = []
        for number in [number for number, when in self._awaited.items() if when <= now]:
            self.cancel(number)
            events.append(TimedOut(number))
        for number in [number for number, when in self._asked.items() if when <= now]:
            events += self._withdraw(number)
        return events

    @property
    def next_deadline(self) -> float | None:
        """When ``poll`` has something to do next."""
        return min((*self._awaited.values(), *self._asked.values()), default=None)

    # ------------------------------------------------------------ the end

    def close(self, code: str = "") -> None:
        """Say good-bye next, with an error code as reason; what was not sent yet is dropped."""
        if self._closing is None:
            self._closing = code

    @property
    def closed(self) -> bool:
        """Whether either end has begun to close: no further call can be made."""
        return self._closing is not None or self._said_goodbye or self._heard_goodbye

    @property
    def said_goodbye(self) -> bool:
        """Whether our last record was handed out."""
        return self._said_goodbye

    # ------------------------------------------------------------ inside

    def _post(self, frame: Frame, frees: int = 0) -> None:
        self._outbox.append((memoryview(encode(frame)), frees))

    def _reply(self, number: int, frame: Frame) -> None:
        if number in self._asked and not self.closed:
            self._post(frame, frees=number)
        else:
            self.drop(number)

    def _take_in(self, frame: Frame, now: float) -> list[Event]:
        match frame:
            case Call():
                self._open(frame, now)
                return []
            case Cancel(id=number):
                return self._withdraw(number)
            case Answer(id=number, value=value):
                return [Answered(number, value)] if self._settle(number) else []
            case Failure(id=number, error=error):
                return [Failed(number, error)] if self._settle(number) else []

    def _open(self, call: Call, now: float) -> None:
        if call.id != self._last_in + 1:
            raise Malformed("A call is out of its order.")
        if len(self._asked) >= MAX_IN_FLIGHT:
            raise LimitReached(f"A peer has more than {MAX_IN_FLIGHT} calls open.")
        if self._queued_bytes + len(call.args) > self.allowance.waiting:
            raise LimitReached(f"A peer has more than {self.allowance.waiting} bytes of calls waiting.")
        self._last_in = call.id
        self._asked[call.id] = now + call.deadline_ms / 1000
        self._queued_bytes += len(call.args)
        self._queue.append(call)

    def _settle(self, number: int) -> bool:
        """Whether an answer is awaited.  A late one is not an offence; one to a call never made is."""
        if number > self._last_out:
            raise Malformed("An answer came to a call that was never made.")
        return self._awaited.pop(number, None) is not None

    def _withdraw(self, number: int) -> list[Event]:
        if self._asked.pop(number, None) is None:
            return []
        for call in self._queue:
            if call.id == number:
                self._queue.remove(call)
                self._queued_bytes -= len(call.args)
                return []
        return [Withdrawn(number)]
