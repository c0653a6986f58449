"""What a request may take in and let out, in words for its reviewer."""

from __future__ import annotations

from collections.abc import Mapping

from p2pgrid.domain.policies.input import CustomInputPolicy, InputPolicy
from p2pgrid.domain.policies.output import CustomOutputPolicy, ExecuteCount, OutputPolicy
from p2pgrid.domain.policies.rules import Rule


def input_words(policy: InputPolicy, titles: Mapping[str, str]) -> list[str]:
    """One sentence for each argument.  ``titles``: asset id -> what it is called."""
    said = [f"{name} is the asset {titles.get(asset, asset)}." for name, asset in policy.inputs.items()]
    said += [f"{name} is fixed: {value.words()}." for name, value in policy.constants.items()]
    said += [f"{name} is handed in at each call: {owned.words()}." for name, owned in policy.user_owned.items()]
    if isinstance(policy, CustomInputPolicy):
        said.append(f"The requester's class {policy.code.words()} may refuse a call or change these values; read it.")
    return said


def output_words(policy: OutputPolicy, rules: tuple[Rule, ...], released: int) -> list[str]:
    """What comes out and how often; then each rule."""
    if isinstance(policy, CustomOutputPolicy):
        said = [f"The requester's class {policy.code.words()} decides what comes out and how often; read it."]
    elif isinstance(policy, ExecuteCount):
        said = [f"The exact result of each of {policy.limit} runs comes out."]
    else:
        said = ["The exact result of one run comes out; asked again, the same one."]
    said += [f"{rule.kind}: {rule.words()}." for rule in rules]
    if not rules:
        said.append("No rule looks at the result: whatever the code returns comes out.")
    if released:
        said.append(f"Released so far, and for good: {released}.")
    return said
