"""Answers of the JSON door: never over their size, whatever a catalogue holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.link.answers import MAX_ANSWER, SHORT_ASSETS, SHORT_DESCRIPTION, fit_list, fit_search


def dataset(description: str = "", assets: int = 1, name: str = "digits") -> dict[str, Any]:
    asset = {"name": name, "shape": [1797, 64], "dtype": "int64", "mock": True}
    return {"id": "0" * 32, "name": name, "description": description, "tags": ["#a"], "assets": [asset] * assets}


def answer(*datasets: dict[str, Any]) -> dict[str, Any]:
    return {"content": bool(datasets), "node-id": "0" * 40, "name": "Bob", "datasets": list(datasets)}


def test_an_answer_that_fits_stays_as_it_is() -> None:
    for whole in (answer(), answer(dataset("é" * 20_000, 256))):
        assert fit_search(whole) is whole


def test_descriptions_are_cut_before_datasets() -> None:
    cut = fit_search(answer(*[dataset("é" * 20_000)] * 110))
    assert cut["cut"] is True
    assert len(cut["datasets"]) == 110
    assert {len(one["description"]) for one in cut["datasets"]} == {SHORT_DESCRIPTION}
    assert len(json.dumps(cut)) <= MAX_ANSWER


def test_the_last_datasets_are_left_out_of_a_huge_answer() -> None:
    cut = fit_search(answer(*[dataset("x", 256, name="é" * 200)] * 1_000))
    assert 0 < len(cut["datasets"]) < 1_000
    assert {len(one["assets"]) for one in cut["datasets"]} == {SHORT_ASSETS}
    assert len(json.dumps(cut)) <= MAX_ANSWER


def test_the_first_tags_are_told() -> None:
    tags = [f"#{'é' * 60}{number}" for number in range(32_000)]
    told = fit_list(tags)
    assert told == tags[: len(told)]
    assert MAX_ANSWER - 500 < len(json.dumps(told)) <= MAX_ANSWER
    assert fit_list(["#a"]) == ["#a"]


@given(st.lists(st.builds(dataset, st.text(max_size=500), st.integers(0, 40), st.text(max_size=20))))
def test_no_answer_is_over_its_size(datasets: list[dict[str, Any]]) -> None:
    whole = answer(*datasets)
    found = fit_search(whole, 4_096)
    assert len(json.dumps(found)) <= 4_096
    assert set(found) - {"cut"} == set(whole)
    assert ("cut" in found) == (found is not whole)
