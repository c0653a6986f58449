"""Policies as a person writes them: what may go into a function, and what may come out of it and how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from p2pgrid import assets
from p2pgrid.client.show import Shown
from p2pgrid.client.sources import class_source, made_with
from p2pgrid.domain.policies import Rule, Value, parse_input, parse_output, parse_rules
from p2pgrid.domain.policies import UserOwned as OwnedSpec
from p2pgrid.errors import InvalidInput

TYPES: Mapping[type, str] = {kind: kind.__name__ for kind in (int, float, bool, str, list, dict, bytes)}


class HasAsset(Protocol):
    """Something that stands for an asset of a domain."""

    @property
    def asset_id(self) -> str:
        """The id of the asset."""
        ...


class InputPolicy(Shown):
    """What may go in.  ``inputs``: argument -> asset id; ``names``: every argument that gets a value."""

    kind: ClassVar[str] = ""
    inputs: dict[str, str]

    @property
    def names(self) -> set[str]:
        """Every argument that the policy gives a value."""
        return parse_input(self.to_wire(), self.inputs).names if self.inputs or self.kind != "ExactMatch" else set()

    def to_wire(self) -> Any:
        """As it travels; the assets travel beside it."""
        return self.kind

    def __repr__(self) -> str:
        parts = {name: value for name, value in self.fields().items() if name != "input policy"}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in parts.items())})"


class ExactMatch(InputPolicy):
    """Input policy: the function runs on these assets and on nothing else.  ``ExactMatch(data=asset)``."""

    kind = "ExactMatch"

    def __init__(self, **inputs: HasAsset) -> None:
        for name, asset in inputs.items():
            if not hasattr(asset, "asset_id"):
                raise InvalidInput(
                    f"ExactMatch({name}=...) got a value of type {type(asset).__name__}, which is no asset.",
                    fix="Pass an asset of a dataset: ExactMatch(data=dataset.assets[0])",
                )
        self.inputs = {name: asset.asset_id for name, asset in inputs.items()}

    def fields(self) -> Mapping[str, Any]:
        """Which asset each parameter gets."""
        return {"input policy": self.kind, **self.inputs}


class Matches(Shown):
    """In a ``MixedInputPolicy``: this asset and no other."""

    def __init__(self, asset: HasAsset) -> None:
        if not hasattr(asset, "asset_id"):
            raise InvalidInput(f"Matches(...) got a value of type {type(asset).__name__}, which is no asset.")
        self.asset_id = asset.asset_id

    def fields(self) -> Mapping[str, Any]:
        """The asset."""
        return {"asset": self.asset_id}


class Constant(Shown):
    """In a ``MixedInputPolicy``: a value that the request fixes; the owner approves just this value."""

    def __init__(self, val: Any) -> None:
        self.val = val

    def to_wire(self) -> dict[str, str]:
        """As it travels."""
        return value_wire(self.val)

    def fields(self) -> Mapping[str, Any]:
        """The value, shortened."""
        return {"constant": repr(self.val)[:200]}


class UserOwned(Shown):
    """A value of your own, handed in at each call: its type, and what bounds it.

    ``type``: int, float, bool, str, list, dict, bytes, or "numpy", "frame", "json".  ``most``: bytes.  ``low`` and
    ``high``: of a number.  ``example``: what the run on the mock is given; without one the function does not run there.
    """

    def __init__(
        self,
        type: Any = "json",
        *,
        most: int = 64 << 10,
        low: float | None = None,
        high: float | None = None,
        example: Any = None,
    ) -> None:
        kind = type if isinstance(type, str) else TYPES.get(type) or _kind_of(type)
        held = value_of(example) if example is not None else None
        self.spec = OwnedSpec(kind, most, low, high, held)

    def fields(self) -> Mapping[str, Any]:
        """Its bounds."""
        return {"value of the caller": self.spec.words()}


class MixedInputPolicy(InputPolicy):
    """Input policy of several parts: assets (``Matches``), ``Constant`` and ``UserOwned`` values.

    ``MixedInputPolicy(data=Matches(asset), plus=Constant(0.5), factor=UserOwned(int, low=1, high=10))``
    """

    kind = "MixedInputPolicy"

    def __init__(self, **parts: Any) -> None:
        self.inputs, self.constants, self.user_owned = {}, {}, {}
        for name, part in parts.items():
            if hasattr(part, "asset_id"):
                self.inputs[name] = part.asset_id
            elif isinstance(part, UserOwned):
                self.user_owned[name] = part
            else:
                self.constants[name] = part if isinstance(part, Constant) else Constant(part)
        parse_input(self.to_wire(), self.inputs)

    def to_wire(self) -> Any:
        """As it travels."""
        constants = {name: part.to_wire() for name, part in self.constants.items()}
        owned = {name: part.spec.to_wire() for name, part in self.user_owned.items()}
        return {"kind": self.kind, "constants": constants, "user_owned": owned}

    def fields(self) -> Mapping[str, Any]:
        """What each parameter gets."""
        parts = {**self.constants, **self.user_owned}
        told = {name: next(iter(part.fields().values())) for name, part in parts.items()}
        return {"input policy": self.kind, **self.inputs, **told}


class _Made(type):
    """Remembers what an instance was made with: that travels, beside the source of its class."""

    def __call__(cls, *args: Any, **named: Any) -> Any:
        kept = {name: named.pop(name) for name in list(named) if cls._is_part(name, named[name])}  # type: ignore[attr-defined]
        policy = super().__call__(*args, **named)
        policy._parts, policy._init = kept, made_with(cls, args, named)
        policy.to_wire()
        return policy


class CustomInputPolicy(InputPolicy, metaclass=_Made):
    """Subclass it: ``is_valid`` refuses a call's values, ``filter_kwargs`` changes them.

    Assets and ``UserOwned`` values are given by name when it is made; the rest goes to ``__init__``, as JSON.  The
    class is sent as source, read by the owner, and run confined at each call; it can narrow a call, and never choose
    other assets.
    """

    kind = "CustomInputPolicy"
    _parts: dict[str, Any]
    _init: dict[str, Any]

    def is_valid(self, context: Any, inputs: dict[str, Any]) -> bool:
        """Whether the function may run.  ``context``: requester, function, released."""
        return True

    def filter_kwargs(self, kwargs: dict[str, Any], context: Any, code_item: Any = None) -> dict[str, Any]:
        """The values that the function gets; every name must be there, and assets stay as they are."""
        return kwargs

    @staticmethod
    def _is_part(name: str, value: Any) -> bool:
        return hasattr(value, "asset_id") or isinstance(value, UserOwned)

    @property
    def inputs(self) -> dict[str, str]:  # type: ignore[override]
        """Argument -> asset id."""
        return {name: part.asset_id for name, part in self._parts.items() if hasattr(part, "asset_id")}

    def to_wire(self) -> Any:
        """As it travels."""
        owned = {name: part.spec.to_wire() for name, part in self._parts.items() if isinstance(part, UserOwned)}
        return {
            "kind": self.kind,
            "user_owned": owned,
            **class_source(type(self), CustomInputPolicy),
            "init": self._init,
        }

    def fields(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {"input policy": type(self).__name__, **self.inputs, **self._init}


class OutputPolicy(Shown):
    """What may come out.  ``rules``: conditions on each result, such as ``NoAssetRows()``."""

    kind: ClassVar[str] = ""

    def __init__(self, *, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        rule_wires(self.rules)

    def to_wire(self) -> Any:
        """As it travels."""
        more = self._more()
        if self.rules:
            more["rules"] = rule_wires(self.rules)
        return {"kind": self.kind, **more} if more else self.kind

    def _more(self) -> dict[str, Any]:
        return {}

    def fields(self) -> Mapping[str, Any]:
        """What comes out."""
        told = {"rules": ", ".join(map(repr, self.rules))} if self.rules else {}
        return {"output policy": self.kind, **self._more(), **told}

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self._more().items()]
        parts += [f"rules={list(self.rules)!r}"] if self.rules else []
        return f"{type(self).__name__}({', '.join(parts)})"


class SingleExecutionExactOutput(OutputPolicy):
    """Output policy: one run, whose exact result is released; asking again gives that same result."""

    kind = "SingleExecutionExactOutput"


OutputPolicyExecuteOnce = SingleExecutionExactOutput
"""The same under its other name."""


class OutputPolicyExecuteCount(OutputPolicy):
    """Output policy: up to ``limit`` runs, each with its own result; after that the last one again."""

    kind = "OutputPolicyExecuteCount"

    def __init__(self, limit: int, *, rules: Iterable[Rule] = ()) -> None:
        self.limit = limit
        super().__init__(rules=rules)
        parse_output(self.to_wire())

    def _more(self) -> dict[str, Any]:
        return {"limit": self.limit}


class CustomOutputPolicy(OutputPolicy, metaclass=_Made):
    """Subclass it: ``apply_to_output`` gives what comes out (``None``: nothing), ``is_valid`` whether more may.

    The attributes of the instance are its state, as JSON: they are kept with each release, and only then.  The class is
    sent as source, read by the owner, and run confined.  ``rules=`` may be given when it is made.
    """

    kind = "CustomOutputPolicy"
    _parts: dict[str, Any]
    _init: dict[str, Any]

    def __init__(self, *args: Any, **named: Any) -> None:
        """A subclass sets its state here."""

    def is_valid(self, context: Any) -> bool:
        """Whether another result may come out.  ``context``: requester, function, released."""
        return True

    def apply_to_output(self, context: Any, outputs: Any, update_policy: bool = True) -> Any:
        """What comes out of what the function returned."""
        return outputs

    def public_state(self) -> Any:
        """What both sides see of the state."""
        return ""

    @staticmethod
    def _is_part(name: str, value: Any) -> bool:
        return name == "rules"

    def to_wire(self) -> Any:
        """As it travels."""
        rules = rule_wires(self._parts.get("rules", ()))
        said = {"kind": self.kind, **class_source(type(self), CustomOutputPolicy), "init": self._init}
        return {**said, "rules": rules} if rules else said

    def fields(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {"output policy": type(self).__name__, **self._init}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._init.items())})"


def rule_wires(rules: Iterable[Any]) -> list[dict[str, Any]]:
    """Rules as they travel.  Raises ``InvalidInput`` for what is no rule."""
    held = list(rules)
    for rule in held:
        if not isinstance(rule, Rule):
            raise InvalidInput(
                f"{rule!r} is no rule.", fix="Use MinimumRows(10), NoAssetRows() and the like, in a list."
            )
    return [rule.to_wire() for rule in parse_rules([rule.to_wire() for rule in held])]


def value_of(value: Any) -> Value:
    """A value in the form in which it travels."""
    dumped = assets.dump(value)
    return Value(dumped.meta.kind, dumped.tobytes())


def value_wire(value: Any) -> dict[str, str]:
    """A value that is no asset, as it travels."""
    return value_of(value).to_wire()


def _kind_of(kind: Any) -> str:
    """``numpy.ndarray`` and ``pandas.DataFrame`` by their module."""
    module = getattr(kind, "__module__", "").split(".")[0]
    found = {"numpy": "numpy", "pandas": "frame"}.get(module)
    if found is None:
        raise InvalidInput(
            f"{kind!r} is no type of a value.", fix=f"Use one of {', '.join(TYPES.values())}, numpy, frame."
        )
    return found
