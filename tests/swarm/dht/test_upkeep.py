"""What a node does by itself fits how its peers do: they come and go, die together, lose packets, or only ask."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from p2pgrid.dht import messages, upkeep
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.health import GonePeers, probe_interval
from p2pgrid.dht.messages import Ping, Pong
from p2pgrid.dht.serve import Desk
from p2pgrid.ids import normalise_tag


def in_bucket(teller: Engine, of: Engine) -> bool:
    """Whether it is in the table, and not only waiting."""
    return any(peer.id == of.identity.id for peer in teller.table.peers())


def test_half_of_a_calm_grid_that_dies_is_noticed_within_minutes(swarm: Any) -> None:
    nodes = swarm.grow(60)
    swarm.run(3000.0)
    living, dying = nodes[0::2], nodes[1::2]
    gone = {node.identity.id for node in dying}
    for node in dying:
        swarm.kill(node)
    swarm.run(300.0)
    unnoticed = [peer.id in gone and not peer.fails for node in living for peer in node.table.peers()]
    assert sum(unnoticed) < 0.1 * len(unnoticed)
    swarm.run(600.0)
    assert not any(peer.id in gone for node in living for peer in node.table.peers())


@pytest.mark.parametrize("rounds", [upkeep.KEPT_ROUNDS, inf])
def test_listings_are_placed_anew_where_peers_die_by_the_minute(
    swarm: Any, rounds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "KEPT_ROUNDS", rounds)
    nodes = swarm.grow(60)
    publisher = nodes[0]
    swarm.run(60.0)
    swarm.announce(publisher, "steady", bytes(16))
    (one,) = publisher.publisher.announcements.all()
    swarm.run(5.0)
    before = one.rounds
    for node in nodes[1:46]:
        swarm.kill(node)
        swarm.run(10.0)
    assert (one.rounds > before) == (rounds < inf)
    if rounds < inf:
        assert sum(node.store.total(normalise_tag("steady")) for node in nodes[46:]) >= 10


@pytest.mark.parametrize("pause", [upkeep.THIN_PAUSE, inf])
def test_a_range_whose_peers_died_is_filled_with_those_that_live(
    swarm: Any, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "THIN_PAUSE", pause)
    nodes = swarm.grow(120)
    swarm.run(120.0)
    one = nodes[7]
    range_of_most = one.table.buckets[0]
    range_of_most.replacement_nodes.clear()
    known = {peer.id for peer in range_of_most.nodes.values()}
    for node in nodes:
        if node.identity.id in known:
            swarm.kill(node)
    swarm.run(400.0)
    assert (len(range_of_most) >= 8) == (pause < inf)


@pytest.mark.parametrize("every", [1.0, 4.0, 60.0, None])
def test_who_asks_and_never_answers_leaves_the_table(swarm: Any, every: float | None) -> None:
    """To speak to us keeps nobody in our table that answers nothing.  None: it asks right after each ping of ours."""
    nodes = swarm.grow(40)
    swarm.run(600.0)
    one = nodes[7]
    mute = next(node for node in nodes if in_bucket(one, node))

    class MuteDesk:
        state = 0

        def answer(self, request: Any, asker: Contact, *more: Any) -> bytes:
            if every is None and asker.key == one.identity.public:
                swarm.at(swarm.now + 0.01, ask)
            return b""

    def ask() -> None:
        mute.ping(Contact(one.identity.public, *one.address), False, lambda pong, rtt: None, swarm.now)
        swarm.flush(mute)

    def ask_on() -> None:
        ask()
        swarm.at(swarm.now + (every or inf), ask_on)

    mute._desk = MuteDesk()
    if every is not None:
        ask_on()
    longest = 2 * probe_interval(len(one.table), one.limits)
    assert swarm.run(longest, lambda: not in_bucket(one, mute))


class NamelessDesk(Desk):
    """Answers pings, and tells no number of its record."""

    __slots__ = ()

    def _pong(self, request: Ping, room: int) -> bytes:
        return messages.encode(Pong(request.call, messages.ONLINE, 0, "", None))


def test_peers_that_never_tell_a_record_starve_nobody(swarm: Any) -> None:
    nodes = swarm.grow(7)
    for node in nodes[1:4]:
        node._desk.__class__ = NamelessDesk
    swarm.run(300.0)
    one, dead = nodes[0], nodes[6]
    swarm.kill(dead)
    longest = 3 * probe_interval(len(one.table), one.limits)
    assert swarm.run(longest, lambda: (peer := one.table.get(dead.identity.id)) is None or peer.fails > 0)


def test_a_lost_peer_that_comes_back_as_a_client_is_sought_once(swarm: Any) -> None:
    nodes = swarm.grow(12)
    swarm.run(600.0)
    one = nodes[5]
    address, identity = one.address, one.identity
    swarm.kill(one)
    swarm.run(1200.0)
    others = [node for node in nodes if node is not one]
    assert any(node.gone_peers.holds(identity.id) for node in others)
    again = swarm.place(address, identity=identity, server=False)
    assert swarm.join(again, nodes[0])
    swarm.run(600.0)
    assert not any(node.gone_peers.holds(identity.id) for node in others)
    before = swarm.sent
    swarm.run(300.0)
    assert (swarm.sent - before) / 300.0 < len(nodes)


def test_lost_packets_are_no_deaths(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixth of all requests go unanswered after three tries when a third of the packets is lost."""
    lost = []
    lose = GonePeers.lose
    monkeypatch.setattr(GonePeers, "lose", lambda self, peer, now: (lost.append(peer), lose(self, peer, now)))
    nodes = swarm.grow(40)
    swarm.run(300.0)
    swarm.loss = 0.3
    before = swarm.sent
    lost.clear()
    swarm.run(1800.0)
    assert len(lost) < 10 * len(nodes)
    assert swarm.sent - before < 1500 * len(nodes)
