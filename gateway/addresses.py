"""Addresses that strangers tell the gateway: reading them, and deciding where it goes at all.

A gateway connects to whatever address it is told, so an address is hostile until it is read into its one form and
the IP addresses behind it are checked (OWASP, "Server-Side Request Forgery Prevention").  The URL that is fetched is
built anew from the parts read here, so there is no second parser to disagree with this one.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.settings import MAX_ADDRESS
from p2pgrid.errors import AddressRefused, BadNodeAddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Kind = Literal["public", "private", "loopback", "never"]

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[^/:\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[a-z0-9._~/-]*)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FORBIDDEN: Final = frozenset("@?#%\\\"'<>`{}|^")

_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "fe80::/10",
        "fec0::/10",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "ff00::/8",
        "2001::/32",
    )
)
"""Never visited: this-network, link-local with the clouds' metadata services, multicast, reserved, Teredo."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node's base URL in its one form: lower-case scheme and host, IPs canonical, no trailing slash."""

    scheme: str
    host: str
    port: int
    path: str
    ip: IPAddress | None
    """The IP address when the host is one, else ``None``: the host is a name."""

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as in a Host header."""
        return self._authority(self.host)

    @property
    def text(self) -> str:
        """The URL as it is stored and handed to searchers."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def at(self, ip: IPAddress) -> str:
        """The same URL with the checked ``ip`` in the place of the name."""
        return f"{self.scheme}://{self._authority(str(ip))}{self.path}"

    def _authority(self, host: str) -> str:
        shown = f"[{host}]" if ":" in host else host
        return shown if self.port == _DEFAULT_PORTS[self.scheme] else f"{shown}:{self.port}"


def parse_address(text: Any) -> NodeAddress:
    """Read what somebody calls a node-address.  Raises ``BadNodeAddress``.

    Odd spellings of an IP address (``2130706433``, ``0x7f.1``, ``0177.0.0.1``, full-width digits, IPv4 mapped into
    IPv6) are read the way the system's ``inet_aton`` would read them, and come out canonical.
    """
    if not isinstance(text, str):
        raise BadNodeAddress("The node-address is no text.")
    if not 1 <= len(text) <= MAX_ADDRESS:
        raise BadNodeAddress(f"The node-address has {len(text)} characters; 1 to {MAX_ADDRESS} are taken.")
    if any(char in _FORBIDDEN or unicodedata.category(char)[0] in "CZ" for char in text):
        raise BadNodeAddress(
            f"{text[:80]!r} has a user, a query, a fragment, an escape, a space or an invisible character in it."
        )
    match = _URL.fullmatch(text)
    if match is None:
        raise BadNodeAddress(f"{text[:80]!r} is no http or https URL.")
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise BadNodeAddress(f"{text[:80]!r} has a port outside 1 to 65535.")
    host, ip = _read_host(match["host"], text)
    return NodeAddress(scheme, host, port, _read_path(match["path"] or "", text), ip)


def _read_path(raw: str, text: str) -> str:
    path = raw.rstrip("/")
    if any(segment in ("", ".", "..") for segment in path.split("/")[1:]):
        raise BadNodeAddress(f"{text[:80]!r} has empty or dotted segments in its path.")
    return path


def _read_host(raw: str, text: str) -> tuple[str, IPAddress | None]:
    if raw.startswith("["):
        try:
            ip = plain(ipaddress.IPv6Address(raw[1:-1]))
        except ValueError:
            raise BadNodeAddress(f"{text[:80]!r} holds no IPv6 address between its brackets.") from None
        return str(ip), ip
    try:
        host = raw.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise BadNodeAddress(f"{text[:80]!r} has no valid host name.") from None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        old = _old_ipv4(labels)
        if old is None:
            raise BadNodeAddress(f"{text[:80]!r} ends like an IPv4 address and is none.")
        return str(old), old
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadNodeAddress(f"{text[:80]!r} has no valid host name.")
    return host, None


def _old_ipv4(labels: list[str]) -> ipaddress.IPv4Address | None:
    """One to four numbers, each decimal, octal or hexadecimal, the last one filling the rest (inet_aton(3))."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        return None
    try:
        numbers = [_number(label) for label in labels]
    except ValueError:
        return None
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    return ipaddress.IPv4Address(last + sum(head << (24 - 8 * place) for place, head in enumerate(heads)))


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label.startswith("0") else int(label)


def plain(ip: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv6 one that only carries it (mapped, 6to4, NAT64), else the same."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def kind_of(ip: IPAddress) -> Kind:
    """In which part of the Internet an address lies (IANA special-purpose registries, RFC 6890)."""
    ip = plain(ip)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if inner is not None:
            return "public" if kind_of(inner) == "public" else "never"
    if ip.is_loopback:
        return "loopback"
    if any(ip in network for network in _NEVER if network.version == ip.version) or ip.is_multicast:
        return "never"
    if ip.is_reserved:
        return "never"
    return "private" if ip.is_private or (ip.version == 4 and ip in _SHARED) or not ip.is_global else "public"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Where this gateway goes.  Public addresses always; the rest only when said so; some never."""

    loopback: bool
    private: bool

    def check(self, ip: IPAddress) -> None:
        """Raises ``AddressRefused``."""
        kind = kind_of(ip)
        if kind == "public" or (kind == "loopback" and self.loopback) or (kind == "private" and self.private):
            return
        where = "in a range that is never visited" if kind == "never" else f"a {kind} one"
        raise AddressRefused(f"The node-address leads to {ip}, {where}; this gateway does not go there.")

    def group(self, ip: IPAddress) -> str | None:
        """Under which key entries for ``ip`` are counted together; ``None`` for loopback, which is not counted."""
        ip = plain(ip)
        if ip.is_loopback:
            return None
        return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
