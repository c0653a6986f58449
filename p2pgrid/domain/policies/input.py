"""What may go into submitted code: assets that the request names, values that it fixes, values of its author."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast

from p2pgrid.domain.policies.custom import PolicyCode, parse_code
from p2pgrid.domain.policies.values import MAX_VALUE, Value, parse_value
from p2pgrid.errors import InvalidInput, PolicyRefused

MAX_INPUTS: Final = 30
"""Two fewer than a run takes: the rules' run has the same inputs, the result and the rules."""
MAX_CUSTOM_VALUE: Final = 64 << 10
"""Bytes of a value that a custom input policy looks at."""

JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "json": (object,),
}
"""Types of a value that are JSON; a bool is no number here."""
FORMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(JSON_TYPES, "json"),
    "str": "text",
    "bytes": "bytes",
    "numpy": "numpy",
    "frame": "frame",
}
"""Type of a value -> the form in which it comes."""


@dataclass(frozen=True, slots=True)
class Given:
    """One input of a call: an asset's id, the digest (hexadecimal) of content the caller holds, or a value."""

    asset: str | None = None
    digest: str | None = None
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class UserOwned:
    """A value that the author hands in at the call: its type, its size, and for numbers its range.

    Of arrays and tables only the form is known here; the confined run reads them, and fails where they are none.
    """

    type: str
    most: int = MAX_VALUE
    low: float | None = None
    high: float | None = None
    example: Value | None = None
    """What the run on the mock is given."""

    def check(self, name: str, value: Value) -> None:
        """Raise ``PolicyRefused`` unless ``value`` may go in."""
        if value.kind != FORMS[self.type] or len(value.data) > self.most:
            raise PolicyRefused(f"The input {name} must be of type {self.type} and at most {self.most} bytes.")
        if self.type not in JSON_TYPES:
            return
        said: Any = value.json()
        fits: bool = isinstance(said, JSON_TYPES[self.type])
        if not fits or (isinstance(said, bool) and self.type not in ("bool", "json")):
            raise PolicyRefused(f"The input {name} must be of type {self.type}.")
        too_low = self.low is not None and not said >= self.low
        if too_low or (self.high is not None and not said <= self.high):
            raise PolicyRefused(f"The input {name} must be {self._range()}.")

    def _range(self) -> str:
        bounds = (("at least", self.low), ("at most", self.high))
        parts = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        return " and ".join(parts)

    def words(self) -> str:
        """As a reviewer reads it."""
        rest = f", {self._range()}" if self._range() else ""
        article = "an" if self.type == "int" else "a"
        return f"{article} {self.type} of at most {self.most} bytes{rest}"

    def to_wire(self) -> dict[str, Any]:
        """As JSON values."""
        example = self.example.to_wire() if self.example else None
        raw = {"type": self.type, "most": self.most, "low": self.low, "high": self.high, "example": example}
        return {key: value for key, value in raw.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """The code runs on exactly the assets that its request names, each under its own argument."""

    kind: ClassVar[str] = "ExactMatch"
    inputs: Mapping[str, str]
    """Argument -> asset id."""
    constants: ClassVar[Mapping[str, Value]] = MappingProxyType({})
    user_owned: ClassVar[Mapping[str, UserOwned]] = MappingProxyType({})

    @property
    def names(self) -> set[str]:
        """Every argument of the function that the policy gives a value."""
        return set(self.inputs)

    def check(self, given: Mapping[str, Given], digests: Mapping[str, str | None]) -> dict[str, Value]:
        """The values to run with besides the assets.  Raises ``PolicyRefused`` unless ``given`` is what it names.

        ``digests``: asset id -> digest of its private content, ``None`` when that is gone.
        """
        _check_names(given, self.names, set())
        _check_assets(self.inputs, given, digests)
        return {}

    def to_wire(self) -> Any:
        """As it travels; the assets travel beside it."""
        return self.kind


@dataclass(frozen=True, slots=True)
class MixedInputPolicy:
    """Assets (``Matches``), values that the request fixes (``Constant``), and values of its author (``UserOwned``)."""

    kind: ClassVar[str] = "MixedInputPolicy"
    inputs: Mapping[str, str]
    constants: Mapping[str, Value] = field(default_factory=dict)
    user_owned: Mapping[str, UserOwned] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Every argument of the function that the policy gives a value."""
        return {*self.inputs, *self.constants, *self.user_owned}

    def check(self, given: Mapping[str, Given], digests: Mapping[str, str | None]) -> dict[str, Value]:
        """As ``ExactMatch.check``; a constant may be left out, and what is given for it must be it."""
        _check_names(given, self.names, set(self.constants))
        _check_assets(self.inputs, given, digests)
        values = dict(self.constants)
        for name in set(self.constants) & set(given):
            said = given[name].value
            if said is None or said.digest != self.constants[name].digest:
                raise PolicyRefused(f"The input {name} is fixed by the request; leave it out.")
        return {**values, **_own_values(self.user_owned, given)}

    def to_wire(self) -> Any:
        """As it travels; the assets travel beside it."""
        constants = {name: value.to_wire() for name, value in self.constants.items()}
        return {"kind": self.kind, "constants": constants, "user_owned": _wires(self.user_owned)}


@dataclass(frozen=True, slots=True)
class CustomInputPolicy:
    """Code of the request's author decides over the values of a call, and may change them.

    Which assets go in stays what the request names: the code narrows a call and never widens it.
    """

    kind: ClassVar[str] = "CustomInputPolicy"
    constants: ClassVar[Mapping[str, Value]] = MappingProxyType({})
    inputs: Mapping[str, str]
    user_owned: Mapping[str, UserOwned]
    """Arguments that the author hands in at the call."""
    code: PolicyCode

    @property
    def names(self) -> set[str]:
        """Every argument of the function that the policy gives a value."""
        return {*self.inputs, *self.user_owned}

    def check(self, given: Mapping[str, Given], digests: Mapping[str, str | None]) -> dict[str, Value]:
        """As ``ExactMatch.check``; what the code says of the values comes after."""
        _check_names(given, self.names, set())
        _check_assets(self.inputs, given, digests)
        return _own_values(self.user_owned, given)

    def to_wire(self) -> Any:
        """As it travels; the assets travel beside it."""
        return {"kind": self.kind, "user_owned": _wires(self.user_owned), **self.code.to_wire()}


InputPolicy = ExactMatch | MixedInputPolicy | CustomInputPolicy
KINDS: Final = (ExactMatch.kind, MixedInputPolicy.kind, CustomInputPolicy.kind)


def parse_input(raw: Any, inputs: Mapping[str, str]) -> InputPolicy:
    """An input policy from ``"ExactMatch"`` or ``{"kind": ..., ...}``, and its assets.  Raises ``InvalidInput``."""
    kind = kind_of(raw)
    if kind not in KINDS:
        raise InvalidInput(f"{kind[:60]!r} is no input policy; there are {', '.join(KINDS)}.")
    policy: InputPolicy
    if kind == ExactMatch.kind:
        policy = ExactMatch(dict(inputs))
    elif not isinstance(raw, dict):
        raise InvalidInput(f"{kind} says what goes in; its name alone does not.")
    else:
        policy = _parse_more(raw, kind, dict(inputs))
        if len(policy.names) < len(inputs) + len(policy.constants) + len(policy.user_owned):
            raise InvalidInput("An input policy says two things of one argument.")
    if not 1 <= len(policy.names) <= MAX_INPUTS:
        raise InvalidInput(f"An input policy names 1 to {MAX_INPUTS} inputs.")
    return policy


def kind_of(raw: Any) -> str:
    """A policy's name; the empty one for what is no policy at all, such as an array."""
    kind = raw.get("kind") if isinstance(raw, dict) else raw
    return kind if isinstance(kind, str) else ""


def named(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A map of at most ``MAX_INPUTS`` short texts.  Raises ``InvalidInput``."""
    value = raw.get(key) or {}
    if not isinstance(value, dict) or len(value) > MAX_INPUTS:
        raise InvalidInput(f"{key} must be a map of at most {MAX_INPUTS} entries.")
    if not all(isinstance(name, str) and 0 < len(name) <= 128 for name in value):
        raise InvalidInput(f"{key} must be a map with short texts as keys.")
    return value


def _parse_more(raw: dict[str, Any], kind: str, inputs: dict[str, str]) -> InputPolicy:
    owned = {name: _parse_owned(name, item) for name, item in named(raw, "user_owned").items()}
    if kind == MixedInputPolicy.kind:
        constants = {name: parse_value(item, name) for name, item in named(raw, "constants").items()}
        return MixedInputPolicy(inputs, constants, owned)
    for name, item in owned.items():
        if FORMS[item.type] != "json" or item.most > MAX_CUSTOM_VALUE:
            raise InvalidInput(f"{kind} looks at JSON of at most {MAX_CUSTOM_VALUE} bytes; {name} is more than that.")
    return CustomInputPolicy(inputs, owned, parse_code(raw, kind))


def _parse_owned(name: str, raw: Any) -> UserOwned:
    said = raw if isinstance(raw, dict) else {}
    kind, most = said.get("type"), said.get("most", MAX_VALUE)
    if not isinstance(kind, str) or kind not in FORMS:
        raise InvalidInput(f"UserOwned {name} needs a type: {', '.join(FORMS)}.")
    if type(most) is not int or not 1 <= most <= MAX_VALUE:
        raise InvalidInput(f"UserOwned {name} takes 1 to {MAX_VALUE} bytes.")
    bounds = (said.get("low"), said.get("high"))
    for bound in bounds:
        if bound is not None and (kind not in ("int", "float") or type(bound) not in (int, float) or bound != bound):
            raise InvalidInput(f"UserOwned {name} has a bound that is no number, or is of no number.")
    example = parse_value(said["example"], name, most) if said.get("example") is not None else None
    owned = UserOwned(kind, most, *cast(tuple[float | None, float | None], bounds), example)
    if example is not None:
        try:
            owned.check(name, example)
        except PolicyRefused as error:
            raise InvalidInput(f"The example is no such value. {error.cause}") from None
    return owned


def _check_names(given: Mapping[str, Given], wanted: set[str], optional: set[str]) -> None:
    missing = sorted(wanted - set(given) - optional)
    unknown = sorted(set(given) - wanted)
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"knows no {', '.join(unknown)}"] * bool(unknown)
        raise PolicyRefused(f"The call {' and '.join(parts)}.")


def _check_assets(inputs: Mapping[str, str], given: Mapping[str, Given], digests: Mapping[str, str | None]) -> None:
    for name, asset in inputs.items():
        value = given[name]
        same_content = value.digest is not None and value.digest == digests.get(asset)
        fits = value.asset == asset if value.asset is not None else same_content
        if not fits:
            raise PolicyRefused(f"The input {name} is not the asset that the request names for it.")


def _own_values(owned: Mapping[str, UserOwned], given: Mapping[str, Given]) -> dict[str, Value]:
    values = {}
    for name, wanted in owned.items():
        own = given[name].value
        if own is None:
            raise PolicyRefused(f"The input {name} is a value of your own; give {wanted.words()}.")
        wanted.check(name, own)
        values[name] = own
    return values


def _wires(parts: Mapping[str, UserOwned]) -> dict[str, Any]:
    return {name: part.to_wire() for name, part in parts.items()}
