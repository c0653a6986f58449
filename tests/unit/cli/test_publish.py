"""Composing a dataset from a source: names, tags, and a mock that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from p2pgrid.cli.publish import _compose
from p2pgrid.errors import BadTag, InvalidInput, P2PError


def compose(source: str, **wishes: Any) -> Any:
    plain = {"name": None, "description": None, "tags": None, "mock": "auto", "names": [], "citation": "", "url": ""}
    return _compose(source, **{**plain, **wishes})


@pytest.fixture
def ages(tmp_path: Path) -> str:
    np.save(tmp_path / "ages.npy", np.arange(20, 60))
    return str(tmp_path / "ages.npy")


def test_a_file_becomes_a_dataset_with_a_mock(ages: str) -> None:
    dataset = compose(ages, tags=["#Ages", "medical"])

    assert (dataset.name, dataset.tags) == ("ages", ["ages", "medical"])
    asset = dataset.assets[0]
    assert asset.mock.shape == asset.data.shape
    assert not np.array_equal(asset.mock, asset.data)


def test_names_are_as_wished(ages: str) -> None:
    dataset = compose(ages, name="Ages of people", names=["years"], description="Whole years.")

    assert (dataset.name, dataset.assets[0].name, dataset.description) == ("Ages of people", "years", "Whole years.")


def test_tags_given_replace_those_of_a_bundled_source() -> None:
    assert compose("sklearn:diabetes", mock="none", tags=["mine"]).tags == ["mine"]
    assert compose("sklearn:diabetes", mock="none").tags == ["diabetes", "medical"]


def test_no_mock(ages: str) -> None:
    assert not compose(ages, mock="none").assets[0].has_mock


def test_a_mock_of_ones_own(ages: str, tmp_path: Path) -> None:
    np.save(tmp_path / "fake.npy", np.ones(5, dtype=int))

    assert compose(ages, mock=str(tmp_path / "fake.npy")).assets[0].mock.tolist() == [1] * 5


def test_mocks_of_several_assets_go_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "real.npz", x=np.arange(3), y=np.arange(4))
    np.savez(tmp_path / "fake.npz", y=np.zeros(2), x=np.ones(2))

    dataset = compose(str(tmp_path / "real.npz"), mock=str(tmp_path / "fake.npz"))
    assert dataset.assets["x"].mock.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"names": ["a", "b"]}, InvalidInput),
        ({"tags": [""]}, BadTag),
        ({"mock": "nowhere.npy"}, InvalidInput),
        ({"mock": "{}/table.csv"}, InvalidInput),
        ({"mock": "{}/square.npy"}, InvalidInput),
        ({"mock": "{}/ages.npy"}, InvalidInput),
        ({"mock": "{}/other.npz"}, InvalidInput),
    ],
    ids=["names", "tag", "missing", "a table", "more axes", "the data itself", "other names"],
)
def test_what_does_not_fit_is_refused(ages: str, tmp_path: Path, wishes: dict[str, Any], error: type[P2PError]) -> None:
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "table.csv", index=False)
    np.save(tmp_path / "square.npy", np.ones((2, 2), dtype=int))
    np.savez(tmp_path / "other.npz", x=np.ones(2), y=np.ones(2))
    filled = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in wishes.items()}

    with pytest.raises(error):
        compose(ages, **filled)


def test_a_mock_table_needs_the_same_columns(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2, 3]}).to_csv(tmp_path / "real.csv", index=False)
    pd.DataFrame({"b": [1, 2, 3]}).to_csv(tmp_path / "fake.csv", index=False)

    with pytest.raises(InvalidInput, match="columns"):
        compose(str(tmp_path / "real.csv"), mock=str(tmp_path / "fake.csv"))
