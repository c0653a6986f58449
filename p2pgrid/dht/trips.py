"""The last round trips of a peer in one small number: 48 bytes a peer, where a list of floats would take 300.

Each is 20 bits in units of 10 us (so at most 10.4 s), the newest lowest; 0 is none.
"""

from __future__ import annotations

from typing import Final

TRIPS: Final = 9
"""Round trips that are kept: an odd number has a middle, and nine of them fit six digits of a Python integer."""
TELLING: Final = 3
"""The shortest of fewer may be that of a jam."""
BITS: Final = 20
UNIT: Final = 1e-5
MOST: Final = (1 << BITS) - 1
ALL: Final = (1 << (BITS * TRIPS)) - 1


def with_trip(trips: int, rtt: float) -> int:
    """``trips`` and one more of ``rtt`` seconds; the oldest is forgotten."""
    return (trips << BITS | min(MOST, max(1, round(rtt / UNIT)))) & ALL


def median(trips: int, last: int = TRIPS) -> float | None:
    """The median of the newest ``last`` round trips in seconds; of an even number, the lower of the middle two.

    None when there is none yet.
    """
    known = _known(trips, last)
    return sorted(known)[(len(known) - 1) // 2] * UNIT if known else None


def best(trips: int) -> float:
    """The shortest of them in seconds: what the path takes when nobody is busy.  0 while there are too few to tell."""
    known = _known(trips, TRIPS)
    return min(known) * UNIT if len(known) >= TELLING else 0.0


def _known(trips: int, last: int) -> list[int]:
    known: list[int] = []
    while trips and len(known) < last:
        known.append(trips & MOST)
        trips >>= BITS
    return known
