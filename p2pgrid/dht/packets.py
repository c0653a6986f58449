"""The eight datagrams, byte by byte: what stands in the clear around what is sealed.

Written out in ``docs/protocol.md``.  All numbers are big-endian.  Nothing here knows a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pgrid.dht.contacts import Endpoint, pack_endpoint, unpack_endpoint
from p2pgrid.dht.limits import MAX_DATAGRAM
from p2pgrid.errors import Malformed, Oversized

VERSION: Final = 1

HELLO, WELCOME, INIT, ACCEPT, DATA, TICKETED, UNKNOWN, RETRY = range(0xD1, 0xD9)
"""First byte of a datagram.  High enough that neither text nor msgpack maps nor STUN begin with one."""

NONCE: Final = 8
COOKIE: Final = 16
SID: Final = 8
KEY: Final = 32
COUNTER: Final = 4
TAG: Final = 16
TICKET: Final = 1 + 8 + (KEY + KEY + SID + SID + 1 + 2) + TAG

NO_COOKIE: Final = bytes(COOKIE)
HELLO_BYTES: Final = 64
WELCOME_BYTES: Final = 1 + NONCE + KEY + COOKIE
INIT_CLEAR: Final = 2 + COOKIE + SID + KEY + KEY
ACCEPT_CLEAR: Final = 1 + SID + KEY + SID
DATA_CLEAR: Final = 1 + SID + COUNTER
TICKETED_CLEAR: Final = 1 + TICKET + SID + COUNTER
UNKNOWN_BYTES: Final = 1 + SID
RETRY_BYTES: Final = 1 + SID + COOKIE

INIT_INNER: Final = 8 + 1 + 2 + 2
"""Time in ms, flags, HTTP port, length of the request; then the request and padding."""
ACCEPT_INNER: Final = 1 + 2 + 1 + 1 + TICKET
"""Flags, HTTP port, lengths of the name and of the packed endpoint, the ticket; then name, endpoint and answer."""

SERVER: Final = 1
"""Flag: this node answers and may stand in tables; a client does neither."""

LARGEST_BODY: Final = MAX_DATAGRAM - DATA_CLEAR - TAG
"""Bytes of a message in a session that holds no ticket any more."""
LARGEST_TICKETED: Final = MAX_DATAGRAM - TICKETED_CLEAR - TAG


@dataclass(frozen=True, slots=True)
class Init:
    """What an initiator sends sealed with its first packet.  ``time``: ms since the epoch."""

    time: int
    flags: int
    http: int
    request: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """What a responder answers.  ``answer`` is empty when it is withheld until the address is proven."""

    flags: int
    http: int
    name: str
    observed: Endpoint
    ticket: bytes
    answer: bytes


def pack_init(init: Init, size: int) -> bytes:
    """Padded with zeros, so that the datagram has ``size`` bytes if that is more."""
    body = (
        init.time.to_bytes(8, "big")
        + bytes([init.flags])
        + init.http.to_bytes(2, "big")
        + len(init.request).to_bytes(2, "big")
        + init.request
    )
    return body + bytes(max(0, size - INIT_CLEAR - TAG - len(body)))


def read_init(body: bytes) -> Init:
    """Raises ``Malformed``."""
    if len(body) < INIT_INNER:
        raise Malformed("A handshake's first packet is too short.")
    size = int.from_bytes(body[11:13], "big")
    request = body[INIT_INNER : INIT_INNER + size]
    if len(request) != size:
        raise Malformed("A handshake's request is cut off.")
    return Init(int.from_bytes(body[:8], "big"), body[8], int.from_bytes(body[9:11], "big"), request)


def pack_accept(accept: Accept) -> bytes:
    """Without padding: an answer is never longer than it must be."""
    name = accept.name.encode()
    observed = pack_endpoint(accept.observed)
    head = bytes([accept.flags]) + accept.http.to_bytes(2, "big") + bytes([len(name), len(observed)])
    return head + accept.ticket + name + observed + accept.answer


def read_accept(body: bytes) -> Accept:
    """Raises ``Malformed``."""
    if len(body) < ACCEPT_INNER:
        raise Malformed("A handshake's answer is too short.")
    name_end = ACCEPT_INNER + body[3]
    answer = name_end + body[4]
    if len(body) < answer:
        raise Malformed("A handshake's answer is cut off.")
    try:
        name = body[ACCEPT_INNER:name_end].decode()
    except UnicodeDecodeError as error:
        raise Malformed("A node's name is no text.") from error
    return Accept(
        flags=body[0],
        http=int.from_bytes(body[1:3], "big"),
        name=name if name.isprintable() else "",
        observed=unpack_endpoint(body[name_end:answer]),
        ticket=body[5:ACCEPT_INNER],
        answer=body[answer:],
    )


def check_size(data: bytes) -> int:
    """The kind of a datagram whose length fits its kind.  Raises ``Malformed`` or ``Oversized``."""
    size = len(data)
    if size > MAX_DATAGRAM:
        raise Oversized(f"A datagram of {size} bytes is over {MAX_DATAGRAM}.")
    kind = data[0] if size else 0
    if kind == DATA:
        fits = size >= DATA_CLEAR + TAG
    elif kind == TICKETED:
        fits = size >= TICKETED_CLEAR + TAG
    elif kind == INIT:
        fits = size >= INIT_CLEAR + TAG + INIT_INNER
    elif kind == ACCEPT:
        fits = size >= ACCEPT_CLEAR + TAG + ACCEPT_INNER
    else:
        exact = {HELLO: HELLO_BYTES, WELCOME: WELCOME_BYTES, UNKNOWN: UNKNOWN_BYTES, RETRY: RETRY_BYTES}
        fits = exact.get(kind) == size
    if not fits:
        raise Malformed("A datagram's length does not fit its first byte.")
    return kind
