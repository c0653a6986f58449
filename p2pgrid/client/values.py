"""What an owner composes before it is uploaded: datasets, assets, contributors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from p2pgrid.client.show import Shown, ShownList
from p2pgrid.errors import InvalidInput
from p2pgrid.ids import normalise_tags


class roles(Enum):  # noqa: N801 - the seeds write sy.roles.UPLOADER
    """What a contributor did for a dataset."""

    UPLOADER = "Uploader"
    EDITOR = "Editor"


class _Empty:
    """The absence of a mock, told apart from a mock that is ``None``."""

    def __repr__(self) -> str:
        return "<no mock>"


EMPTY = _Empty()


@dataclass(frozen=True, repr=False)
class Contributor(Shown):
    """A person to ask about a dataset."""

    name: str
    email: str = ""
    role: roles = roles.UPLOADER

    def fields(self) -> Mapping[str, Any]:
        """Who it is."""
        return {"name": self.name, "email": self.email, "role": self.role.value}

    def to_wire(self) -> dict[str, str]:
        """As JSON values."""
        return {"role": self.role.value, "name": self.name, "email": self.email}


class Asset(Shown):
    """One private object and its mock.

    Numpy arrays, frames of pandas and polars, Arrow tables, images of PIL, bytes, text, and JSON values; a ``Path`` or
    ``OnDisk`` for a file or a folder, which is read as it is sent and may be larger than memory.
    """

    def __init__(self, name: str, data: Any, mock: Any = EMPTY, description: str = "") -> None:
        if not name or not isinstance(name, str):
            raise InvalidInput("An asset needs a name.")
        self.name = name
        self.data = data
        self.mock = mock
        self.description = description

    @property
    def has_mock(self) -> bool:
        """Whether a mock was given."""
        return not isinstance(self.mock, _Empty)

    def fields(self) -> Mapping[str, Any]:
        """Never the private values."""
        shape = getattr(self.data, "shape", None)
        return {
            "name": self.name,
            "description": self.description,
            "type": type(self.data).__name__,
            "shape": str(tuple(shape)) if shape is not None else "",
            "mock": type(self.mock).__name__ if self.has_mock else "none",
        }


class Assets(ShownList[Asset]):
    """The assets of a dataset that is being composed."""

    columns = ("name", "type", "shape", "mock")
    heading = "Assets"


class Dataset(Shown):
    """A named collection of assets, ready for ``upload_dataset``.

    ``tags`` are what the grid may know; without any, nobody finds the dataset by searching.
    """

    def __init__(
        self,
        name: str,
        asset_list: Iterable[Asset] = (),
        description: str = "",
        *,
        tags: Iterable[str] = (),
        citation: str = "",
        url: str = "",
        contributors_list: Iterable[Contributor] = (),
    ) -> None:
        if not name or not isinstance(name, str):
            raise InvalidInput("A dataset needs a name.")
        self.name = name
        self.description = description
        self.citation = citation
        self.url = url
        self.tags = list(normalise_tags(tags))
        self.contributors = list(contributors_list)
        self._assets: list[Asset] = []
        for asset in asset_list:
            self.add_asset(asset)

    @property
    def assets(self) -> Assets:
        """The assets so far."""
        return Assets(self._assets)

    def add_asset(self, asset: Asset) -> None:
        """Add one; names are unique within a dataset.  Raises ``InvalidInput``."""
        if any(asset.name == other.name for other in self._assets):
            raise InvalidInput(f"The dataset has an asset named {asset.name!r} already.")
        self._assets.append(asset)

    def add_contributor(self, name: str, email: str = "", role: roles = roles.UPLOADER) -> None:
        """Name a person to ask."""
        self.contributors.append(Contributor(name=name, email=email, role=role))

    def add_tags(self, *tags: str) -> None:
        """Let the grid find the dataset under more tags."""
        self.tags = list(normalise_tags([*self.tags, *tags]))

    def fields(self) -> Mapping[str, Any]:
        """What the dataset will be known by."""
        return {
            "name": self.name,
            "description": self.description,
            "tags": " ".join(f"#{tag}" for tag in self.tags),
            "contributors": ", ".join(f"{person.name} ({person.role.value})" for person in self.contributors),
            "assets": self.assets,
        }
