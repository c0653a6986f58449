"""What the JSON door takes for a search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import BadTag, InvalidInput
from p2pgrid.link.door import MAX_QUERY_TAGS, parse_search

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def test_tags_are_normalised_and_taken_once() -> None:
    assert parse_search({"query": ["#MNIST", "mnist ", "#Two Words"]}) == (["mnist", "two-words"], "all")
    assert parse_search({"query": ["a"], "match": "any"}) == (["a"], "any")
    assert parse_search({"query": ["a"], "later": "fields are ignored"}) == (["a"], "all")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ([], "no JSON object"),
        (None, "no JSON object"),
        ({}, '"query" is no list'),
        ({"query": "#a"}, '"query" is no list'),
        ({"query": ["#a", 1]}, '"query" is no list'),
        ({"query": [["#a"]]}, '"query" is no list'),
        ({"query": []}, "holds 0 tags"),
        ({"query": ["#a"] * (MAX_QUERY_TAGS + 1)}, "holds 17 tags"),
        ({"query": ["#a"], "match": "some"}, '"match" is neither'),
        ({"query": ["#a"], "match": ["all"]}, '"match" is neither'),
        ({"query": ["#a"], "match": {}}, '"match" is neither'),
    ],
)
def test_what_is_no_search_is_refused_with_its_cause(body: Any, cause: str) -> None:
    with pytest.raises(InvalidInput, match=cause):
        parse_search(body)


@pytest.mark.parametrize("tag", ["", "#", "x" * 65, "a\u200bb", "a\x00"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(BadTag):
        parse_search({"query": [tag]})


@given(json_values | st.fixed_dictionaries({"query": json_values, "match": json_values}))
def test_any_json_is_a_search_or_a_wrong_input(body: Any) -> None:
    try:
        tags, match = parse_search(body)
    except InvalidInput:
        return
    assert 1 <= len(tags) <= MAX_QUERY_TAGS
    assert match in ("all", "any")
