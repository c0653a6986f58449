"""What a node tells of its peers follows them: a state changes within three probe intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from p2pgrid.dht.engine import Engine
from p2pgrid.dht.health import probe_interval, probe_round, state_of
from p2pgrid.dht.trips import median
from p2pgrid.sim.latency import Uniform


def state(teller: Engine, of: Engine, now: float) -> str:
    """What ``DhtNode.peers`` would say."""
    known = teller.table.get(of.identity.id)
    if known is not None:
        return state_of(known, teller.limits)
    return "offline" if of.identity.id in {peer.id for peer in teller.gone_peers.since(now)} else "unknown"


def in_bucket(teller: Engine, peer: Any) -> bool:
    """Whether it is in the table, and not only waiting."""
    return peer in list(teller.table.peers())


def becomes(swarm: Any, wanted: str, tellers: list[Engine], of: Engine) -> bool:
    """Whether all of them tell so before three of their probe intervals are over."""
    longest = 3 * max(probe_interval(len(teller.table), teller.limits) for teller in tellers)
    return swarm.run(longest, lambda: all(state(teller, of, swarm.now) == wanted for teller in tellers))


class SlowAround:
    """A latency model: all that goes to one host or comes from it takes so long."""

    def __init__(self, number: int, seconds: float, usual: Uniform) -> None:
        self.number, self.seconds, self.usual = number, seconds, usual

    def one_way(self, source: Any, target: Any, chance: float) -> float:
        if self.number in (source.number, target.number):
            return self.seconds
        return self.usual.one_way(source, target, chance)


def slow_down(swarm: Any, engine: Engine, seconds: float) -> None:
    """From now on all that goes to a node or comes from it takes so long."""
    network = swarm.grid.network
    slow = SlowAround(swarm.node(engine).host.number, seconds, Uniform(*swarm.latency))
    network.conditions = dataclasses.replace(network.conditions, latency=slow)


@pytest.mark.parametrize("count", [3, 20])
def test_online_offline_and_online_again(swarm: Any, count: int) -> None:
    nodes = swarm.grow(count)
    one, others = nodes[1], [nodes[0], *nodes[2:]]
    assert becomes(swarm, "online", others, one)

    swarm.watch = lambda data, source, target: one.address not in (source, target)  # its cable is pulled
    assert becomes(swarm, "offline", others, one)
    swarm.watch = None
    assert becomes(swarm, "online", others, one)


def test_a_peer_that_is_restarted_is_online_again(swarm: Any) -> None:
    a, b, c = swarm.grow(3)
    address, identity = b.address, b.identity
    swarm.kill(b)
    assert becomes(swarm, "offline", [a, c], b)
    again = swarm.place(address, identity=identity)
    assert swarm.join(again, a)
    assert becomes(swarm, "online", [a, c], again)


def test_a_peer_that_is_gone_is_told_as_offline_for_an_hour(swarm: Any) -> None:
    a, b, c = swarm.grow(3)
    swarm.kill(b)
    assert swarm.run(120.0, lambda: a.table.get(b.identity.id) is None)
    assert state(a, b, swarm.now) == "offline"
    swarm.run(a.limits.gone_life + 1.0)
    assert state(a, b, swarm.now) == "unknown"
    assert state(a, c, swarm.now) == "online"


@pytest.mark.parametrize("count", [2, 12])
def test_a_slow_path_is_busy_and_a_quick_one_online_again(swarm: Any, count: int) -> None:
    nodes = swarm.grow(count)
    slow_down(swarm, nodes[1], 0.15)
    assert becomes(swarm, "busy", [nodes[0]], nodes[1])

    swarm.latency = (0.002, 0.030)
    assert becomes(swarm, "online", [nodes[0]], nodes[1])
    assert median(nodes[0].table.get(nodes[1].identity.id).trips, 1) < 0.1


def test_a_peer_that_says_to_be_busy_is_until_it_says_otherwise(swarm: Any) -> None:
    nodes = swarm.grow(6)
    nodes[2].rate_load(1.0)
    others = [node for node in nodes if node is not nodes[2]]
    assert becomes(swarm, "busy", others, nodes[2])
    nodes[2].rate_load(0.0)
    assert becomes(swarm, "online", others, nodes[2])


def test_both_ends_of_a_pair_measure(swarm: Any) -> None:
    """Who is probed is heard; that must not keep it from measuring the other."""
    a, b = swarm.grow(2)
    swarm.run(600.0)
    before = [a.table.get(b.identity.id).probed, b.table.get(a.identity.id).probed]
    swarm.run(2 * probe_interval(1, a.limits))
    assert a.table.get(b.identity.id).probed > before[0]
    assert b.table.get(a.identity.id).probed > before[1]


def test_a_table_full_of_peers_is_probed_in_turn(swarm: Any) -> None:
    nodes = swarm.grow(40)
    swarm.run(100.0)
    began = swarm.now
    swarm.run(2 * probe_interval(len(nodes[7].table), nodes[7].limits))
    assert [peer for peer in nodes[7].table.peers() if peer.probed < began] == []


def test_who_failed_before_it_came_into_the_table_is_probed_too(swarm: Any) -> None:
    nodes = swarm.grow(40)
    swarm.run(100.0)
    teller = nodes[7]
    odd = next(iter(teller.table.peers()))
    odd.fails = 1
    assert swarm.run(2 * probe_interval(len(teller.table), teller.limits), lambda: odd.fails == 0)


def test_a_client_remembers_nobody_who_failed_and_is_gone(swarm: Any) -> None:
    nodes = swarm.grow(6)
    client = swarm.make(server=False)
    assert swarm.join(client, nodes[0])
    for node in nodes[1:]:
        swarm.kill(node)
        client.walk(node.identity.id, lambda found, at: None, swarm.now)
        swarm.flush(client)
        swarm.run(30.0)
    swarm.run(60.0)
    assert all(client.table.get(an_id) is peer for an_id, peer in client.upkeep._failing.items())


def test_turns_are_longer_while_all_is_calm_and_usual_again_when_somebody_fails(swarm: Any) -> None:
    nodes = swarm.grow(60)
    swarm.run(300.0)
    one = nodes[7]
    assert one.upkeep.due - swarm.now < 2 * 60.0
    assert not one.upkeep._busy(swarm.now)
    peer = next(iter(one.table.peers()))
    peer.fails = 1
    one.upkeep.doubt(peer, swarm.now)
    assert one.upkeep._busy(swarm.now)
    assert one.upkeep.due <= swarm.now + one.limits.probe_gap
    assert swarm.run(60.0, lambda: peer.fails == 0 and not one.upkeep._busy(swarm.now))
    assert swarm.run(60.0, lambda: one.upkeep.due > swarm.now + 2 * one.limits.probe_gap)


def test_of_two_that_know_each_other_one_asks_a_round_and_each_in_turn(swarm: Any) -> None:
    nodes = swarm.grow(60)
    swarm.run(2000.0)
    one = nodes[7]
    every = probe_round(len(one.table), one.limits)
    pairs = [(one, other) for other in nodes if (peer := one.table.get(other.identity.id)) and in_bucket(one, peer)]
    pairs = [(a, b) for a, b in pairs if (peer := b.table.get(a.identity.id)) and in_bucket(b, peer)]
    assert len(pairs) > 16
    asked = dict.fromkeys([*pairs, *((b, a) for a, b in pairs)], 0)
    by_address = {node.address: node for node in nodes}

    def watch(data: bytes, source: Any, target: Any) -> bool:
        key = (by_address[source], by_address[target])
        if key in asked:
            asked[key] += 1
        return True

    swarm.watch = watch
    swarm.run(8 * every)
    for a, b in pairs:
        # A ping and its answer are a packet each way; eight rounds of both asking would be 16.
        assert 6 <= asked[a, b] <= 14
    began = swarm.now
    swarm.run(probe_interval(len(one.table), one.limits))
    assert all(peer.probed >= began for peer in one.table.peers())


def test_two_halves_that_lost_each_other_find_together_again(swarm: Any) -> None:
    nodes = swarm.grow(24)
    swarm.run(400.0)
    side = {node.address: number % 2 for number, node in enumerate(nodes)}
    swarm.watch = lambda data, source, target: side[source] == side[target]
    swarm.run(1800.0)
    one, other = nodes[0::2], nodes[1::2]
    apart = {node.identity.id for node in other}
    assert all(not apart & {peer.id for peer in node.table.peers()} for node in one)
    swarm.watch = None
    swarm.run(900.0)
    for node in nodes:
        assert apart & {peer.id for peer in node.table.peers()}
        target = swarm.random.randbytes(20)
        found = {contact.id for contact in swarm.find(node, target)} | {node.identity.id}
        assert set(swarm.nearest(target, 16)) <= found
