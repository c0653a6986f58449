"""The audit log: entries chained by hash and signed by the node, so that a changed, added or dropped one shows.

An entry's body is canonical bytes that hold the hash of the entry before; its hash is BLAKE2b-256 of that body, and the
node signs the hash.  The chain begins at a value bound to the node's key.  What a chain alone cannot show is that its
newest entries were cut off: keep a copy of the last hash elsewhere for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import crypto, wire
from p2pgrid.errors import BadSignature, RemoteError

CONTEXT: Final = b"audit"
MAX_BODY: Final = 16_384


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: when (seconds since the epoch), who did what to which subject, and details."""

    seq: int
    time: float
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]
    previous: bytes

    def body(self) -> bytes:
        """The canonical bytes that are hashed."""
        fields = {
            "seq": self.seq,
            "time": self.time,
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "details": dict(self.details),
            "previous": self.previous,
        }
        return wire.pack_canonical(fields)


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry as it is stored: its body, the body's hash, and the node's signature over the hash."""

    seq: int
    body: bytes
    hash: bytes
    signature: bytes

    def open(self) -> Entry:
        """The entry inside.  Raises ``RemoteError`` when the body is no entry."""
        fields = wire.unpack(self.body, limit=MAX_BODY)
        try:
            return Entry(**fields)
        except TypeError as error:
            raise RemoteError("An audit entry's body lacks a field.") from error


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first entry of a chain that is not right, and why."""

    seq: int
    why: str


def beginning(key: bytes) -> bytes:
    """What the first entry names as the one before it."""
    return crypto.digest(b"p2pgrid audit log of " + key)


def seal(
    identity: crypto.Identity,
    last: SealedEntry | None,
    *,
    time: float,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, Any],
) -> SealedEntry:
    """The entry that follows ``last`` (None: the first one)."""
    seq = last.seq + 1 if last else 1
    previous = last.hash if last else beginning(identity.public)
    body = Entry(seq, time, actor, action, subject, details, previous).body()
    if len(body) > MAX_BODY:
        raise ValueError(f"an audit entry of {len(body)} bytes is over {MAX_BODY}")
    hashed = crypto.digest(body)
    return SealedEntry(seq, body, hashed, identity.sign(CONTEXT, hashed))


def verify_chain(entries: Iterable[SealedEntry], key: bytes) -> Flaw | None:
    """The first flaw in a whole chain in ascending order, or None when it is intact."""
    previous, expected = beginning(key), 1
    for sealed in entries:
        why = _flaw(sealed, key, previous, expected)
        if why:
            return Flaw(expected if sealed.seq > expected else sealed.seq, why)
        previous, expected = sealed.hash, expected + 1
    return None


def _flaw(sealed: SealedEntry, key: bytes, previous: bytes, expected: int) -> str:
    if sealed.seq != expected:
        return "it is missing" if sealed.seq > expected else "its number is used twice"
    if crypto.digest(sealed.body) != sealed.hash:
        return "its content does not fit its hash"
    try:
        crypto.verify(key, CONTEXT, sealed.hash, sealed.signature)
    except BadSignature:
        return "its signature is not the node's"
    try:
        entry = sealed.open()
    except RemoteError:
        return "it cannot be read"
    if entry.seq != expected:
        return "its number is not the one it was sealed with"
    if entry.previous != previous:
        return "it does not follow the entry before it"
    return ""
