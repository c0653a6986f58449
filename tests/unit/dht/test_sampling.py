"""What a sample of tags makes of what peers name, and how a node answers one."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import DEFAULT
from p2pgrid.dht.messages import SampleTags
from p2pgrid.dht.routing import Table
from p2pgrid.dht.sampling import SHARE, best
from p2pgrid.dht.serve import TAGS_FRESH, Desk

TAGS = ["mnist", "mnist-like", "fashion-mnist", "mini-imagenet", "medical", "diabetes", "manifest"]


def named(**groups: int) -> dict[Any, set[bytes]]:
    return {tag.replace("_", "-"): {bytes([n]) * 3 for n in range(count)} for tag, count in groups.items()}


def tags_of(text: str, tags: list[str], limit: int = 100) -> list[str]:
    return [found.tag for found in best({tag: {b"aaa", b"bbb"} for tag in tags}, text, limit)]  # type: ignore[misc]


def test_the_tag_then_its_beginnings_then_words_then_the_rest() -> None:
    assert tags_of("mnist", TAGS) == ["mnist", "mnist-like", "fashion-mnist", "manifest"]
    assert tags_of("mni", TAGS) == ["mnist", "mnist-like", "fashion-mnist"]
    assert tags_of("nist", TAGS) == ["fashion-mnist", "mnist", "mnist-like"]


@pytest.mark.parametrize("typed", ["mnsit", "mist", "mnits", "nmist", "mnistt"])
def test_a_misspelt_tag_is_found(typed: str) -> None:
    assert "mnist" in tags_of(typed, TAGS)[:2]


def test_what_is_not_alike_is_not_offered() -> None:
    assert tags_of("xyz", TAGS) == []


def test_without_a_text_the_most_seen_come_first() -> None:
    found = best(named(rare=1, common=9, some=4), "", 2)
    assert [(sample.tag, sample.seen) for sample in found] == [("common", 9), ("some", 4)]


def test_a_lying_peer_that_names_a_thousand_tags_fills_but_its_share() -> None:
    said = named(mnist=3, mnist_like=2, mnist_small=2)
    said.update({f"mni-{number:04}": {b"lie"} for number in range(1000)})
    for text in ("mni", ""):
        found = best(said, text, 20)
        assert len(found) == 20
        assert [sample.tag for sample in found[:3]] == ["mnist", "mnist-like", "mnist-small"]
    honest = {f"mni{number}": {bytes([number]) * 3} for number in range(12)}
    found = best({**said, **honest}, "mni", 20)  # type: ignore[arg-type]
    assert sum(sample.tag.startswith("mni-") for sample in found) == 20 // SHARE
    assert {"mnist", *honest} <= {sample.tag for sample in found}


@given(
    st.dictionaries(st.text("abc-", min_size=1, max_size=8), st.sets(st.binary(max_size=2), min_size=1)), st.text("abc")
)
def test_any_tags_are_ranked_once_each_and_within_the_limit(said: dict[Any, set[bytes]], text: str) -> None:
    found = best(said, text, 5)
    assert len(found) <= 5
    assert len({sample.tag for sample in found}) == len(found)
    assert all(sample.seen == len(said[sample.tag]) for sample in found)
    everything = best(said, "", len(said) or 1)
    assert {sample.tag for sample in everything} == set(said)


class ManyTags:
    """The part of a store that a sample reads."""

    def __init__(self, count: int) -> None:
        self.row = [f"tag-{number}" for number in range(count)]
        self.listed = -1  # the desk lists them once when it is made

    def tags(self) -> list[str]:
        self.listed += 1
        return list(self.row)


def desk_over(store: ManyTags, wall: Any) -> Desk:
    identity = Identity(b"\x01" * 32)
    chance = random.Random(7)
    table = Table(identity.id, DEFAULT, 0.0)
    return Desk(table, store, DEFAULT, chance.randbytes, wall, lambda: None, lambda error: None)  # type: ignore[arg-type, return-value]


ASKER = Contact(Identity(b"\x02" * 32).public, "192.0.2.9", 4000)


def sample(desk: Desk, room: int = 1200, limit: int = 32) -> Any:
    return messages.decode(desk.answer(SampleTags(1, limit), ASKER, room, True))


def test_each_tag_is_as_likely_as_every_other() -> None:
    desk = desk_over(ManyTags(100), lambda: 0.0)
    drawn: Counter[str] = Counter()
    for _ in range(2000):
        answer = sample(desk, limit=10)
        assert (answer.total, len(set(answer.tags))) == (100, 10)
        drawn.update(answer.tags)
    assert len(drawn) == 100
    assert 120 < min(drawn.values()) <= max(drawn.values()) < 290, "200 each on average"


def test_a_flood_of_sample_requests_does_not_list_the_tags_each_time() -> None:
    now = [0.0]
    store = ManyTags(8000)
    desk = desk_over(store, lambda: now[0])
    for _ in range(1000):
        sample(desk)
    assert store.listed == 1
    store.row.append("new")
    now[0] += TAGS_FRESH + 1
    assert sample(desk).total == 8001
    now[0] -= 3600.0  # a clock set back
    sample(desk)
    assert store.listed == 3


@pytest.mark.parametrize("room", [16, 40, 200, 1200])
def test_a_sample_fits_its_room(room: int) -> None:
    desk = desk_over(ManyTags(500), lambda: 0.0)
    assert len(desk.answer(SampleTags(2**32 - 1, 32), ASKER, room, True)) <= room


def test_an_empty_store_names_nothing() -> None:
    answer = sample(desk_over(ManyTags(0), lambda: 0.0))
    assert (answer.total, answer.tags) == (0, ())
