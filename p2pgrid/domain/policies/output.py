"""What may come out of submitted code, and how often.

A policy is data (``{"kind": ..., ...}``) that becomes one of these objects; its rules are pure functions of what was
given and of what was spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from p2pgrid.domain.policies.custom import PolicyCode, parse_code
from p2pgrid.domain.policies.input import kind_of
from p2pgrid.domain.policies.rules import Rule, parse_rules
from p2pgrid.errors import InvalidInput

MAX_EXECUTIONS: Final = 1000
ONCE: Final = "OutputPolicyExecuteOnce"
"""Another name of ``SingleExecutionExactOutput``."""


class Step(StrEnum):
    """What a call of approved code comes to."""

    RUN = "run"
    """Run it on the private data, spend once, release the result."""
    RELEASE = "release"
    """Release the result that waits (of the owner's deposit, or of a run at the approval), and spend once."""
    AGAIN = "again"
    """Answer what was released before."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class SingleExecutionExactOutput:
    """One result, as it is, once; asked for again, the same one is given again."""

    kind: ClassVar[str] = "SingleExecutionExactOutput"
    limit: ClassVar[int] = 1
    rules: tuple[Rule, ...] = ()

    def to_wire(self) -> Any:
        """As it travels."""
        return _with_rules({"kind": self.kind}, self.rules) if self.rules else self.kind


@dataclass(frozen=True, slots=True)
class ExecuteCount:
    """Up to ``limit`` runs, each with its own result; then the last one again."""

    kind: ClassVar[str] = "OutputPolicyExecuteCount"
    limit: int
    rules: tuple[Rule, ...] = ()

    def to_wire(self) -> Any:
        """As it travels."""
        return _with_rules({"kind": self.kind, "limit": self.limit}, self.rules)


@dataclass(frozen=True, slots=True)
class CustomOutputPolicy:
    """Code of the request's author decides what comes out and how often; its state is spent with each release."""

    kind: ClassVar[str] = "CustomOutputPolicy"
    limit: ClassVar[int] = MAX_EXECUTIONS
    code: PolicyCode
    rules: tuple[Rule, ...] = ()

    def to_wire(self) -> Any:
        """As it travels."""
        return _with_rules({"kind": self.kind, **self.code.to_wire()}, self.rules)


OutputPolicy = SingleExecutionExactOutput | ExecuteCount | CustomOutputPolicy
KINDS: Final = (SingleExecutionExactOutput.kind, ONCE, ExecuteCount.kind, CustomOutputPolicy.kind)


@dataclass(frozen=True, slots=True)
class Spending:
    """What a request has spent and holds.

    ``spent``: results released so far.  ``deposited``: a result waits to be released.  ``runnable``: the owner
    approved running it (a deposit alone approves only what was deposited).  ``open``: a custom policy's state lets
    another result out.
    """

    spent: int
    deposited: bool
    runnable: bool
    open: bool = True


def next_step(policy: OutputPolicy, spending: Spending) -> Step:
    """What a call of an approved request comes to under its output policy."""
    if spending.spent < policy.limit:
        if spending.deposited:
            return Step.RELEASE
        if spending.runnable and spending.open:
            return Step.RUN
    return Step.AGAIN if spending.spent else Step.REFUSE


def parse_output(raw: Any) -> OutputPolicy:
    """An output policy from its name or ``{"kind": ..., "limit": ..., "rules": [...]}``.  Raises ``InvalidInput``."""
    kind = kind_of(raw)
    said: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    rules = parse_rules(said.get("rules"))
    if kind in (SingleExecutionExactOutput.kind, ONCE):
        return SingleExecutionExactOutput(rules)
    if kind == ExecuteCount.kind:
        limit = said.get("limit")
        if type(limit) is not int or not 1 <= limit <= MAX_EXECUTIONS:
            raise InvalidInput(f"{kind} needs a limit of 1 to {MAX_EXECUTIONS} executions.")
        return ExecuteCount(limit, rules)
    if kind == CustomOutputPolicy.kind:
        return CustomOutputPolicy(parse_code(said, kind), rules)
    raise InvalidInput(f"{kind[:60]!r} is no output policy; there are {', '.join(KINDS)}.")


def _with_rules(raw: dict[str, Any], rules: tuple[Rule, ...]) -> dict[str, Any]:
    return {**raw, "rules": [rule.to_wire() for rule in rules]} if rules else raw
