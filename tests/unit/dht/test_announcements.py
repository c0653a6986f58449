"""Our own listings: what is kept, and what is signed."""

from __future__ import annotations

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht.announcements import Announcements
from p2pgrid.dht.limits import Limits
from p2pgrid.errors import InvalidInput, TooLarge
from p2pgrid.ids import Tag, normalise_tag
from p2pgrid.records import MAX_RECORD, Address, verify_listing

NOW = 1_800_000_000
HERE = (Address("2001:db8:1111:2222:3333:4444:5555:6666", 65_535, 65_535),)
TAG = normalise_tag("t")


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def ours(clock: Clock | None = None, **limits: int) -> Announcements:
    return Announcements(Identity(bytes(32)), Limits(**limits), clock or Clock())


def test_a_long_title_in_another_script_is_cut_and_the_whole_one_is_remembered():
    announcements = ours()
    title = "東京都健康長寿医療センター" * 8
    one = announcements.add(Tag("病" * 64), bytes(16), title, "院" * 32, HERE)
    made = announcements.sign(one, "院" * 32, HERE)
    assert verify_listing(made.to_wire(), now=NOW).record.title == made.record.title
    assert len(made.raw) <= MAX_RECORD
    assert title.startswith(made.record.title)
    assert len(made.record.title) > 20
    assert one.title == title


def test_a_title_of_half_characters_is_told_without_them():
    announcements = ours()
    one = announcements.add(TAG, bytes(16), "a\ud800b", "n", HERE)
    assert announcements.sign(one, "n", HERE).record.title == "ab"


def test_what_cannot_be_listed_even_without_a_title_is_refused_before_it_is_kept():
    announcements = ours()
    with pytest.raises(TooLarge):
        announcements.add(Tag("\U00020000" * 64), bytes(16), "t", "\U00020000" * 64, HERE)
    with pytest.raises(InvalidInput):
        announcements.add(TAG, bytes(15), "t", "n", HERE)
    assert len(announcements) == 0


def test_one_listing_too_many_is_refused_and_a_new_title_is_not():
    announcements = ours(announcements=2)
    for number in range(2):
        announcements.add(TAG, bytes([number]) * 16, "t", "n", HERE)
    with pytest.raises(TooLarge):
        announcements.add(TAG, bytes([2]) * 16, "t", "n", HERE)
    assert announcements.add(TAG, bytes(16), "new", "n", HERE).title == "new"
    assert len(announcements) == 2
    assert announcements.remove(TAG, bytes(16)) is not None
    assert announcements.remove(TAG, bytes(16)) is None


def test_our_listings_grow_in_number_even_when_the_clock_stands_or_the_node_restarts():
    clock = Clock()
    announcements = ours(clock)
    one = announcements.add(TAG, bytes(16), "title", "n", ())
    seqs = [announcements.sign(one, "n", ()).record.seq for _ in range(3)]
    assert seqs == sorted(set(seqs))
    clock.now += 1
    again = ours(clock)
    other = again.add(TAG, bytes(16), "title", "n", ())
    assert again.sign(other, "n", ()).record.seq > seqs[-1]


def test_a_listing_is_due_when_the_clock_was_ahead_or_leapt_while_the_machine_slept():
    clock = Clock()
    announcements = ours(clock)
    one = announcements.add(TAG, bytes(16), "t", "n", ())
    assert not announcements.odd(one)
    made = announcements.sign(one, "n", ())
    clock.now += made.record.ttl / 2
    assert not announcements.odd(one)
    clock.now += made.record.ttl / 2
    assert announcements.odd(one)
    clock.now = NOW - 1
    assert announcements.odd(one)
