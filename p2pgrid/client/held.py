"""What a domain holds, seen from outside: datasets, assets, and pointers to private data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from p2pgrid.client.bridge import Bridge, bridged, bridged_property
from p2pgrid.client.door import Holder
from p2pgrid.client.markdown import markdown_html
from p2pgrid.client.show import Shown, ShownList
from p2pgrid.errors import NoMock, PrivateData

NAMED: Final = 4
"""Assets of a dataset that are named in a table."""


class NoValues(PrivateData, AttributeError):
    """``PrivateData`` for ``pointer.mean``, where Python expects an ``AttributeError``, as ``hasattr`` does."""


class AssetPointer(Shown):
    """Stands for private data that stays where it is: it can be passed to a function, and never be read."""

    def __init__(self, asset_id: str, name: str) -> None:
        self.asset_id = asset_id
        self.name = name

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise PrivateData(f"The asset {self.name!r} is private: a pointer holds no values.")

    __len__ = __iter__ = __getitem__ = __array__
    __add__ = __sub__ = __mul__ = __truediv__ = __lt__ = __le__ = __gt__ = __ge__ = __array__

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NoValues(
            f"The asset {self.__dict__.get('name')!r} is private: a pointer holds no values, so no {name!r}."
        )

    def fields(self) -> Mapping[str, Any]:
        """What it stands for."""
        return {"asset": self.name, "id": self.asset_id, "values": "private; the mock shows the shape"}

    def __repr__(self) -> str:
        return f"<pointer to the private asset {self.name!r}; its mock shows the shape>"


class HeldAsset(Shown):
    """One asset of a domain: its description and mock are for everybody, its data for the owner."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client = client
        self._raw = raw
        self.id = str(raw["id"])
        self.name = str(raw["name"])
        self.description = str(raw.get("description") or "")

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def asset_id(self) -> str:
        """The id, under the name that policies ask for."""
        return self.id

    @property
    def pointer(self) -> AssetPointer:
        """What to pass to a function in place of the private data."""
        return AssetPointer(self.id, self.name)

    @property
    def has_mock(self) -> bool:
        """Whether there is a mock to look at."""
        return bool(self._raw.get("mock"))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the private data."""
        return tuple(self._raw["meta"]["shape"])

    @property
    def dtype(self) -> str:
        """The type of the private data: numpy's name, or the kind."""
        return str(self._raw["meta"]["dtype"])

    @bridged_property
    async def mock(self) -> Any:
        """The fake twin, with the same schema.  Raises ``NoMock``."""
        meta = self._raw.get("mock")
        if not meta:
            raise NoMock(f"The asset {self.name!r} has no mock.")
        return await self._client.door.read_asset(self.id, "mock", meta)

    @bridged_property
    async def data(self) -> Any:
        """The private data for its owner; for everybody else the pointer to it."""
        if not self._client.is_owner:
            return self.pointer
        return await self._client.door.read_asset(self.id, "data", self._raw["meta"])

    def fields(self) -> Mapping[str, Any]:
        """Name, shape and type; whether there is a mock."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "shape": str(self.shape),
            "dtype": self.dtype,
            "columns": ", ".join(f"{name}: {kind}" for name, kind in self._raw["meta"].get("columns", ())),
            "mock": "yes" if self.has_mock else "none",
        }


class HeldAssets(ShownList[HeldAsset]):
    """The assets of a dataset."""

    columns = ("name", "shape", "dtype", "mock", "id")
    heading = "Assets"


class HeldDataset(Shown):
    """One dataset of a domain."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client = client
        self._take(raw)

    def _take(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.id = str(raw["id"])
        self.name = str(raw["name"])
        self.description = str(raw.get("description") or "")
        self.citation = str(raw.get("citation") or "")
        self.url = str(raw.get("url") or "")
        self.tags = [f"#{tag}".replace("##", "#") for tag in raw.get("tags", ())]
        self.version = int(raw.get("version") or 1)
        self._assets = None if raw.get("brief") else self._held(raw)
        self._asset_names = _names_of(raw)

    def _held(self, raw: Mapping[str, Any]) -> HeldAssets:
        return HeldAssets(HeldAsset(self._client, asset) for asset in raw["assets"])

    @property
    def assets(self) -> HeldAssets:
        """Its assets; those of a long list are asked for when they are first looked at."""
        if self._assets is None:
            self._take(self._bridge.run(self._client.door.call("dataset.get", id=self.id)))
        return self._assets or HeldAssets(())

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @bridged
    async def delete(self) -> None:
        """Remove the dataset from its domain; its owner only."""
        await self._client.door.call("dataset.delete", id=self.id)

    @bridged
    async def update(self, /, **changes: Any) -> None:
        """Change name, description, tags, citation, url or contributors; its owner only.  What is not given stays."""
        people = changes.get("contributors")
        if people is not None:
            changes["contributors"] = [person.to_wire() for person in people]
        self._take(await self._client.door.call("dataset.update", id=self.id, **changes))

    def brief(self) -> Mapping[str, Any]:
        """What a table shows, without asking for more."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": " ".join(self.tags),
            "url": self.url,
            "version": self.version,
        }

    def fields(self) -> Mapping[str, Any]:
        """All that everybody may know."""
        assets = self.assets  # first: it may bring the rest as well
        people = self._raw.get("contributors") or ()
        return {
            **self.brief(),
            "citation": self.citation,
            "contributors": ", ".join(f"{person['name']} ({person['role']})" for person in people),
            "assets": assets,
        }

    def _repr_html_(self) -> str:
        return super()._repr_html_() + markdown_html(self.description)


def _names_of(raw: Mapping[str, Any]) -> str:
    """The first assets of a dataset and the number of others, as far as a row tells."""
    told = raw.get("asset_names")
    named = told if isinstance(told, list) else [asset["name"] for asset in raw.get("assets") or ()]
    count = raw.get("asset_count")
    more = (count if type(count) is int else len(named)) - len(named[:NAMED])
    return ", ".join(map(str, named[:NAMED])) + (f" and {more} more" if more > 0 else "")


class HeldDatasets(ShownList[HeldDataset]):
    """The datasets of a domain."""

    columns = ("id", "name", "tags", "assets", "description", "url")
    heading = "Datasets"

    def rows(self) -> Iterator[list[Any]]:
        """From what is here already."""
        for dataset in self:
            fields = {**dataset.brief(), "assets": dataset._asset_names}
            yield [fields[column] for column in self.columns]

    def search(self, text: str) -> HeldDatasets:
        """Those whose name, description or tags hold ``text``."""
        wanted = text.casefold().lstrip("#")
        found = (
            dataset
            for dataset in self
            if wanted in " ".join([dataset.name, dataset.description, *dataset.tags]).casefold()
        )
        return HeldDatasets(found)
