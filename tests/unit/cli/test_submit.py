"""Reading a function out of a file, and binding its parameters to assets."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pgrid.cli.submit import advice, bind, call_inputs, hints, read_function
from p2pgrid.cli.where import Login, Target
from p2pgrid.domain.review import review
from p2pgrid.errors import BadCode, InvalidInput, NotFound

STUDY = """
import numpy as np
raise SystemExit("nothing of this file is run")

@decorated
def mean(images):
    import numpy as np
    return float(np.mean(images))

def outer(images):
    return mean(images)

async def later(images):
    return 1
"""
ASSETS = {"images": "1" * 32, "labels": "2" * 32}


@pytest.fixture
def study(tmp_path: Path) -> str:
    path = tmp_path / "study.py"
    path.write_text(STUDY)
    return str(path)


def test_one_function_is_taken_out_of_a_file_that_is_not_run(study: str) -> None:
    code = read_function(f"{study}:mean")

    assert code.source.strip() == "def mean(images):\n    import numpy as np\n    return float(np.mean(images))"
    assert code.parameters == ("images",)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("{}", InvalidInput),
        ("{}:", InvalidInput),
        ("{}:mean()", InvalidInput),
        ("{}:nope", NotFound),
        ("{}:later", BadCode),
        ("nowhere.py:mean", InvalidInput),
    ],
)
def test_what_is_no_function_is_refused_with_its_reason(study: str, wanted: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_function(wanted.format(study))


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(:")
    with pytest.raises(InvalidInput, match="no Python"):
        read_function(f"{tmp_path / 'a.py'}:f")


@pytest.mark.parametrize(
    ("signature", "wanted", "bound"),
    [
        ("images", ["images"], {"images": "images"}),
        ("x", ["images"], {"x": "images"}),
        ("x", ["x=labels"], {"x": "labels"}),
        ("x, y", ["x=images", "y=labels"], {"x": "images", "y": "labels"}),
        ("x, y=1", ["x=images"], {"x": "images"}),
        ("images, labels", [], {"images": "images", "labels": "labels"}),
        ("images, labels=1", [], {"images": "images", "labels": "labels"}),
    ],
)
def test_parameters_get_their_assets(signature: str, wanted: list[str], bound: dict[str, str]) -> None:
    code = review(f"def f({signature}):\n    return 1")

    assert bind(code, wanted, ASSETS) == {name: ASSETS[asset] for name, asset in bound.items()}


def test_the_only_asset_binds_the_only_parameter() -> None:
    assert bind(review("def f(x):\n    return 1"), [], {"pixels": "9" * 32}) == {"x": "9" * 32}


def test_an_asset_whose_name_holds_an_equals_sign() -> None:
    assert bind(review("def f(x):\n    return 1"), ["a=b"], {"a=b": "9" * 32}) == {"x": "9" * 32}


@pytest.mark.parametrize(
    ("signature", "wanted", "error"),
    [
        ("x, y", ["images"], InvalidInput),
        ("x, y", ["x=images"], InvalidInput),
        ("x, y", [], InvalidInput),
        ("x", ["z=images"], InvalidInput),
        ("x", ["x=nope"], NotFound),
        ("x", ["nope"], NotFound),
        ("x", ["x=images", "x=labels"], InvalidInput),
    ],
)
def test_what_does_not_fit_is_refused(signature: str, wanted: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        bind(review(f"def f({signature}):\n    return 1"), wanted, ASSETS)


def test_who_was_stopped_at_a_time_limit_of_the_mock_may_go_on_to_the_data() -> None:
    assert "submit again" in advice({"ok": False, "failure": "error"})
    for failure in ("time", "cpu"):
        assert "Runs on the data have more time" in advice({"ok": False, "failure": failure})


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("would be released", []),
        ("would be kept back: NoAssetRows.", ["On the mock, its result would be kept back: NoAssetRows."]),
        (None, []),
    ],
)
def test_who_submitted_reads_what_to_type_next(policy: str | None, kept: list[str]) -> None:
    request = {"id": "3f2a" * 8, "mock_run": {"policy": policy}, "values": ["factor", "n"]}
    there = Target(None, "Bob's", Login("a@b.org"), None)

    *before, last = hints(request, there)
    assert before == kept
    options = """--on 'Bob'"'"'s' --email a@b.org --value factor=... --value n=..."""
    assert last == f"When it is approved: p2pgrid result 3f2a3f2a {options}"


def test_the_arguments_of_a_call_are_assets_and_values_of_ones_own() -> None:
    request = {"name": "scaled", "inputs": {"ages": "1" * 32}, "values": ["factor"]}

    assert set(call_inputs(request, {"factor": 3})) == {"ages", "factor"}
    assert call_inputs({**request, "values": []}, {}) == {"ages": {"asset": "1" * 32}}
    with pytest.raises(InvalidInput, match="value of your own for factor"):
        call_inputs(request, {})
