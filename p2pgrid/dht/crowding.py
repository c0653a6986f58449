"""How many contacts of one network a single lookup takes in, so that neither a bought /24 fills it nor a victim, whose
address somebody advertises under many keys, is asked by everybody many times."""

from __future__ import annotations

from typing import Final

from p2pgrid.dht.contacts import SITE_FACTOR, Contact, group_of, site_of
from p2pgrid.dht.limits import Limits

PUBLIC_GROUPS: Final = (3, 8)
"""Bytes of a group's name, see ``group_of``: /24 and /64."""


class Crowding:
    """The counts of one lookup."""

    __slots__ = ("_counts", "_group", "_ip")

    def __init__(self, limits: Limits) -> None:
        self._ip, self._group = limits.lookup_ip, limits.lookup_group
        self._counts: dict[bytes | str, int] = {}

    def admits(self, contact: Contact) -> bool:
        """Count a contact in, unless its address, address group or /48 has its share.

        Addresses of a LAN or of this machine are nobody's bought network: they have no bound.
        """
        shares = self._shares(contact)
        counts = self._counts
        if any(counts.get(name, 0) >= most for name, most in shares):
            return False
        for name, _ in shares:
            counts[name] = counts.get(name, 0) + 1
        return True

    def release(self, contact: Contact) -> None:
        """It was forgotten: count it out."""
        for name, _ in self._shares(contact):
            self._counts[name] = self._counts.get(name, 0) - 1

    def _shares(self, contact: Contact) -> list[tuple[bytes | str, int]]:
        group = group_of(contact.endpoint)
        if len(group) not in PUBLIC_GROUPS:
            return []
        shares: list[tuple[bytes | str, int]] = [(contact.ip, self._ip), (group, self._group)]
        site = site_of(group)
        return [*shares, (site, SITE_FACTOR * self._group)] if site else shares
