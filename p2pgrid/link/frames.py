"""Bytes <-> frames: what travels on a link once both ends are proven.

A *frame* is one message (a call, an answer, a failure, a cancel).  It is cut into *records* of at most 64 KiB, each
sealed under the direction's key with its own number as nonce: a record that is altered, repeated, left out or out
of order does not open.  The last record of a link says so (``CLOSE``), so a cut wire is told from a good-bye.

Frame, as msgpack lists::

    [1, id, deadline in ms, verb, args]     call       args and value: bytes of wire.pack_value
    [2, id, value]                          answer
    [3, id, {code, cause, fix}]             failure
    [4, id]                                 cancel     the caller no longer waits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.crypto import SEAL_OVERHEAD, seal, unseal
from p2pgrid.errors import BadSeal, LimitReached, Malformed, Oversized

MAX_FRAME: Final = 4 << 20
"""Bytes of one frame from a peer that the application trusts."""
STRANGER_FRAME: Final = 16 << 10
"""Bytes of one frame from a peer that has not logged in: a login and questions, no data."""
MAX_VALUES: Final = 65_536
"""Values in the arguments of a call from a trusted peer.  What is unpacked from msgpack may take 70 times its bytes
(empty lists), and long to build; so they are counted first."""
STRANGER_VALUES: Final = 4_096
RECORD: Final = 64 << 10
"""Bytes of a frame that one sealed record carries: what a link holds in memory for an unfinished message."""
MAX_MESSAGE: Final = RECORD + 1 + SEAL_OVERHEAD
"""Bytes of the largest message on the transport."""
MAX_RECORDS: Final = 1 << 32
"""Records a direction carries before its link must end (RFC 8439 allows far more; 2^32 records are 256 TiB)."""
MAX_VERB: Final = 64
MAX_ID: Final = (1 << 53) - 1
MAX_DEADLINE_MS: Final = 3_600_000
FRAME_HEAD: Final = 128
"""Bytes that a frame is at most longer than the args or value in it."""

MORE, LAST, CLOSE = 0, 1, 2
_CALL, _ANSWER, _FAILURE, _CANCEL = 1, 2, 3, 4
_VERB = re.compile(r"[a-z][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Call:
    """Do ``verb``; the caller waits ``deadline_ms`` for it.  ``args`` are still packed."""

    id: int
    deadline_ms: int
    verb: str
    args: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to; ``value`` is still packed."""

    id: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call came to nothing: the three strings of ``P2PError.to_wire``."""

    id: int
    error: dict[str, str]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller no longer waits for call ``id``."""

    id: int


Frame = Call | Answer | Failure | Cancel


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    match frame:
        case Call(id=number, deadline_ms=deadline, verb=verb, args=args):
            return wire.pack([_CALL, number, deadline, verb, args])
        case Answer(id=number, value=value):
            return wire.pack([_ANSWER, number, value])
        case Failure(id=number, error=error):
            return wire.pack([_FAILURE, number, error])
        case Cancel(id=number):
            return wire.pack([_CANCEL, number])


def decode(data: bytes | bytearray, *, limit: int) -> Frame:
    """The frame in ``data``.  Raises ``Malformed`` or ``Oversized``, whatever the bytes."""
    match wire.unpack(data, limit=limit, items=8):
        case [1, int(number), int(deadline), str(verb), bytes(args)]:
            return Call(_id(number), _within(deadline, 1, MAX_DEADLINE_MS), _verb(verb), args)
        case [2, int(number), bytes(value)]:
            return Answer(_id(number), value)
        case [3, int(number), dict(error)]:
            return Failure(_id(number), _error(error))
        case [4, int(number)]:
            return Cancel(_id(number))
    raise Malformed("A frame is of no known kind.")


def is_verb(text: str) -> bool:
    """Whether ``text`` may name a verb: lower-case letters, digits, dots, at most ``MAX_VERB``."""
    return len(text) <= MAX_VERB and _VERB.fullmatch(text) is not None


def _verb(text: str) -> str:
    if not is_verb(text):
        raise Malformed("A call names no possible verb.")
    return text


def _id(number: int) -> int:
    return _within(number, 1, MAX_ID)


def _within(number: int, least: int, most: int) -> int:
    if isinstance(number, bool) or not least <= number <= most:
        raise Malformed("A number in a frame is out of its range.")
    return number


def _error(raw: dict[Any, Any]) -> dict[str, str]:
    limits = {"code": 16, "cause": 2000, "fix": 500}
    found = {name: raw.get(name, "") for name in limits}
    if not all(isinstance(text, str) for text in found.values()):
        raise Malformed("A failure's fields are no texts.")
    return {name: text[: limits[name]] for name, text in found.items()}


class Sealer:
    """Numbers and seals the records of one direction."""

    __slots__ = ("_key", "_limit", "_next")

    def __init__(self, key: bytes, limit: int = MAX_RECORDS) -> None:
        self._key, self._next, self._limit = key, 0, limit

    @property
    def room(self) -> int:
        """How many records may still be sealed."""
        return self._limit - self._next

    def seal(self, flag: int, payload: bytes | memoryview = b"") -> bytes:
        """The next record.  Raises ``LimitReached`` when the numbers are used up."""
        if self._next >= self._limit:
            raise LimitReached("A link has carried all the records it may.")
        nonce = self._next.to_bytes(12, "big")
        self._next += 1
        return seal(self._key, nonce, bytes([flag]) + payload)


class Opener:
    """Opens the records of one direction in their order."""

    __slots__ = ("_key", "_limit", "_next")

    def __init__(self, key: bytes, limit: int = MAX_RECORDS) -> None:
        self._key, self._next, self._limit = key, 0, limit

    def open(self, record: bytes) -> tuple[int, memoryview]:
        """Flag and payload of the next record.

        Raises ``BadSeal`` for one that is altered, repeated or out of order, ``Oversized``, or ``Malformed``.
        """
        if len(record) > MAX_MESSAGE:
            raise Oversized(f"A record of {len(record)} bytes is over its limit of {MAX_MESSAGE}.")
        if self._next >= self._limit:
            raise LimitReached("A link has carried all the records it may.")
        try:
            plain = unseal(self._key, self._next.to_bytes(12, "big"), record)
        except BadSeal as error:
            raise BadSeal("A record was altered, repeated or left out.") from error
        self._next += 1
        if not plain or plain[0] > CLOSE:
            raise Malformed("A record has no known flag.")
        return plain[0], memoryview(plain)[1:]
