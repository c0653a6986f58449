"""Names and tags of datasets in memory."""

from __future__ import annotations

import pytest

from p2pgrid.domain.catalogue import Entry, Index
from p2pgrid.errors import BadTag, InvalidInput


def entry(number: int, *tags: str) -> Entry:
    return Entry(f"{number:032x}", f"set {number}", tags)


HELD = Index.of((entry(1, "mnist", "images"), entry(2, "mnist"), entry(3, "text"), entry(4)))


def names(ids: list[str]) -> list[str]:
    return [HELD.entries[an_id].name for an_id in ids]


def test_tags_are_anded_over_one_dataset() -> None:
    assert names(HELD.matching(["#MNIST"])) == ["set 1", "set 2"]
    assert names(HELD.matching(["mnist", " #Images "])) == ["set 1"]
    assert names(HELD.matching(["mnist", "text"])) == []
    assert names(HELD.matching(["images", "text"], "any")) == ["set 1", "set 3"]
    assert HELD.matching([]) == HELD.matching([], "any") == []


def test_what_is_no_query() -> None:
    with pytest.raises(BadTag):
        HELD.matching([""])
    with pytest.raises(InvalidInput):
        HELD.matching(["x"], "some")


def test_listings_name_each_tag_of_each_dataset() -> None:
    assert HELD.tags() == ["mnist", "images", "text"]
    assert HELD.listings()[:2] == [("mnist", bytes(15) + b"\1", "set 1"), ("images", bytes(15) + b"\1", "set 1")]
    assert (len(HELD.listings()), HELD.listed()) == (4, 3)


def test_a_dataset_that_changes_keeps_its_place_and_one_that_goes_leaves_none() -> None:
    renamed = HELD.with_entry(Entry(f"{2:032x}", "other", ("text",)))
    assert [held.name for held in renamed.entries.values()] == ["set 1", "other", "set 3", "set 4"]
    assert names(renamed.matching(["text"])) == ["set 2", "set 3"]
    assert f"{3:032x}" not in HELD.without(f"{3:032x}").entries
    assert len(HELD.entries) == 4
