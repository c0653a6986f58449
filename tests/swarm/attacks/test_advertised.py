"""Making nodes shoot at somebody by telling them that address for thousands of keys."""

from __future__ import annotations

import pytest

from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.messages import FindListings, FindNode, Nodes, Page

VICTIM = ("99.9.9.9", 53)
PACKETS_A_MINUTE = 6
"""What one node sends to an address that never answers, whatever number of keys and ports is told for it."""
MINUTES = 3


@pytest.mark.slow
@pytest.mark.parametrize("ports", ["one port", "many ports"])
def test_a_victims_address_told_for_thousands_of_keys(grid, ports):
    """A fifth of the grid names the victim for every key that is asked for, while the others look up and search."""
    swarm = grid.swarm
    liars, askers = grid.honest[:60], grid.honest[60:120]
    keys = [contact.key for contact in grid.phantoms(5000)]

    def tell(request, room):
        if not isinstance(request, (FindNode, FindListings)):
            return None
        told = tuple(
            Contact(
                swarm.random.choice(keys),
                VICTIM[0],
                VICTIM[1] if ports == "one port" else swarm.random.randrange(1, 9999),
            ).packed
            for _ in range(16)
        )
        if isinstance(request, FindNode):
            return messages.encode(Nodes(request.call, told))
        return messages.encode(Page(request.call, 0, 0, (), told))

    for node in liars:
        grid.lie(node, tell)
    shot = {}

    def watch(data, source, target):
        if target[0] == VICTIM[0]:
            shot.setdefault(source, []).append(swarm.now)
        return True

    swarm.watch = watch
    began = swarm.now
    for _ in range(MINUTES * 6):
        for node in askers:
            node.walk(swarm.random.randbytes(20), lambda found, at: None, swarm.now)
            swarm.flush(node)
        swarm.run(10.0)
    minutes = (swarm.now - began) / 60
    most = max(len([when for when in times if at <= when < at + 60]) for times in shot.values() for at in times)
    total = sum(map(len, shot.values()))
    print(f"measured: at most {most} packets a minute and node, {total / minutes / len(askers):.2f} on average")
    assert most <= PACKETS_A_MINUTE
