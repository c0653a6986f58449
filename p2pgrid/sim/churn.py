"""How long nodes stay."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from p2pgrid.sim.checks import number

LEAST_SHAPE: Final = 0.01
"""Below it a session may be longer than a float can say."""


@runtime_checkable
class Sessions(Protocol):
    """Lengths of sessions, in seconds."""

    def session(self, chance: random.Random) -> float:
        """Of a node that comes now."""

    def rest(self, chance: random.Random) -> float:
        """What is left of the session of a node that is met at a random moment."""


@dataclass(frozen=True, slots=True)
class Weibull:
    """Sessions as measured in file-sharing networks: many short ones and a long tail for a ``shape`` under 1.

    Stutzbach and Rejaie (2006, "Understanding churn in peer-to-peer networks") fit shapes of 0.34 to 0.59.  With a
    shape of 1 sessions are exponential, and who has stayed long is as likely to leave as who just came.
    """

    shape: float = 0.5
    mean: float = 3600.0

    def __post_init__(self) -> None:
        number("shape", self.shape, LEAST_SHAPE)
        number("mean", self.mean, above=True)

    @property
    def scale(self) -> float:
        """Weibull's lambda, in seconds."""
        return self.mean / math.gamma(1 + 1 / self.shape)

    def session(self, chance: random.Random) -> float:
        return chance.weibullvariate(self.scale, self.shape)

    def rest(self, chance: random.Random) -> float:
        # A long session is met more often: its length is drawn by its own weight, then a moment within it.
        met = self.scale * chance.gammavariate(1 + 1 / self.shape, 1.0) ** (1 / self.shape)
        return float(met * chance.random())
