"""What stands between a host at home and the rest: address translators, by how they map and whom they let in.

``cone``: a host's packets leave from one public port whomever they go to (RFC 4787, endpoint-independent mapping), and
whoever it sent to may answer (address- and port-dependent filtering).  ``symmetric``: another port for each target, so
what one peer sees of it is of no use to another.  A mapping that is not used is forgotten.
"""

from __future__ import annotations

from typing import Final, Literal

from p2pgrid.dht.contacts import Endpoint

Kind = Literal["open", "cone", "symmetric"]
KINDS: Final[tuple[Kind, ...]] = ("open", "cone", "symmetric")

MAPPING_LIFE: Final = 120.0
"""Seconds; RFC 4787 asks for at least two minutes, and many give no more."""
FIRST_PORT: Final = 20_000
PORTS: Final = 40_000
TIDY: Final = 64
"""Mappings at which those that are over are dropped, and again at twice as many as were left."""


class Nat:
    """One translator with one public address, for one host behind it."""

    __slots__ = ("_by_port", "_by_target", "_next", "_tidy_at", "ip", "kind")

    def __init__(self, kind: Kind, ip: str) -> None:
        self.kind, self.ip = kind, ip
        self._by_target: dict[Endpoint | None, int] = {}
        self._by_port: dict[int, dict[Endpoint, float]] = {}
        """Of each public port: whom it let packets out to, and when last."""
        self._next = 0
        self._tidy_at = min(TIDY, PORTS)

    def out(self, target: Endpoint, now: float) -> Endpoint:
        """The public endpoint that a packet to ``target`` leaves from."""
        key = target if self.kind == "symmetric" else None
        port = self._by_target.get(key)
        if port is None or not self._lives(port, now):
            port = self._by_target[key] = self._new_port(now)
            self._by_port[port] = {}
        sent = self._by_port[port]
        sent.pop(target, None)
        sent[target] = now
        oldest = next(iter(sent))  # the least lately used are first
        while now - sent[oldest] > MAPPING_LIFE:
            del sent[oldest]
            oldest = next(iter(sent))
        return (self.ip, port)

    def lets_in(self, port: int, source: Endpoint, now: float) -> bool:
        """Whether a packet to this public port from ``source`` gets through."""
        last = self._by_port.get(port, {}).get(source)
        return last is not None and now - last <= MAPPING_LIFE

    def _lives(self, port: int, now: float) -> bool:
        sent = self._by_port.get(port, {})
        return bool(sent) and now - sent[next(reversed(sent))] <= MAPPING_LIFE

    def _new_port(self, now: float) -> int:
        if len(self._by_port) >= self._tidy_at:
            for port in [port for port in self._by_port if not self._lives(port, now)]:
                del self._by_port[port]
            self._by_target = {target: port for target, port in self._by_target.items() if port in self._by_port}
            self._tidy_at = min(2 * len(self._by_port) + TIDY, PORTS)
            if len(self._by_port) >= PORTS:  # all of them live: the oldest gives way
                del self._by_port[next(iter(self._by_port))]
        while True:
            port = FIRST_PORT + self._next % PORTS
            self._next += 1
            if port not in self._by_port:
                return port
