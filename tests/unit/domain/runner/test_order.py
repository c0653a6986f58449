"""The two messages between node and warden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import wire
from p2pgrid.domain.runner.order import pack_order, pack_report, read_order, read_report
from p2pgrid.domain.runner.spec import Limits, RunInput, RunReport, RunSpec

GOOD = RunReport(
    ok=True,
    result=b"\x01",
    wall_seconds=1.5,
    cpu_seconds=0.5,
    max_rss=100,
    result_shape="int",
    started=True,
    confinement=("process", "rlimits"),
)


@given(st.text(st.characters(codec=None), max_size=200))
def test_an_order_arrives_as_it_was(code: str) -> None:
    spec = RunSpec(code, "f", {"x": RunInput("json", "/p")}, Limits(cpu_seconds=3))
    packed = pack_order(spec, {"x": 9}, 12, ("/data",), ("/home",), ("rlimits",))
    assert int.from_bytes(packed[:4], "big") == len(packed) - 4
    order = read_order(packed[4:], ("/usr",))
    assert (order.code, order.function, order.inputs) == (code, "f", (("x", "json", 9),))
    assert (order.input_bytes, order.limits, order.hide) == (12, spec.limits, ("/data",))
    assert (order.private, order.require, order.needed) == (("/home",), ("rlimits",), ("/usr",))
    assert b"/p" not in packed or "/p" in code


def test_a_report_arrives_as_it_was() -> None:
    assert read_report(pack_report(GOOD), Limits()) == GOOD
    bad = replace(GOOD, ok=False, result=None, failure="time", error="late")
    assert read_report(pack_report(bad), Limits()) == bad


@pytest.mark.parametrize(
    "change",
    [
        {"failure": "owned"},
        {"failure": "error"},
        {"result": None},
        {"result": "text"},
        {"result": b"x" * 100},
        {"held": ["magic"]},
        {"started": False},
        {"held": 5},
        {"wall": "long"},
        {"cpu": None},
    ],
)
def test_a_report_that_contradicts_itself(change: dict[str, Any]) -> None:
    raw = wire.unpack(pack_report(GOOD), limit=10_000) | change
    assert read_report(wire.pack(raw), Limits(result_bytes=64)) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_report_or_none(body: bytes) -> None:
    found = read_report(body, Limits())
    assert found is None or isinstance(found, RunReport)


@given(st.binary(min_size=1, max_size=60))
def test_a_report_cut_short_is_none(tail: bytes) -> None:
    assert read_report(pack_report(GOOD)[: -len(tail)], Limits()) is None
