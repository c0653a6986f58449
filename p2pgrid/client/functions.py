"""A function to be sent: its source, and the policies it is bound to."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from p2pgrid.client.show import Shown
from p2pgrid.errors import BadCode, InvalidInput


class HasAsset(Protocol):
    """Something that stands for an asset of a domain."""

    @property
    def asset_id(self) -> str:
        """The id of the asset."""
        ...


class ExactMatch:
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

    def __repr__(self) -> str:
        return f"ExactMatch({', '.join(f'{name}={an_id}' for name, an_id in self.inputs.items())})"


class SingleExecutionExactOutput:
    """Output policy: one run, whose exact result is released; asking again gives that same result."""

    kind = "SingleExecutionExactOutput"

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
