"""Arguments at the door: the right ones in their one form, every other one refused by name."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.fields import Args
from p2pgrid.errors import InvalidInput, TooLarge

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(ANYTHING)
def test_any_value_is_read_or_refused_as_the_callers_fault(value: Any) -> None:
    readers = [
        lambda args: args.text("x", 10),
        lambda args: args.label("x", 10),
        lambda args: args.id("x"),
        lambda args: args.maybe_id("x"),
        lambda args: args.digest("x"),
        lambda args: args.number("x", 0, 9),
        lambda args: args.blob("x", 10),
        lambda args: args.texts("x", 3, 10),
        lambda args: [child.text("y", 3) for child in args.children("x", 3)],
        lambda args: args.child("x").text("y", 3),
        lambda args: args.named("x", 3),
        lambda args: args.meta("x"),
    ]
    for read in readers:
        for raw in ({"x": value}, value):
            with contextlib.suppress(InvalidInput, TooLarge):
                read(Args(raw, "test.verb"))


def test_the_one_form_of_an_id() -> None:
    assert Args({"id": "0123ABCD-0123-0123-0123-0123456789AB"}, "v").id("id") == "0123abcd0123012301230123456789ab"


def test_a_bool_is_no_number() -> None:
    with pytest.raises(InvalidInput, match="v: n must be a whole number from 0 to 5"):
        Args({"n": True}, "v").number("n", 0, 5)


def test_too_many_bytes_are_too_large() -> None:
    with pytest.raises(TooLarge, match="at most 3"):
        Args({"b": b"four"}, "v").blob("b", 3)


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(InvalidInput):
        Args({"t": "a\ud800"}, "v").text("t", 5)


def test_a_character_that_not_every_database_keeps_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        Args({"t": "a\0b"}, "v").text("t", 5)


@pytest.mark.parametrize("digest", ["z" * 64, "A" * 63])
def test_an_impossible_description_is_refused(digest: str) -> None:
    meta = {"kind": "numpy", "shape": [3], "dtype": "int64", "columns": [], "size": 3, "digest": digest}
    with pytest.raises(InvalidInput):
        Args({"meta": meta}, "v").meta("meta")
