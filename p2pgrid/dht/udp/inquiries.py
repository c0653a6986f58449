"""What a person asks about the grid, in plain values: for a node's owner over a link, and for a guest's ``--json``."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from p2pgrid.dht.contacts import written
from p2pgrid.dht.udp.node import DhtNode, PeerInfo
from p2pgrid.errors import InvalidInput, NotFound, P2PError
from p2pgrid.ids import NodeId, Tag, parse_node_id
from p2pgrid.records import Address, Listing

AT_ONCE: Final = 16
"""Nodes of one tag that are pinged at the same time."""
PING_TIMEOUT: Final = 3.0
MOST_LISTINGS: Final = 8
"""Listings that are read for each node that is looked for: one node may hold several datasets with the tag."""
ID_BEGINNING: Final = re.compile(r"[0-9a-fA-F]{4,39}")
"""A beginning of a node id that is long enough to mean one."""
FULL_ID: Final = re.compile(r"[0-9a-fA-F]{40}")
TOLD: Final = 4
"""Peers of one name that a message tells."""

Row = dict[str, Any]


def peer_rows(dht: DhtNode) -> list[Row]:
    """Every peer as ``DhtNode.peers`` tells it."""
    return [
        {
            "id": peer.id.hex(),
            "name": peer.name,
            "address": shown(peer.address),
            "state": peer.state,
            "latency_ms": None if peer.latency_ms is None else round(peer.latency_ms, 3),
            "last_seen": peer.last_seen,
        }
        for peer in dht.peers()
    ]


async def ping_row(dht: DhtNode, target: str, timeout: float = PING_TIMEOUT) -> Row:
    """Ping host:port, a node id, or a known peer by its name or the beginning of its id.

    Raises ``NotFound`` when no peer is known so, ``InvalidInput`` when several are, ``Unreachable``, ``BadAddress``.
    """
    where: str | NodeId = target
    if FULL_ID.fullmatch(target):
        where = parse_node_id(target)
    elif ":" not in target:
        where = known_peer(dht.peers(), target).id
    if where == dht.id or target == shown(dht.address):
        return {"id": dht.id.hex(), "name": dht.record.record.name, "rtt_ms": 0.0, "state": "online"}
    pong = await dht.ping(where, timeout=timeout)
    return {"id": pong.id.hex(), "name": pong.name, "rtt_ms": round(pong.rtt_ms, 3), "state": pong.state}


def known_peer(peers: list[PeerInfo], text: str) -> PeerInfo:
    """The one peer of that name, or whose id begins so.  Raises ``NotFound``, or ``InvalidInput`` for several.

    A name is a label that anybody may take: it finds a peer, and proves nothing.
    """
    found = [peer for peer in peers if peer.name == text]
    if not found and ID_BEGINNING.fullmatch(text):
        found = [peer for peer in peers if peer.id.hex().startswith(text.lower())]
    if not found:
        raise NotFound(f"No peer is known by the name or id {text[:80]!r}.", fix="List those known: p2pgrid peers")
    if len(found) > 1:
        told = ", ".join(peer.id.hex() for peer in found[:TOLD])
        raise InvalidInput(f"{text[:80]!r} may be {len(found)} peers: {told}.", fix="Give a whole id.")
    return found[0]


async def ping_tag_rows(dht: DhtNode, tag: Tag, *, limit: int, timeout: float) -> list[Row]:
    """Ping every node that lists the tag, at most ``limit``, found within ``timeout`` seconds: the quickest first.

    An answer counts only from the key that signed the listing.
    """
    records: dict[NodeId, Listing] = {}
    async for listing in dht.search(tag, limit=limit * MOST_LISTINGS, timeout=timeout):
        if len(records) < limit or listing.record.id in records:
            records[listing.record.id] = listing.record
    turns = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_ping_listed(dht, record, turns)) for record in records.values()]
    rows = [task.result() for task in asked]
    return sorted(rows, key=lambda row: (row["rtt_ms"] is None, row["rtt_ms"] or 0.0))


async def _ping_listed(dht: DhtNode, record: Listing, turns: asyncio.Semaphore) -> Row:
    row = {"id": record.id.hex(), "name": record.name, "address": shown(record.addresses[0])}
    if record.id == dht.id:
        return {**row, "state": "online", "rtt_ms": 0.0}
    async with turns:
        for where in (record.addresses[0], record.id):  # where it said to be, else where it is now
            try:
                pong = await dht.ping(where, timeout=PING_TIMEOUT)
            except P2PError:
                continue
            if pong.id == record.id:
                return {**row, "name": pong.name or record.name, "state": pong.state, "rtt_ms": round(pong.rtt_ms, 3)}
    return {**row, "state": "offline", "rtt_ms": None}


async def tag_rows(dht: DhtNode, text: str, *, limit: int, timeout: float) -> list[Row]:
    """See ``DhtNode.sample_tags``."""
    found = await dht.sample_tags(text, limit=limit, timeout=timeout)
    return [{"tag": sample.tag, "seen": sample.seen} for sample in found]


def shown(address: Address) -> str:
    """host:port, as others bootstrap from."""
    return written(address.ip, address.udp)
