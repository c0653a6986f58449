"""What passes between node, zygote and worker."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import wire
from p2pgrid.domain.runner.order import HEAD, Answer, Order, Setup, order_of
from p2pgrid.domain.runner.spec import Limits, RunInput, RunSpec
from p2pgrid.errors import RemoteError

GOOD = {"failure": "", "error": "", "result": b"\x01"}


@given(st.text(st.characters(codec=None), max_size=200))
def test_an_order_arrives_as_it_was(code: str) -> None:
    spec = RunSpec(code, "f", {"x": RunInput("json", "/p")}, Limits(cpu_seconds=3))
    packed = order_of(spec, 12).pack()
    assert int.from_bytes(packed[:HEAD], "big") == len(packed) - HEAD
    order = Order.unpack(packed[HEAD:])
    assert (order.code, order.function, order.inputs) == (code, "f", (("x", "json"),))
    assert (order.input_bytes, order.limits) == (12, spec.limits)
    assert b"/p" not in packed or "/p" in code, "a run is not told where a file lies"


def test_a_setup_arrives_as_it_was() -> None:
    setup = Setup(("/usr/lib", "/opt"), 61200, True, True, b"\x01" * 64, False, 2)
    assert Setup.unpack(setup.pack()) == setup


def test_an_answer_arrives_as_it_was() -> None:
    for answer in (Answer("", "", b"\x01"), Answer("error", "ValueError: x", b"")):
        assert Answer.unpack(answer.pack()[HEAD:], Limits()) == answer


@pytest.mark.parametrize(
    "change",
    [
        {"failure": "owned"},
        {"failure": "unavailable"},  # that is the node's to say
        {"failure": None},
        {"error": b"bytes"},
        {"result": "text"},
        {"result": None},
        {"result": b"x" * 100_000},
    ],
)
def test_an_answer_that_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(RemoteError):
        Answer.unpack(wire.pack(GOOD | change), Limits(result_bytes=64))


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    with contextlib.suppress(RemoteError):
        assert isinstance(Answer.unpack(body, Limits()), Answer)
