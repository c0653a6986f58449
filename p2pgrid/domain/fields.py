"""Arguments of a verb, read once at the door: a type and a limit for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from p2pgrid.assets import AssetMeta
from p2pgrid.errors import InvalidInput, RemoteError, TooLarge

HEX_ID: Final = 32
_HEX: Final = frozenset("0123456789abcdef")


class Args:
    """Named arguments; each reader gives the value in its one form or raises ``InvalidInput`` with its name.

    Arguments that no reader asks for are ignored, so that a later client may send more.
    """

    __slots__ = ("_raw", "_where")

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise InvalidInput(f"{where} needs named arguments.")
        self._raw, self._where = raw, where

    def text(self, name: str, most: int, *, least: int = 0, default: str | None = None) -> str:
        """A text of ``least`` to ``most`` characters."""
        value = self._raw.get(name, default)
        if value is None and default is not None:
            value = default
        if not isinstance(value, str):
            raise self._bad(name, "a text")
        if not least <= len(value) <= most:
            raise self._bad(name, f"a text of {least} to {most} characters")
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):  # PostgreSQL keeps no NUL
            raise self._bad(name, "a text of whole characters without NUL")
        return value

    def label(self, name: str, most: int) -> str:
        """A trimmed text of at least one character, all of them printable."""
        value = self.text(name, 4 * most).strip()
        if not 1 <= len(value) <= most or not value.isprintable():
            raise self._bad(name, f"1 to {most} printable characters")
        return value

    def id(self, name: str) -> str:
        """32 hexadecimal digits."""
        value = self.text(name, 64).lower().replace("-", "")
        if len(value) != HEX_ID or not _HEX.issuperset(value):
            raise self._bad(name, "an id of 32 hexadecimal digits")
        return value

    def maybe_id(self, name: str) -> str | None:
        """An id, or None."""
        return None if self._raw.get(name) is None else self.id(name)

    def digest(self, name: str) -> str:
        """64 hexadecimal digits: SHA-256."""
        value = self.text(name, 64).lower()
        if len(value) != 64 or not _HEX.issuperset(value):
            raise self._bad(name, "a digest of 64 hexadecimal digits")
        return value

    def number(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._raw.get(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self._bad(name, f"a whole number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """Yes or no; no when it is not given."""
        value = self._raw.get(name, False)
        if type(value) is not bool:
            raise self._bad(name, "true or false")
        return value

    def blob(self, name: str, most: int, *, least: int = 0) -> bytes:
        """``least`` to ``most`` bytes.  Raises ``TooLarge`` above."""
        value = self._raw.get(name)
        if not isinstance(value, bytes) or len(value) < least:
            raise self._bad(name, f"{least} or more bytes")
        if len(value) > most:
            raise TooLarge(f"{self._where}: {name} has {len(value)} bytes; at most {most} are taken.")
        return value

    def raw(self, name: str) -> Any:
        """The value as it came, for a reader of its own."""
        return self._raw.get(name)

    def has(self, name: str) -> bool:
        """Whether it was given and is not None."""
        return self._raw.get(name) is not None

    def texts(self, name: str, most: int, length: int) -> list[str]:
        """A list of at most ``most`` texts."""
        value = self._raw[name] if self.has(name) else []
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise self._bad(name, f"a list of at most {most} texts")
        return [Args({name: item}, self._where).text(name, length) for item in value]

    def children(self, name: str, most: int, *, least: int = 0) -> list[Args]:
        """A list of maps, each to be read by name."""
        value = self._raw[name] if self.has(name) else []
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise self._bad(name, f"a list of {least} to {most} entries")
        return [Args(item, f"{self._where}: {name}[{index}]") for index, item in enumerate(value)]

    def child(self, name: str) -> Args:
        """A map to be read by name."""
        return Args(self._raw.get(name), f"{self._where}: {name}")

    def named(self, name: str, most: int) -> dict[str, Any]:
        """A map with at most ``most`` text keys of at most 128 characters."""
        value = self._raw.get(name)
        if not isinstance(value, dict) or len(value) > most:
            raise self._bad(name, f"a map of at most {most} entries")
        if not all(isinstance(key, str) and 0 < len(key) <= 128 for key in value):
            raise self._bad(name, "a map with short texts as keys")
        return value

    def meta(self, name: str) -> AssetMeta:
        """An asset's description."""
        try:
            meta = AssetMeta.from_wire(self._raw.get(name))
        except RemoteError as error:
            raise self._bad(name, "an asset's description") from error
        if not _HEX.issuperset(meta.digest) or any(side < 0 for side in meta.shape):
            raise self._bad(name, "an asset's description")
        return meta

    def _bad(self, name: str, what: str) -> InvalidInput:
        return InvalidInput(f"{self._where}: {name} must be {what}.")
