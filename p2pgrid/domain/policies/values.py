"""A value that is not an asset: fixed by a request, or handed in by its author at the call.

It has one of the forms of ``p2pgrid.assets``, so that the confined run reads it as it reads an asset; here only what
is JSON is ever looked into.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid.assets import KINDS, hasher
from p2pgrid.errors import InvalidInput

MAX_VALUE: Final = 1 << 20
"""Bytes of one value."""
MAX_SHOWN: Final = 200
"""Characters of a value that a reviewer sees in one line."""


@dataclass(frozen=True, slots=True)
class Value:
    """``kind``: one of ``p2pgrid.assets.KINDS``.  ``data``: its bytes as an asset of that kind would be kept."""

    kind: str
    data: bytes

    @property
    def digest(self) -> str:
        """As of an asset, hexadecimal."""
        state = hasher()
        state.update(self.data)
        return state.hexdigest()

    def json(self) -> Any:
        """What it says.  Raises ``InvalidInput`` when it is no JSON."""
        try:
            if self.kind != "json":
                raise ValueError
            return json.loads(self.data)
        except (ValueError, RecursionError):
            raise InvalidInput("The value is no JSON.") from None

    def to_wire(self) -> dict[str, str]:
        """As JSON values."""
        return {"type": self.kind, "data": base64.b64encode(self.data).decode()}

    def words(self) -> str:
        """In one line for a reviewer."""
        if self.kind not in ("json", "text"):
            return f"{self.kind}, {len(self.data)} bytes"
        text = self.data.decode("utf-8", "replace")
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(self.data)} bytes)"


def parse_value(raw: Any, name: str, most: int = MAX_VALUE) -> Value:
    """A value from ``{"type": ..., "data": base64}``.  Raises ``InvalidInput`` with the input's name."""
    kind, data = (raw.get("type"), raw.get("data")) if isinstance(raw, dict) else (None, None)
    if kind not in KINDS or not isinstance(data, str) or len(data) > 4 * (most // 3 + 2):
        raise InvalidInput(f"The value of {name} is not one of {', '.join(KINDS)} within {most} bytes.")
    try:
        value = Value(kind, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInput(f"The value of {name} is no base64.") from None
    if len(value.data) > most:
        raise InvalidInput(f"The value of {name} has {len(value.data)} bytes; {most} are taken.")
    return value
