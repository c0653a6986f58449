"""How often one caller may call: token buckets in a bounded table."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from gateway.settings import RATE_SOURCES, Rate
from p2pgrid.errors import TooManyCalls


class RateTable:
    """One bucket a source: an IPv4 address, or an IPv6 /64, since a /64 is what one customer gets."""

    def __init__(self, rate: Rate, loopback: Rate, *, most: int = RATE_SOURCES) -> None:
        self._rate = rate
        self._loopback = loopback
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, remote: str | None, now: float) -> None:
        """One call from ``remote`` at monotonic second ``now``.  Raises ``TooManyCalls``."""
        source, rate = self._source(remote)
        tokens, since = self._buckets.pop(source, (rate.burst, now))
        tokens = min(rate.burst, tokens + (now - since) * rate.per_second)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyCalls(f"More than {rate.burst:g} calls from {source} in a short time.")

    def _source(self, remote: str | None) -> tuple[str, Rate]:
        try:
            ip = ipaddress.ip_address((remote or "").partition("%")[0])
        except ValueError:
            return "unknown", self._rate
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        if ip.is_loopback:
            return "loopback", self._loopback
        if ip.version == 4:
            return str(ip), self._rate
        return str(ipaddress.ip_network((ip, 64), strict=False)), self._rate
