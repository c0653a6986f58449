"""The nodes of a swarm that live in one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from p2pgrid.dht import DhtNode
from p2pgrid.dht.contacts import written

if TYPE_CHECKING:
    from p2pgrid.node import Node

AT_ONCE: Final = 16
"""Nodes that are started at the same time."""
DOORS: Final = 2
"""Nodes that a new one is told to join through."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a swarm.  ``url``: of its domain, empty for one of the DHT only; ``process``: 0 is the swarm's own."""

    name: str
    id: str
    dht: str
    url: str
    process: int
    datasets: tuple[str, ...] = ()


def row_of(
    member: Member, state: str, *, peers: int = 0, listings: int = 0, sent: int = 0, received: int = 0
) -> dict[str, Any]:
    """A node as ``Swarm.status`` tells of it; without figures where nobody can say them any more."""
    return {
        "name": member.name,
        "id": member.id,
        "address": member.dht,
        "url": member.url,
        "process": member.process,
        "state": state,
        "peers": peers,
        "listings": listings,
        "sent": sent,
        "received": received,
        "datasets": list(member.datasets),
    }


@dataclass(frozen=True, slots=True)
class Order:
    """What one process is to start.

    ``names``: one a node; ``full``: whether all have a domain; ``datasets``: of a node, names and sources of what it is
    to publish, for which it has one in any case; ``bootstrap``: host:port of nodes that are up; ``home``: the base
    folder of domains; ``seed``: of who joins through whom.
    """

    process: int
    names: Sequence[str]
    full: bool
    datasets: Mapping[str, Sequence[tuple[str, Any]]]
    bootstrap: Sequence[str]
    host: str
    home: str
    seed: int


Started = tuple[str, DhtNode, "Node | None", tuple[str, ...]]
"""Name, DHT, the node around it where there is one, and names of what it published."""


@dataclass(slots=True)
class Share:
    """Nodes on the running loop."""

    order: Order
    members: list[Member] = field(default_factory=list)
    dht: list[DhtNode] = field(default_factory=list)
    """Of each member."""
    domains: list[Node] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    told: bool = False
    """Whether the swarm has its members."""
    _begun: list[asyncio.Task[Started]] = field(default_factory=list)
    """Starts that are under way, or not looked at yet."""

    async def start(self) -> list[Member]:
        """Bring all up, each through some that are up already; then publish what is to be published.

        Whatever ends it early, ``close`` ends what it began.
        """
        order, chance = self.order, random.Random(self.order.seed)  # noqa: S311 - who joins through whom
        names = list(order.names)
        while names:
            up = [member.dht for member in self.members] or list(order.bootstrap)
            batch, names = names[: AT_ONCE if up else 1], names[AT_ONCE if up else 1 :]
            doors = [chance.sample(up, min(DOORS, len(up))) for _ in batch]
            self._begun = [asyncio.create_task(self._start_one(*each)) for each in zip(batch, doors, strict=True)]
            await asyncio.wait(self._begun)
            if errors := self._look():
                raise errors[0]
        return self.members

    def status(self) -> list[dict[str, Any]]:
        """A row for each node, as it is now."""
        return [
            row_of(
                member,
                "offline" if at in self.dead else "online",
                peers=len(dht.peers()),
                listings=dht.figures.listings,
                sent=dht.counters.get("sent", 0),
                received=dht.counters.get("received", 0),
            )
            for at, (member, dht) in enumerate(zip(self.members, self.dht, strict=True))
        ]

    async def kill(self, names: Sequence[str]) -> None:
        """These are gone, without a word to others."""
        for at, member in enumerate(self.members):
            if member.name in names and at not in self.dead:
                self.dead.add(at)
                await self.dht[at].close()
                for domain in [domain for domain in self.domains if domain.dht is self.dht[at]]:
                    self.domains.remove(domain)
                    await domain.close()

    async def close(self) -> None:
        """End all.  Those that are on their way come up first: half of a node cannot be closed."""
        if self._begun:
            await asyncio.wait(self._begun)
            self._look()
        domains, self.domains = self.domains, []
        full = {id(domain.dht) for domain in domains}
        await asyncio.gather(*(domain.close() for domain in domains), return_exceptions=True)
        await asyncio.gather(*(dht.close() for dht in self.dht if id(dht) not in full), return_exceptions=True)

    # ------------------------------------------------------------ inside

    def _look(self) -> list[BaseException]:
        """Keep those that came up of the starts that are over; why the others did not."""
        begun, self._begun = self._begun, []
        errors = []
        for one in begun:
            error = asyncio.CancelledError() if one.cancelled() else one.exception()
            if error is None:
                self._keep(*one.result())
            else:
                errors.append(error)
        return errors

    async def _start_one(self, name: str, doors: Sequence[str]) -> Started:
        order = self.order
        datasets = order.datasets.get(name, ())
        if not (order.full or datasets):
            return name, await DhtNode.start(order.host, bootstrap=doors, name=name), None, ()
        from p2pgrid.config import load_settings
        from p2pgrid.home import Home
        from p2pgrid.node import Node

        settings = load_settings(name=name, host=order.host, port=0, bootstrap=tuple(doors))
        node = await Node.start(settings, Home(name, order.home))
        try:
            published = [await _publish(node, title, source) for title, source in datasets]
        except BaseException:
            await node.close()
            raise
        return name, node.dht, node, tuple(published)

    def _keep(self, name: str, dht: DhtNode, node: Node | None, datasets: tuple[str, ...]) -> None:
        address = written(dht.address.ip, dht.address.udp)
        url = node.url if node is not None else ""
        self.members.append(Member(name, dht.id.hex(), address, url, self.order.process, datasets))
        self.dht.append(dht)
        if node is not None:
            self.domains.append(node)


async def _publish(node: Node, title: str, source: Any) -> str:
    """Upload a dataset to a node as its owner does; its name."""
    from p2pgrid import aio
    from p2pgrid.client.data import load_source, make_mock
    from p2pgrid.client.values import Asset, Dataset

    if isinstance(source, Dataset):
        dataset = source
    else:
        loaded = await asyncio.to_thread(load_source, source)
        assets = [Asset(name, value, make_mock(value)) for name, value in loaded.assets]
        dataset = Dataset(title or loaded.name, assets, loaded.description, tags=list(loaded.tags) or [title])
    client = await aio.login(url=node.url, key=node.home.owner())
    try:
        await client.upload_dataset(dataset, progress=False)
    finally:
        await client.close()
    return dataset.name
