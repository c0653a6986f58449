"""What an owner composes before uploading it."""

from __future__ import annotations

import numpy as np
import pytest

from p2pgrid.client.requests import ActionObject
from p2pgrid.client.values import Asset, Contributor, Dataset, roles
from p2pgrid.errors import BadTag, InvalidInput


def test_an_asset_never_shows_its_data() -> None:
    asset = Asset(name="ages", data=np.array([4711, 4712]), mock=np.array([1, 2]), description="of people")
    for shown in (repr(asset), asset._repr_html_(), repr(Dataset("d", [asset])), Dataset("d", [asset])._repr_html_()):
        assert "4711" not in shown
        assert "ages" in shown
    assert "(2,)" in repr(asset)


def test_no_mock_is_told_apart_from_a_mock_that_is_none() -> None:
    assert not Asset("a", 1).has_mock
    assert not Asset("a", 1, mock=ActionObject.empty()).has_mock
    assert Asset("a", 1, mock=None).has_mock
    assert "none" in repr(Asset("a", 1))


@pytest.mark.parametrize("name", ["", None, 5])
def test_assets_and_datasets_need_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        Asset(name, 1)
    with pytest.raises(InvalidInput):
        Dataset(name)


def test_a_dataset_is_put_together_piece_by_piece() -> None:
    dataset = Dataset(name="study", description="d", citation="c", url="u", tags=["#Medical", "medical"])
    dataset.add_asset(Asset("a", 1))
    dataset.add_contributor("Jane", "jane@caltech.edu", roles.EDITOR)
    dataset.add_tags("Lung Cancer")
    assert dataset.tags == ["medical", "lung-cancer"]
    assert dataset.assets["a"].data == 1
    assert [person.to_wire() for person in dataset.contributors] == [
        {"role": "Editor", "name": "Jane", "email": "jane@caltech.edu"}
    ]
    for word in ("study", "#medical #lung-cancer", "Jane (Editor)"):
        assert word in repr(dataset)


def test_two_assets_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="already"):
        Dataset("d", [Asset("a", 1), Asset("a", 2)])


def test_one_text_as_tags_is_one_tag() -> None:
    assert Dataset("d", tags="#digits").tags == ["digits"]


def test_a_tag_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(BadTag):
        Dataset("d", tags=["\u200b"])


def test_a_contributor_uploads_unless_told_otherwise() -> None:
    assert Contributor("Jane").to_wire()["role"] == "Uploader"
