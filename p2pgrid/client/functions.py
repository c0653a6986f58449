"""A function to be sent: its source, and the policies it is bound to."""

from __future__ import annotations

import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, Protocol

from p2pgrid.client.show import Shown
from p2pgrid.errors import BadCode, InvalidInput


class HasAsset(Protocol):
    """Something that stands for an asset of a domain."""

    @property
    def asset_id(self) -> str:
        """The id of the asset."""
        ...


class ExactMatch(Shown):
    """Input policy: the function runs on these assets and on nothing else.  ``ExactMatch(data=asset)``."""

    kind = "ExactMatch"

    def __init__(self, **inputs: HasAsset) -> None:
        for name, asset in inputs.items():
            if not hasattr(asset, "asset_id"):
                raise InvalidInput(
                    f"ExactMatch({name}=...) got a {type(asset).__name__}, which is no asset.",
                    fix="Pass an asset of a dataset: ExactMatch(data=dataset.assets[0])",
                )
        self.inputs = {name: asset.asset_id for name, asset in inputs.items()}

    def fields(self) -> Mapping[str, Any]:
        """Which asset each parameter gets."""
        return {"input policy": self.kind, **self.inputs}

    def __repr__(self) -> str:
        return f"ExactMatch({', '.join(f'{name}={an_id}' for name, an_id in self.inputs.items())})"


class SingleExecutionExactOutput(Shown):
    """Output policy: one run, whose exact result is released; asking again gives that same result."""

    kind = "SingleExecutionExactOutput"

    def fields(self) -> Mapping[str, Any]:
        """What comes out."""
        return {"output policy": self.kind}

    def __repr__(self) -> str:
        return "SingleExecutionExactOutput()"


class GridFunction(Shown):
    """A Python function with its policies, ready for ``create_code_request``; calling it runs it right here."""

    def __init__(
        self, function: Callable[..., Any], input_policy: ExactMatch, output_policy: SingleExecutionExactOutput
    ) -> None:
        self._function = function
        self.name = function.__name__
        self.code = source_of(function)
        if outside := names_from_outside(function):
            raise BadCode(
                f"The function {self.name} uses {', '.join(outside)} from outside of it; only the function travels.",
                fix="Import and define what it needs inside the function.",
            )
        self.input_policy = input_policy
        self.output_policy = output_policy
        names = set(inspect.signature(function).parameters)
        if set(input_policy.inputs) - names:
            unknown = ", ".join(sorted(set(input_policy.inputs) - names))
            raise BadCode(f"The function {self.name} has no parameter named {unknown}.")

    def __call__(self, **inputs: Any) -> Any:
        """Run the function here, on whatever is given (a mock, usually)."""
        return self._function(**inputs)

    def fields(self) -> Mapping[str, Any]:
        """Its code and policies."""
        policies = {"input_policy": repr(self.input_policy), "output_policy": repr(self.output_policy)}
        return {"name": self.name, **policies, "code": self.code}

    def __repr__(self) -> str:
        return f"{self.code}\n# input: {self.input_policy!r}; output: {self.output_policy!r}"


def grid_function(
    *, input_policy: ExactMatch, output_policy: SingleExecutionExactOutput | None = None
) -> Callable[[Callable[..., Any]], GridFunction]:
    """Bind a function to the data that may go in and the results that may come out."""
    chosen = output_policy or SingleExecutionExactOutput()
    return lambda function: GridFunction(function, input_policy, chosen)


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


def source_of(function: Callable[..., Any]) -> str:
    """The source text of a function.  Raises ``BadCode`` where Python cannot find it."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise BadCode(
            f"The source of {getattr(function, '__name__', function)!r} cannot be found.",
            fix="Define it with 'def' in a file or a notebook cell; what is typed at a bare prompt keeps no source.",
        ) from error


syft_function = grid_function
"""The name that the seeds use."""
