"""Every dataset of a domain by id, name, asset and tag, in memory: descriptions only, never their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from p2pgrid.domain.models import AssetInfo, Dataset
from p2pgrid.errors import InvalidInput, NotFound
from p2pgrid.ids import normalise_tags
from p2pgrid.records import MAX_TITLE

MATCHES: Final = ("all", "any")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An unchanging view; ``with_dataset`` and ``without`` give the next one."""

    datasets: tuple[Dataset, ...] = ()
    _assets: dict[str, AssetInfo] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        held = {asset.id: asset for dataset in self.datasets for asset in dataset.assets}
        object.__setattr__(self, "_assets", held)

    def with_dataset(self, dataset: Dataset) -> Catalogue:
        """The catalogue after a dataset was created."""
        return Catalogue((*self.datasets, dataset))

    def without(self, an_id: str) -> Catalogue:
        """The catalogue after a dataset was deleted."""
        return Catalogue(tuple(dataset for dataset in self.datasets if dataset.id != an_id))

    def dataset(self, an_id: str) -> Dataset:
        """The dataset of an id.  Raises ``NotFound``."""
        for dataset in self.datasets:
            if dataset.id == an_id:
                return dataset
        raise NotFound(f"There is no dataset {an_id} here.")

    def named(self, name: str) -> Dataset:
        """The dataset of a name.  Raises ``NotFound``."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise NotFound(f"There is no dataset named {name[:80]!r} here.")

    def asset(self, an_id: str) -> AssetInfo:
        """The asset of an id.  Raises ``NotFound``."""
        try:
            return self._assets[an_id]
        except KeyError:
            raise NotFound(f"There is no asset {an_id} here.") from None

    def digest(self, an_id: str) -> str | None:
        """The digest of an asset's private content; ``None`` when it was deleted."""
        asset = self._assets.get(an_id)
        return asset.data.digest if asset else None

    def tags(self) -> list[str]:
        """Each tag once, in order of first use."""
        return list(dict.fromkeys(tag for dataset in self.datasets for tag in dataset.tags))

    def listings(self) -> list[tuple[str, bytes, str]]:
        """What the grid may know: (tag, 16 bytes of dataset id, title) for each tag of each dataset."""
        return [
            (tag, bytes.fromhex(dataset.id), dataset.name[:MAX_TITLE])
            for dataset in self.datasets
            for tag in dataset.tags
        ]

    def search(self, tags: Iterable[str], match: str = "all") -> list[dict[str, Any]]:
        """Datasets that carry all (or any) of the tags, in the public form.

        Raises ``BadTag`` or ``InvalidInput``; no tags find nothing.
        """
        if match not in MATCHES:
            raise InvalidInput(f"match is {str(match)[:20]!r}; it must be one of {', '.join(MATCHES)}.")
        wanted = set(normalise_tags(tags))
        if not wanted:
            return []
        found = []
        for dataset in self.datasets:
            held = wanted.intersection(dataset.tags)
            if held == wanted or (match == "any" and held):
                found.append(dataset.to_public())
        return found
