"""A contact (public key, IP address, UDP port), its packed form, and what is known of a peer.

``Contact`` is the ``Node`` of the kademlia package with a key: its id is derived from the key and never read from
the wire, so a contact cannot claim a place that it did not grind for.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from kademlia.node import Node

from p2pgrid.dht.trips import with_trip
from p2pgrid.errors import Malformed
from p2pgrid.ids import NodeId, node_id

KEY: Final = 32
PACKED_V4: Final = KEY + 2 + 4
PACKED_V6: Final = KEY + 2 + 16
PACKED_SIZES: Final = (PACKED_V4, PACKED_V6)
REMEMBERED: Final = 16_384
"""Addresses of which is known what they are."""
TOLD: Final = 4096
"""Contacts that are known by their bytes: 2.5 MB for the whole process."""
SITE_FACTOR: Final = 4
"""Of one /48 of IPv6 (``site_of``), so many times what one /64 may have: an owner has more subnets than one."""
LOOPBACK_V6: Final = bytes(15) + b"\x01"

Endpoint = tuple[str, int]
"""IP address in its one text form, and UDP port."""


class Contact(Node):  # type: ignore[misc]
    """Whom to ask and where.  Never changes; equal when key, address and port are."""

    __slots__ = ("_packed", "endpoint", "id", "key", "long_id")

    id: NodeId
    long_id: int

    def __init__(self, key: bytes, ip: str, port: int, packed: bytes | None = None) -> None:
        # Node.__init__ is not called: it reads the id by way of its digits, and would keep ip and port twice.
        self.id = node_id(key)
        self.long_id = int.from_bytes(self.id, "big")
        self.key = key
        self.endpoint: Endpoint = (ip, port)
        """Where its datagrams go."""
        self._packed = packed

    @staticmethod
    @lru_cache(maxsize=TOLD)
    def unpack(packed: bytes) -> Contact:
        """Read 38 (IPv4) or 50 (IPv6) bytes: key, port, address.  Raises ``Malformed``.

        The same bytes are the same contact, as most are told over and over.
        """
        if len(packed) not in PACKED_SIZES:
            raise Malformed("A contact has a wrong length.")
        ip, port = unpack_endpoint(packed[KEY:])
        return Contact(packed[:KEY], ip, port, packed)

    @property
    def ip(self) -> str:
        """Its address."""
        return self.endpoint[0]

    @property
    def port(self) -> int:
        """Its UDP port."""
        return self.endpoint[1]

    @property
    def packed(self) -> bytes:
        """As it travels; made when first wanted, since most peers are never told to anybody."""
        if self._packed is None:
            self._packed = self.key + pack_endpoint(self.endpoint)
        return self._packed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contact) and other.key == self.key and other.endpoint == self.endpoint

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id.hex()[:8]} {written(*self.endpoint)}>"


class Peer(Contact):
    """A contact we have a session or a table entry for, with what was measured of it.  Times are the engine's.

    ``asked``: when the first request of those that it did not answer was sent.  ``fails``: how many those are.
    ``probed``: when it was last probed or answered.  ``busy``: its own last word.  ``trips``: see ``trips``.
    """

    __slots__ = (
        "asked",
        "busy",
        "fails",
        "first",
        "heard",
        "http",
        "name",
        "probed",
        "seq",
        "server",
        "srtt",
        "trips",
        "var",
    )

    def __init__(self, key: bytes, ip: str, port: int, packed: bytes | None, now: float) -> None:
        super().__init__(key, ip, port, packed)
        self.first = now
        self.heard = now
        self.probed = now
        self.asked = now
        self.fails = 0
        self.srtt = 0.0
        self.var = 0.0
        self.trips = 0
        self.busy = False
        self.seq = 0
        self.name = ""
        self.http = 0
        self.server = False

    def measured(self, rtt: float) -> None:
        """Take a round trip in (Jacobson's estimator; RFC 6298, section 2)."""
        self.trips = with_trip(self.trips, rtt)
        if self.srtt == 0.0:
            self.srtt, self.var = rtt, rtt / 2
        else:
            self.var += 0.25 * (abs(rtt - self.srtt) - self.var)
            # Twice as quick downwards: after a jam, the old round trip is soon believed again.
            self.srtt += (0.125 if rtt > self.srtt else 0.25) * (rtt - self.srtt)

    def moved(self, ip: str, port: int) -> None:
        """Its address is another now; proven by a session from there."""
        self.endpoint = (ip, port)
        self._packed = None


def pack_endpoint(endpoint: Endpoint) -> bytes:
    """Port and address in 6 or 18 bytes."""
    ip, port = endpoint
    return port.to_bytes(2, "big") + _packed(ip)


def unpack_endpoint(packed: bytes) -> Endpoint:
    """Read what ``pack_endpoint`` wrote.  Raises ``Malformed`` for addresses that no node has.

    Port 0, 0.0.0.0/8, multicast, reserved and IPv4-mapped addresses are refused: nothing is ever sent there.
    """
    port = int.from_bytes(packed[:2], "big")
    raw = packed[2:]
    if len(raw) == 4 and port and 0 < raw[0] < 224:
        return f"{raw[0]}.{raw[1]}.{raw[2]}.{raw[3]}", port
    if len(raw) == 16 and port:
        address = ipaddress.IPv6Address(raw)
        if not (address.is_multicast or address.is_unspecified or address.ipv4_mapped):
            return str(address), port
    raise Malformed("An address is none that a node can have.")


def written(ip: str, port: int) -> str:
    """host:port, an IPv6 address in brackets, as others bootstrap from."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def is_loopback(ip: str) -> bool:
    """Whether only this machine reaches it."""
    return ip.startswith("127.") or ip == "::1"


def may_tell(teller: str, ip: str) -> bool:
    """Whether a peer at ``teller`` can know a node at ``ip``.

    Loopback addresses mean nothing to others, and those of a local network nothing outside of one: a stranger who tells
    them would have us send into our own.
    """
    if is_loopback(teller):
        return True
    return not is_lan(ip) or (is_lan(teller) and not is_loopback(ip))


def group_of(endpoint: Endpoint) -> bytes:
    """The address group that caps count by.

    /24 of IPv4 and /64 of IPv6: what one owner gets at once.  On a local network (RFC 1918, RFC 3927, RFC 4193,
    fe80::/10) the whole address, and on loopback address and port: there, neighbouring addresses are many owners'
    or all ours, and nobody bought them (the same exemption as go-ethereum's).  Groups of two kinds never meet: they
    differ in length.
    """
    network, here = _network_of(endpoint[0])
    return network + endpoint[1].to_bytes(2, "big") if here else network


def site_of(group: bytes) -> bytes:
    """The /48 around the group of a public IPv6 address, empty for any other: who owns one has 65,536 groups."""
    return group[:6] if len(group) == 8 else b""


def share_of(endpoint: Endpoint) -> bytes:
    """What a store's shares count by: the address group, but of public IPv6 the /48.

    Listings need no place in the id space, only addresses, and whoever owns a /48 could put one into every place that
    a tag has.
    """
    group = group_of(endpoint)
    site = site_of(group)
    return b"/" + site if site else group


def is_local(group: bytes) -> bool:
    """Whether it is a group of one: an endpoint of loopback."""
    return len(group) in (6, 18)


@lru_cache(maxsize=REMEMBERED)
def _network_of(ip: str) -> tuple[bytes, bool]:
    """The part of an address that counts, and whether it is loopback."""
    packed = _packed(ip)
    if len(packed) == 4:
        return packed if packed[0] == 127 or _is_private_v4(packed) else packed[:3], packed[0] == 127
    return packed if packed == LOOPBACK_V6 or _is_private_v6(packed) else packed[:8], packed == LOOPBACK_V6


@lru_cache(maxsize=REMEMBERED)
def is_lan(ip: str) -> bool:
    """Whether it is an address of this machine or of a local network, which nobody buys."""
    if is_loopback(ip):
        return True
    packed = _packed(ip)
    return _is_private_v4(packed) if len(packed) == 4 else _is_private_v6(packed)


def _is_private_v4(packed: bytes) -> bool:
    first, second = packed[0], packed[1]
    return (
        first == 10
        or (first == 172 and 16 <= second < 32)
        or (first == 192 and second == 168)
        or (first == 169 and second == 254)
    )


def _is_private_v6(packed: bytes) -> bool:
    return packed[0] & 0xFE == 0xFC or (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80)


@lru_cache(maxsize=REMEMBERED)
def _packed(ip: str) -> bytes:
    # ``ipaddress`` takes 5 us for what sockets hand over in its one form already.
    return ipaddress.IPv6Address(ip).packed if ":" in ip else bytes(map(int, ip.split(".")))
