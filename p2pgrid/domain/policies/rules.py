"""Rules on a result, of a request or as a floor that an owner sets under every request on an asset.

A rule is data here; ``p2pgrid.domain.checks`` applies it, in a confined run of its own.  Rules add up: a result is
released only if it keeps to each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, get_args

from p2pgrid.errors import InvalidInput

MAX_RULES: Final = 16
MAX_LEAST: Final = 10**9
MAX_COLUMN: Final = 200
MAX_BY: Final = 8


@dataclass(frozen=True, slots=True)
class MinimumRows:
    """For each value that is released, the smallest asset that the code was given has at least ``least`` rows."""

    kind: ClassVar[str] = "MinimumRows"
    least: int

    def to_wire(self) -> dict[str, Any]:
        """As it travels."""
        return {"kind": self.kind, "least": self.least}

    def words(self) -> str:
        """As a reviewer reads it."""
        return f"at most one value for each {self.least} rows of the smallest asset"


@dataclass(frozen=True, slots=True)
class MinimumCellCount:
    """Each count in the result is 0 or at least ``least``.

    ``column``: where a table keeps its counts; a result of nothing but whole numbers is counts throughout.  ``by``:
    columns of the asset that the result's rows are grouped by; then the counts are counted again in the asset.
    """

    kind: ClassVar[str] = "MinimumCellCount"
    least: int
    column: str = "count"
    by: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", (self.by,) if isinstance(self.by, str) else tuple(self.by))

    def to_wire(self) -> dict[str, Any]:
        """As it travels."""
        return {"kind": self.kind, "least": self.least, "column": self.column, "by": list(self.by)}

    def words(self) -> str:
        """As a reviewer reads it."""
        if self.by:
            return f"groups by {', '.join(self.by)} of at least {self.least} rows, counted again in the asset"
        return f"no count from 1 to {self.least - 1}; that the counts are right is the code's word"


@dataclass(frozen=True, slots=True)
class MaximumResultSize:
    """The packed result has at most ``bytes`` bytes, and holds at most ``values`` values."""

    kind: ClassVar[str] = "MaximumResultSize"
    bytes: int | None = None
    values: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """As it travels."""
        return {"kind": self.kind, "bytes": self.bytes, "values": self.values}

    def words(self) -> str:
        """As a reviewer reads it."""
        parts = [f"{self.bytes} bytes"] * bool(self.bytes) + [f"{self.values} values"] * bool(self.values)
        return f"at most {' and '.join(parts)}"


@dataclass(frozen=True, slots=True)
class NoAssetRows:
    """No row of an asset stands in the result, whole or as two or more of its columns."""

    kind: ClassVar[str] = "NoAssetRows"

    def to_wire(self) -> dict[str, Any]:
        """As it travels."""
        return {"kind": self.kind}

    def words(self) -> str:
        """As a reviewer reads it."""
        return "no row of an asset as it is; a row that was changed on purpose is not found"


Rule = MinimumRows | MinimumCellCount | MaximumResultSize | NoAssetRows
KINDS: Final = (MinimumRows.kind, MinimumCellCount.kind, MaximumResultSize.kind, NoAssetRows.kind)


FIELDS: Final = {rule.kind: tuple(one.name for one in fields(rule)) for rule in get_args(Rule)}
"""What each rule is made with."""


def parse_rules(raw: Any) -> tuple[Rule, ...]:
    """Rules from a list of ``{"kind": ..., ...}``, each once.  Raises ``InvalidInput``."""
    if raw is None:
        return ()
    if not isinstance(raw, (list, tuple)) or len(raw) > MAX_RULES:
        raise InvalidInput(f"Rules are a list of at most {MAX_RULES}.")
    return tuple(dict.fromkeys(_parse(item) for item in raw))


def all_rules(*groups: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Every rule of several lists, each once."""
    return tuple(dict.fromkeys(rule for group in groups for rule in group))


def _parse(raw: Any) -> Rule:
    kind = raw.get("kind") if isinstance(raw, dict) else None
    known = FIELDS.get(kind) if isinstance(kind, str) else None
    odd = sorted(str(key) for key in raw if key != "kind" and key not in known) if known is not None else []
    if odd:
        there = ", ".join(known or ()) or "no arguments"
        raise InvalidInput(f"{kind} knows no {odd[0][:60]!r}.", fix=f"It takes {there}.")
    if kind == MinimumRows.kind:
        return MinimumRows(_number(raw, "least", 1))
    if kind == MinimumCellCount.kind:
        column, by = raw.get("column", "count"), raw.get("by") or []
        if not isinstance(by, (list, tuple)) or len(by) > MAX_BY or not all(map(_is_column, (column, *by))):
            raise InvalidInput(f"{kind} names columns by texts of 1 to {MAX_COLUMN} characters.")
        return MinimumCellCount(_number(raw, "least", 2), column, tuple(by))
    if kind == MaximumResultSize.kind:
        sizes = [_number(raw, key, 1) if raw.get(key) is not None else None for key in ("bytes", "values")]
        if sizes == [None, None]:
            raise InvalidInput(f"{kind} needs bytes, values, or both.")
        return MaximumResultSize(*sizes)
    if kind == NoAssetRows.kind:
        return NoAssetRows()
    raise InvalidInput(f"{str(kind)[:60]!r} is no rule; there are {', '.join(KINDS)}.")


def _number(raw: dict[str, Any], name: str, low: int) -> int:
    value = raw.get(name)
    if type(value) is not int or not low <= value <= MAX_LEAST:
        raise InvalidInput(f"{raw['kind']} needs {name}, a whole number from {low} to {MAX_LEAST}.")
    return value


def _is_column(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_COLUMN
