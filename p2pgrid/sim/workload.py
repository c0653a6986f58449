"""What happens in a grid that people use: datasets announced, searches over time, nodes that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from p2pgrid.ids import Tag, normalise_tag
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.churn import Sessions
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.growth import AGAIN
from p2pgrid.sim.node import Node

DATASET_BYTES: Final = 16
WHOLE: Final = 100
"""Listings that a search of the workload asks for: all that there are of its rare tags."""


@dataclass(slots=True)
class Find:
    """One search.  Times in seconds.

    ``at``: when it began; ``first``: None when nothing was found; ``right``: a living publisher's listing was;
    ``local``: whoever searched held one itself, so that the first result took no time.
    """

    at: float
    first: float | None = None
    complete: float | None = None
    listings: int = 0
    right: bool = False
    local: bool = False


@dataclass(slots=True)
class Workload:
    """Datasets, searches and churn in one grid.

    ``among``: who announces, everybody unless told; ``publishers``: of each tag, the living node that announces it;
    when it dies another takes over.
    """

    grid: Grid
    among: list[Node] | None = None
    finds: list[Find] = field(default_factory=list)
    publishers: dict[Tag, Node] = field(default_factory=dict)
    births: int = 0
    deaths: int = 0

    # ------------------------------------------------------------ datasets

    def publish(self, count: int, *, every: float = 0.1) -> None:
        """``count`` tags more with one dataset each, by nodes by chance.

        Returns when all are announced, or half a minute after the last began; ``Grid.unheld`` counts those that nobody
        but their publishers holds by then.
        """
        announced: list[int] = []
        begun = len(self.publishers)
        for number in range(count):
            tag = normalise_tag(f"tag-{begun + number}")
            self.grid.world.after(number * every, self._publish, tag, announced)
        self.grid.run(count * every + 30.0, lambda: len(announced) >= count)
        self.grid.unheld += count - sum(held > 0 for held in announced)
        self.grid.run(5.0)  # the outer ranges are placed after an announcement returns

    def _publish(self, tag: Tag, announced: list[int] | None = None) -> None:
        chance = self.grid.world.random
        node = self.grid.anyone() if self.among is None else chance.choice(self.among)
        if node is None:
            return
        self.publishers[tag] = node
        ended = announced.append if announced is not None else _unheard
        node.announce(tag, chance.randbytes(DATASET_BYTES), "a dataset", ended)

    # ------------------------------------------------------------ searches

    def search_over(self, seconds: float, count: int) -> None:
        """So many searches, spread evenly over the time from now on; they happen as the time passes."""
        for number in range(count):
            self.grid.world.after(number * seconds / max(1, count), self._search)

    def _search(self) -> None:
        chance = self.grid.world.random
        if not self.publishers:
            return
        tag = chance.choice(list(self.publishers))
        node = self.grid.anyone(lambda one: one is not self.publishers[tag])
        if node is not None:
            self.search(node, tag)

    def search(self, node: Node, tag: Tag) -> Find:
        """Begin one; it is among ``finds`` at once, and complete when it ended."""
        world = self.grid.world
        find = Find(world.now)
        self.finds.append(find)
        publisher = self.publishers[tag].identity.public if tag in self.publishers else b""

        def found(listing: Verified[Listing]) -> None:
            if find.first is None:
                find.first = world.now - find.at
                find.local = world.now == find.at
            find.listings += 1
            find.right |= listing.record.key == publisher

        def ended() -> None:
            find.complete = world.now - find.at

        node.search(tag, WHOLE, found, ended)
        return find

    # ------------------------------------------------------------ churn

    def churn(self, sessions: Sessions) -> None:
        """From now on every node stays as long as chance has it, and a new one comes for each that leaves.

        While there is no door, the next is one: open, and the first of a grid of its own.
        """
        chance = self.grid.world.random
        for node in list(self.grid.nodes):
            self.grid.world.after(sessions.rest(chance), self._leave, node, sessions)

    def _leave(self, node: Node, sessions: Sessions) -> None:
        grid = self.grid
        orphaned = [tag for tag, publisher in self.publishers.items() if publisher is node]
        grid.remove(node)
        self.deaths += 1
        door = grid.door()
        new = grid.add(side=door.host.side) if door is not None else grid.add(nat="open")
        self.births += 1
        if door is not None:
            self._join(new, door)
        grid.world.after(sessions.session(grid.world.random), self._leave, new, sessions)
        for tag in orphaned:
            self._publish(tag)

    def _join(self, new: Node, door: Node, again: bool = False) -> None:
        """Whom its door does not answer is counted as not joined until another does, and tries as long as it stays."""

        def ended(joined: bool) -> None:
            if joined is again:
                self.grid.unjoined += -1 if joined else 1
            if not joined:
                self.grid.world.after(AGAIN, self._again, new)

        new.join([door.address], ended)

    def _again(self, new: Node) -> None:
        if not new.up:
            return
        door = self.grid.door(lambda other: other is not new and other.host.side == new.host.side)
        if door is not None:
            self._join(new, door, again=True)
        else:
            self.grid.world.after(AGAIN, self._again, new)


def times(finds: Sequence[Find]) -> dict[str, float | None]:
    """Of searches: seconds to the first result where it came from others, and to the end."""
    firsts = [find.first for find in finds if find.first is not None and not find.local]
    whole = [find.complete for find in finds if find.complete is not None]
    return {
        "first_p50": percentile(firsts, 0.5),
        "first_p95": percentile(firsts, 0.95),
        "complete_p50": percentile(whole, 0.5),
        "complete_p95": percentile(whole, 0.95),
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The least of them that at least so much (0..1) of them do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def _unheard(held: int) -> None:
    """Nobody waits for it: a newcomer that takes over may know nobody yet, and announces again as soon as it does."""
