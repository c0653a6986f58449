"""What is said inside a sealed packet: five requests, their answers, and one notice.

Each is a msgpack array ``[kind, call, fields...]``; ``call`` pairs an answer with its request.  Fields after those
known are ignored, so that a later version may add some.  ``decode`` answers any bytes with a message or raises a
``RemoteError``; whatever it returns is within the limits written here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeGuard

from p2pgrid import wire
from p2pgrid.dht.contacts import PACKED_SIZES
from p2pgrid.dht.limits import MAX_DATAGRAM
from p2pgrid.errors import BadTag, Malformed, Oversized
from p2pgrid.ids import ID_BYTES, Tag, normalise_tag
from p2pgrid.records import MAX_NAME, MAX_RECORD, MAX_TITLE

MAX_CALL: Final = 2**32
MAX_CONTACTS: Final = 24
MAX_PAGE: Final = 32
MAX_TAGS: Final = 32
MAX_TOTAL: Final = 2**31
MAX_HAVE: Final = 2**63
"""Sets of distance ranges: one bit for each of the 63 that are told apart (``ranges.MAX_RANGE``)."""
ANSWER: Final = 16
"""An answer's kind is its request's plus this."""

ONLINE, BUSY = 0, 1
STORED, REFUSED_LIMIT, REFUSED_OLD, REFUSED_RECORD = range(4)
"""What a holder says to ``AddListing``."""

_BYTES: Final = frozenset({bytes})
_SIZES: Final = frozenset(PACKED_SIZES)

Pair = tuple[bytes, bytes]
"""A record as it travels: body and signature, not yet checked."""


@dataclass(frozen=True, slots=True)
class About:
    """Notice without an answer: "I am a server called so".  The ticket that it brings proves the sender's address."""

    kind: ClassVar[int] = 0
    call: int
    name: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?  ``want``: bring your signed node record."""

    kind: ClassVar[int] = 1
    call: int
    want: bool


@dataclass(frozen=True, slots=True)
class FindNode:
    """Which nodes do you know nearest to ``target``?

    With ``have``: some from every distance range around it instead, but for those ranges whose bit is set.
    """

    kind: ClassVar[int] = 2
    call: int
    target: bytes
    have: int | None = None


@dataclass(frozen=True, slots=True)
class FindListings:
    """Which listings do you hold for ``tag``, and whom do you know in the distance ranges around its key?

    ``order`` chooses one of the holder's shufflings, so that a searcher pages through one order by ``cursor`` and
    two searchers see different samples first.  ``have``: a bit for each range of which the asker knows enough nodes.
    """

    kind: ClassVar[int] = 3
    call: int
    tag: Tag
    order: int
    cursor: int
    limit: int
    have: int


@dataclass(frozen=True, slots=True)
class AddListing:
    """Hold my listing."""

    kind: ClassVar[int] = 4
    call: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class SampleTags:
    """Which tags do you hold listings for?  A random sample."""

    kind: ClassVar[int] = 5
    call: int
    limit: int


@dataclass(frozen=True, slots=True)
class Pong:
    """``state``: ``ONLINE`` or ``BUSY``; ``seq`` of the node record; the record itself when it was wanted."""

    kind: ClassVar[int] = ANSWER + 1
    call: int
    state: int
    seq: int
    name: str
    record: Pair | None


@dataclass(frozen=True, slots=True)
class Nodes:
    """Packed contacts, each of a right length, unpacked by whoever needs it.

    The nearest first; to a ``FindNode`` with ``have``, one of each distance range, near to far, then a second of each.
    """

    kind: ClassVar[int] = ANSWER + 2
    call: int
    contacts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """``total`` listings held for the tag, some of them, the next cursor (0: no more), and contacts by ranges.

    Those as in ``Nodes``, from the ranges around the tag's key that the asker's ``have`` leaves open.
    """

    kind: ClassVar[int] = ANSWER + 3
    call: int
    total: int
    next: int
    listings: tuple[Pair, ...]
    contacts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """Whether the listing is held now."""

    kind: ClassVar[int] = ANSWER + 4
    call: int
    verdict: int


@dataclass(frozen=True, slots=True)
class Tags:
    """Some of the ``total`` tags that the peer holds listings for."""

    kind: ClassVar[int] = ANSWER + 5
    call: int
    total: int
    tags: tuple[Tag, ...]


Request = Ping | FindNode | FindListings | AddListing | SampleTags
Answer = Pong | Nodes | Page | Stored | Tags
Message = About | Request | Answer

_FIELDS: Final = MappingProxyType(
    {
        kind.kind: attrgetter(*kind.__match_args__)
        for kind in (About, Ping, FindNode, FindListings, AddListing, SampleTags, Pong, Nodes, Page, Stored, Tags)
    }
)
"""What travels of each kind, in the order of its fields: a tenth of the time of a ``match``."""


def is_request(message: Message) -> TypeGuard[Request]:
    """Whether it wants an answer."""
    return About.kind < message.kind < ANSWER


def is_answer(message: Message) -> TypeGuard[Answer]:
    """Whether it is one."""
    return message.kind > ANSWER


def encode(message: Message, number: int | None = None) -> bytes:
    """The bytes of a message; ``number``: its call, when it is another than the one it was made with."""
    call, *fields = _FIELDS[message.kind](message)
    if message.kind == FindNode.kind and fields[-1] is None:
        fields.pop()
    return wire.pack((message.kind, call if number is None else number, *fields))


def decode(data: bytes) -> Message:
    """Read a message.  Raises ``Malformed`` or ``Oversized``, whatever the bytes."""
    fields = wire.unpack(data, limit=MAX_DATAGRAM, items=64)
    if not isinstance(fields, list) or len(fields) < 3:
        raise Malformed("A message is no list of a kind, a call and fields.")
    read = _read(fields[0])
    try:
        return read(_number(fields[1], MAX_CALL), fields)
    except IndexError as error:
        raise Malformed("A message lacks a field.") from error


def _read(kind: Any) -> Callable[[int, list[Any]], Message]:
    # A chain, ordered by how often each arrives: no table that could be changed, and quicker than a match.
    if type(kind) is not int:
        raise Malformed("A message's kind is no number.")
    if kind == Nodes.kind:
        return _nodes
    if kind == FindNode.kind:
        return _find_node
    if kind == FindListings.kind:
        return _find_listings
    if kind == Page.kind:
        return _page
    return _read_rarer(kind)


def _read_rarer(kind: int) -> Callable[[int, list[Any]], Message]:
    if kind == Ping.kind:
        return _ping
    if kind == Pong.kind:
        return _pong
    if kind == AddListing.kind:
        return _add_listing
    if kind == Stored.kind:
        return _stored
    if kind == About.kind:
        return _about
    if kind == SampleTags.kind:
        return _sample_tags
    if kind == Tags.kind:
        return _tags
    raise Malformed(f"A message of kind {kind} is not known.")


def _about(call: int, fields: list[Any]) -> About:
    return About(call, _text(fields[2], MAX_NAME))


def _ping(call: int, fields: list[Any]) -> Ping:
    if type(fields[2]) is not bool:
        raise Malformed("A ping's wish is no truth value.")
    return Ping(call, fields[2])


def _find_node(call: int, fields: list[Any]) -> FindNode:
    if type(fields[2]) is not bytes or len(fields[2]) != ID_BYTES:
        raise Malformed("A target is no id.")
    have = _number(fields[3], MAX_HAVE) if len(fields) > 3 and fields[3] is not None else None
    return FindNode(call, fields[2], have)


def _find_listings(call: int, fields: list[Any]) -> FindListings:
    limit = max(1, min(_number(fields[5], MAX_TOTAL), MAX_PAGE))
    order, cursor = _number(fields[3], MAX_CALL), _number(fields[4], MAX_TOTAL)
    return FindListings(call, _tag(fields[2]), order, cursor, limit, _number(fields[6], MAX_HAVE))


def _add_listing(call: int, fields: list[Any]) -> AddListing:
    return AddListing(call, _pair(fields[2]))


def _sample_tags(call: int, fields: list[Any]) -> SampleTags:
    return SampleTags(call, max(1, min(_number(fields[2], MAX_TOTAL), MAX_TAGS)))


def _pong(call: int, fields: list[Any]) -> Pong:
    record = None if fields[5] is None else _pair(fields[5])
    return Pong(call, _number(fields[2], 256), _number(fields[3], 2**63), _text(fields[4], MAX_NAME), record)


def _nodes(call: int, fields: list[Any]) -> Nodes:
    return Nodes(call, _contacts(fields[2]))


def _page(call: int, fields: list[Any]) -> Page:
    total, following = _number(fields[2], MAX_TOTAL), _number(fields[3], MAX_TOTAL)
    pairs = _list(fields[4], MAX_PAGE)
    return Page(call, total, following, tuple(_pair(pair) for pair in pairs), _contacts(fields[5]))


def _stored(call: int, fields: list[Any]) -> Stored:
    return Stored(call, _number(fields[2], 256))


def _tags(call: int, fields: list[Any]) -> Tags:
    tags = tuple(_tag(tag) for tag in _list(fields[3], MAX_TAGS))
    return Tags(call, _number(fields[2], MAX_TOTAL), tags)


def _number(value: Any, below: int) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise Malformed("A number is missing or out of range.")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if type(value) is not list:
        raise Malformed("A list is missing.")
    if len(value) > most:
        raise Oversized(f"A list of {len(value)} entries is over its limit of {most}.")
    return value


def _text(value: Any, most: int) -> str:
    if type(value) is not str:
        raise Malformed("A text is missing.")
    if len(value) > most:
        raise Oversized(f"A text of {len(value)} characters is over its limit of {most}.")
    return value


def _tag(value: Any) -> Tag:
    text = _text(value, MAX_TITLE)
    try:
        tag = normalise_tag(text)
    except BadTag as error:
        raise Malformed("A tag is none.") from error
    if tag != text:
        raise Malformed("A tag is not in its one form.")
    return tag


def _pair(value: Any) -> Pair:
    if type(value) is not list or len(value) != 2 or type(value[0]) is not bytes or type(value[1]) is not bytes:
        raise Malformed("A record is no pair of bytes.")
    if len(value[0]) > MAX_RECORD or len(value[1]) != 64:
        raise Oversized("A record's body or signature has an impossible length.")
    return value[0], value[1]


def _contacts(value: Any) -> tuple[bytes, ...]:
    contacts = tuple(_list(value, MAX_CONTACTS))
    if not (_BYTES.issuperset(map(type, contacts)) and _SIZES.issuperset(map(len, contacts))):
        raise Malformed("A contact has a wrong length.")
    return contacts
