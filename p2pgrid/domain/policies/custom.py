"""Policies that are code: a class that its author sends, read like a function and run only under confinement.

The state of a policy is its instance's attributes, as JSON.  Each run makes the instance anew from the state of the
last release; what the run answers becomes the state only in the transaction that releases the result.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.domain.review import MAX_CODE, MAX_NAME, parse_source, plain_text
from p2pgrid.errors import BadCode, InvalidInput, RemoteError

MAX_STATE: Final = 16 << 10
"""Bytes of a policy's state, and of what it was made with, as JSON."""
MAX_PUBLIC: Final = 2000
"""Characters of what a policy says of its state to both sides."""
MAX_WHY: Final = 500


@dataclass(frozen=True, slots=True)
class PolicyCode:
    """A class, its source as sent, and the JSON that it is made with."""

    name: str
    source: str
    init: Mapping[str, Any]

    def words(self) -> str:
        """The class and what it is made with, as a reviewer reads it."""
        made = ", ".join(f"{name}={value!r}" for name, value in self.init.items())
        return f"{self.name}({made[:MAX_WHY]})"

    def to_wire(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "code": self.source, "init": dict(self.init)}


@dataclass(frozen=True, slots=True)
class PolicyState:
    """``text``: the state as JSON.  ``open``: the policy would let another result out.  ``public``: for both sides."""

    text: str
    open: bool
    public: str

    def to_row(self) -> dict[str, Any]:
        """As it is stored."""
        return {"text": self.text, "open": self.open, "public": self.public}

    @classmethod
    def from_row(cls, raw: Mapping[str, Any]) -> PolicyState:
        """What ``to_row`` wrote."""
        return cls(str(raw["text"]), bool(raw["open"]), str(raw["public"]))


@dataclass(frozen=True, slots=True)
class Decision:
    """What a custom output policy made of a result: the value to let out (packed), or why none."""

    out: bytes | None
    why: str
    state: PolicyState | None


def parse_code(raw: Mapping[str, Any], base: str) -> PolicyCode:
    """A policy's class from ``{"name": ..., "code": ..., "init": {...}}``.  Raises ``InvalidInput``.

    The class is not read yet: ``class_source`` does that.
    """
    name, source, init = raw.get("name"), raw.get("code"), raw.get("init") or {}
    if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_NAME or not isinstance(source, str):
        raise InvalidInput(f"A {base} needs the name and the code of a class.")
    if not isinstance(init, dict) or len(_json(init)) > MAX_STATE:
        raise InvalidInput(f"A {base} is made with named JSON values of at most {MAX_STATE} bytes.")
    return PolicyCode(name, source, init)


def class_source(code: PolicyCode, base: str) -> str:
    """The class that runs: what was read, over our own base, without decorators.  Raises ``BadCode``."""
    if len(code.source) > MAX_CODE:
        raise BadCode(f"The code is over {MAX_CODE} bytes.")
    tree = parse_source(plain_text(code.source))
    node = tree.body[0] if tree.body else None
    if len(tree.body) != 1 or not isinstance(node, ast.ClassDef) or node.name != code.name:
        raise BadCode(f"A policy is one class, {code.name}, and nothing beside it.")
    if not any(ast.unparse(item).rpartition(".")[2] == base for item in node.bases) or node.keywords:
        raise BadCode(f"The class {code.name} must be made from {base}.")
    for inner in ast.walk(node):
        if isinstance(inner, (ast.AsyncFunctionDef, ast.Await, ast.Global)):
            raise BadCode(f"Line {inner.lineno}: a policy has no async and no global.")
    node.bases, node.decorator_list = [ast.Name(base, ast.Load())], []
    try:
        return ast.unparse(node)
    except RecursionError:
        raise BadCode("The code is nested too deep.") from None


_HEAD: Final = """from __future__ import annotations
from typing import Any
import json, types
"""
_OUTPUT: Final = """
class CustomOutputPolicy:
    def __init__(self, *args, **kwargs):
        pass
    def is_valid(self, context):
        return True
    def apply_to_output(self, context, outputs, update_policy=True):
        return outputs
    def public_state(self):
        return ""

{source}

def decide(outputs, about):
    from p2pgrid import wire
    context = types.SimpleNamespace(**about["context"])
    if about["state"] is None:
        policy = {name}(**about["init"])
    else:
        policy = {name}.__new__({name})
        policy.__dict__.update(json.loads(about["state"]))
    valid = getattr(policy, "_is_valid", policy.is_valid)
    answer = {{"out": None, "why": "The policy lets nothing more out."}}
    if valid(context):
        let = policy.apply_to_output(context, wire.unpack_value(outputs, arrow=False), True)
        if let is not None:
            answer = {{"out": wire.pack_value(let, arrow=False), "why": ""}}
            context.released += 1
    state = json.dumps(vars(policy), allow_nan=False)
    return {{**answer, "state": state, "open": bool(valid(context)), "public": str(policy.public_state() or "")}}
"""
_INPUT: Final = """
class CustomInputPolicy:
    def __init__(self, *args, **kwargs):
        pass
    def is_valid(self, context, inputs):
        return True
    def filter_kwargs(self, kwargs, context, code_item=None):
        return kwargs

{source}

def decide(about):
    context = types.SimpleNamespace(**about["context"])
    policy = {name}(**about["init"])
    if not policy.is_valid(context, dict(about["kwargs"])):
        return {{"ok": False, "kwargs": ""}}
    kwargs = policy.filter_kwargs(dict(about["kwargs"]), context, None)
    if not isinstance(kwargs, dict):
        return {{"ok": False, "kwargs": ""}}
    return {{"ok": True, "kwargs": json.dumps(kwargs, allow_nan=False)}}
"""
ENTRY: Final = "decide"
"""The function of either program."""


def output_program(code: PolicyCode) -> str:
    """The program whose ``decide(outputs, about)`` applies an output policy to a packed result."""
    return _HEAD + _OUTPUT.format(source=class_source(code, "CustomOutputPolicy"), name=code.name)


def input_program(code: PolicyCode) -> str:
    """The program whose ``decide(about)`` applies an input policy to the values of a call."""
    return _HEAD + _INPUT.format(source=class_source(code, "CustomInputPolicy"), name=code.name)


def read_output(result: bytes, limit: int) -> Decision:
    """What ``output_program`` answered.  A stranger's code made it: anything else than an answer lets nothing out."""
    try:
        raw = wire.unpack(result, limit=limit + 4 * MAX_STATE)
        out, state, is_open = raw["out"], raw["state"], raw["open"] is True
        if not all(isinstance(raw[name], str) for name in ("state", "why", "public")):
            raise TypeError("no text")
        if len(state) > MAX_STATE:
            return Decision(None, f"The policy's state is over {MAX_STATE} bytes.", None)
        if not isinstance(json.loads(state), dict) or not (out is None or isinstance(out, bytes)):
            raise ValueError("no answer")
        kept = PolicyState(state, is_open, raw["public"][:MAX_PUBLIC])
        return Decision(out, raw["why"][:MAX_WHY], kept)
    except (RemoteError, KeyError, TypeError, ValueError, RecursionError):
        return Decision(None, "The policy answered with something that is no decision.", None)


def read_input(result: bytes) -> dict[str, Any] | None:
    """The arguments that ``input_program`` let through; ``None`` when it refused them."""
    try:
        raw = wire.unpack(result, limit=1 << 22)
        kwargs = json.loads(raw["kwargs"]) if raw["ok"] is True else None
    except (RemoteError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return kwargs if isinstance(kwargs, dict) else None


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput("A policy is made with JSON values.") from None
