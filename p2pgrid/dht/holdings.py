"""What a node holds for others, as the one document that its next start reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pgrid import wire
from p2pgrid.dht.limits import Limits
from p2pgrid.errors import Malformed

FORMAT: Final = "p2pgrid holdings 1"
MOST_BYTES: Final = 16 << 20
"""Bytes of a document that is read at all: three times what the default limits let a store hold."""


def pack(rows: Sequence[object]) -> bytes:
    """The document for the rows of ``Store.dump``."""
    return wire.pack({"format": FORMAT, "held": list(rows)})


def unpack(document: bytes, limits: Limits) -> list[object]:
    """Its rows, unchecked, at most as many as a store has places for; none for an empty one.

    Raises ``Malformed`` or ``Oversized`` for what ``pack`` did not write.
    """
    if not document:
        return []
    found = wire.unpack(document, limit=MOST_BYTES, items=1 << 20)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("held"), list):
        raise Malformed("Bytes are no node's holdings.")
    return list(found["held"][: limits.total_listings])
