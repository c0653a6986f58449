"""Virtual time: events in the order of a clock that nobody waits for, and a digest of all that happened.

Two worlds with the same seed that are asked the same things go through the same events to the byte, whatever machine
they run on; ``digest`` tells two of them apart.
"""

from __future__ import annotations

import gc
import hashlib
import heapq
import random
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from p2pgrid.sim.checks import seed_number

EPOCH: Final = 1_800_000_000.0
"""What the clock of records shows at time 0: a fixed day, so that a run does not depend on today."""
WATCH: Final = 1024
"""Events between two looks of whoever watches."""
GARBAGE: Final = (50_000, 20, 100)
"""How rarely Python looks for garbage in circles while time runs: as often as it does by itself costs a fifth more."""
FOLD: Final = 1 << 16
"""Bytes of trace that are hashed at once: so the state of a digest is plain bytes, and a world can be copied."""
_EVENT: Final = Struct("<dQ")
_NOTE: Final = Struct("<II")


class World:
    """A clock, chance, and what is to happen.

    ``now``: seconds since the beginning; ``random``: the only chance in this world, seeded; ``events``: how many have
    happened; ``watch``: called every ``WATCH`` events, for whoever looks on from outside.
    """

    __slots__ = ("_count", "_heap", "_stopped", "_trace", "events", "now", "random", "seed", "watch")

    def __init__(self, seed: int) -> None:
        self.seed = seed_number(seed)
        self.random = random.Random(self.seed)  # noqa: S311 - the chance of a simulation, which must repeat
        self.now = 0.0
        self.events = 0
        self.watch: Callable[[], None] | None = None
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self._stopped = False
        self._trace = bytearray()
        """The digest of what was noted until lately, and what was noted since."""

    def wall(self) -> float:
        """The clock of records, in seconds since 1970."""
        return EPOCH + self.now

    def at(self, when: float, action: Callable[..., object], *args: Any) -> None:
        """Do something then; things of one moment happen in the order in which they were asked for."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action, args))

    def after(self, seconds: float, action: Callable[..., object], *args: Any) -> None:
        """Do something so much later."""
        self.at(self.now + seconds, action, *args)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass: so much, or until ``until`` is true, which is looked at after each event.

        Returns whether ``until`` came true; what happens may ``stop`` it earlier.  Raises ``ValueError`` for a time
        before now.
        """
        if seconds < 0:
            raise ValueError("time runs forward only")
        usual = gc.get_threshold()
        gc.set_threshold(*GARBAGE)
        try:
            return self._run(self.now + seconds, until)
        finally:
            gc.set_threshold(*usual)

    def _run(self, end: float, until: Callable[[], bool] | None) -> bool:
        heap, trace, packed = self._heap, self._trace, _EVENT.pack
        self._stopped = False
        if until is not None and until():
            return True
        while heap and heap[0][0] <= end:
            when, number, action, args = heapq.heappop(heap)
            if when > self.now:
                self.now = when
            self.events += 1
            trace += packed(when, number)
            action(*args)
            if not self.events % WATCH:
                if len(trace) > FOLD:  # of events of which nothing was noted
                    trace[:] = _folded(trace)
                if self.watch is not None:
                    self.watch()
            if until is not None and until():
                return True
            if self._stopped:
                return False
        self.now = end
        return False

    def stop(self) -> None:
        """Let the present ``run`` end after this event."""
        self._stopped = True

    def note(self, who: int, what: bytes) -> None:
        """What happened in this event, and to whom: a part of the digest, as each event's time and order are."""
        trace = self._trace
        trace += _NOTE.pack(who, len(what))
        trace += what
        if len(trace) > FOLD:
            trace[:] = _folded(trace)

    def digest(self) -> str:
        """32 hex digits over all events so far, in their order, and what was noted of them."""
        return _folded(self._trace).hex()


def _folded(trace: bytearray) -> bytes:
    return hashlib.blake2b(trace, digest_size=16).digest()
