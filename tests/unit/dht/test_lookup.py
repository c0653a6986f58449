"""The lookup by itself: whom it asks, and when it is done."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.lookup import LIES, MAX_HEARD, Lookup

TARGET = bytes(20)


def contacts(count: int, seed: int = 1) -> list[Contact]:
    source = random.Random(seed)
    made = [Contact(source.randbytes(32), "10.0.0.1", 1 + n) for n in range(count)]
    return sorted(made, key=lambda c: c.long_id)


def lookup(k: int = 4, paths: int = 3, most: int = 64) -> Lookup:
    return Lookup(TARGET, Limits(k=k, paths=paths, lookup_asked=most), b"own" * 6 + b"xx")


def test_it_asks_the_nearest_first_one_a_path():
    everybody = contacts(20)
    search = lookup()
    search.add(everybody[::-1])
    assert set(search.next()) == set(everybody[:3])
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
    search.slow(first[0])
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
    search.slow(two[1])
    assert not search.done()
    search.failed(two[1])
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
            search.failed(contact)
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
            getattr(search, fate)(contact.id if fate == "answered" else contact)
            if fate == "slow":
                slow.append(contact)
        elif slow:
            search.failed(slow.pop())
        else:
            break
    assert search.done()
    assert len(asked) == len({c.id for c in asked})


def test_what_a_misrouter_invents_holds_up_its_own_path_only():
    everybody = contacts(60)
    invented, honest = everybody[:40], everybody[40:]
    search = lookup(k=4, paths=4)
    search.add(honest[-4:])
    liar, *others = search.next()
    search.add(invented, liar.id)
    search.answered(liar.id)
    for number, contact in enumerate(others):
        search.add(honest[number : number + 4], contact.id)
        search.answered(contact.id)
    asked = search.next()
    assert len(set(asked) & set(invented)) == 1
    assert len(set(asked) & set(honest)) == 3


def test_a_teller_of_silent_contacts_is_believed_no_more():
    everybody = contacts(60)
    invented, honest = everybody[:40], everybody[40:]
    search = lookup(k=4, paths=4)
    search.add(honest)
    liar, *others = search.next()
    search.add(invented, liar.id)
    for contact in (liar, *others):
        search.answered(contact.id)
    wasted = 0
    while chosen := search.next():
        for contact in chosen:
            if contact in invented:
                wasted += 1
                search.slow(contact)
            else:
                search.answered(contact.id)
    # One more may be in flight on each other path when the third is found silent.
    assert wasted <= LIES + 3
    assert search.done()
    assert search.nearest() == honest[:4]


def test_one_network_is_asked_a_few_times_while_it_is_silent():
    search = lookup(k=16)
    bought = [Contact(number.to_bytes(32, "big"), f"66.6.6.{number}", 1000 + number) for number in range(200)]
    search.add(bought)
    asked = 0
    while chosen := search.next():
        asked += len(chosen)
        for contact in chosen:
            search.slow(contact)
    assert asked == Limits().lookup_group
    assert not search.next()


def test_a_true_key_told_at_a_false_address_is_asked_at_the_true_one_too():
    everybody = contacts(40)
    search = lookup(k=4, paths=4)
    search.add(everybody[-4:])
    liar, *others = search.next()
    search.add([Contact(c.key, "66.6.6.6", 1 + n) for n, c in enumerate(everybody[:4])], liar.id)
    search.answered(liar.id)
    for contact in others:
        search.add(everybody[:8], contact.id)
        search.answered(contact.id)
    while chosen := search.next():
        for contact in chosen:
            if contact.ip == "66.6.6.6":
                search.slow(contact)
                search.failed(contact)
            else:
                search.answered(contact.id)
    assert search.done()
    assert search.nearest() == everybody[:4]


def test_a_contact_forgotten_with_its_liar_may_be_told_again():
    everybody = contacts(60)
    invented, honest = everybody[:40], everybody[40:]
    search = lookup(k=4, paths=4)
    search.add(honest[-4:])
    liar, witness, *others = search.next()
    search.add([*invented[:3], *honest[:4]], liar.id)
    for contact in (liar, witness, *others):
        search.answered(contact.id)
    forgotten: list[Contact] = []
    while not forgotten and (chosen := search.next()):
        for contact in chosen:
            forgotten += search.slow(contact) if contact in invented else []
            if contact not in invented:
                search.answered(contact.id)
    search.add(forgotten, witness.id)
    while chosen := search.next():
        for contact in chosen:
            search.answered(contact.id)
    assert search.nearest() == honest[:4]
