"""The gateway in the words of Prometheus, read when somebody asks: numbers that ``/health-check`` tells as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector


class GatewayCollector(Collector):
    """One gateway; labels are states of nodes and our own words for why one was left out of an answer."""

    def __init__(
        self, nodes: Callable[[], Mapping[str, int]], left_out: Mapping[str, int], uptime: Callable[[], float]
    ) -> None:
        self._nodes, self._left_out, self._uptime = nodes, left_out, uptime

    def describe(self) -> Iterator[Metric]:
        """Nothing: whoever registers us need not count yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        yield GaugeMetricFamily("p2pgrid_gateway_uptime_seconds", "Seconds since the start.", value=self._uptime())
        nodes = GaugeMetricFamily("p2pgrid_gateway_nodes", "Nodes in the registry, by state.", labels=["state"])
        for state, count in self._nodes().items():
            nodes.add_metric([state], count)
        yield nodes
        left_out = CounterMetricFamily(
            "p2pgrid_gateway_left_out", "Nodes left out of an answer to a search, by reason.", labels=["reason"]
        )
        for reason, count in sorted(self._left_out.items()):
            left_out.add_metric([reason], count)
        yield left_out


class Metrics:
    """One gateway's registry."""

    def __init__(self, collector: GatewayCollector) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(collector)
        ProcessCollector(registry=self.registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """What a scrape is answered, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
