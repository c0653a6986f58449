"""Signed statements that travel: who a node is and where, and which dataset it holds under which tag.

A record on the wire is the pair (body bytes, signature).  The signature is over those exact bytes, so a reader
need not re-encode, and a later version may add fields that an older reader ignores.  A record that was checked is
a ``Verified[...]``; nothing else may be stored, forwarded or shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

from p2pgrid import crypto, wire
from p2pgrid.errors import BadTag, Expired, Malformed, RemoteError, TooLarge
from p2pgrid.ids import NodeId, Tag, node_id, normalise_tag

MAX_RECORD: Final = 640
"""Bytes of a record's body; with its signature, four of the usual size fit one datagram."""
MAX_NAME: Final = 64
MAX_TITLE: Final = 96
MAX_ADDRESSES: Final = 3
MAX_TTL: Final = 7 * 86_400
MIN_TTL: Final = 1
CLOCK_SLACK: Final = 120
"""Seconds by which a peer's clock may be ahead of ours."""
DATASET_ID_BYTES: Final = 16

NODE_CONTEXT: Final = b"node-record"
LISTING_CONTEXT: Final = b"listing"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node answers: one IP address, its UDP port for the DHT, its TCP port for HTTP and links (0: none)."""

    ip: str
    udp: int
    http: int = 0

    @property
    def url(self) -> str | None:
        """The address of its HTTP door, if it has one."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.http}" if self.http else None


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node's statement of its key, name and addresses.  Times are whole seconds since the epoch."""

    key: bytes
    name: str
    addresses: tuple[Address, ...]
    seq: int
    issued: int
    ttl: int

    @property
    def id(self) -> NodeId:
        """The node id that belongs to the key."""
        return node_id(self.key)

    def body(self) -> bytes:
        """The bytes that are signed."""
        fields = {
            "k": self.key,
            "n": self.name,
            "a": [[a.ip, a.udp, a.http] for a in self.addresses],
            "s": self.seq,
            "i": self.issued,
            "t": self.ttl,
        }
        return wire.pack_canonical(fields)


@dataclass(frozen=True, slots=True)
class Listing:
    """A node's statement that it holds a dataset with a tag.  It carries where to reach the node."""

    key: bytes
    name: str
    addresses: tuple[Address, ...]
    tag: Tag
    dataset: bytes
    title: str
    seq: int
    issued: int
    ttl: int

    @property
    def id(self) -> NodeId:
        """The id of the node that holds the dataset."""
        return node_id(self.key)

    def body(self) -> bytes:
        """The bytes that are signed."""
        fields = {
            "k": self.key,
            "n": self.name,
            "a": [[a.ip, a.udp, a.http] for a in self.addresses],
            "g": self.tag,
            "d": self.dataset,
            "l": self.title,
            "s": self.seq,
            "i": self.issued,
            "t": self.ttl,
        }
        return wire.pack_canonical(fields)


R = TypeVar("R", NodeRecord, Listing)
R_co = TypeVar("R_co", NodeRecord, Listing, covariant=True)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Verified(Generic[R_co]):
    """A record whose signature, key, id, times and sizes were checked, with the bytes that prove it.

    Made by ``sign_*`` and ``verify_*`` only; the latter make one for all in this process who hold the same bytes.
    """

    record: R_co
    raw: bytes
    signature: bytes

    @property
    def expires(self) -> int:
        """When it ends, in seconds since the epoch."""
        return self.record.issued + self.record.ttl

    def to_wire(self) -> list[bytes]:
        """The pair that travels."""
        return [self.raw, self.signature]


def with_fitting_title(listing: Listing) -> Listing:
    """The listing with as much of its title, cut between characters, as a record has room for.

    Raises ``TooLarge`` when there is no room even for an empty one.
    """
    title = listing.title.encode(errors="ignore").decode()[:MAX_TITLE]
    whole = replace(listing, title=title)
    if len(whole.body()) <= MAX_RECORD:
        return whole
    bare = replace(listing, title="")
    room = MAX_RECORD - len(bare.body())
    if room < 0:
        raise TooLarge(
            f"A listing of the tag {listing.tag!r} would have {MAX_RECORD - room} bytes, {MAX_RECORD} is the most.",
            fix="Shorten the tag or the node's name.",
        )
    # Two bytes for the longer head that msgpack gives to a longer text.
    return replace(listing, title=title.encode()[: max(0, room - 2)].decode(errors="ignore"))


def sign_node(identity: crypto.Identity, record: NodeRecord) -> Verified[NodeRecord]:
    """Sign one's own node record.  Raises ``TooLarge``."""
    return _sign(identity, record, NODE_CONTEXT)


def sign_listing(identity: crypto.Identity, listing: Listing) -> Verified[Listing]:
    """Sign one's own listing.  Raises ``TooLarge``; see ``with_fitting_title``."""
    return _sign(identity, listing, LISTING_CONTEXT)


