"""Datasets and assets out of the database, one or a page at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid.domain.catalogue import Entry, Index
from p2pgrid.domain.models import AssetInfo, Dataset
from p2pgrid.domain.storage.database import Storage
from p2pgrid.domain.storage.tables import AssetRow, DatasetRow, read_texts
from p2pgrid.errors import Conflict, NotFound

REMEMBERED: Final = 1024
"""Assets whose descriptions are kept in memory."""
BRIEF: Final = 200
"""Characters of a description in a long table."""
NAMED: Final = 4
NAME: Final = 40
"""Assets of a dataset that are named there, and characters of each name."""


def find(session: Session, an_id: str | None, name: str | None = None) -> DatasetRow:
    """A dataset's row by id, or by name.  Raises ``NotFound``."""
    chosen = DatasetRow.id == an_id if an_id is not None else DatasetRow.name == name
    row = session.scalars(select(DatasetRow).where(chosen)).first()
    if row is None:
        raise NotFound(f"There is no dataset {an_id} here." if an_id else f"There is no dataset named {name!r} here.")
    return row


def some(session: Session, ids: Sequence[str]) -> list[Dataset]:
    """The datasets of these ids, in order of their making; those that are gone are left out."""
    rows = session.scalars(select(DatasetRow).where(DatasetRow.id.in_(ids)).order_by(DatasetRow.position))
    return [row.value() for row in rows]


def some_briefly(session: Session, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What a long table shows of these datasets, as JSON values; ``brief`` tells that there is more."""
    begin = func.substr(DatasetRow.description, 1, BRIEF)
    columns = (DatasetRow.id, DatasetRow.name, begin.label("description"), DatasetRow.tags, DatasetRow.url)
    query = select(*columns, DatasetRow.version).where(DatasetRow.id.in_(ids)).order_by(DatasetRow.position)
    names = _asset_names(session, ids)
    return [{**row._mapping, "brief": True, **_named(names.get(row.id, []))} for row in session.execute(query)]


def _asset_names(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    begin = func.substr(AssetRow.name, 1, NAME)
    query = select(AssetRow.dataset, begin).where(AssetRow.dataset.in_(ids), AssetRow.retired.is_(None))
    names: dict[str, list[str]] = {}
    for dataset, name in session.execute(query.order_by(AssetRow.position)):
        names.setdefault(dataset, []).append(name)
    return names


def _named(names: list[str]) -> dict[str, Any]:
    return {"asset_names": names[:NAMED], "asset_count": len(names)}


def asset_titles(session: Session, ids: Sequence[str]) -> dict[str, str]:
    """Dataset and asset by their names, for each of these assets that is still here."""
    query = select(AssetRow.id, DatasetRow.name, AssetRow.name).join(DatasetRow, DatasetRow.id == AssetRow.dataset)
    return {an_id: f"{dataset}/{asset}" for an_id, dataset, asset in session.execute(query.where(AssetRow.id.in_(ids)))}


class Catalogue:
    """What a domain holds: names and tags in memory, descriptions in the database, those last used remembered.

    ``asset`` and ``digest`` block for one small read unless the asset is remembered.  Every method may be called on
    any thread.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._assets: OrderedDict[str, AssetInfo] = OrderedDict()
        self._lock = threading.Lock()
        self.index = Index()

    def load(self, session: Session) -> None:
        """Read names and tags anew."""
        rows = session.execute(select(DatasetRow.id, DatasetRow.name, DatasetRow.tags).order_by(DatasetRow.position))
        self.index = Index.of(Entry(an_id, name, read_texts(tags)) for an_id, name, tags in rows)
        self.forget()

    def put(self, dataset: Dataset) -> None:
        """Take in a dataset that was made or changed."""
        self.index = self.index.with_entry(Entry(dataset.id, dataset.name, dataset.tags))
        self.forget()

    def drop(self, an_id: str) -> None:
        """Leave out a dataset that was deleted."""
        self.index = self.index.without(an_id)
        self.forget()

    def forget(self) -> None:
        """Read every asset anew when it is asked for next."""
        with self._lock:
            self._assets.clear()

    def asset(self, an_id: str) -> AssetInfo:
        """The asset of an id, also one that was replaced and is kept for requests.  Raises ``NotFound``."""
        with self._lock:
            found = self._assets.get(an_id)
            if found is not None:
                self._assets.move_to_end(an_id)
                return found
        with self._storage.read() as session:
            row = session.get(AssetRow, an_id)
            found = row.value() if row is not None else None
        if found is None:
            raise NotFound(f"There is no asset {an_id} here.")
        with self._lock:
            self._assets[an_id] = found
            if len(self._assets) > REMEMBERED:
                self._assets.popitem(last=False)
        return found

    def current(self, an_id: str) -> AssetInfo:
        """The asset of an id, for something new.  Raises ``NotFound``, or ``Conflict`` when it was replaced."""
        asset = self.asset(an_id)
        if asset.retired is not None:
            fix = "Look at the dataset again, and name its present asset."
            raise Conflict(f"The asset {asset.name!r} was replaced by version {asset.retired} of its dataset.", fix=fix)
        return asset

    def digest(self, an_id: str) -> str | None:
        """The digest of an asset's private content; ``None`` when it was deleted."""
        try:
            return self.asset(an_id).data.digest
        except NotFound:
            return None
