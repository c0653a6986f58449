"""What one sender can make us do, and what others can make us send to an address that never answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import crypto
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.guards import Shares, Silence
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import FindNode, Ping
from p2pgrid.errors import BadSeal, Flooded

VICTIM = ("198.51.100.7", 53)


@given(st.lists(st.floats(0, 0.5), max_size=200))
def test_nobody_ever_gets_more_than_a_burst_and_the_rate(gaps):
    shares, now, allowed = Shares(10.0, 5.0, 8), 0.0, 0
    for gap in gaps:
        now += gap
        allowed += shares.take("peer", now)
        assert allowed <= 5 + 10 * now + 1e-6


def test_the_table_of_shares_stays_small_and_whoever_used_nothing_is_forgotten():
    shares = Shares(10.0, 5.0, 8)
    for number in range(100):
        assert shares.take(number, 0.0)
        assert len(shares) <= 8
    shares.tidy(1.0)
    assert len(shares) == 0


def test_request_flood_from_one_peer_is_dropped_before_it_is_opened(make_pair, monkeypatch):
    pair = make_pair(peer_rate=10.0, peer_burst=20)
    pair.handshake()
    alice, bob = pair.alice, pair.bob
    flood = [alice.send(bob, b"flood") for _ in range(100)]
    opened = []
    real = crypto.unseal
    monkeypatch.setattr(crypto, "unseal", lambda *args: opened.append(1) or real(*args))
    dropped = 0
    for datagram in flood:
        try:
            bob.take(datagram, alice.endpoint)
        except Flooded:
            dropped += 1
    assert len(opened) + dropped == 100
    assert 18 <= len(opened) <= 20
    pair.now += 1.0
    for _ in range(10):
        bob.take(alice.send(bob, b"later"), alice.endpoint)
    with pytest.raises(Flooded):
        bob.take(alice.send(bob, b"over it"), alice.endpoint)


def test_answers_that_were_asked_for_are_no_flood(make_pair):
    """A searcher that turns pages quickly hears every answer, and its holder may still ask in between."""
    pair = make_pair(peer_rate=10.0, peer_burst=20)
    pair.handshake()
    alice, bob = pair.alice, pair.bob
    pair.now += 10.0
    session = bob.channel.sessions.to(alice.identity.public)
    for _ in range(25):
        for _ in range(18):
            alice.send(bob, b"a question that is lost, or answered below")
        for _ in range(18):
            bob.channel.reply(session, b"answer", pair.now)
            alice.take(bob.out(), bob.endpoint)
    for _ in range(20):
        bob.channel.reply(session, b"unasked", pair.now)
        alice.take(bob.out(), bob.endpoint)


def test_packets_from_another_address_use_up_nobodys_share(make_pair):
    pair = make_pair(peer_rate=10.0, peer_burst=20)
    pair.handshake()
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    for _ in range(100):
        with pytest.raises(BadSeal):
            bob.take(alice.send(bob, b"x"), mallory.endpoint)
    bob.take(alice.send(bob, b"y"), alice.endpoint)


def test_handshake_flood_from_one_proven_address_group_costs_no_key_agreement(make_pair, monkeypatch):
    pair = make_pair(unproven_burst=0.0, unproven_rate=0.0, group_handshake_rate=1.0, group_handshake_burst=5.0)
    alice, bob = pair.alice, pair.bob
    agreed = []
    real = crypto.agree
    alice.channel.greet(bob.endpoint)
    [welcome] = bob.take(alice.out(), alice.endpoint)
    alice.take(welcome, bob.endpoint)
    flood = [alice.send(bob, b"begin") for _ in range(50)]
    assert all(init[2:18] != packets.NO_COOKIE for init in flood)
    monkeypatch.setattr(crypto, "agree", lambda *args: agreed.append(1) or real(*args))
    dropped = 0
    for init in flood:
        try:
            bob.take(init, alice.endpoint)
        except Flooded:
            dropped += 1
    assert dropped == 45
    assert len(agreed) == 2 * 5


def test_a_public_address_is_left_alone_whatever_the_port_and_a_neighbour_on_the_lan_is_not():
    silence = Silence(60.0, 4)
    silence.add(VICTIM, 0.0)
    assert silence.holds((VICTIM[0], 9999), 59.0)
    assert not silence.holds(VICTIM, 60.0)
    silence.heard((VICTIM[0], 1))
    assert not silence.holds(VICTIM, 1.0)
    silence.add(("10.0.0.1", 1), 0.0)
    assert silence.holds(("10.0.0.1", 1), 1.0)
    assert not silence.holds(("10.0.0.1", 2), 1.0)
    for port in range(100):
        silence.add(("127.0.0.1", port), 0.0)
        assert len(silence) <= 4
    silence.tidy(61.0)
    assert len(silence) == 0


class Asks:
    """Counts how its requests ended."""

    introduces = True

    def __init__(self):
        self.failures = 0
        self.answers = 0

    def answered(self, call, answer, now):
        self.answers += 1

    def slow(self, call, now):
        pass

    def failed(self, call, now):
        self.failures += 1


def engine(number: int) -> Engine:
    identity = crypto.Identity(bytes([number]) * 32)
    count = iter(range(10**9))
    return Engine(
        identity,
        address=(f"192.0.2.{number}", 4000),
        now=0.0,
        wall=lambda: 1_800_000_000.0,
        random=lambda size: next(count).to_bytes(4, "big").rjust(size, bytes([number]))[-size:],
        limits=Limits(),
    )


def test_victims_address_advertised_under_many_keys_gets_a_bounded_few_packets():
    us, friend, waiter = engine(1), engine(2), Asks()
    to_victim, now = 0, 0.0
    for number in range(60):
        us.ask(Contact(bytes([9, number]) * 16, *VICTIM), FindNode(0, bytes(20)), waiter, now)
        us.ask(Contact(friend.identity.public, *friend.address), Ping(0, False), waiter, now)
        for _ in range(40):
            for data, where in us.poll(now).datagrams:
                if where == VICTIM:
                    to_victim += 1
                elif where == friend.address:
                    friend.receive(data, us.address, now)
            for data, _ in friend.poll(now).datagrams:
                us.receive(data, friend.address, now)
            now += 0.02
    assert to_victim <= 12
    assert us.counters["shunned"] > 40
    assert waiter.failures + waiter.answers >= 100


def test_whoever_was_silent_and_asks_us_is_asked_again():
    us, friend, waiter = engine(1), engine(2), Asks()
    us._silence.add(friend.address, 0.0)
    us.ask(Contact(friend.identity.public, *friend.address), Ping(0, False), waiter, 0.0)
    us.poll(0.0)
    assert waiter.failures == 1
    friend.ask(Contact(us.identity.public, *us.address), Ping(0, False), waiter, 0.0)
    for _ in range(3):
        for data, _ in friend.poll(0.0).datagrams:
            us.receive(data, friend.address, 0.0)
        for data, _ in us.poll(0.0).datagrams:
            friend.receive(data, us.address, 0.0)
    us.ask(Contact(friend.identity.public, *friend.address), Ping(0, False), waiter, 0.0)
    for _ in range(3):
        for data, _ in us.poll(0.0).datagrams:
            friend.receive(data, us.address, 0.0)
        for data, _ in friend.poll(0.0).datagrams:
            us.receive(data, friend.address, 0.0)
    assert waiter.failures == 1
    assert waiter.answers == 2


def test_a_fault_that_a_datagram_meets_is_counted_and_does_not_escape(monkeypatch):
    us = engine(1)
    told = []
    us.report = told.append

    def breaks(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(type(us._channel), "receive", breaks)
    us.receive(b"anything", ("192.0.2.9", 1), 0.0)
    assert us.counters["internal-error"] == 1
    assert isinstance(told[0], ZeroDivisionError)
