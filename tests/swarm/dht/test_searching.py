"""Searches of whole grids: shared when identical, fair to holders, complete for a tag that everybody has."""

from __future__ import annotations

import random
from statistics import median

import pytest

from p2pgrid.ids import normalise_tag

HOT = normalise_tag("hot")
LISTINGS = 10_000


def dataset(number):
    return number.to_bytes(16, "big")


def begin(swarm, node, tag, limit=100):
    """A search under way: what it found, and whether it is over."""
    found, done = [], []
    reader = node.search(normalise_tag(tag), limit, found.append, lambda at: done.append(at), swarm.now)
    swarm.flush(node)
    return found, done, reader


def publish(swarm, node, numbers):
    """Announce many datasets under the hot tag at the same time."""
    done: list[int] = []
    for number in numbers:
        node.publisher.announce(HOT, dataset(number), "", lambda held, at: done.append(held), swarm.now)
    swarm.flush(node)
    assert swarm.run(60.0, lambda: len(done) == len(numbers))


def test_identical_searches_in_flight_are_one(swarm):
    nodes = swarm.grow(40)
    swarm.announce(nodes[3], "shared", dataset(1))
    before = swarm.sent
    alone = begin(swarm, nodes[20], "shared")
    assert swarm.run(10.0, lambda: bool(alone[1]))
    one = swarm.sent - before
    swarm.run(5.0)
    before = swarm.sent
    together = [begin(swarm, nodes[20], "shared") for _ in range(20)]
    assert swarm.run(10.0, lambda: all(done for _, done, _ in together))
    assert swarm.sent - before <= 2 * one
    assert all(len(found) == 1 for found, _, _ in together)


def test_who_comes_late_to_a_shared_search_hears_what_was_found_before(swarm):
    nodes = swarm.grow(40)
    swarm.announce(nodes[3], "shared", dataset(1))
    early = begin(swarm, nodes[20], "shared")
    assert swarm.run(10.0, lambda: bool(early[0]))
    late = begin(swarm, nodes[20], "shared")
    assert len(late[0]) == 1
    early[2].close()
    assert swarm.run(10.0, lambda: bool(late[1]))
    assert not early[1]


def test_a_search_that_nobody_reads_any_more_stops(swarm):
    nodes = swarm.grow(10)
    readers = [begin(swarm, nodes[2], "nothing")[2] for _ in range(3)]
    for reader in readers:
        assert not reader.search.over
        reader.close()
    assert readers[0].search.over
    assert not nodes[2]._searches


def test_identical_lookups_in_flight_are_one(swarm):
    nodes = swarm.grow(40)
    target, asker = swarm.random.randbytes(20), nodes[20]
    ended: list[list[bytes]] = []
    before = len(asker.calls)
    for _ in range(10):
        asker.walk(target, lambda near, at: ended.append([c.id for c in near]), swarm.now)
    assert len(asker.calls) - before <= asker.limits.paths
    swarm.flush(asker)
    assert swarm.run(10.0, lambda: len(ended) == 10)
    assert all(near == ended[0] for near in ended)
    assert not asker._walks


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_listings_of_one_tag_load_nobody_and_are_all_paged_through(swarm):
    nodes = swarm.grow(300)
    swarm.run(60.0)
    source = random.Random(5)
    for at, node in enumerate(nodes):
        publish(swarm, node, range(at, LISTINGS, len(nodes)))
    swarm.run(60.0)
    held = [node.store.total(HOT) for node in nodes]
    print(f"busiest {max(held)}, median {median(held)}")
    assert max(held) <= 5 * median(held)
    found = swarm.search(source.choice(nodes), "hot", limit=2 * LISTINGS, patience=600.0)
    share = len({listing.record.dataset for listing in found}) / LISTINGS
    print(f"paged through {share:.4f}")
    assert share >= 0.999
    few = swarm.search(source.choice(nodes), "hot", limit=50)
    other = swarm.search(source.choice(nodes), "hot", limit=50)
    assert len(few) == len(other) == 50
    assert {v.record.dataset for v in few} != {v.record.dataset for v in other}


def test_one_peer_that_is_much_nearer_than_the_others_hides_nothing(swarm):
    nodes = swarm.grow(60)
    publish(swarm, nodes[7], range(6))
    swarm.run(10.0)
    asker = swarm.make()
    assert swarm.join(asker, nodes[0])
    near, send = nodes[0].address, swarm.send

    def unequal(data, source, target):
        quick = {source, target} == {near, asker.address}
        swarm.latency = (0.0005, 0.0005) if quick else (0.05, 0.05)
        send(data, source, target)

    swarm.send = unequal
    for _ in range(3):
        assert len({found.record.dataset for found in swarm.search(asker, "hot")}) == 6


def test_who_announces_at_once_after_a_join_still_gets_to_know_its_neighbours(swarm):
    swarm.grow(60)
    late = swarm.make()
    assert swarm.join(late, next(iter(swarm.engines.values())))
    for number in range(8):
        swarm.announce(late, f"tag-{number}", dataset(number))
    swarm.run(60.0)
    nearest = [an_id for an_id in swarm.nearest(late.identity.id, 13) if an_id != late.identity.id]
    assert all(late.table.get(an_id) for an_id in nearest)


def test_what_is_withdrawn_while_it_is_still_being_placed_stays_nowhere(swarm):
    nodes = swarm.grow(60)
    assert swarm.announce(nodes[5], "brief", dataset(1)) < 16, "it returns before everybody was asked"
    assert nodes[5].publisher.withdraw(normalise_tag("brief"), dataset(1), swarm.now)
    swarm.flush(nodes[5])
    swarm.run(5.0)
    assert not [node for node in nodes if node.store.total(normalise_tag("brief"))]
