"""Policies: what may go into submitted code, and what may come out of it and how often."""

from p2pgrid.domain.policies.custom import Decision, PolicyCode, PolicyState, class_source
from p2pgrid.domain.policies.input import (
    MAX_INPUTS,
    CustomInputPolicy,
    ExactMatch,
    Given,
    InputPolicy,
    MixedInputPolicy,
    UserOwned,
    parse_input,
)
from p2pgrid.domain.policies.output import (
    MAX_EXECUTIONS,
    CustomOutputPolicy,
    ExecuteCount,
    OutputPolicy,
    SingleExecutionExactOutput,
    Spending,
    Step,
    next_step,
    parse_output,
)
from p2pgrid.domain.policies.rules import (
    MaximumResultSize,
    MinimumCellCount,
    MinimumRows,
    NoAssetRows,
    Rule,
    all_rules,
    parse_rules,
)
from p2pgrid.domain.policies.values import MAX_VALUE, Value, parse_value


def check_code(input_policy: InputPolicy, output_policy: OutputPolicy) -> None:
    """Read the classes of custom policies.  Raises ``BadCode`` where one is no policy."""
    for policy in (input_policy, output_policy):
        if isinstance(policy, CustomInputPolicy | CustomOutputPolicy):
            class_source(policy.code, policy.kind)


__all__ = [
    "MAX_EXECUTIONS",
    "MAX_INPUTS",
    "MAX_VALUE",
    "CustomInputPolicy",
    "CustomOutputPolicy",
    "Decision",
    "ExactMatch",
    "ExecuteCount",
    "Given",
    "InputPolicy",
    "MaximumResultSize",
    "MinimumCellCount",
    "MinimumRows",
    "MixedInputPolicy",
    "NoAssetRows",
    "OutputPolicy",
    "PolicyCode",
    "PolicyState",
    "Rule",
    "SingleExecutionExactOutput",
    "Spending",
    "Step",
    "UserOwned",
    "Value",
    "all_rules",
    "check_code",
    "next_step",
    "parse_input",
    "parse_output",
    "parse_rules",
    "parse_value",
]
