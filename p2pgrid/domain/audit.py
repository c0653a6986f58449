"""The audit log: entries chained by hash and signed by the node, so that a changed, added or dropped one shows.

An entry's body is canonical bytes that hold the hash of the entry before; its hash is BLAKE2b-256 of that body, and the
node signs the hash.  The chain begins at a value bound to the node's key.  What a chain alone cannot show is that its
newest entries were cut off.  A ``Head`` does: the signed number and hash of the newest entry, kept apart from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import crypto, wire
from p2pgrid.errors import BadSignature, InvalidInput, RemoteError

CONTEXT: Final = b"audit"
HEAD_CONTEXT: Final = b"audit-head"
GAP: Final = "audit.gap"
"""The action of an entry that says how many entries were missing before it when the node came up."""
HASH_BYTES: Final = 32
MOST_GAPS: Final = 100
"""Gaps that one check names; a log with more of them is told by these."""
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
class Newest:
    """The number and the hash of a log's last entry: what the next one is chained to."""

    seq: int
    hash: bytes


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
    last: Newest | None,
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


@dataclass(frozen=True, slots=True)
class Head:
    """How long a log is and which entry is its newest, as its node signed it at ``time``."""

    count: int
    hash: bytes
    time: float
    signature: bytes

    @classmethod
    def sign(cls, identity: crypto.Identity, last: Newest | None, time: float) -> Head:
        """The head of a log that ends with ``last`` (None: an empty one)."""
        count, newest = (last.seq, last.hash) if last else (0, beginning(identity.public))
        return cls(count, newest, time, identity.sign(HEAD_CONTEXT, _head_body(count, newest, time)))

    def is_from(self, key: bytes) -> bool:
        """Whether the holder of ``key`` signed it."""
        try:
            crypto.verify(key, HEAD_CONTEXT, _head_body(self.count, self.hash, self.time), self.signature)
        except BadSignature:
            return False
        return True

    def to_wire(self) -> dict[str, Any]:
        """As plain values."""
        return {"count": self.count, "hash": self.hash.hex(), "time": self.time, "signature": self.signature.hex()}

    @classmethod
    def from_wire(cls, raw: Any) -> Head:
        """Raises ``RemoteError`` for what is no head."""
        try:
            count, time = raw["count"], float(raw["time"])
            if type(count) is not int or count < 0:
                raise ValueError("no count")
            return cls(count, bytes.fromhex(raw["hash"]), time, bytes.fromhex(raw["signature"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RemoteError("The head of an audit log cannot be read.") from error


def _head_body(count: int, newest: bytes, time: float) -> bytes:
    return wire.pack_canonical({"count": count, "hash": newest, "time": time})


def read_noted(text: str) -> tuple[int, bytes]:
    """A number and hash that somebody noted, written ``57:3fa0...``.  Raises ``InvalidInput``."""
    number, _, digits = text.strip().partition(":")
    try:
        seq, noted = int(number), bytes.fromhex(digits)
    except ValueError:
        seq, noted = 0, b""
    if seq < 1 or len(noted) != HASH_BYTES:
        fix = "Write NUMBER:HASH, with the hash in 64 hexadecimal digits."
        raise InvalidInput(f"{text[:80]!r} is no entry's number and hash.", fix=fix)
    return seq, noted


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check of a log found: how many entries are right, the hash of the last, the first flaw, known gaps."""

    entries: int
    hash: bytes
    flaw: Flaw | None = None
    gaps: tuple[Flaw, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong with the log."""
        return self.flaw is None and not self.gaps

    def to_wire(self) -> dict[str, Any]:
        """As plain values."""
        flaw = {"seq": self.flaw.seq, "why": self.flaw.why} if self.flaw else None
        gaps = [{"seq": gap.seq, "why": gap.why} for gap in self.gaps]
        return {
            "intact": self.intact,
            "entries": self.entries,
            "hash": self.hash.hex(),
            "flaw": flaw,
            "gaps": gaps,
        }


class Check:
    """Reads a log in ascending order, entry by entry, and holds none of them.

    ``heads``: what the log must agree with, such as the head in the node's home, or a number and hash noted elsewhere.
    """

    def __init__(self, key: bytes, heads: Sequence[tuple[int, bytes]] = ()) -> None:
        self._key = key
        self._heads: dict[int, set[bytes]] = {}
        for count, newest in heads:
            self._heads.setdefault(count, set()).add(newest)
        self._right, self._last = 0, beginning(key)
        self._gaps: list[Flaw] = []
        self.flaw = self._at_head()

    def add(self, sealed: SealedEntry) -> Flaw | None:
        """The next entry; after the first flaw, that one."""
        if self.flaw is None:
            expected = self._right + 1
            why, entry = _read(sealed, self._key, self._last, expected)
            if entry is None:
                self.flaw = Flaw(expected if sealed.seq > expected else sealed.seq, why)
                return self.flaw
            self._right, self._last = expected, sealed.hash
            if entry.action == GAP and len(self._gaps) < MOST_GAPS:
                self._gaps.append(Flaw(expected, str(entry.details.get("why", "entries are missing before it"))[:300]))
            self.flaw = self._at_head()
        return self.flaw

    def fail(self, why: str) -> Flaw:
        """The next entry cannot even be handed in."""
        self.flaw = self.flaw or Flaw(self._right + 1, why)
        return self.flaw

    def end(self) -> Findings:
        """What was found, once there are no more entries."""
        longest = max(self._heads, default=0)
        if self.flaw is None and self._right < longest:
            self.flaw = Flaw(self._right + 1, f"it is missing: the log was cut off, it had {longest} entries")
        return Findings(self._right, self._last, self.flaw, tuple(self._gaps))

    def _at_head(self) -> Flaw | None:
        wanted = self._heads.get(self._right)
        if wanted and wanted != {self._last}:
            return Flaw(self._right, "it is not the entry that was the newest when the log's head was noted")
        return None


def verify_chain(entries: Iterable[SealedEntry], key: bytes) -> Flaw | None:
    """The first flaw in a whole chain in ascending order, or None when it is intact."""
    check = Check(key)
    for sealed in entries:
        if check.add(sealed):
            break
    return check.end().flaw


def _read(sealed: SealedEntry, key: bytes, previous: bytes, expected: int) -> tuple[str, Entry | None]:
    """The entry, or what is wrong with it."""
    if sealed.seq != expected:
        return ("it is missing" if sealed.seq > expected else "its number is used twice"), None
    if crypto.digest(sealed.body) != sealed.hash:
        return "its content does not fit its hash", None
    try:
        crypto.verify(key, CONTEXT, sealed.hash, sealed.signature)
        entry = sealed.open()
    except BadSignature:
        return "its signature is not the node's", None
    except RemoteError:
        return "it cannot be read", None
    if entry.seq != expected:
        return "its number is not the one it was sealed with", None
    if entry.previous != previous:
        return "it does not follow the entry before it", None
    return "", entry
