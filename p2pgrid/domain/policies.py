"""What may go into submitted code, and what may come out of it and how often.

A policy is data (``{"kind": ..., ...}``) that becomes one of these objects; its rules are pure functions of what was
given and of what was spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from p2pgrid.errors import InvalidInput, PolicyRefused

MAX_INPUTS: Final = 32
MAX_EXECUTIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Given:
    """One input of a call: an asset's id, or the digest (hexadecimal) of the content the caller holds."""

    asset: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """The code runs on exactly the assets that its request names, each under its own argument."""

    kind: ClassVar[str] = "ExactMatch"
    inputs: Mapping[str, str]
    """Argument -> asset id."""

    def check(self, given: Mapping[str, Given], digests: Mapping[str, str | None]) -> None:
        """Raise ``PolicyRefused`` unless ``given`` is what the policy names.

        ``digests``: asset id -> digest of its private content, ``None`` when that is gone.
        """
        missing = sorted(set(self.inputs) - set(given))
        unknown = sorted(set(given) - set(self.inputs))
        if missing or unknown:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"knows no {', '.join(unknown)}"] * bool(unknown)
            raise PolicyRefused(f"The call {' and '.join(parts)}.")
        for name, asset in self.inputs.items():
            value = given[name]
            same_content = value.digest is not None and value.digest == digests.get(asset)
            fits = value.asset == asset if value.asset is not None else same_content
            if not fits:
                raise PolicyRefused(f"The input {name} is not the asset that the request names for it.")


class Step(StrEnum):
    """What a call of approved code comes to."""

    RUN = "run"
    """Run it on the private data, spend once, release the result."""
    RELEASE = "release"
    """Release the result that the owner deposited, and spend once."""
    AGAIN = "again"
    """Answer what was released before."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class SingleExecutionExactOutput:
    """One result, as it is, once; asked for again, the same one is given again."""

    kind: ClassVar[str] = "SingleExecutionExactOutput"
    limit: ClassVar[int] = 1

    def to_wire(self) -> str:
        """As it travels."""
        return self.kind


@dataclass(frozen=True, slots=True)
class ExecuteCount:
    """Up to ``limit`` runs, each with its own result; then the last one again."""

    kind: ClassVar[str] = "OutputPolicyExecuteCount"
    limit: int

    def to_wire(self) -> dict[str, Any]:
        """As it travels."""
        return {"kind": self.kind, "limit": self.limit}


OutputPolicy = SingleExecutionExactOutput | ExecuteCount


@dataclass(frozen=True, slots=True)
class Spending:
    """What a request has spent and holds.

    ``spent``: results released so far.  ``deposited``: a result of the owner's waits to be released.  ``runnable``:
    the owner approved running it (a deposit alone approves only what was deposited).
    """

    spent: int
    deposited: bool
    runnable: bool


def next_step(policy: OutputPolicy, spending: Spending) -> Step:
    """What a call of an approved request comes to under its output policy."""
    if spending.spent < policy.limit:
        if spending.deposited:
            return Step.RELEASE
        if spending.runnable:
            return Step.RUN
    return Step.AGAIN if spending.spent else Step.REFUSE


def parse_input(raw: Any, inputs: Mapping[str, str]) -> ExactMatch:
    """An input policy from ``"ExactMatch"`` or ``{"kind": "ExactMatch"}``.  Raises ``InvalidInput``."""
    if _kind(raw) != ExactMatch.kind:
        raise InvalidInput(f"{_kind(raw)[:60]!r} is no input policy; there is {ExactMatch.kind}.")
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise InvalidInput(f"An input policy names 1 to {MAX_INPUTS} inputs.")
    return ExactMatch(dict(inputs))


def parse_output(raw: Any) -> OutputPolicy:
    """An output policy from its name or ``{"kind": ..., "limit": ...}``.  Raises ``InvalidInput``."""
    kind = _kind(raw)
    if kind == SingleExecutionExactOutput.kind:
        return SingleExecutionExactOutput()
    if kind == ExecuteCount.kind:
        limit = raw.get("limit") if isinstance(raw, dict) else None
        if type(limit) is not int or not 1 <= limit <= MAX_EXECUTIONS:
            raise InvalidInput(f"{kind} needs a limit of 1 to {MAX_EXECUTIONS} executions.")
        return ExecuteCount(limit)
    kinds = f"{SingleExecutionExactOutput.kind} and {ExecuteCount.kind}"
    raise InvalidInput(f"{kind[:60]!r} is no output policy; there are {kinds}.")


def _kind(raw: Any) -> str:
    """The policy's name; the empty one for what is no policy at all, such as an array."""
    kind = raw.get("kind") if isinstance(raw, dict) else raw
    return kind if isinstance(kind, str) else ""
