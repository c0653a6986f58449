"""A real engine on a host in virtual time: all that differs from a node on a socket is who carries its packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import Contact, Endpoint
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.lookup import Lookup
from p2pgrid.errors import InvalidInput
from p2pgrid.ids import Tag
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.invariants import Invariants
from p2pgrid.sim.network import Host

if TYPE_CHECKING:
    from p2pgrid.sim.grid import Grid

RARELY: Final = 1.0
"""Seconds: as in ``dht.udp.shell``, an early wake-up is let pass rather than moved for less."""


def _unheard(news: object) -> None:
    """Nobody waits for it."""


class Node:
    """One peer of a ``Grid``.  ``engine``: while it is up; a restart makes another with the same key."""

    __slots__ = (
        "_checks",
        "_grid",
        "_holdings",
        "_saved",
        "_wake_at",
        "_wall",
        "engine",
        "host",
        "identity",
        "limits",
        "name",
        "server",
    )

    def __init__(
        self,
        grid: Grid,
        host: Host,
        identity: Identity,
        limits: Limits,
        server: bool,
        name: str,
        wall: Callable[[], float],
    ) -> None:
        self._grid, self.host, self.identity, self.limits, self.server = grid, host, identity, limits, server
        self.name, self._wall = name, wall
        self._checks = Invariants(grid.check_every)
        self._wake_at = inf
        self._saved: list[Contact] = []
        self._holdings: list[object] = []
        self.engine = self._made()
        host.program = self.receive
        self.flush()

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.host.up

    @property
    def address(self) -> Endpoint:
        """Where others reach it, as far as it knows."""
        return self.engine.address

    def receive(self, datagram: bytes, source: Endpoint) -> None:
        """The network has a packet for it."""
        now = self._grid.world.now
        self.engine.receive(datagram, source, now)
        self._checks.after_datagram(self.engine)
        self.flush()

    def flush(self) -> None:
        """Send what is ready, and be woken when something is due."""
        grid, host = self._grid, self.host
        now = grid.world.now
        datagrams, wake = self.engine.poll(now)
        for data, target in datagrams:
            grid.network.send(host, data, target)
        if wake < self._wake_at or wake > self._wake_at + RARELY:
            self._wake_at = wake
            if wake < inf:
                grid.world.at(wake, self._wake, wake)

    # ------------------------------------------------------------ life

    def join(self, through: Sequence[Endpoint], ended: Callable[[bool], None] = _unheard) -> None:
        """Join by bare addresses, and whoever was known before a restart; ``ended``: whether anybody answered."""
        self._must_run()
        saved, self._saved = self._saved, []
        self.engine.upkeep.join(list(through), saved, lambda joined, at: ended(joined), self._grid.world.now)
        self.flush()

    def crash(self) -> None:
        """Gone without a word.  What it would have had on its disk is there when it is started again."""
        if self.up:
            self._saved = [Contact.unpack(packed) for packed in self.engine.snapshot()]
            self._holdings = list(self.engine.store.dump())
            self.host.up = False
            self._wake_at = inf

    def restart(self, *, clean: bool = False) -> None:
        """Up again at the same address with the same key; ``clean``: without what it knew and held."""
        if self.up:
            return
        self.host.up = True
        self.engine = self._made()
        self._checks.restarted()
        if clean:
            self._saved = []
        else:
            self.engine.store.load(self._holdings, self._wall())
        self._holdings = []
        self.flush()

    # ------------------------------------------------------------ what one asks of it

    def announce(self, tag: Tag, dataset: bytes, title: str = "", ended: Callable[[int], None] = _unheard) -> None:
        """See ``DhtNode.announce``; ``ended`` hears how many hold it."""
        self._must_run()
        now = self._grid.world.now
        self.engine.publisher.announce(tag, dataset, title, lambda held, at: ended(held), now)
        self.flush()

    def search(
        self, tag: Tag, limit: int, found: Callable[[Verified[Listing]], None], ended: Callable[[], None]
    ) -> None:
        """See ``DhtNode.search``; what is handed out is checked to be signed and asked for."""
        self._must_run()

        def handed(listing: Verified[Listing]) -> None:
            self._grid.verified(listing, tag)
            found(listing)

        self.engine.search(tag, limit, handed, lambda at: ended(), self._grid.world.now)
        self.flush()

    def find(self, target: bytes, ended: Callable[[list[Contact]], None]) -> Lookup:
        """The nodes nearest to a point; the lookup under way tells how it goes."""
        self._must_run()
        walk = self.engine.walk(target, lambda near, at: ended(near), self._grid.world.now).walk
        self.flush()
        return walk.lookup

    def holds(self, tag: Tag) -> int:
        """Listings of a tag that it holds."""
        return self.engine.store.total(tag)

    # ------------------------------------------------------------ inside

    def _must_run(self) -> None:
        if not self.up:
            raise InvalidInput("A node that crashed does nothing.", fix="Call restart() first.")

    def _made(self) -> Engine:
        grid, host = self._grid, self.host
        engine = Engine(
            self.identity,
            address=host.endpoint,
            now=grid.world.now,
            wall=self._wall,
            random=grid.world.random.randbytes,
            fixed_address=host.nat is None,
            server=self.server,
            name=self.name,
            limits=self.limits,
        )
        engine.report = grid.fault
        return engine

    def _wake(self, when: float) -> None:
        if self.up and when == self._wake_at:
            self._wake_at = inf
            self.flush()
