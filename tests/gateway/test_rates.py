"""How often one source may call."""

from __future__ import annotations

import pytest

from gateway.rates import RateTable
from gateway.settings import Rate
from p2pgrid.errors import TooManyCalls

FREE = Rate(1e9, 0)


def calls(table: RateTable, source: str, number: int, now: float = 0.0) -> int:
    done = 0
    for _ in range(number):
        try:
            table.take(source, now)
        except TooManyCalls:
            break
        done += 1
    return done


def test_a_burst_then_a_steady_rate() -> None:
    table = RateTable(Rate(5, 2), FREE)
    assert calls(table, "203.0.113.1", 10) == 5
    assert calls(table, "203.0.113.1", 10, now=1.0) == 2
    assert calls(table, "203.0.113.1", 10, now=100.0) == 5


def test_sources_do_not_take_from_each_other() -> None:
    table = RateTable(Rate(2, 0), FREE)
    assert calls(table, "203.0.113.1", 9) == 2
    assert calls(table, "203.0.113.2", 9) == 2


def test_attack_many_addresses_of_one_ipv6_network() -> None:
    table = RateTable(Rate(3, 0), FREE)
    assert sum(calls(table, f"2606:1:2:3::{number:x}", 1) for number in range(1, 20)) == 3


def test_loopback_is_generous() -> None:
    table = RateTable(Rate(1, 0), Rate(50, 0))
    assert calls(table, "127.0.0.1", 40) == 40
    assert calls(table, "::1", 40) == 10
    assert calls(table, "::ffff:127.0.0.1", 1) == 0


def test_attack_filling_the_table_of_sources() -> None:
    table = RateTable(Rate(1, 0), FREE, most=100)
    for number in range(1000):
        calls(table, f"203.0.{number // 250}.{number % 250}", 1)
    assert len(table) == 100


def test_no_source_is_a_source() -> None:
    table = RateTable(Rate(1, 0), FREE)
    table.take(None, 0.0)
    with pytest.raises(TooManyCalls):
        table.take("what", 0.0)
