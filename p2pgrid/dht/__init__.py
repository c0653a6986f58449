"""The Kademlia DHT: who is there, where, and which dataset they list under which tag.

``DhtNode`` is all that another program needs; everything else in the package is its machinery, without sockets
except for ``udp``.  A program that embeds just the DHT::

    from p2pgrid.dht import DhtNode

    async with await DhtNode.start("0.0.0.0", 4000, bootstrap=["198.51.100.7:4000"]) as node:
        await node.announce("mnist", dataset_id, title="Handwritten digits")
        async for listing in node.search("mnist", limit=20):
            print(listing.record.title, listing.record.addresses)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pgrid.dht.limits import Limits
    from p2pgrid.dht.udp import DhtNode, PeerInfo, Pong, TagSample

__all__ = ["DhtNode", "Limits", "PeerInfo", "Pong", "TagSample"]


def __getattr__(name: str) -> Any:
    if name in ("DhtNode", "PeerInfo", "Pong", "TagSample"):
        from p2pgrid.dht import udp

        return getattr(udp, name)
    if name == "Limits":
        from p2pgrid.dht.limits import Limits

        return Limits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
