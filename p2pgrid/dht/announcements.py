"""Our own listings: what we hold under which tag, signed anew well before each listing runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from p2pgrid import crypto
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import WITHDRAWN_TTL
from p2pgrid.dht.placing import Place
from p2pgrid.errors import InvalidInput, TooLarge
from p2pgrid.ids import Tag
from p2pgrid.records import DATASET_ID_BYTES, Address, Listing, Verified, sign_listing, with_fitting_title

Key = tuple[Tag, bytes]

MOST_HOLDERS: Final = 128
"""Holders of one listing that are remembered: those of three rounds, as long as a listing lives."""
FIRST_PAUSE: Final = 30.0
"""A listing that a young grid could not place well is placed again after this, then ever more rarely."""


class Announcement:
    """One listing of ours.  ``begun`` and ``due``: the engine's time of its last round and of its next.

    ``again``: when a round may come earlier because more nodes could hold it than do, or because the grid has grown
    beyond the ``depth`` (log2 of its nodes) of the last round; ``pause``: how long until then.
    ``held``: who took it in the last round; ``anywhere``: by id, who took it at any time lately; ``placing``: the round
    under way.
    """

    __slots__ = (
        "again",
        "anywhere",
        "begun",
        "busy",
        "dataset",
        "depth",
        "due",
        "held",
        "listing",
        "pause",
        "placing",
        "rounds",
        "tag",
        "title",
    )

    def __init__(self, tag: Tag, dataset: bytes, title: str) -> None:
        self.tag, self.dataset, self.title = tag, dataset, title
        self.due = self.begun = 0.0
        self.again = 0.0
        self.depth = 0.0
        self.pause = FIRST_PAUSE
        self.busy = False
        self.rounds = 0
        self.held: Sequence[Contact] = ()
        self.anywhere: dict[bytes, Contact] = {}
        self.listing: Verified[Listing] | None = None
        self.placing: Place | None = None

    def placed(self, holders: Iterable[Contact]) -> None:
        """These took it; the latest are remembered, to be told when it is withdrawn."""
        for contact in holders:
            self.anywhere.pop(contact.id, None)
            self.anywhere[contact.id] = contact
        while len(self.anywhere) > MOST_HOLDERS:
            del self.anywhere[next(iter(self.anywhere))]


class Announcements:
    """All of ours, by tag and dataset."""

    __slots__ = ("_by_key", "_identity", "_last_seq", "_limits", "_wall")

    def __init__(self, identity: crypto.Identity, limits: Limits, wall: Callable[[], float]) -> None:
        self._identity, self._limits, self._wall = identity, limits, wall
        self._by_key: dict[Key, Announcement] = {}
        self._last_seq = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def rest(self, one: Announcement, possible: int, now: float) -> None:
        """A round is over: when the next may come, if fewer hold it than the ``possible``."""
        one.pause = FIRST_PAUSE if len(one.held) >= possible else min(2 * one.pause, self._limits.listing_ttl / 3)
        one.again = now + one.pause

    def odd(self, one: Announcement) -> bool:
        """Whether the clock of records says that its listing is not valid now: set back, or asleep meanwhile."""
        if one.listing is None:
            return False
        return not 0 <= self._wall() - one.listing.record.issued < self._limits.listing_ttl

    def has(self, tag: Tag, dataset: bytes) -> bool:
        """Whether it is announced."""
        return (tag, dataset) in self._by_key

    def all(self) -> list[Announcement]:
        """Each of them."""
        return list(self._by_key.values())

    def add(self, tag: Tag, dataset: bytes, title: str, name: str, addresses: tuple[Address, ...]) -> Announcement:
        """Begin one, or change its title.  Raises ``InvalidInput`` or ``TooLarge``, and keeps nothing then."""
        if len(dataset) != DATASET_ID_BYTES:
            raise InvalidInput(f"A dataset id has {DATASET_ID_BYTES} bytes, not {len(dataset)}.")
        known = self._by_key.get((tag, dataset))
        if known is None and len(self._by_key) >= self._limits.announcements:
            raise TooLarge(f"A node announces at most {self._limits.announcements} listings.")
        one = known or Announcement(tag, dataset, title)
        self._listing(one, name, addresses, self._limits.listing_ttl, self._next_seq())
        one.title = title
        self._by_key[tag, dataset] = one
        return one

    def remove(self, tag: Tag, dataset: bytes) -> Announcement | None:
        """Stop one."""
        return self._by_key.pop((tag, dataset), None)

    def sign(self, one: Announcement, name: str, addresses: tuple[Address, ...]) -> Verified[Listing]:
        """A listing newer than any before, also than those of an earlier run of this node.

        Its title is cut to what fits.  Raises ``TooLarge`` when name and addresses leave no room for any.
        """
        one.listing = self._sign(one, name, addresses, self._limits.listing_ttl)
        return one.listing

    def sign_withdrawal(self, one: Announcement, name: str, addresses: tuple[Address, ...]) -> Verified[Listing]:
        """The listing that takes it back."""
        return self._sign(one, name, addresses, WITHDRAWN_TTL)

    def _sign(self, one: Announcement, name: str, addresses: tuple[Address, ...], ttl: int) -> Verified[Listing]:
        self._last_seq = self._next_seq()
        return sign_listing(self._identity, self._listing(one, name, addresses, ttl, self._last_seq))

    def _next_seq(self) -> int:
        # Milliseconds of the clock, so that a node that forgot its last number still goes on above it.
        return max(self._last_seq + 1, int(self._wall() * 1000))

    def _listing(self, one: Announcement, name: str, addresses: tuple[Address, ...], ttl: int, seq: int) -> Listing:
        listing = Listing(
            key=self._identity.public,
            name=name,
            addresses=addresses,
            tag=one.tag,
            dataset=one.dataset,
            title=one.title,
            seq=seq,
            issued=int(self._wall()),
            ttl=ttl,
        )
        return with_fitting_title(listing)
