"""Searching the whole grid for tags, over the DHT or through a gateway."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from p2pgrid.client.bridge import Bridge, bridged
from p2pgrid.client.keys import Key
from p2pgrid.client.show import Shown, ShownList
from p2pgrid.errors import NoBootstrap, Unreachable
from p2pgrid.ids import NodeId, host_ports, normalise_tags

if TYPE_CHECKING:
    from p2pgrid.client.domain import DomainClient
    from p2pgrid.records import Listing, Verified

DEFAULT_LIMIT: Final = 100
DEFAULT_TIMEOUT: Final = 5.0
BOOTSTRAP_VARIABLE: Final = "P2PGRID_BOOTSTRAP"


@dataclass(frozen=True, repr=False)
class Found(Shown):
    """One dataset somewhere on the grid, as its node's signed listing tells it."""

    title: str
    tags: tuple[str, ...]
    node: str
    node_id: str
    url: str
    dataset_id: str
    after_ms: float
    bridge: Bridge

    @property
    def id(self) -> str:
        """The dataset's id at its node."""
        return self.dataset_id

    @property
    def name(self) -> str:
        """The dataset's title."""
        return self.title

    @property
    def _bridge(self) -> Bridge:
        return self.bridge

    @bridged
    async def login(
        self, email: str | None = None, password: str | None = None, key: Key | None = None
    ) -> DomainClient:
        """Link to the node that holds it, pinned to the id that signed the listing; a guest without e-mail."""
        from p2pgrid.client.domain import open_client

        expect = NodeId(bytes.fromhex(self.node_id))
        return await open_client(self.bridge, self.url, email=email, password=password, key=key, expect=expect)

    def fields(self) -> Mapping[str, Any]:
        """What to tell a person."""
        return {
            "dataset": self.title,
            "tags": " ".join(f"#{tag}" for tag in self.tags),
            "node": self.node,
            "url": self.url,
            "node_id": self.node_id,
            "dataset_id": self.dataset_id,
        }


class SearchResults(ShownList[Found]):
    """What a search found, in the order of arrival."""

    columns = ("dataset", "tags", "node", "url", "node_id")
    heading = "Search results"


async def stream(
    bridge: Bridge,
    tags: Sequence[str],
    *,
    bootstrap: str | Sequence[str] = (),
    home: str | Path | None = None,
    match: Literal["all", "any"] = "all",
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT,
) -> AsyncIterator[Found]:
    """Each dataset as its listing arrives, and again when a newer one tells another address, name or title.

    The last of each node and dataset counts.  Raises ``BadTag``, ``NoBootstrap``.
    """
    from p2pgrid.dht import DhtNode

    wanted = normalise_tags(tags)
    ways_in = host_ports(bootstrap) or host_ports(known_ways_in(home))
    if not ways_in:
        raise NoBootstrap("No node of the grid is known.", fix="Give one with --bootstrap HOST:PORT.")
    began = time.perf_counter()
    node = await DhtNode.start(host_towards(ways_in), 0, bootstrap=ways_in, mode="client")
    try:
        if not node.joined:
            raise NoBootstrap(f"None of these addresses answered: {', '.join(map(str, ways_in))}.")
        async for listing in node.search(*wanted, match=match, limit=limit, timeout=timeout):
            yield found(bridge, listing, wanted, (time.perf_counter() - began) * 1000, match)
    finally:
        await node.close()


def found(bridge: Bridge, listing: Verified[Listing], wanted: Sequence[str], after_ms: float, match: str) -> Found:
    """A listing as a person meets it."""
    record = listing.record
    tags = (record.tag,) if match == "any" else tuple(wanted)
    url = next((address.url for address in record.addresses if address.url), "")
    return Found(record.title, tags, record.name, record.id.hex(), url or "", record.dataset.hex(), after_ms, bridge)


async def collect(bridge: Bridge, tags: Sequence[str], **how: Any) -> SearchResults:
    """All that a search finds, each dataset once, as its newest listing tells it."""
    return SearchResults(await newest(stream(bridge, tags, **how)))


async def newest(items: AsyncIterable[Found]) -> list[Found]:
    """The last of each node and dataset, in the order in which they first came."""
    kept: dict[tuple[str, str], Found] = {}
    async for item in items:
        kept[item.node_id, item.dataset_id] = item
    return list(kept.values())


async def through_gateway(gateway: str, tags: Sequence[str], *, timeout: float = DEFAULT_TIMEOUT) -> list[list[str]]:
    """The (node, address) pairs that a gateway offers for datasets with all the tags."""
    from p2pgrid.link.http import fetch_json

    query = [f"#{tag}" for tag in normalise_tags(tags)]
    status, answer = await fetch_json("POST", f"{gateway.rstrip('/')}/search", {"query": query}, timeout=timeout)
    return read_offers(gateway, status, answer)


def read_offers(gateway: str, status: int, answer: Any) -> list[list[str]]:
    """The (node, address) pairs in a gateway's answer.  Raises what it answered with, or ``Unreachable``."""
    from p2pgrid.errors import GatewayRefused, from_wire

    if status != 200:
        error = answer.get("error") if isinstance(answer, dict) else None
        raise from_wire(error) if error else GatewayRefused(f"The gateway answered with status {status}.")
    pairs = answer.get("node-addresses") if isinstance(answer, dict) else None
    if not isinstance(pairs, list):
        raise Unreachable(f"What answers at {gateway} is no gateway.")
    return [[str(part) for part in pair] for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def known_ways_in(home: str | Path | None) -> list[str]:
    """Nodes that run on this machine, and what the environment names."""
    from p2pgrid.home import homes

    local = [state.dht for state in (home.running() for home in homes(home)) if state and state.dht]
    return [*host_ports(os.environ.get(BOOTSTRAP_VARIABLE, "")), *local]


def host_towards(ways_in: Sequence[str]) -> str:
    """The address to send from: any; IPv6 where all ways in are.

    Never loopback: a way in on this machine may tell of nodes elsewhere, and such a socket cannot send to them.
    """
    v6 = bool(ways_in) and all(way.startswith("[") for way in ways_in)
    return "::" if v6 else "0.0.0.0"  # noqa: S104 - a client that no one may enter
