"""Nodes that lead lookups astray: to one another, or to nodes that do not exist."""

from __future__ import annotations

from statistics import median

import pytest

LOOKUPS = 100
MESSAGES = 20
"""Requests of one lookup, in the median."""
MOST_MESSAGES = 96
"""Requests of any lookup, whatever it is told."""
PHANTOMS = 20_000


def misrouters(arena, share, pool_of):
    """Turn a share of the grid's own nodes, which everybody knows and trusts, into misrouters."""
    turned = arena.swarm.random.sample(arena.honest, int(share * len(arena.honest)))
    pool = pool_of(turned)
    for node in turned:
        arena.misroute(node, pool)
    arena.honest = [node for node in arena.honest if node not in turned]


def measure(arena, counting):
    """The share of lookups that found the honest node truly nearest, and the requests of each."""
    right, sent = 0, []
    for _ in range(LOOKUPS):
        target = arena.swarm.random.randbytes(20)
        asker = arena.swarm.random.choice(arena.honest)
        point = int.from_bytes(target, "big")
        others = [node.identity.id for node in arena.honest if node is not asker]
        true = min(others, key=lambda an_id, point=point: int.from_bytes(an_id, "big") ^ point)
        counting.clear()
        found = {contact.id for contact in arena.swarm.find(asker, target)}
        right += true in found
        sent.append(counting[asker])
    arena.note(right=right / LOOKUPS, median=median(sent), most=max(sent))
    return right / LOOKUPS, sent


@pytest.mark.slow
@pytest.mark.parametrize(("share", "least"), [(0.0, 0.99), (0.2, 0.99), (0.5, 0.85)])
def test_a_share_of_nodes_misroutes_to_one_another(grid, pool_class, counting, share, least):
    misrouters(grid, share, lambda turned: pool_class(grid.contacts(turned)))
    right, sent = measure(grid, counting)
    assert right >= least
    assert median(sent) <= MESSAGES
    assert max(sent) <= MOST_MESSAGES


@pytest.mark.slow
@pytest.mark.parametrize(("share", "least"), [(0.2, 0.99), (0.5, 0.85)])
def test_a_share_of_nodes_names_nodes_that_do_not_exist(grid, pool_class, counting, share, least):
    misrouters(grid, share, lambda turned: pool_class(grid.phantoms(PHANTOMS)))
    right, sent = measure(grid, counting)
    assert right >= least
    assert max(sent) <= MOST_MESSAGES
