"""Reading submitted code: one plain function, what it imports and calls, and the exact source that will run.

Nothing here runs or compiles the code.  The checks make it readable and keep surprises out; what keeps it from doing
harm is the confinement of its run.
"""

from __future__ import annotations

import ast
import re
import textwrap
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.errors import BadCode

MAX_CODE: Final = 65_536
"""Bytes of submitted source (UTF-8)."""
MAX_LISTED: Final = 200
"""Names listed for a reviewer, of imports and of calls each."""
MAX_NAME: Final = 128

_ENCODING: Final = re.compile(r"^[ \t\f]*#.*?coding[:=]")
"""PEP 263: a comment like this on the first two lines would make the bytes of a file mean another text."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORBIDDEN: Final = {
    ast.AsyncFunctionDef: "async def",
    ast.AsyncFor: "async for",
    ast.AsyncWith: "async with",
    ast.Await: "await",
    ast.Global: "global",
}


@dataclass(frozen=True, slots=True)
class ReviewedCode:
    """A function that was read: its source as given, the source to run (no decorators), and what it uses."""

    function: str
    source: str
    runnable: str
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    imports: tuple[str, ...]
    calls: tuple[str, ...]


def review(source: str) -> ReviewedCode:
    """Read submitted source.  Raises ``BadCode`` with the line where that helps."""
    text = plain_text(source)
    tree = parse_source(text)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        _refuse_outside(tree)
        raise BadCode(f"The code has {len(tree.body)} statements; it must be one function definition.")
    function = tree.body[0]
    _refuse_forbidden(function)
    parameters, required = _parameters(function)
    imports, calls = _uses(function)
    runnable = _runnable(text, function)
    return ReviewedCode(function.name, source, runnable, parameters, required, imports, calls)


def statement(
    *,
    node: str,
    account: str,
    project: str | None,
    name: str,
    code: str,
    inputs: Mapping[str, str],
    input_policy: Any,
    output_policy: Any,
    reason: str,
    environment: str = "",
) -> bytes:
    """What the author of a request signs, in the context ``code-request``: its fields just as they are sent.

    ``node`` is the id of the node that it is for and ``account`` the e-mail that it is sent as, so that it is worth
    nothing elsewhere, or as a request of somebody else.
    """
    fields = {
        "node": node,
        "account": account,
        "project": project,
        "name": name,
        "code": code,
        "inputs": dict(inputs),
        "input_policy": input_policy,
        "output_policy": output_policy,
        "reason": reason,
        "environment": environment,
    }
    return wire.pack_canonical(fields)


def check_inputs(code: ReviewedCode, names: set[str]) -> None:
    """Raise ``BadCode`` unless the function can be called with exactly these arguments."""
    unknown = sorted(names - set(code.parameters))
    missing = sorted(set(code.required) - names)
    if unknown:
        raise BadCode(f"The function {code.function} has no parameter {', '.join(unknown)}.")
    if missing:
        raise BadCode(f"The function {code.function} needs an input for {', '.join(missing)}.")


def plain_text(source: str) -> str:
    """Source as it will be read: one kind of line end, nothing invisible.  Raises ``BadCode``."""
    if len(source) > MAX_CODE or len(source.encode("utf-8", "surrogatepass")) > MAX_CODE:
        raise BadCode(f"The code is over {MAX_CODE} bytes.")
    text = textwrap.dedent(source.replace("\r\n", "\n")).strip("\n") + "\n"
    for number, line in enumerate(text.split("\n"), start=1):
        # Characters that an editor does not show, or that turn the direction of a line, make code look like
        # other code than it is (CVE-2021-42574, "Trojan Source").
        if any(char != "\t" and unicodedata.category(char) in _HIDDEN for char in line):
            raise BadCode(f"Line {number} of the code holds a character that cannot be seen; write it as an escape.")
        if number <= 2 and _ENCODING.match(line):
            raise BadCode(f"Line {number} of the code declares an encoding; it is always UTF-8.")
    return text


def parse_source(text: str) -> ast.Module:
    """Its tree.  Raises ``BadCode``."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise BadCode(f"The code is no Python: {error.msg}, line {error.lineno}.") from None
    except (ValueError, RecursionError, MemoryError):
        raise BadCode("The code is nested too deep or holds a value that cannot be read.") from None


def _refuse_outside(tree: ast.Module) -> None:
    for statement in tree.body:
        if isinstance(statement, ast.AsyncFunctionDef):
            raise BadCode(f"Line {statement.lineno}: async def cannot be submitted.")
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            raise BadCode(f"Line {statement.lineno}: the import stands outside of the function.")


def _refuse_forbidden(function: ast.FunctionDef) -> None:
    for node in ast.walk(function):
        for kind, words in _FORBIDDEN.items():
            if isinstance(node, kind):
                raise BadCode(f"Line {getattr(node, 'lineno', '?')}: {words} cannot be submitted.")
        if isinstance(node, ast.comprehension) and node.is_async:
            raise BadCode("An async comprehension cannot be submitted.")


def _parameters(function: ast.FunctionDef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    args = function.args
    if args.vararg or args.kwarg or args.posonlyargs:
        raise BadCode(f"The function {function.name} has *, ** or positional-only parameters; name each one.")
    if len(function.name) > MAX_NAME:
        raise BadCode(f"The function's name is over {MAX_NAME} characters.")
    plain = [arg.arg for arg in args.args]
    required = plain[: len(plain) - len(args.defaults)]
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        plain.append(arg.arg)
        if default is None:
            required.append(arg.arg)
    return tuple(plain), tuple(required)


def _uses(function: ast.FunctionDef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    imports: dict[str, None] = {}
    calls: dict[str, None] = {}
    # Decorators do not run, so what they call says nothing about the function.
    for node in (inner for part in (function.args, *function.body) for inner in ast.walk(part)):
        if isinstance(node, ast.Import):
            imports.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            imports.update(dict.fromkeys(f"{base}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Call):
            calls[_dotted(node.func)] = None
    return tuple(sorted(imports)[:MAX_LISTED]), tuple(sorted(calls)[:MAX_LISTED])


def _dotted(node: ast.expr) -> str:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    names.append(node.id if isinstance(node, ast.Name) else "(...)")
    return ".".join(reversed(names))[:MAX_NAME]


def _runnable(text: str, function: ast.FunctionDef) -> str:
    """The function's own lines, at the line numbers they had, so that an error names the line its author wrote."""
    lines = text.split("\n")
    blank = function.lineno - 1
    first = "from __future__ import annotations" if blank and _annotated(function) else ""
    body = lines[blank : function.end_lineno]
    runnable = "\n".join([first, *[""] * (blank - 1), *body] if blank else body) + "\n"
    if not blank and _annotated(function):
        runnable = "from __future__ import annotations\n" + runnable
    _must_be_same(runnable, function)
    return runnable


def _annotated(function: ast.FunctionDef) -> bool:
    """Whether annotations would be evaluated where the names in them do not exist."""
    return any(
        (isinstance(node, ast.arg) and node.annotation is not None)
        or (isinstance(node, ast.FunctionDef) and node.returns is not None)
        for node in ast.walk(function)
    )


def _must_be_same(runnable: str, function: ast.FunctionDef) -> None:
    """What runs must be what was read: compare both as trees."""
    again = parse_source(runnable).body[-1]
    try:
        plain = ast.dump(again)
        decorators, function.decorator_list = function.decorator_list, []
        expected = ast.dump(function)
        function.decorator_list = decorators
    except RecursionError:
        raise BadCode("The code is nested too deep.") from None
    if plain != expected:
        raise BadCode("The code does not read the same without its decorators.")
