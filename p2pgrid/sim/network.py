"""Packets between hosts in virtual time: latency, loss, duplicates, reordering, bandwidth, NAT, partitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from p2pgrid.dht.contacts import Endpoint
from p2pgrid.dht.limits import MAX_DATAGRAM
from p2pgrid.errors import InvalidInput
from p2pgrid.sim.checks import instance, number
from p2pgrid.sim.latency import Constant, Latency
from p2pgrid.sim.nat import KINDS, Kind, Nat
from p2pgrid.sim.world import World

UDP_AND_IP: Final = 28
"""Bytes of headers that each datagram has on the wire besides."""
QUEUE: Final = 0.2
"""Seconds of packets that wait for a host's uplink before it drops some."""
LATENCIES: Final = "Take Constant, Uniform, LogNormal or Regions; a text is for the parameters of an experiment."


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network does to packets, and what hosts stand behind; shares are from 0 to 1.

    Of all packets, ``loss``: get lost; ``duplicate``: arrive twice; ``reorder``: are held up by ``reorder_by`` seconds,
    so that later ones overtake them.  Of all hosts that come without a word on it, ``nat_cone`` and ``nat_symmetric``:
    are behind such an address translator.  ``uplink``: bytes a second that a host can send, None for as many as it
    likes.
    """

    latency: Latency = field(default_factory=Constant)
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by: float = 0.05
    uplink: float | None = None
    nat_cone: float = 0.0
    nat_symmetric: float = 0.0

    def __post_init__(self) -> None:
        instance("latency", self.latency, Latency, "Constant(0.02)", fix=LATENCIES)
        for name in ("loss", "duplicate", "reorder", "nat_cone", "nat_symmetric"):
            of = "hosts" if name.startswith("nat") else "packets"
            number(f"{name}, a share of the {of},", getattr(self, name), 0, 1)
        if self.nat_cone + self.nat_symmetric > 1.0:
            raise InvalidInput(
                f"nat_cone and nat_symmetric are shares of the same hosts: {self.nat_cone} and {self.nat_symmetric} are"
                " more than all.",
                fix="Choose shares whose sum is at most 1.",
            )
        number("reorder_by", self.reorder_by)
        if self.uplink is not None:
            number("uplink", self.uplink, above=True)

    def nat(self, chance: Callable[[], float]) -> Kind:
        """What the next host stands behind, by chance."""
        if not self.nat_cone + self.nat_symmetric:
            return "open"
        drawn = chance()
        return (
            "cone" if drawn < self.nat_cone else "symmetric" if drawn < self.nat_cone + self.nat_symmetric else "open"
        )


class Host:
    """A machine: an address, perhaps behind a NAT, and what runs on it.

    ``place``: 64 bits of chance, by which a latency model knows it; ``side``: who is on another side of a partition
    hears nothing; ``up``: whether it runs; ``sent`` and ``heard``: packets; ``out`` and ``into``: bytes with headers.
    """

    __slots__ = (
        "_free",
        "endpoint",
        "heard",
        "into",
        "nat",
        "number",
        "out",
        "place",
        "program",
        "region",
        "sent",
        "side",
        "up",
    )

    def __init__(self, number: int, endpoint: Endpoint, place: int, region: str, nat: Nat | None) -> None:
        self.number, self.endpoint, self.place, self.region, self.nat = number, endpoint, place, region, nat
        self.program: Callable[[bytes, Endpoint], object] | None = None
        self.side = 0
        self.up = True
        self.sent = self.heard = self.out = self.into = 0
        self._free = 0.0

    def queue(self, size: int, rate: float, now: float) -> float | None:
        """Seconds until its uplink has sent these bytes; None when too many wait already."""
        begins = max(now, self._free)
        if begins - now > QUEUE:
            return None
        self._free = begins + size / rate
        return self._free - now


class Network:
    """All hosts, and the packets between them.

    ``watch``: sees each packet (data, source, target as written on it) before anything happens to it; False drops it.
    """

    def __init__(self, world: World, conditions: Conditions | None = None) -> None:
        self.world = world
        self.conditions = Conditions() if conditions is None else conditions
        instance("conditions", self.conditions, Conditions, "Conditions(Constant(0.02))")
        self.watch: Callable[[bytes, Endpoint, Endpoint], bool] | None = None
        self.sent = self.out = self.dropped = 0
        """Packets, bytes with their headers, and packets that a host's uplink had no room for."""
        self.made = 0
        """Hosts ever, those removed too."""
        self._at: dict[Endpoint, Host] = {}
        self._nats: dict[str, Host] = {}

    def add(self, endpoint: Endpoint, *, nat: Kind = "open", region: str = "") -> Host:
        """A host at this address; behind a NAT it is the translator's, and the host's own is a private one.

        Raises ``InvalidInput`` when somebody lives there.
        """
        if nat not in KINDS:
            raise InvalidInput(f"{nat!r} is no kind of NAT; there are {', '.join(KINDS)}.")
        if endpoint in self._at or endpoint[0] in self._nats:
            raise InvalidInput(f"Two hosts cannot live at {endpoint[0]}:{endpoint[1]}.")
        place = self.world.random.getrandbits(64)
        if nat == "open":
            host = Host(self.made, endpoint, place, region, None)
            self._at[endpoint] = host
        else:
            host = Host(self.made, ("192.168.1.2", endpoint[1]), place, region, Nat(nat, endpoint[0]))
            self._nats[endpoint[0]] = host
        self.made += 1
        return host

    def remove(self, host: Host) -> None:
        """Nobody lives there any more; what is under way to it is lost."""
        host.up, host.program = False, None
        if host.nat is None:
            del self._at[host.endpoint]
        else:
            del self._nats[host.nat.ip]

    def at(self, endpoint: Endpoint) -> Host | None:
        """Whoever lives at a public address."""
        return self._at.get(endpoint) or self._nats.get(endpoint[0])

    def send(self, host: Host, data: bytes, target: Endpoint) -> None:
        """A packet leaves a host."""
        delay = 0.0
        if self.conditions.uplink is not None:
            queued = host.queue(len(data) + UDP_AND_IP, self.conditions.uplink, self.world.now)
            if queued is None:
                self.dropped += 1
                return
            delay = queued
        host.sent += 1
        host.out += len(data) + UDP_AND_IP
        source = host.nat.out(target, self.world.now) if host.nat is not None else host.endpoint
        self.carry(data, source, target, host, delay)

    def carry(
        self, data: bytes, source: Endpoint, target: Endpoint, origin: Host | None = None, delay: float = 0.0
    ) -> None:
        """A packet is under way.  Anybody may write any ``source`` on it; it comes from ``origin`` all the same."""
        if len(data) > MAX_DATAGRAM:
            raise ValueError(f"a datagram of {len(data)} bytes is longer than the protocol allows")
        self.sent += 1
        self.out += len(data) + UDP_AND_IP
        if self.watch is not None and not self.watch(data, source, target):
            return
        host = self._at.get(target) or self._nats.get(target[0])
        if host is None or not host.up or (origin is not None and origin.side != host.side):
            return
        conditions, chance = self.conditions, self.world.random.random
        if conditions.loss and chance() < conditions.loss:
            return
        times = 2 if conditions.duplicate and chance() < conditions.duplicate else 1
        for _ in range(times):
            late = conditions.latency.one_way(origin or host, host, chance())
            if conditions.reorder and chance() < conditions.reorder:
                late += conditions.reorder_by
            self.world.at(self.world.now + delay + late, self._deliver, host, data, source, target)

    def _deliver(self, host: Host, data: bytes, source: Endpoint, target: Endpoint) -> None:
        if not host.up or host.program is None:
            return
        if host.nat is not None and not host.nat.lets_in(target[1], source, self.world.now):
            return
        host.heard += 1
        host.into += len(data) + UDP_AND_IP
        self.world.note(host.number, data)
        host.program(data, source)
