"""Distance ranges: the nodes that share exactly so many leading bits with a point.

Range 0 is the half of the network that differs in the first bit, range 1 the quarter that differs in the second, and so
on: each is half as large as the one before, however many ids somebody grinds near the point.  That is why listings are
placed, and looked for, in all of them (as discv5's topic discovery does: Krol et al., DISC-NG, 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

ID_BITS: Final = 160
MAX_RANGE: Final = 62
"""Ids that share more bits than this count as sharing these: 2**62 keys are beyond anybody's grinding."""
FAR: Final = 6.0
"""A range this many bits before the depth of the network is far: it has over 32 nodes."""
ALL_RANGES: Final = (1 << MAX_RANGE + 1) - 1


class Placed(Protocol):
    """Anything with an id, as a number."""

    long_id: int


P = TypeVar("P", bound=Placed)


def range_of(target: int, long_id: int) -> int:
    """Leading bits that an id shares with a point, at most ``MAX_RANGE``."""
    return min(ID_BITS - (target ^ long_id).bit_length(), MAX_RANGE)


def by_range(target: int, peers: Iterable[P]) -> list[tuple[int, list[P]]]:
    """Peers by their range around a point, the nearest range first."""
    found: dict[int, list[P]] = {}
    for peer in peers:
        shared = ID_BITS - (target ^ peer.long_id).bit_length()
        found.setdefault(shared if shared < MAX_RANGE else MAX_RANGE, []).append(peer)
    return sorted(found.items(), reverse=True)


def spread(rows: Iterable[Sequence[P]], most: int, turn: int) -> list[P]:
    """At most ``most`` peers from all ranges: one of each, near to far, then a second of each, and so on.

    ``turn`` chooses where in a range to begin, so that different answers name different peers.
    """
    wanted = [row for row in rows if row]
    chosen: list[P] = []
    for step in range(most):
        if step:
            wanted = [row for row in wanted if len(row) > step]
        if not wanted or len(chosen) >= most:
            break
        chosen += [row[(turn + step) % len(row)] for row in wanted]
    return chosen[:most]
