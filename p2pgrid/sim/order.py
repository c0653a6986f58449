"""Things sorted by id: who is nearest to a point, and who lives in which distance range, without looking at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from p2pgrid.dht.ranges import ID_BITS

T = TypeVar("T")


class Ordered(Generic[T]):
    """Pairs of an id (as a number) and a thing."""

    __slots__ = ("_ids", "things")

    def __init__(self, pairs: Iterable[tuple[int, T]]) -> None:
        ordered = sorted(pairs, key=lambda pair: pair[0])
        self._ids = [an_id for an_id, _ in ordered]
        self.things = [thing for _, thing in ordered]

    def ranges(self, own: int) -> Iterator[Sequence[T]]:
        """Of everybody but ``own``, who is among them, those that share exactly 0, 1, 2... leading bits with it, until
        nobody is left."""
        for rest in range(ID_BITS - 1, -1, -1):
            yield self._block(own >> rest ^ 1, rest)
            if len(self._within(own >> rest, rest)) <= 1:
                return

    def nearest(self, point: int, count: int) -> list[T]:
        """The ``count`` nearest to a point, nearest first."""
        rest = 0
        while len(self._within(point >> rest, rest)) < min(count, len(self._ids)):
            rest += 1
        block = self._within(point >> rest, rest)
        return [self.things[at] for at in sorted(block, key=lambda at: self._ids[at] ^ point)[:count]]

    def _within(self, prefix: int, rest: int) -> range:
        """Where those are whose id is ``prefix`` without its last ``rest`` bits: they are side by side."""
        return range(bisect_left(self._ids, prefix << rest), bisect_left(self._ids, prefix + 1 << rest))

    def _block(self, prefix: int, rest: int) -> Sequence[T]:
        where = self._within(prefix, rest)
        return self.things[where.start : where.stop]
