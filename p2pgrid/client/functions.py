"""A function to be sent: its source, and the policies it is bound to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from p2pgrid.client.policies import ExactMatch as ExactMatch
from p2pgrid.client.policies import InputPolicy, OutputPolicy
from p2pgrid.client.policies import SingleExecutionExactOutput as SingleExecutionExactOutput
from p2pgrid.client.show import Code, Shown
from p2pgrid.client.sources import names_from_outside, source_of
from p2pgrid.errors import BadCode


class GridFunction(Shown):
    """A Python function with its policies, ready for ``create_code_request``; calling it runs it right here."""

    environment: str = ""

    def __init__(
        self,
        function: Callable[..., Any],
        input_policy: InputPolicy,
        output_policy: OutputPolicy,
        environment: str = "",
    ) -> None:
        self._function, self.environment = function, environment
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
        if input_policy.names - names:
            unknown = ", ".join(sorted(input_policy.names - names))
            raise BadCode(f"The function {self.name} has no parameter named {unknown}.")

    def __call__(self, **inputs: Any) -> Any:
        """Run the function here, on whatever is given (a mock, usually)."""
        return self._function(**inputs)

    def fields(self) -> Mapping[str, Any]:
        """Its code and policies."""
        policies = {"input_policy": repr(self.input_policy), "output_policy": repr(self.output_policy)}
        return {"name": self.name, **policies, "code": Code(self.code)}

    def __repr__(self) -> str:
        return f"{self.code}\n# input: {self.input_policy!r}; output: {self.output_policy!r}"


def grid_function(
    *, input_policy: InputPolicy, output_policy: OutputPolicy | None = None, environment: str = ""
) -> Callable[[Callable[..., Any]], GridFunction]:
    """Bind a function to the data that may go in and the results that may come out.

    ``environment`` names the packages that it runs with, as the node's owner named them; the node's own without.
    """
    chosen = output_policy or SingleExecutionExactOutput()
    return lambda function: GridFunction(function, input_policy, chosen, environment)


syft_function = grid_function
"""The name that the seeds use."""
