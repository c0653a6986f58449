"""Contacts that one lookup or search was told of, and by whom: what one network alone tells may be invented."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from p2pgrid.dht.contacts import Contact, may_tell, share_of
from p2pgrid.errors import Malformed, RemoteError


class Judge(Protocol):
    """Who counts what peers did wrong."""

    def blame(self, error: RemoteError) -> None:
        """Count a peer's fault."""


class Hearsay:
    """Who told of which contact, by address group."""

    __slots__ = ("_by",)

    def __init__(self) -> None:
        self._by: dict[bytes, bytes] = {}
        """Of each packed contact: the one address group that told of it; empty when there are several."""

    def take(self, packed: Iterable[bytes], teller: Contact, judge: Judge) -> list[Contact]:
        """The contacts that a peer told, but for those told before, and for those that it cannot know."""
        found = []
        group = share_of(teller.endpoint)
        by = self._by
        for raw in packed:
            before = by.get(raw)
            if before is not None:
                if before != group:
                    by[raw] = b""
                continue
            by[raw] = group
            try:
                contact = Contact.unpack(raw)
                if not may_tell(teller.ip, contact.ip):
                    raise Malformed("A peer told an address of a network that it is not in.")
            except RemoteError as error:
                judge.blame(error)
            else:
                found.append(contact)
        return found

    def vouched(self, contact: Contact) -> bool:
        """Whether several networks told of it."""
        return self._by.get(contact.packed) == b""

    def alone(self, contact: Contact) -> bool:
        """Whether one network told of it, and no other."""
        return bool(self._by.get(contact.packed))

    def forget(self, contact: Contact) -> None:
        """Another may tell it again."""
        self._by.pop(contact.packed, None)
