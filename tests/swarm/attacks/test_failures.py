"""Whole parts of the grid that go silent, split, or die at once."""

from __future__ import annotations

from statistics import median, quantiles

import pytest

from p2pgrid.dht.limits import DEFAULT

TAGS = 30
SEARCHES = 60
PARTITION = 600.0
LOOK_EVERY = 120.0
LEAST_RECALL = 0.99


def dataset(number):
    return number.to_bytes(16, "big")


def announced(arena, publishers, prefix="tag"):
    """One dataset under each of many tags."""
    for number, node in enumerate(publishers):
        arena.swarm.announce(node, f"{prefix}-{number}", dataset(number))
    arena.swarm.run(10.0)


def timed(arena, askers):
    """Seconds to the first listing and to the end of each search; every one must find its dataset."""
    firsts, ends = [], []
    for number in range(SEARCHES):
        began = arena.swarm.now
        found = arena.search(arena.swarm.random.choice(askers), f"tag-{number % TAGS}")
        assert {listing.record.dataset for _, listing in found} == {dataset(number % TAGS)}
        firsts.append(found[0][0])
        ends.append(arena.swarm.now - began)
    return firsts, ends


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_share_of_nodes_are_black_holes(grid, share):
    publishers, others = grid.honest[:TAGS], grid.honest[TAGS:]
    announced(grid, publishers)
    dead = grid.swarm.random.sample(others, int(share * len(grid.honest)))
    living = [node for node in others if node not in dead]
    firsts, ends = timed(grid, living)
    for node in dead:
        grid.swarm.kill(node)  # packets to it vanish, and everybody still names it
    late_firsts, late_ends = timed(grid, living)
    p95 = [quantiles(column, n=20)[-1] for column in (late_firsts, late_ends)]
    grid.note(
        healthy_first=f"{median(firsts) * 1000:.0f} ms",
        healthy_end=f"{median(ends) * 1000:.0f} ms",
        p95_first=f"{p95[0] * 1000:.0f} ms",
        p95_end=f"{p95[1] * 1000:.0f} ms",
    )
    assert p95[0] <= 3 * median(firsts) + DEFAULT.try_first
    assert p95[1] <= 3 * median(ends) + DEFAULT.try_first


def recall(arena, nodes, tags):
    """Shares of the truly nearest living nodes found, and of announced datasets found."""
    right = total = found = 0
    for _ in range(SEARCHES):
        target, asker = arena.swarm.random.randbytes(20), arena.swarm.random.choice(nodes)
        known = {contact.id for contact in arena.swarm.find(asker, target)} | {asker.identity.id}
        true = arena.swarm.nearest(target, DEFAULT.k)
        right, total = right + sum(an_id in known for an_id in true), total + len(true)
    for tag, wanted in tags:
        listings = arena.search(arena.swarm.random.choice(nodes), tag)
        found += wanted in {listing.record.dataset for _, listing in listings}
    return right / total, found / len(tags)


def recovered(arena, nodes, tags):
    """Seconds until both recalls are back, at most a refresh interval."""
    began = arena.swarm.now
    while True:
        shares = recall(arena, nodes, tags)
        after = arena.swarm.now - began
        arena.note(after=f"{after:.0f} s", nearest=f"{shares[0]:.4f}", listings=f"{shares[1]:.4f}")
        if min(shares) >= LEAST_RECALL:
            return after
        assert after + LOOK_EVERY <= DEFAULT.refresh, "the grid did not recover within one refresh interval"
        arena.swarm.run(LOOK_EVERY)


@pytest.mark.slow
def test_a_partition_of_ten_minutes_heals(grid):
    swarm = grid.swarm
    side = {node.address: number % 2 for number, node in enumerate(grid.honest)}
    swarm.watch = lambda data, source, target: side[source] == side[target]
    swarm.run(PARTITION / 2)
    publishers = grid.honest[:TAGS]
    announced(grid, publishers)  # while it is split: known on one side only
    swarm.run(PARTITION / 2 - 10.0)
    swarm.watch = None
    recovered(grid, grid.honest, [(f"tag-{number}", dataset(number)) for number in range(TAGS)])


@pytest.mark.slow
def test_half_of_the_grid_killed_at_once(grid):
    announced(grid, grid.honest[:TAGS])
    dead = grid.swarm.random.sample(grid.honest[TAGS:], len(grid.honest) // 2)
    for node in dead:
        grid.swarm.kill(node)
    living = [node for node in grid.honest if node not in dead]
    recovered(grid, living, [(f"tag-{number}", dataset(number)) for number in range(TAGS)])
