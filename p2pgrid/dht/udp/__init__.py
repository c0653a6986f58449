"""The DHT on a UDP socket: an asyncio-dgram shell around ``p2pgrid.dht.engine``."""

from __future__ import annotations

from p2pgrid.dht.sampling import TagSample
from p2pgrid.dht.udp.node import DhtNode, PeerInfo, Pong

__all__ = ["DhtNode", "PeerInfo", "Pong", "TagSample"]
