"""The source of what a person defined in a file or a notebook: functions, and classes of policies."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import json
import linecache
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from p2pgrid.errors import BadCode, InvalidInput

FIX = "Define it in a file or a notebook cell; what is typed at a bare prompt keeps no source."
GIVEN = frozenset({"json", "types", "Any", "__class__"})
"""Names that the run of a policy gives its class."""


def source_of(function: Callable[..., Any]) -> str:
    """The source text of a function.  Raises ``BadCode`` where Python cannot find it."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise BadCode(f"The source of {getattr(function, '__name__', function)!r} cannot be found.", fix=FIX) from error


def class_source(kind: type, base: type) -> dict[str, str]:
    """Name and source of a policy's class.  Raises ``BadCode`` when it is not ``base``'s own child, or needs more."""
    if kind.__bases__ != (base,):
        raise BadCode(f"The class {kind.__name__} must be made from {base.__name__} itself; only one class travels.")
    methods = [item for item in vars(kind).values() if isinstance(item, FunctionType)]
    outside = {name for method in methods for name in names_from_outside(method)}
    outside -= {*GIVEN, kind.__name__, base.__name__, *vars(kind)}
    if outside:
        needed = ", ".join(sorted(outside))
        raise BadCode(
            f"The class {kind.__name__} uses {needed} from outside of it; only the class travels.",
            fix="Import and define what it needs inside its methods.",
        )
    return {"name": kind.__name__, "code": _class_text(kind, methods)}


def _class_text(kind: type, methods: list[FunctionType]) -> str:
    """Python finds no class of a notebook by itself: the lines around one of its methods are what there is."""
    for method in methods:
        text = "".join(linecache.getlines(method.__code__.co_filename))
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        line = method.__code__.co_firstlineno
        for node in ast.walk(tree):
            held = isinstance(node, ast.ClassDef) and node.name == kind.__name__
            if held and node.lineno <= line <= (node.end_lineno or 0):  # type: ignore[attr-defined]
                return textwrap.dedent("\n".join(text.split("\n")[node.lineno - 1 : node.end_lineno])) + "\n"  # type: ignore[attr-defined]
    try:
        return textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError) as error:
        raise BadCode(f"The source of {kind.__name__!r} cannot be found.", fix=FIX) from error


def made_with(kind: type, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """What a class was called with, by name.  Raises ``InvalidInput`` for what is no JSON."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    if any(item.kind is item.VAR_POSITIONAL for item in parameters) and args:
        raise InvalidInput(f"Make {kind.__name__} with named values.")
    places = [item.name for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    made = {**dict(zip(places, args, strict=False)), **named}
    try:
        json.dumps(made, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{kind.__name__} is made with something that is no JSON: {error}.") from error
    return made


def names_from_outside(function: Callable[..., Any]) -> list[str]:
    """Names that a function takes from its module or an enclosing function; they would be missing where it runs."""
    code = getattr(function, "__code__", None)
    found = set(_globals_of(code) if code else ()) - set(dir(builtins)) - {function.__name__}
    return sorted(found | set(code.co_freevars if code else ()) - {function.__name__})


def _globals_of(code: CodeType) -> Iterator[str]:
    steps = list(dis.get_instructions(code))
    own = {step.argval for step in steps if step.opname == "STORE_NAME"} | {"__name__"}  # of a class inside it
    for step in steps:
        if step.opname == "LOAD_GLOBAL" or (step.opname == "LOAD_NAME" and step.argval not in own):
            yield str(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals_of(inner)
