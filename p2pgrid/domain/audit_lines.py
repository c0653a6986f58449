"""An audit log as JSON lines, so that anybody can read it, and verify it away from the node.

The first line names the node, its key and the log's signed head; each further line is one entry: readable, and sealed
(``body`` in base64, ``hash`` and ``signature`` in hexadecimal).  What is readable must be what was sealed.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid.domain.audit import MAX_BODY, Check, Findings, Head, SealedEntry
from p2pgrid.errors import Malformed, RemoteError

FORMAT: Final = "p2pgrid-audit-1"
MAX_LINE: Final = 8 * MAX_BODY
"""Characters of a line: a body twice, once in base64 and once readable with escapes."""
SEALED: Final = ("hash", "signature", "body")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose log a file says to be, and the head that it was written with."""

    name: str
    key: bytes
    head: Head

    def to_line(self) -> str:
        """The first line of a file."""
        fields = {"format": FORMAT, "node": self.name, "key": self.key.hex(), "head": self.head.to_wire()}
        return json.dumps(fields)

    @classmethod
    def from_line(cls, line: str) -> Origin:
        """Raises ``Malformed`` for what begins no such file, or has a head that its key did not sign."""
        try:
            raw = json.loads(line[:MAX_LINE])
            if raw["format"] != FORMAT:
                raise ValueError("another format")
            origin = cls(str(raw["node"]), bytes.fromhex(raw["key"]), Head.from_wire(raw["head"]))
        except (KeyError, TypeError, ValueError, RecursionError, RemoteError) as error:
            raise Malformed("The file does not begin as an exported audit log does.") from error
        if not origin.head.is_from(origin.key):
            raise Malformed("The head of the exported audit log is not signed by its node.")
        return origin


def shown(sealed: SealedEntry) -> dict[str, Any]:
    """What a person reads of an entry, in plain values.  Raises ``RemoteError`` when it has no readable body."""
    entry = sealed.open()
    return {
        "seq": entry.seq,
        "time": dt.datetime.fromtimestamp(entry.time, dt.UTC).isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "details": json.loads(json.dumps(dict(entry.details), default=_hex)),
    }


def to_line(sealed: SealedEntry) -> str:
    """One entry.  One whose body cannot be read any more is written all the same, for the check to name it."""
    try:
        fields = shown(sealed)
    except (RemoteError, ValueError, OverflowError, AttributeError):
        fields = {"seq": sealed.seq}
    body = base64.b64encode(sealed.body).decode()
    return json.dumps({**fields, "hash": sealed.hash.hex(), "signature": sealed.signature.hex(), "body": body})


def from_line(line: str) -> SealedEntry:
    """The entry of a line.  Raises ``RemoteError`` when it is none, or shows something else than was sealed."""
    try:
        raw: Mapping[str, Any] = json.loads(line[:MAX_LINE])
        body = base64.b64decode(raw["body"], validate=True)
        seq, hashed, signature = raw["seq"], bytes.fromhex(raw["hash"]), bytes.fromhex(raw["signature"])
        if type(seq) is not int:
            raise ValueError("no number")
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise Malformed("its line cannot be read") from error
    sealed = SealedEntry(seq, body, hashed, signature)
    readable = {name: value for name, value in raw.items() if name not in SEALED}
    try:
        same = readable == shown(sealed)
    except (RemoteError, ValueError, OverflowError, AttributeError):
        return sealed  # the check says what is wrong with it
    if not same:
        raise Malformed("its readable part is not what was sealed")
    return sealed


def verify_lines(origin: Origin, lines: Iterable[str], heads: Sequence[tuple[int, bytes]] = ()) -> Findings:
    """Check the lines after the first one against the key and the head of ``origin``, holding one line at a time."""
    check = Check(origin.key, [(origin.head.count, origin.head.hash), *heads])
    for line in lines:
        try:
            flaw = check.add(from_line(line))
        except RemoteError as error:
            flaw = check.fail(error.cause)
        if flaw:
            break
    return check.end()


def _hex(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)