def verify_node(pair: Any, *, now: float) -> Verified[NodeRecord]:
    """Read and check a node record.  Raises a ``RemoteError``."""
    return _verify(pair, now, NODE_CONTEXT)


def verify_listing(pair: Any, *, now: float) -> Verified[Listing]:
    """Read and check a listing.  Raises a ``RemoteError``."""
    return _verify(pair, now, LISTING_CONTEXT)


def _sign(identity: crypto.Identity, record: R, context: bytes) -> Verified[R]:
    if record.key != identity.public:
        raise ValueError("a node signs records for its own key only")
    raw = record.body()
    if len(raw) > MAX_RECORD:
        raise TooLarge(f"A record of {len(raw)} bytes is over {MAX_RECORD}.", fix="Shorten the node's name.")
    return Verified(record, raw, identity.sign(context, raw))


def _verify(pair: Any, now: float, context: bytes) -> Verified[Any]:
    if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(p, bytes) for p in pair)):
        raise Malformed("A record is no pair of bytes.")
    found = _checked(now, context, pair[0], pair[1])
    _check_time(found.record, now)
    return found


def _check_time(record: NodeRecord | Listing, now: float) -> None:
    if record.issued > now + CLOCK_SLACK:
        raise Expired("A record comes from the future.")
    if record.issued + record.ttl <= now:
        raise Expired("A record has expired.")


Check = Callable[[float, bytes, bytes, bytes], Verified[Any]]


def _while_held(check: Check) -> Check:
    """Remember what was found, whatever the time was, as long as anybody in this process holds it."""
    held: WeakValueDictionary[tuple[bytes, bytes, bytes], Verified[Any]] = WeakValueDictionary()

    @wraps(check)
    def remembered(now: float, context: bytes, raw: bytes, signature: bytes) -> Verified[Any]:
        key = (context, raw, signature)
        found = held.get(key)
        if found is None:
            found = held[key] = check(now, context, raw, signature)
        return found

    return remembered


@_while_held
def _checked(now: float, context: bytes, raw: bytes, signature: bytes) -> Verified[Any]:
    """Many nodes of one process hold the same listings, and a search hears each of several: one signature is enough."""
    fields = wire.unpack(raw, limit=MAX_RECORD, items=32)
    if not isinstance(fields, dict):
        raise Malformed("A record is no map.")
    try:
        record = _read_node(fields) if context == NODE_CONTEXT else _read_listing(fields)
    except RemoteError:
        raise
    except (KeyError, TypeError, ValueError, BadTag) as error:
        raise Malformed("A record lacks a field or has one of a wrong type.") from error
    _check_time(record, now)  # before the signature, which costs most
    crypto.verify(record.key, context, raw, signature)
    return Verified(record, raw, signature)


def _read_node(fields: dict[str, Any]) -> NodeRecord:
    return NodeRecord(
        key=_sized(fields["k"], crypto.KEY_BYTES),
        name=_text(fields["n"], MAX_NAME),
        addresses=_addresses(fields["a"]),
        seq=_number(fields["s"], 0, 2**63),
        issued=_number(fields["i"], 0, 2**63),
        ttl=_number(fields["t"], MIN_TTL, MAX_TTL),
    )


def _read_listing(fields: dict[str, Any]) -> Listing:
    tag = _text(fields["g"], 64)
    if normalise_tag(tag) != tag:
        raise Malformed("A listing's tag is not in its one form.")
    if not fields["a"]:
        raise Malformed("A listing says nowhere where its node is.")
    return Listing(
        key=_sized(fields["k"], crypto.KEY_BYTES),
        name=_text(fields["n"], MAX_NAME),
        addresses=_addresses(fields["a"]),
        tag=Tag(tag),
        dataset=_sized(fields["d"], DATASET_ID_BYTES),
        title=_text(fields["l"], MAX_TITLE),
        seq=_number(fields["s"], 0, 2**63),
        issued=_number(fields["i"], 0, 2**63),
        ttl=_number(fields["t"], MIN_TTL, MAX_TTL),
    )


def _sized(value: Any, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise Malformed("A field of bytes has a wrong length.")
    return value


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise Malformed("A text field is missing or too long.")
    return value


def _number(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Malformed("A number is missing or out of range.")
    return value


def _addresses(value: Any) -> tuple[Address, ...]:
    if not isinstance(value, list) or len(value) > MAX_ADDRESSES:
        raise Malformed("Addresses are no short list.")
    return tuple(Address(_ip(ip), _number(udp, 0, 65_535), _number(http, 0, 65_535)) for ip, udp, http in value)


def _ip(value: Any) -> str:
    return _one_form(_text(value, 45))


@lru_cache(maxsize=4096)
def _one_form(text: str) -> str:
    import ipaddress

    if "%" in text or str(ipaddress.ip_address(text)) != text:  # after % any text may follow, as a zone
        raise Malformed("An IP address is not in its one form.")
    return text
