"""The network of an experiment by plain words and numbers: the same names mean the same in every experiment.

A latency is written ``constant:0.05``, ``uniform:0.002:0.03``, ``lognormal:0.03:0.5``, ``regions``, or
``fitted:rtt.csv`` for a file of measured round-trip times; a number alone is the median of a log-normal one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.errors import InvalidInput
from p2pgrid.sim.latency import DISTANCES, Constant, Latency, LogNormal, Regions, Uniform
from p2pgrid.sim.network import Conditions

SHARES: Final = ("loss", "duplicate", "reorder", "nat_cone", "nat_symmetric")
BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(dict.fromkeys(SHARES, (0.0, 1.0)))
"""Of the parameters that are shares."""
MODELS: Final[Mapping[str, tuple[Callable[..., Latency], tuple[float, ...]]]] = MappingProxyType(
    {
        "constant": (Constant, (60, 10)),
        "uniform": (Uniform, (60, 60)),
        "lognormal": (LogNormal, (60, 5, 10)),
        "regions": (lambda *jitter: Regions(DISTANCES, *jitter), (10,)),
    }
)
"""By name: the model, and the most that each of its numbers may be."""
FITTED: Final = "fitted:"
FIX: Final = (
    "Write constant:SECONDS, uniform:LEAST:MOST, lognormal:MEDIAN:SIGMA, regions, or fitted:FILE with a round-trip time"
    " in milliseconds a line."
)


def network(latency: str = "constant:0.02") -> dict[str, Any]:
    """The parameters of a network, for an experiment to have among its own; ``latency``: its default."""
    return {"latency": latency, **dict.fromkeys(SHARES, 0.0), "uplink": 0.0}


NETWORK: Final = tuple(network())


def conditions_of(values: Mapping[str, Any]) -> Conditions | None:
    """The conditions that these parameters say; None when the experiment has no such parameters.

    Raises ``InvalidInput``.
    """
    if "latency" not in values:
        return None
    shares = {name: values[name] for name in SHARES}
    return Conditions(latency_of(values["latency"]), uplink=values["uplink"] or None, **shares)


def written(value: Any) -> str:
    """A latency as a text that means the same wherever it is read: a file becomes what was fitted to it.

    Raises ``InvalidInput``.
    """
    text = str(value).strip()
    if text.startswith(FITTED):
        try:
            fit = LogNormal.fitted(text.removeprefix(FITTED))
        except InvalidInput as error:
            raise InvalidInput(error.cause, fix=FIX) from error
        text = f"lognormal:{fit.median:.6g}:{fit.sigma:.6g}:{fit.jitter:g}"
    elif _is_number(text):
        text = f"lognormal:{text}"
    latency_of(text)
    return text


def latency_of(text: str) -> Latency:
    """The model of such a text.  Raises ``InvalidInput``."""
    kind, *words = text.split(":")
    if kind not in MODELS:
        raise InvalidInput(f"{text[:80]!r} is no latency.", fix=FIX)
    model, most = MODELS[kind]
    if len(words) > len(most) or not all(_is_number(word, top) for word, top in zip(words, most, strict=False)):
        tops = ", ".join(f"{top:g}" for top in most)
        raise InvalidInput(f"{text[:80]!r} is no latency: {kind} takes numbers from 0 up to {tops}.", fix=FIX)
    try:
        return model(*map(float, words))
    except InvalidInput as error:
        raise InvalidInput(error.cause, fix=FIX) from error


def _is_number(text: str, most: float = math.inf) -> bool:
    try:
        return 0 <= float(text) <= most
    except ValueError:
        return False
