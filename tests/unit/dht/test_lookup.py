"""The lookup by itself: whom it asks, and when it is done."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.lookup import MAX_HEARD, Lookup

TARGET = bytes(20)


def contacts(count: int, seed: int = 1) -> list[Contact]:
    source = random.Random(seed)
    made = [Contact(source.randbytes(32), "10.0.0.1", 1 + n) for n in range(count)]
    return sorted(made, key=lambda c: c.long_id)


def lookup(k: int = 4, alpha: int = 3, most: int = 64) -> Lookup:
    return Lookup(TARGET, k, alpha, most, b"own" * 6 + b"xx")


def test_it_asks_the_nearest_alpha_first():
    everybody = contacts(20)
    search = lookup()
    search.add(everybody[::-1])
    assert search.next() == everybody[:3]
    assert search.next() == []
    search.answered(everybody[0].id)
    assert search.next() == [everybody[3]]


def test_it_is_done_when_the_k_nearest_have_answered():
    everybody = contacts(20)
    search = lookup()
    search.add(everybody)
    while chosen := search.next():
        assert not search.done()
        for contact in chosen:
            search.answered(contact.id)
    assert search.done()
    assert search.nearest() == everybody[:4]


def test_a_slow_peer_holds_nobody_up_and_still_counts_when_it_answers():
    everybody = contacts(6)
    search = lookup()
    search.add(everybody)
    first = search.next()
    search.slow(first[0].id)
    assert search.next() == [everybody[3]]
    for contact in everybody[1:4]:
        search.answered(contact.id)
    assert search.next() == [everybody[4]]
    search.answered(everybody[4].id)
    assert search.done()
    search.answered(everybody[0].id)
    assert search.nearest()[0] == everybody[0]


def test_in_a_small_grid_a_slow_peer_is_waited_for():
    two = contacts(2)
    search = lookup()
    search.add(two)
    search.next()
    search.answered(two[0].id)
    search.slow(two[1].id)
    assert not search.done()
    search.failed(two[1].id)
    assert search.done()
    assert search.nearest() == [two[0]]


def test_nobody_to_ask_is_done_at_once():
    assert lookup().done()
    assert lookup().next() == []


def test_reply_with_endless_contacts_is_bounded():
    search = lookup(most=10)
    search.add(contacts(2000))
    assert len(search._by_id) <= MAX_HEARD
    asked = 0
    while chosen := search.next():
        asked += len(chosen)
        for contact in chosen:
            search.failed(contact.id)
    assert asked == 10
    assert search.done()


@given(st.lists(st.sampled_from(["answered", "slow", "failed"]), max_size=60), st.integers(1, 40))
def test_it_always_ends_and_never_asks_twice(fates, count):
    everybody = contacts(count)
    search = lookup()
    search.add(everybody)
    asked: list[Contact] = []
    flying: list[Contact] = []
    slow: list[Contact] = []
    for fate in [*fates, *["answered"] * 200]:
        flying += (chosen := search.next())
        asked += chosen
        if flying:
            contact = flying.pop(0)
            getattr(search, fate)(contact.id)
            if fate == "slow":
                slow.append(contact)
        elif slow:
            search.failed(slow.pop().id)
        else:
            break
    assert search.done()
    assert len(asked) == len({c.id for c in asked})
