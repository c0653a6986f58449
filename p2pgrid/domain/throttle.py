"""A bounded table of tries: whoever fails too often waits, and nobody else does."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict


class Throttle:
    """At most ``tries`` failures a ``window`` (seconds) for each key, of which ``most`` are remembered.

    A try is counted when it begins and given back when it succeeds, so that many at once count as many.  The key
    is where a try comes from, never the account that it is for: a stranger cannot lock an owner out.
    """

    __slots__ = ("_most", "_seen", "_tries", "_window")

    def __init__(self, *, tries: int, window: float, most: int) -> None:
        self._tries, self._window, self._most = tries, window, most
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Count a try.  0.0: go on; otherwise the seconds to wait, and the try was not counted."""
        count, since = self._seen.get(key, (0, now))
        if not 0 <= now - since < self._window:  # before it, a clock was set back
            count, since = 0, now
        if count >= self._tries:
            return max(since + self._window - now, 0.001)
        self._seen[key] = (count + 1, since)
        self._seen.move_to_end(key)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return 0.0

    def give_back(self, key: str) -> None:
        """The try succeeded: it does not count."""
        count, since = self._seen.get(key, (0, 0.0))
        if count > 1:
            self._seen[key] = (count - 1, since)
        else:
            self._seen.pop(key, None)

    def __len__(self) -> int:
        return len(self._seen)


def origin(remote: str) -> str:
    """The key of a remote address: an IPv4 address, or the /64 network of an IPv6 one, which one host owns."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
