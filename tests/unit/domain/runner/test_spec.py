"""What a run may be given."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from p2pgrid.domain.runner import Limits, RunInput, RunSpec
from p2pgrid.domain.runner.spec import MAX_CODE_BYTES, MAX_INPUTS
from p2pgrid.errors import InvalidInput, TooLarge


def test_limits_have_the_documented_defaults() -> None:
    assert dataclasses.asdict(Limits()) == {
        "wall_seconds": 10.0,
        "cpu_seconds": 8,
        "memory_bytes": 1 << 30,
        "threads": 64,
        "open_files": 64,
        "output_bytes": 256 << 10,
        "result_bytes": 16 << 20,
    }
    assert Limits(**Limits().to_wire()) == Limits()


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(Limits)])
@pytest.mark.parametrize("bad", [-1, "8", None, True, 1 << 60, math.inf, math.nan])
def test_limit_out_of_its_bounds(name: str, bad: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        Limits(**{name: bad})


def test_limit_that_is_no_whole_number() -> None:
    with pytest.raises(InvalidInput, match="whole"):
        Limits(cpu_seconds=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a b", "f()", "class", "1x", "x" * 300, "a.b"])
def test_name_that_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        RunSpec("", name)
    with pytest.raises(InvalidInput):
        RunSpec("", "f", {name: RunInput("json", "x")})


def test_too_much() -> None:
    with pytest.raises(TooLarge):
        RunSpec("#" * (MAX_CODE_BYTES + 1), "f")
    with pytest.raises(TooLarge):
        RunSpec("", "f", {f"x{n}": RunInput("json", "x") for n in range(MAX_INPUTS + 1)})


def test_kind_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="pickle"):
        RunInput("pickle", "x")


def test_limits_that_an_owner_changes() -> None:
    changed = Limits().changed({"wall_seconds": 5, "threads": 8})
    assert (changed.wall_seconds, changed.threads, changed.cpu_seconds) == (5, 8, Limits().cpu_seconds)
    for wrong in ({"magic": 1}, {"threads": 0}, {"threads": 1.5}, {"memory_bytes": 1}):
        with pytest.raises(InvalidInput):
            Limits().changed(wrong)
