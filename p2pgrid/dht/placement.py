"""Where listings of a tag live, and in which order a holder hands them out.

For now a listing lives with the ``k`` nodes nearest to its tag's key.  Only this module and the two operations that
walk to ``targets`` know that.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Final

from p2pgrid.ids import NodeId, Tag, tag_key

WITHDRAWN_TTL: Final = 60
"""A listing whose ttl is at most this takes an older one back: never handed out, remembered as long as the older one
would have lived, so that replaying the older one does nothing."""


def targets(tag: Tag) -> tuple[NodeId, ...]:
    """The points of the id space that a listing is placed around, and a search walks to."""
    return (tag_key(tag),)


def shuffled(total: int, order: int, cursor: int) -> Iterator[int]:
    """Positions ``0..total-1``, each once, in one of many orders, from the ``cursor``-th on.

    A stride that shares no factor with ``total``: constant cost and no state for any page of any size.
    """
    if total <= 0:
        return
    stride = order % total or 1
    while gcd(stride, total) != 1:
        stride += 1
    start = order // total % total
    for step in range(cursor, total):
        yield (start + step * stride) % total
