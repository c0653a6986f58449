"""How long a packet is under way between two hosts."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, mean, pstdev
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from p2pgrid.errors import InvalidInput
from p2pgrid.sim.checks import number, told

LEAST: Final = 1e-5
"""Seconds: no packet is quicker."""
MOST_MILLISECONDS: Final = 3_600_000
"""No round trip takes longer."""
_NORMAL: Final = NormalDist()
_MIX: Final = 0x9E3779B97F4A7C15
_WORD: Final = 2**64 - 1

DISTANCES: Final[Mapping[tuple[str, str], float]] = MappingProxyType(
    {
        ("africa", "africa"): 0.040,
        ("africa", "america"): 0.105,
        ("africa", "asia"): 0.130,
        ("africa", "europe"): 0.075,
        ("america", "america"): 0.032,
        ("america", "asia"): 0.090,
        ("america", "europe"): 0.055,
        ("asia", "asia"): 0.045,
        ("asia", "europe"): 0.085,
        ("europe", "europe"): 0.015,
    }
)
"""One way, in seconds, between four parts of the world: typical ones, rounded; measure your own for a paper."""


class Host(Protocol):
    """What a latency model sees of a host."""

    place: int
    """64 bits of chance."""
    region: str


@runtime_checkable
class Latency(Protocol):
    """A latency model."""

    def one_way(self, source: Host, target: Host, chance: float) -> float:
        """Seconds from one host to another, for one packet; ``chance`` is uniform in 0..1 and new for each packet."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Every packet takes ``seconds``; with ``jitter`` up to that share more."""

    seconds: float = 0.02
    jitter: float = 0.0

    def __post_init__(self) -> None:
        number("seconds", self.seconds, above=True)
        number("jitter", self.jitter)

    def one_way(self, source: Host, target: Host, chance: float) -> float:
        return self.seconds * (1.0 + self.jitter * chance)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every packet takes from ``least`` to ``most`` seconds, each as likely: later ones overtake earlier ones."""

    least: float = 0.002
    most: float = 0.03

    def __post_init__(self) -> None:
        number("most", self.most, above=True)
        number("least", self.least, 0, self.most, above=True)

    def one_way(self, source: Host, target: Host, chance: float) -> float:
        return self.least + (self.most - self.least) * chance


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Pairs of hosts are as far apart as chance has it, and stay so: log-normal with this median (seconds, one way).

    ``sigma``: standard deviation of the logarithm; ``jitter``: up to that share more for each packet.
    """

    median: float = 0.03
    sigma: float = 0.5
    jitter: float = 0.1

    def __post_init__(self) -> None:
        number("median", self.median, above=True)
        number("sigma", self.sigma)
        number("jitter", self.jitter)

    def one_way(self, source: Host, target: Host, chance: float) -> float:
        far = self.median * math.exp(self.sigma * _NORMAL.inv_cdf(_of_pair(source.place, target.place)))
        return max(LEAST, far * (1.0 + self.jitter * chance))

    @classmethod
    def fitted(cls, path: str | Path, *, jitter: float = 0.1) -> LogNormal:
        """Fit to measured round-trip times: a text or CSV file with one time in milliseconds a line.

        The last column counts; empty lines, those that begin with # and a heading are passed over.  The median and the
        spread of the logarithms become the model's, half of each round trip for each way.  Raises ``InvalidInput``.
        """
        times = _read_times(Path(path))
        logs = [math.log(time / 2000) for time in times]
        # The jitter comes on top, half of it in the middle of many packets.
        return cls(math.exp(mean(logs)) / (1 + jitter / 2), pstdev(logs), jitter)


class Regions:
    """Each host lives in a region; ``distances``: one way between each two, in seconds; ``jitter`` as above.

    Raises ``InvalidInput`` when two regions have no distance.
    """

    __slots__ = ("distances", "jitter", "names")

    def __init__(self, distances: Mapping[tuple[str, str], float] = DISTANCES, jitter: float = 0.1) -> None:
        if not isinstance(distances, Mapping) or not distances or not all(map(_is_pair, distances)):
            raise InvalidInput(f"Distances are such as {{('a', 'a'): 0.01}}, not {told(distances)}.")
        self.names = sorted({name for pair in distances for name in pair})
        self.jitter = jitter
        self.distances = {(b, a): far for (a, b), far in distances.items()} | dict(distances)
        missing = [f"{a}-{b}" for a in self.names for b in self.names if (a, b) not in self.distances]
        _check(not missing, f"A table of regions lacks the distance {', '.join(missing[:3])}.")
        for (a, b), far in self.distances.items():
            number(f"The distance {a}-{b}", far, above=True)
        number("jitter", jitter)

    def __repr__(self) -> str:
        return f"Regions({dict(sorted(self.distances.items()))}, {self.jitter})"

    def one_way(self, source: Host, target: Host, chance: float) -> float:
        return self.distances[source.region, target.region] * (1.0 + self.jitter * chance)


def _is_pair(key: object) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and all(isinstance(name, str) for name in key)


def _of_pair(one: int, other: int) -> float:
    """A number in 0..1 that belongs to two hosts, whichever of them sends; well mixed (splitmix64's last step)."""
    low, high = (one, other) if one < other else (other, one)
    x = (low * _MIX + high * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _WORD
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _WORD
    x ^= x >> 31
    return ((x >> 11) + 0.5) / 2**53


def _read_times(path: Path) -> list[float]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            rows = [
                (lines.line_num, row)
                for row in lines
                if any(map(str.strip, row)) and not row[0].lstrip().startswith("#")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} holds no round-trip times: {error}.") from error
    times = []
    for at, (line, row) in enumerate(rows):
        time = _as_number(row[-1])
        if time is not None and 0 < time < MOST_MILLISECONDS:
            times.append(time)
        elif at or not all(_as_number(cell) is None for cell in row):  # no heading
            raise InvalidInput(
                f"{path} holds no round-trip time (milliseconds) at the end of line {line}: {told(','.join(row))}."
            )
    _check(len(times) >= 2, f"{path} holds fewer than two round-trip times.")
    return times


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise InvalidInput(cause)
