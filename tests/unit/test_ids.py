"""Node ids, distances and tags."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pgrid.errors import BadNodeId, BadTag
from p2pgrid.ids import (
    ID_BYTES,
    TAG_MAX,
    distance,
    node_id,
    normalise_tag,
    normalise_tags,
    parse_node_id,
    short,
    tag_key,
)

ids = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)


@pytest.mark.parametrize(
    "same", ["#MNIST", "mnist", "Mnist ", " # mnist", "##mnist", "\uff03\uff2d\uff2e\uff29\uff33\uff34"]
)
def test_one_tag_in_many_spellings(same: str) -> None:
    assert normalise_tag(same) == "mnist"


@pytest.mark.parametrize(
    ("raw", "tag"),
    [
        ("breast cancer", "breast-cancer"),
        ("breast_cancer", "breast-cancer"),
        ("Straße", "strasse"),
        ("ÉTÉ", "été"),
        ("c#", "c#"),
        ("ﬁsh", "fish"),
        ("日本語", "日本語"),
    ],
)
def test_the_one_form_of_a_tag(raw: str, tag: str) -> None:
    assert normalise_tag(raw) == tag


@given(st.text())
@example("\u0345#")
@example("\u1e9b\u0323")
@example("#\u0338")
def test_normalising_twice_changes_nothing(raw: str) -> None:
    try:
        tag = normalise_tag(raw)
    except BadTag:
        return
    assert normalise_tag(tag) == tag
    assert normalise_tag(f"#{tag}") == tag
    assert 1 <= len(tag) <= TAG_MAX
    assert unicodedata.is_normalized("NFKC", tag)


@pytest.mark.parametrize("raw", ["", " ", "#", "# #", "x" * 65, "x" * 10_000, "\ufdfa" * 60])
def test_empty_and_overlong_tags_are_refused(raw: str) -> None:
    with pytest.raises(BadTag):
        normalise_tag(raw)


@pytest.mark.parametrize(
    "hidden",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u2066\x00\x1b\x7f\u0085\u034f\u115f\u3164\uffa0\u2800\ufe0f\ue000\ud800\U000e0100",
)
def test_tags_that_would_look_alike_by_invisible_characters_are_refused(hidden: str) -> None:
    if hidden == "\u0085":  # a line separator, which is white space to a tag
        assert normalise_tag(f"mn{hidden}ist") == "mn-ist"
        return
    with pytest.raises(BadTag):
        normalise_tag(f"mn{hidden}ist")


@pytest.mark.parametrize("raw", [None, 1, b"mnist", ["mnist"]])
def test_what_is_no_text_is_no_tag(raw: object) -> None:
    with pytest.raises(BadTag):
        normalise_tag(raw)  # type: ignore[arg-type]


def test_tags_keep_their_order_and_appear_once() -> None:
    assert normalise_tags(["#b", "A", "B ", "a"]) == ("b", "a")


def test_one_text_is_one_tag_not_a_row_of_letters() -> None:
    assert normalise_tags("#digits") == ("digits",)


@given(ids)
def test_a_node_id_is_read_as_it_is_written(raw: bytes) -> None:
    assert parse_node_id(f" {raw.hex().upper()}\n") == raw
    assert raw.hex().startswith(short(raw))


@pytest.mark.parametrize("text", ["", "zz", "00" * 19, "00" * 21, "0x" + "00" * 20, "é" * 40])
def test_what_is_no_node_id_is_refused(text: str) -> None:
    with pytest.raises(BadNodeId):
        parse_node_id(text)


@given(ids, ids, ids)
def test_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert (distance(a, b) == 0) == (a == b)


def test_a_node_id_is_the_known_hash_of_its_key() -> None:
    assert node_id(bytes(32)).hex() == "89eb0d6a8a691dae2cd15ed0369931ce0a949eca"


def test_a_tags_key_is_its_own_space() -> None:
    tag = normalise_tag("mnist")
    assert len(tag_key(tag)) == ID_BYTES
    assert tag_key(tag) != node_id(tag.encode())
    assert tag_key(tag) != tag_key(normalise_tag("mnist2"))
