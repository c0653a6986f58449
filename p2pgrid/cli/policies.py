"""Policies at the command line: rules, constants, values of one's own, and classes in files."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pgrid.errors import InvalidInput, NotFound, WrongUse

if TYPE_CHECKING:
    from p2pgrid.client.policies import InputPolicy, OutputPolicy


@dataclass(frozen=True, slots=True)
class PolicyWishes:
    """What was asked for at the command line, as texts.

    ``constants``: PARAM=VALUE.  ``own``: PARAM=TYPE or PARAM=TYPE:EXAMPLE.  ``output``: FILE.py:CLASS, made with
    ``made`` (NAME=JSON).
    """

    constants: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    limit: int = 1
    rules: tuple[str, ...] = ()
    output: str = ""
    made: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``WrongUse`` for a limit beside a class."""
        if self.output and self.limit != 1:
            cause = "A class of your own decides itself how many results come out: --limit does nothing beside it."
            raise WrongUse(cause, fix="Leave --limit out; give the class a number with --policy-arg NAME=JSON.")

    @property
    def names(self) -> set[str]:
        """The parameters that get no asset."""
        return {text.partition("=")[0] for text in (*self.constants, *self.own)}

    def input_policy(self, inputs: dict[str, str]) -> InputPolicy:
        """``inputs``: parameter -> asset id.  Raises ``InvalidInput``."""
        from p2pgrid.client.held import AssetPointer
        from p2pgrid.client.policies import Constant, ExactMatch, MixedInputPolicy, UserOwned

        assets = {name: AssetPointer(an_id, name) for name, an_id in inputs.items()}
        if not self.names:
            return ExactMatch(**assets)
        parts: dict[str, Any] = {name: Constant(value) for name, value in pairs(self.constants).items()}
        for text in self.own:
            name, kind, example = _own(text)
            parts[name] = UserOwned(kind, example=example)
        return MixedInputPolicy(**assets, **parts)

    def output_policy(self) -> OutputPolicy:
        """Raises ``InvalidInput``, or ``NotFound`` for a class that is not there."""
        from p2pgrid.client.policies import OutputPolicyExecuteCount, SingleExecutionExactOutput
        from p2pgrid.domain.policies import parse_rules

        rules = parse_rules(read_rules(self.rules))
        if self.output:
            return _from_file(self.output, pairs(self.made), [rule.to_wire() for rule in rules])
        if self.made:
            raise InvalidInput("A policy's arguments need its class.", fix="Add --output-policy FILE.py:CLASS.")
        if self.limit == 1:
            return SingleExecutionExactOutput(rules=rules)
        return OutputPolicyExecuteCount(self.limit, rules=rules)


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` each: JSON, a file's value, or else a text.  Raises ``InvalidInput``."""
    from p2pgrid.cli.values import literal_or_file

    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise InvalidInput(f"{text[:80]!r} names no parameter.", fix="Write PARAM=VALUE, such as factor=3.")
        try:
            found[name] = literal_or_file(value)
        except InvalidInput:
            found[name] = value
    return found


def _own(text: str) -> tuple[str, str, Any]:
    name, separator, rest = text.partition("=")
    kind, has_example, example = rest.partition(":")
    if not separator or not name.isidentifier() or not kind:
        raise InvalidInput(f"{text[:80]!r} is no value of your own.", fix="Write PARAM=TYPE, such as factor=int:2.")
    return name, kind, pairs([f"{name}={example}"])[name] if has_example else None


def _from_file(wanted: str, made: dict[str, Any], rules: list[dict[str, Any]]) -> OutputPolicy:
    """A custom output policy out of a file, of which nothing is run."""
    from p2pgrid.client.policies import OutputPolicy

    path, separator, name = wanted.rpartition(":")
    try:
        source = Path(path).expanduser().read_text(encoding="utf-8") if separator else ""
        tree = ast.parse(source)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", fix="Check the file's name.") from error
    except (SyntaxError, ValueError) as error:
        raise InvalidInput(f"{path} is no Python: {error}.", fix="Correct the file.") from error
    node = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if node is None:
        raise NotFound(f"{wanted[:80]!r} names no class in a file.", fix="Write FILE.py:CLASS.")
    code = f"{ast.get_source_segment(source, node)}\n"
    said = {"kind": "CustomOutputPolicy", "name": name, "code": code, "init": made}

    class FromFile(OutputPolicy):
        """A policy that was read, and is not to be run here."""

        kind = name

        def to_wire(self) -> Any:
            """As it travels."""
            return {**said, "rules": rules} if rules else said

    return FromFile()


def read_rules(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Rules from ``NAME``, ``NAME=NUMBER`` or ``NAME:key=value,key=value``.  Raises ``InvalidInput``."""
    from p2pgrid.domain.policies import parse_rules

    return [rule.to_wire() for rule in parse_rules([_rule(text) for text in texts])]


def _rule(text: str) -> dict[str, Any]:
    name, separator, rest = text.partition(":")
    if not separator:
        name, _, number = text.partition("=")
        rest = f"{'bytes' if name == 'MaximumResultSize' else 'least'}={number}" if number else ""
    rule: dict[str, Any] = {"kind": name}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key in rule:
            raise InvalidInput(f"{text[:80]!r} says {key!r} twice.", fix="Say it once.")
        plain: Any = int(value) if value.isascii() and value.isdigit() else value
        rule[key] = value.split("+") if key == "by" else plain
    return rule
