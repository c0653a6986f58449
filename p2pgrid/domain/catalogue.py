"""Names and tags of a domain's datasets, in memory: what the grid may know, found at once however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from p2pgrid.errors import InvalidInput
from p2pgrid.ids import Tag, normalise_tags
from p2pgrid.records import MAX_TITLE

MATCHES: Final = ("all", "any")


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset as the index knows it."""

    id: str
    name: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """An unchanging view, in order of making; ``with_entry`` and ``without`` give the next one."""

    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Index:
        """Of datasets in order of their making."""
        return cls(MappingProxyType({entry.id: entry for entry in entries}))

    def with_entry(self, entry: Entry) -> Index:
        """The index after a dataset was made or renamed; it keeps its place."""
        return Index(MappingProxyType({**self.entries, entry.id: entry}))

    def without(self, an_id: str) -> Index:
        """The index after a dataset was deleted."""
        return Index(MappingProxyType({key: entry for key, entry in self.entries.items() if key != an_id}))

    def tags(self) -> list[str]:
        """Each tag once, in order of first use."""
        return list(dict.fromkeys(tag for entry in self.entries.values() for tag in entry.tags))

    def listed(self) -> int:
        """How many datasets have a tag."""
        return sum(bool(entry.tags) for entry in self.entries.values())

    def listings(self) -> list[tuple[str, bytes, str]]:
        """What the grid may know: (tag, 16 bytes of dataset id, title) for each tag of each dataset."""
        return [
            (tag, bytes.fromhex(entry.id), entry.name[:MAX_TITLE])
            for entry in self.entries.values()
            for tag in entry.tags
        ]

    def matching(self, tags: Iterable[str], match: str = "all") -> list[str]:
        """Ids of datasets that carry all (or any) of the tags, in order.

        Raises ``BadTag`` or ``InvalidInput``; no tags find nothing.
        """
        if match not in MATCHES:
            raise InvalidInput(f"match is {str(match)[:20]!r}; it must be one of {', '.join(MATCHES)}.")
        wanted: set[Tag] = set(normalise_tags(tags))
        if not wanted:
            return []
        found = []
        for entry in self.entries.values():
            held = wanted.intersection(entry.tags)
            if held == wanted or (match == "any" and held):
                found.append(entry.id)
        return found
