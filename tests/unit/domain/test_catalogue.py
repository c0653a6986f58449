"""Finding datasets by tag, name and id."""

from __future__ import annotations

from typing import Any

import pytest

from p2pgrid.assets import AssetMeta
from p2pgrid.domain.catalogue import Catalogue
from p2pgrid.domain.models import AssetInfo, Dataset
from p2pgrid.errors import BadTag, InvalidInput, NotFound

META = AssetMeta("numpy", (3, 4), "int64", (), 96, "d" * 64)


def dataset(number: int, *tags: str) -> Dataset:
    asset = AssetInfo(f"{number + 100:032x}", "numbers", "", META, META if number % 2 else None)
    return Dataset(f"{number:032x}", f"set {number}", "about", "", "", tags, (), 0.0, "o@x", (asset,))


HELD = Catalogue((dataset(1, "mnist", "images"), dataset(2, "mnist"), dataset(3, "text"), dataset(4)))


def names(found: list[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in found]


def test_tags_are_anded_over_one_dataset() -> None:
    assert names(HELD.search(["#MNIST"])) == ["set 1", "set 2"]
    assert names(HELD.search(["mnist", " #Images "])) == ["set 1"]
    assert names(HELD.search(["mnist", "text"])) == []
    assert names(HELD.search(["images", "text"], "any")) == ["set 1", "set 3"]
    assert HELD.search([]) == HELD.search([], "any") == []


def test_what_is_no_query() -> None:
    with pytest.raises(BadTag):
        HELD.search([""])
    with pytest.raises(InvalidInput):
        HELD.search(["x"], "some")


def test_the_public_form_holds_no_digest() -> None:
    found = HELD.search(["mnist"])[0]
    assert found["assets"] == [{"name": "numbers", "shape": [3, 4], "dtype": "int64", "mock": True}]
    assert META.digest not in repr(found)


def test_listings_name_each_tag_of_each_dataset() -> None:
    assert HELD.tags() == ["mnist", "images", "text"]
    assert HELD.listings()[:2] == [("mnist", bytes(15) + b"\1", "set 1"), ("images", bytes(15) + b"\1", "set 1")]
    assert len(HELD.listings()) == 4


def test_one_by_one() -> None:
    assert HELD.dataset(f"{3:032x}") is HELD.named("set 3")
    assert HELD.asset(f"{103:032x}").data is META
    fewer = HELD.without(f"{3:032x}")
    assert fewer.with_dataset(dataset(3, "text")).datasets[-1].name == "set 3"
    for ask in (lambda: fewer.named("set 3"), lambda: fewer.asset(f"{103:032x}"), lambda: fewer.dataset(f"{3:032x}")):
        with pytest.raises(NotFound):
            ask()
