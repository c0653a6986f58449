"""How many contacts of one network a single lookup takes in, so that neither a bought /24 fills it nor a victim, whose
address somebody advertises under many keys, is asked by everybody many times."""

from __future__ import annotations

from collections import Counter
from typing import Final

from p2pgrid.dht.contacts import Contact, group_of
from p2pgrid.dht.limits import Limits

PUBLIC_GROUPS: Final = (3, 8)
"""Bytes of a group's name, see ``group_of``: /24 and /64."""


class Crowding:
    """The counts of one lookup."""

    __slots__ = ("_counts", "_group", "_ip")

    def __init__(self, limits: Limits) -> None:
        self._ip, self._group = limits.lookup_ip, limits.lookup_group
        self._counts: Counter[bytes | str] = Counter()

    def admits(self, contact: Contact) -> bool:
        """Count a contact in, unless its address or address group has its share.

        Addresses of a LAN or of this machine are nobody's bought network: they have no bound.
        """
        group = group_of((contact.ip, contact.port))
        if len(group) not in PUBLIC_GROUPS:
            return True
        ip, counts = contact.ip, self._counts
        if counts[ip] >= self._ip or counts[group] >= self._group:
            return False
        counts[ip] += 1
        counts[group] += 1
        return True
