"""A bounded count of what strangers can cause: so many are told each by itself, the others as a number."""

from __future__ import annotations


class Tally:
    """At most ``most`` events a ``window`` (seconds) are told; those beyond are counted until the next one is."""

    __slots__ = ("_count", "_most", "_since", "_untold", "_window")

    def __init__(self, *, most: int, window: float) -> None:
        self._most, self._window = most, window
        self._count, self._since, self._untold = 0, float("-inf"), 0

    def take(self, now: float) -> int | None:
        """None: count this one only.  Otherwise tell it, and that so many before it were only counted."""
        if not 0 <= now - self._since < self._window:  # before it, a clock was set back
            self._count, self._since = 0, now
        if self._count >= self._most:
            self._untold += 1
            return None
        self._count += 1
        return self.rest()

    def rest(self) -> int:
        """How many were only counted since one was told; afterwards they are told."""
        untold, self._untold = self._untold, 0
        return untold
