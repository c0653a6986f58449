"""Arguments that are looked at before anything is made of them."""

from __future__ import annotations

import math
import numbers
import sys
from typing import Any, Final

from p2pgrid.errors import InvalidInput

MOST_SEED: Final = 2**63
"""Seeds are below it, as what a column of a table holds, and from 0 on: Python takes -1 for 1."""
MOST: Final = sys.float_info.max
"""Anything finite."""
FIX: Final = InvalidInput.default_fix


def whole_number(
    name: str, value: Any, least: int = 0, most: float = MOST, *, error: type[InvalidInput] = InvalidInput
) -> int:
    """``value``, which must be a whole number in these bounds.  Raises ``error``."""
    if not (_is(value, numbers.Integral) and least <= value <= most):
        raise error(f"{name} is a whole number {_span(least, most)}, not {told(value)}.", fix=FIX)
    return int(value)


def number(
    name: str,
    value: Any,
    least: float = 0.0,
    most: float = MOST,
    *,
    above: bool = False,
    error: type[InvalidInput] = InvalidInput,
) -> float:
    """``value``, which must be a finite number in these bounds; ``above``: ``least`` is none.  Raises ``error``."""
    try:
        made = float(value) if _is(value, numbers.Real) else math.nan
    except OverflowError:
        made = math.inf
    if not least <= made <= most or (above and made == least):
        raise error(f"{name} is a number {_span(least, most, above)}, not {told(value)}.", fix=FIX)
    return made


def seed_number(value: Any, *, error: type[InvalidInput] = InvalidInput) -> int:
    """A seed, which is a whole number from 0 on.  Raises ``error``."""
    return whole_number("seed", value, 0, MOST_SEED - 1, error=error)


def instance(
    name: str, value: Any, kind: type, such: str, *, fix: str = FIX, error: type[InvalidInput] = InvalidInput
) -> None:
    """``value`` must be of this class or protocol, and no class itself; ``such``: an example.  Raises ``error``."""
    if isinstance(value, type) or not isinstance(value, kind):
        raise error(f"{name} is such as {such}, not {told(value)}.", fix=fix)


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _span(least: float, most: float, above: bool = False) -> str:
    if above:
        return f"above {_plain(least)}" + ("" if most == MOST else f" and at most {_plain(most)}")
    return f"from {_plain(least)} " + ("on" if most == MOST else f"to {_plain(most)}")


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def told(value: object) -> str:
    """As Python writes it, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
