"""Peers that prove another address count for the address group that they moved into."""

from __future__ import annotations

from collections import Counter

from p2pgrid.dht.contacts import Contact, group_of


def test_bucket_flood_by_nodes_that_join_from_everywhere_and_move_into_one_address_group(swarm):
    nodes = swarm.grow(12)
    target = nodes[0]
    settled = {peer.id for peer in target.table.peers()}
    bad = [swarm.make() for _ in range(40)]
    for node in bad:
        assert swarm.join(node, target)
    known = {peer.id for peer in target.table.peers()} - settled
    assert len(known) > 20
    where = Contact(target.identity.public, *target.address)
    for number, old in enumerate(bad):
        swarm.kill(old)
        moved = swarm.place((f"66.6.6.{number + 1}", 4000), identity=old.identity)
        answers: list[object] = []
        moved.ping(where, False, lambda pong, rtt, answers=answers: answers.append(pong), swarm.now)
        swarm.flush(moved)
        assert swarm.run(10.0, lambda answers=answers: bool(answers))
        assert answers[0] is not None, "whoever is over the caps is answered all the same"
        swarm.run(0.5)
        table = target.table
        for buckets, most in [([b], target.limits.bucket_group) for b in table.buckets] + [(table.buckets, 10)]:
            groups = Counter(group_of(p.endpoint) for b in buckets for p in b.everybody())
            assert max(groups.values()) <= most
    swarm.run(30.0)  # until those that moved are missed where they were
    assert settled <= {peer.id for peer in target.table.peers()}
    assert sum(peer.ip.startswith("66.6.6.") for peer in target.table.peers()) >= 2
    assert target.counters["crowded"] > 0
