"""A node in the words of Prometheus.  Everything is read when somebody asks; no packet and no call pays for it.

Labels have few values, all of them ours: states, reasons of ``RemoteError``, names of counters.  No key, address, name
or tag of anybody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from p2pgrid.dht.figures import Figures
from p2pgrid.errors import RemoteError, all_errors

STATES: Final = ("online", "busy", "offline")
OUR_DROPS: Final = frozenset({"unasked", "send-full"})
"""Counters of dropped packets that are no ``RemoteError``: an answer to nothing asked, a send buffer that was full."""
COUNTERS: Final = (
    ("received", "received_packets", "Datagrams received."),
    ("sent", "sent_packets", "Datagrams sent."),
    ("timeout", "timeouts", "Waits for an answer that passed; one request has several."),
    ("socket-error", "socket_errors", "Errors of the UDP socket, late ICMP answers among them."),
    ("internal-error", "internal_errors", "Faults of p2pgrid itself that were survived; the log has them."),
    ("searches", "searches", "Searches begun here."),
    ("announces", "announces", "Listings announced here; their renewals are not counted."),
)
"""Counters with a metric of their own: their name, the metric's, and what it says."""
GAUGES: Final = (
    ("table", "table_peers", "Peers in the routing table."),
    ("sessions", "sessions", "Sessions with peers."),
    ("calls", "requests_in_flight", "Requests to peers that wait for an answer."),
    ("listings", "listings", "Listings held, for others and of our own."),
    ("listing_bytes", "listing_bytes", "Bytes of the listings held."),
    ("tags", "tags", "Tags of the listings held."),
    ("announced", "announced_listings", "Listings of our own that are kept announced."),
    ("probe_interval", "probe_interval_seconds", "Within three of these a peer's state is true."),
)
"""Fields of ``Figures`` with a gauge of their own."""


class DhtCollector(Collector):
    """A DHT node, for a registry: ``registry.register(DhtCollector(lambda: node.figures))``."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self._reasons = {kind.reason for kind in all_errors().values() if issubclass(kind, RemoteError)} | OUR_DROPS

    def describe(self) -> Iterator[Metric]:
        """Nothing: whoever registers us need not count yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        figures = self._figures()
        for field, name, words in GAUGES:
            yield GaugeMetricFamily(f"p2pgrid_dht_{name}", words, value=getattr(figures, field))
        peers = GaugeMetricFamily("p2pgrid_dht_peers", "Peers by state, those lost lately included.", labels=["state"])
        for state in STATES:
            peers.add_metric([state], figures.peers.get(state, 0))
        yield peers
        yield from self._counters(figures.counters)

    def _counters(self, counters: Mapping[str, int]) -> Iterator[Metric]:
        for key, name, words in COUNTERS:
            yield CounterMetricFamily(f"p2pgrid_dht_{name}", words, value=counters.get(key, 0))
        dropped = CounterMetricFamily(
            "p2pgrid_dht_dropped_packets", "Packets, or records in them, that were dropped.", labels=["reason"]
        )
        for reason in sorted(self._reasons):
            dropped.add_metric([reason], counters.get(reason, 0))
        yield dropped
        other = CounterMetricFamily("p2pgrid_dht_events", "Whatever else is counted.", labels=["event"])
        for key in sorted(counters.keys() - self._reasons - {key for key, _, _ in COUNTERS}):
            other.add_metric([key], counters[key])
        yield other


class CountCollector(Collector):
    """Plain counts of a node, read from a function that gives (metric, help, value) rows; names in ``_total`` count."""

    def __init__(self, rows: Callable[[], list[tuple[str, str, float]]]) -> None:
        self._rows = rows

    def describe(self) -> Iterator[Metric]:
        """Nothing: whoever registers us need not count yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        for name, words, value in self._rows():
            if name.endswith("_total"):
                yield CounterMetricFamily(name, words, value=value)
            else:
                yield GaugeMetricFamily(name, words, value=value)


class Metrics:
    """One node's registry: nothing is shared with other nodes of the process but the process's own figures."""

    def __init__(self, figures: Callable[[], Figures], rows: Callable[[], list[tuple[str, str, float]]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(DhtCollector(figures))
        self.registry.register(CountCollector(rows))
        ProcessCollector(registry=self.registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """What a scrape is answered, and its content type: Prometheus' text, or OpenMetrics if ``accept`` asks so."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
