"""Policies at the command line: what a text becomes, and which text is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pgrid.cli.policies import PolicyWishes, pairs, read_rules
from p2pgrid.domain.policies import parse_input, parse_output
from p2pgrid.errors import InvalidInput, NotFound

COUNTED = """raise SystemExit("nothing of this file is run")

class Counted(CustomOutputPolicy):
    def __init__(self, n_calls=1):
        self.n_calls = n_calls
"""


def test_rules_in_words() -> None:
    texts = ["MinimumRows=10", "NoAssetRows", "MaximumResultSize=4096", "MaximumResultSize:values=3,bytes=9"]
    assert read_rules([*texts, "MinimumCellCount:least=5,column=n,by=region+sex"]) == [
        {"kind": "MinimumRows", "least": 10},
        {"kind": "NoAssetRows"},
        {"kind": "MaximumResultSize", "bytes": 4096, "values": None},
        {"kind": "MaximumResultSize", "bytes": 9, "values": 3},
        {"kind": "MinimumCellCount", "least": 5, "column": "n", "by": ["region", "sex"]},
    ]


@pytest.mark.parametrize("text", ["", "Nothing", "MinimumRows", "MinimumRows=x", "MinimumRows=0", "MinimumRows:most=3",
    "MinimumRows:least=3,most=4", "MinimumCellCount:least=5,bye=region", "MinimumRows:least=5,least=2", "NoAssetRows=5"]
)  # fmt: skip
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_rules([text])


def test_values_are_json_or_files_or_texts(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": [1]}')
    assert pairs(["n=3", "word=north", f"held={tmp_path / 'v.json'}", 'quoted="3"']) == {
        "n": 3,
        "word": "north",
        "held": {"a": [1]},
        "quoted": "3",
    }
    for odd in ("n", "=3", "not a name=3"):
        with pytest.raises(InvalidInput, match="names no parameter"):
            pairs([odd])


def test_constants_and_values_of_ones_own_become_a_mixed_policy() -> None:
    inputs = {"data": "a" * 32}
    assert PolicyWishes().input_policy(inputs).to_wire() == "ExactMatch"
    wishes = PolicyWishes(constants=("plus=0.5",), own=("factor=int:2", "array=numpy"))
    policy = wishes.input_policy(inputs)
    read = parse_input(policy.to_wire(), policy.inputs)
    assert wishes.names == {"plus", "factor", "array"}
    assert read.names == {"data", "plus", "factor", "array"}
    assert read.user_owned["factor"].type == "int"
    assert read.user_owned["factor"].example is not None
    for odd in ("factor", "factor=", "factor=thing", "factor=int:north"):
        with pytest.raises(InvalidInput):
            PolicyWishes(own=(odd,)).input_policy(inputs)


def test_a_class_in_a_file_is_sent_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / "study.py"
    file.write_text(COUNTED)
    policy = PolicyWishes(output=f"{file}:Counted", made=("n_calls=2",), rules=("NoAssetRows",)).output_policy()
    read = parse_output(policy.to_wire()).to_wire()
    assert (read["name"], read["init"], read["rules"]) == ("Counted", {"n_calls": 2}, [{"kind": "NoAssetRows"}])
    assert read["code"].startswith("class Counted(")
    with pytest.raises(NotFound):
        PolicyWishes(output=f"{file}:Other").output_policy()
    with pytest.raises(NotFound):
        PolicyWishes(output="study.py").output_policy()
    with pytest.raises(InvalidInput, match="cannot be read"):
        PolicyWishes(output=f"{tmp_path}/none.py:Counted").output_policy()
    with pytest.raises(InvalidInput, match="need its class"):
        PolicyWishes(made=("n_calls=2",)).output_policy()


def test_a_limit_becomes_a_count() -> None:
    assert PolicyWishes().output_policy().to_wire() == "SingleExecutionExactOutput"
    assert PolicyWishes(limit=3).output_policy().to_wire() == {"kind": "OutputPolicyExecuteCount", "limit": 3}
