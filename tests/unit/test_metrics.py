"""What a scrape is told: every drop by its reason, few labels, and nobody's name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from p2pgrid.crypto import Identity
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.figures import Figures, figures_of
from p2pgrid.errors import RemoteError, all_errors
from p2pgrid.metrics import COUNTERS, OUR_DROPS, Metrics

REASONS = sorted({kind.reason for kind in all_errors().values() if issubclass(kind, RemoteError)})


def an_engine() -> Engine:
    chance = iter(range(1, 10**6))
    return Engine(
        Identity(b"\x07" * 32),
        address=("192.0.2.1", 4000),
        now=0.0,
        wall=lambda: 1e9,
        random=lambda size: (next(chance) * 2_654_435_761).to_bytes(max(size, 8), "little")[:size],
    )


def metrics_of(engine: Engine) -> Metrics:
    rows = [("p2pgrid_links", "Links.", 3.0), ("p2pgrid_link_offences_total", "Offences.", 2.0)]
    return Metrics(lambda: figures_of(engine, 0.0, 20.0), lambda: rows)


def samples(metrics: Metrics) -> dict[Any, float]:
    body, content_type = metrics.text("")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(read_text(body.decode()))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize("kind", [kind for kind in all_errors().values() if issubclass(kind, RemoteError)])
def test_each_remote_error_is_counted_by_its_reason_once_it_happened(kind: type[RemoteError]) -> None:
    engine = an_engine()
    metrics = metrics_of(engine)
    key = ("p2pgrid_dht_dropped_packets_total", kind.reason)
    assert samples(metrics)[key] == 0
    engine.blame(kind("A cause with a secret."))
    engine.blame(kind("Another."))
    assert samples(metrics)[key] == 2
    assert b"secret" not in metrics.text("")[0]


def test_a_datagram_of_garbage_is_a_dropped_packet() -> None:
    engine = an_engine()
    for number in range(50):
        engine.receive(bytes([number]) * (1 + 20 * number), ("198.51.100.1", 4000), 0.0)
    told = samples(metrics_of(engine))
    assert told["p2pgrid_dht_received_packets_total",] == 50
    dropped = sum(value for key, value in told.items() if key[0] == "p2pgrid_dht_dropped_packets_total")
    assert dropped == sum(engine.counters[reason] for reason in REASONS) > 0


def test_a_million_names_of_strangers_make_no_label() -> None:
    engine = an_engine()
    before = len(samples(metrics_of(engine)))
    for number in range(2000):
        engine.receive(number.to_bytes(4, "big") * 10, (f"198.51.{number // 250}.{number % 250 + 1}", 4000), 0.0)
    assert len(samples(metrics_of(engine))) <= before + 4


def test_each_counter_has_one_metric() -> None:
    counters = Counter({key: number for number, (key, _, _) in enumerate(COUNTERS, 1)})
    counters.update({"unasked": 7, "send-full": 8, "something-new": 9})
    figures = Figures({"online": 2, "offline": 1}, 2, 3, 4, 5, 6, 7, 8, 20.0, counters)
    told = samples(Metrics(lambda: figures, list))
    for number, (_, name, _) in enumerate(COUNTERS, 1):
        assert told[f"p2pgrid_dht_{name}_total",] == number
    assert [told["p2pgrid_dht_dropped_packets_total", reason] for reason in sorted(OUR_DROPS)] == [8, 7]
    assert told["p2pgrid_dht_events_total", "something-new"] == 9
    assert [told["p2pgrid_dht_peers", state] for state in ("online", "busy", "offline")] == [2, 0, 1]
    assert told["p2pgrid_dht_probe_interval_seconds",] == 20.0


def test_nodes_of_one_process_share_nothing_but_the_process() -> None:
    one, two = an_engine(), an_engine()
    one.counters["received"] += 5
    first, second = metrics_of(one), metrics_of(two)
    assert samples(first)["p2pgrid_dht_received_packets_total",] == 5
    assert samples(second)["p2pgrid_dht_received_packets_total",] == 0
    assert samples(first)["process_resident_memory_bytes",] > 1e6


def test_openmetrics_for_whoever_asks_so() -> None:
    body, content_type = metrics_of(an_engine()).text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(body.decode())}
    assert {"p2pgrid_dht_dropped_packets", "p2pgrid_dht_peers", "p2pgrid_link_offences", "p2pgrid_links"} <= names


def test_the_figures_are_those_of_the_engine() -> None:
    engine = an_engine()
    figures = figures_of(engine, 0.0, 20.0)
    assert (figures.table, figures.sessions, figures.listings, figures.tags) == (0, 0, 0, 0)
    assert figures.peers["offline"] == 0
