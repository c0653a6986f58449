"""Placing our own listings: the first round, every later one, and taking them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pgrid.dht.announcements import Announcement, Announcements
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.placing import Place
from p2pgrid.dht.store import OWN_GROUP
from p2pgrid.errors import RemoteError
from p2pgrid.ids import Tag, tag_key
from p2pgrid.records import Listing, Verified

if TYPE_CHECKING:
    from p2pgrid.dht.engine import Engine


class Publisher:
    """One node's listings and their rounds."""

    __slots__ = ("_engine", "_wall", "announcements")

    def __init__(self, engine: Engine, wall: Callable[[], float]) -> None:
        self._engine, self._wall = engine, wall
        self.announcements = Announcements(engine.identity, engine.limits, wall)

    def announce(self, tag: Tag, dataset: bytes, title: str, ended: Callable[[int, float], None], now: float) -> None:
        """Begin to announce a dataset; ``ended`` hears how many other nodes hold the listing.

        As soon as half of those nearest to its tag do, and the rest goes on; or when all of them were asked.

        Raises ``InvalidInput`` or ``TooLarge``.
        """
        profile = self._engine.profile
        one = self.announcements.add(tag, dataset, title, profile.card.name, profile.addresses())
        self.publish(one, ended, now)

    def publish(self, one: Announcement, ended: Callable[[int, float], None], now: float) -> None:
        """One round of placing a listing of ours; ``ended`` as for ``announce``."""
        engine = self._engine
        listing = self.announcements.sign(one, engine.profile.card.name, engine.profile.addresses())
        self._keep(listing)
        one.busy = True
        one.rounds += 1
        one.begun = now
        one.depth = engine.depth()
        number = one.rounds
        one.due = now + engine.limits.listing_ttl / 3 * (0.9 + 0.2 * engine.chance())

        def near(held: list[Contact], at: float) -> None:
            one.placed(held)
            ended(len(held), at)

        def over(held: list[Contact], at: float) -> None:
            one.placed(held)
            if one.rounds == number:  # no other round began meanwhile
                one.busy, one.placing = False, None
                one.held = held
                self.announcements.rest(one, self.possible_holders(), at)
            if not self.announcements.has(one.tag, one.dataset):  # withdrawn while it was being placed
                self._take_back(one, at)

        operation = Place(engine, listing, near, over)
        engine.opened(operation)
        one.placing = operation
        target = tag_key(one.tag)
        before = list(one.held)

        def seen(sure: list[Contact], rumoured: list[Contact], at: float) -> None:
            heard = {contact.id for contact in sure}
            sure += [contact for contact in before if contact.id not in heard]
            known = {peer.id for peer in engine.table.peers()}
            operation.choose(int.from_bytes(target, "big"), sure, rumoured, {c.id for c in before}, known, at)

        engine.survey(target, seen, now)

    def withdraw(self, tag: Tag, dataset: bytes, now: float) -> bool:
        """Stop announcing, and tell those that hold the listing.  False when it was not announced."""
        one = self.announcements.remove(tag, dataset)
        if one is None:
            return False
        if one.placing is not None:
            one.placed(one.placing.stop(now))
        self._take_back(one, now)
        return True

    def possible_holders(self) -> int:
        """How many nodes could hold a listing of ours, as far as we know."""
        return min(self._engine.limits.k, len(self._engine.table))

    def hurry(self, now: float) -> None:
        """What our listings say has changed: place them again soon."""
        for one in self.announcements.all():
            one.due = min(one.due, now)
        if len(self.announcements):
            self._engine.upkeep.hurry(now)

    def _take_back(self, one: Announcement, now: float) -> None:
        profile = self._engine.profile
        listing = self.announcements.sign_withdrawal(one, profile.card.name, profile.addresses())
        self._keep(listing)
        operation = Place(self._engine, listing, lambda held, at: None, lambda held, at: None)
        self._engine.opened(operation)
        operation.place(list(one.anywhere.values()), now)

    def _keep(self, listing: Verified[Listing]) -> None:
        """Our own listings are found here too, however far we are from their tag."""
        try:
            self._engine.store.put(listing, OWN_GROUP, self._wall())
        except RemoteError as error:  # no room, or somebody with our key was here with a later clock
            self._engine.blame(error)
