"""A bought neighbourhood: keys ground next to a tag to hide its listings, or to drown them."""

from __future__ import annotations

import pytest

PUBLISHERS = 20
SEARCHES = 40
TAGS = 2
LEAST_ANSWERED = 0.99
LEAST_FOUND = 0.95
JUNK_A_KEY = 100


def edge(arena, tag):
    """The distance of the nearest honest node to a tag."""
    point = arena.near_to(tag)
    return min(int.from_bytes(node.identity.id, "big") ^ point for node in arena.honest)


def prey(arena, number):
    """A tag; of ten one with the widest empty place around it, so that grinding takes a second and not a minute."""
    return max((f"prey-{number}-{one}" for one in range(10)), key=lambda tag: edge(arena, tag))


def next_to(arena, tag, count):
    """Keys nearer to the tag than any honest node."""
    point = arena.near_to(tag)
    nearest = edge(arena, tag)
    return arena.grind(count, lambda an_id: an_id ^ point < nearest)


def spread(arena, tag, count, ranges):
    """As many keys in each of the first ``ranges`` distance ranges around the tag, for an attacker who knows them."""
    point = arena.near_to(tag)
    keys = []
    for bits in range(ranges):
        share = count // ranges + (bits < count % ranges)
        low, high = (0, 160 - bits) if bits == ranges - 1 else (160 - bits - 1, 160 - bits)
        keys += arena.grind(share, lambda an_id, low=low, high=high: low < (an_id ^ point).bit_length() <= high)
    return keys


def corrupt(arena, pool_class, sybils, behaviour, tag):
    """silent: pings are answered, nothing else; empty: "stored", "I have none", other sybils; lying: junk by pages."""
    if behaviour == "silent":
        for node in sybils:
            arena.silence(node)
        return
    pool = pool_class(arena.contacts(sybils))
    if behaviour == "empty":
        for node in sybils:
            arena.misroute(node, pool)
        return
    junk = [
        arena.pair(arena.listing(node.identity, tag, dataset=number.to_bytes(16, "big")))
        for number in range(JUNK_A_KEY)
        for node in sybils
    ]
    for number, node in enumerate(sybils):
        arena.deceive(node, pool, junk, number * 97)


def measure(arena, tag, honest, limit, searches):
    """Shares of searches with an honest answer, and of honest listings found in all of them."""
    answered = found = 0
    for asker in arena.swarm.random.sample(arena.honest, searches):
        keys = {listing.record.key for _, listing in arena.search(asker, tag, limit)} & honest
        answered += bool(keys)
        found += len(keys)
    return answered / searches, found / searches / len(honest)


def attack(grids, pool_class, behaviour, place, limit=1000, tags=1):
    shares = []
    for number in range(tags):
        arena = grids(number)
        tag = prey(arena, number)
        sybils = arena.enter(place(arena, tag))
        corrupt(arena, pool_class, sybils, behaviour, tag)
        honest = arena.announce(PUBLISHERS, tag)
        shares.append(measure(arena, tag, honest, limit, SEARCHES // tags))
    answered, found = (sum(column) / tags for column in zip(*shares, strict=True))
    print(f"measured: {answered:.3f} answered, {found:.3f} found; each tag: {shares}")
    return answered, found


@pytest.mark.slow
@pytest.mark.parametrize("count", [16, 45])
@pytest.mark.parametrize("behaviour", ["silent", "empty", "lying"])
def test_ids_ground_next_to_a_tag(grids, pool_class, count, behaviour):
    answered, found = attack(grids, pool_class, behaviour, lambda arena, tag: next_to(arena, tag, count), tags=TAGS)
    assert answered >= LEAST_ANSWERED
    assert found >= LEAST_FOUND


@pytest.mark.slow
def test_junk_by_the_thousand_does_not_stop_a_search_by_its_count(grids, pool_class):
    answered, found = attack(grids, pool_class, "lying", lambda arena, tag: next_to(arena, tag, 45), limit=100)
    assert answered >= LEAST_ANSWERED
    assert found >= LEAST_FOUND


@pytest.mark.slow
@pytest.mark.parametrize("place", ["next to the tag", "spread"])
def test_a_search_for_one_listing_is_not_held_up_by_silent_ids(grids, place):
    """It asks the nearest first, and the nearest are bought."""
    arena = grids(0)
    tag = prey(arena, 0)
    keys = next_to(arena, tag, 45) if place == "next to the tag" else spread(arena, tag, 45, 9)
    corrupt(arena, None, arena.enter(keys), "silent", tag)
    honest = arena.announce(PUBLISHERS, tag)
    found, took = 0, []
    for asker in arena.swarm.random.sample(arena.honest, SEARCHES):
        after = [after for after, listing in arena.search(asker, tag, 1) if listing.record.key in honest]
        found += bool(after)
        took += after
    print(f"measured: {found / SEARCHES:.3f} answered, the slowest after {max(took):.2f} s")
    assert found >= LEAST_ANSWERED * SEARCHES
    assert max(took) < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["silent", "lying"])
def test_45_ids_spread_over_the_ranges_around_a_tag(grids, pool_class, behaviour):
    """An attacker who knows the placement and buys a share of each range instead of one place."""
    answered, found = attack(grids, pool_class, behaviour, lambda arena, tag: spread(arena, tag, 45, 9))
    assert answered >= LEAST_ANSWERED
    assert found >= LEAST_FOUND
