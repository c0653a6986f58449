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


def test_one_peer_with_many_sessions_has_one_share(make_pair):
    pair = make_pair(peer_rate=10.0, peer_burst=20)
    alice, bob = pair.alice, pair.bob
    taken = 0
    for _ in range(5):
        pair.handshake()
        for _ in range(30):
            try:
                bob.take(alice.send(bob, b"flood"), alice.endpoint)
                taken += 1
            except Flooded:
                pass
        alice.channel.sessions.drop(alice.channel.sessions.to(bob.identity.public))
    assert len(bob.channel.sessions) == 2
    assert taken <= 20


def test_sessions_begun_without_a_cookie_are_counted_on_the_address_group(make_pair):
    pair = make_pair(group_handshake_rate=1.0, group_handshake_burst=5.0)
    alice, bob = pair.alice, pair.bob
    refused = 0
    for _ in range(20):
        [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
        alice.take(accept, bob.endpoint)
        ticketed = alice.send(bob, b"two")
        try:
            bob.take(ticketed, alice.endpoint)
        except Flooded:
            refused += 1
        alice.channel.sessions.drop(alice.channel.sessions.to(bob.identity.public))
    assert refused == 15
    pair.now += 1.0
    bob.take(ticketed, alice.endpoint)  # it was refused, not used up


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
    for key in (b"1", b"2"):
        silence.add(key, VICTIM, 0.0)
    assert silence.holds(b"3", (VICTIM[0], 9999), 59.0)
    assert not silence.holds(b"3", VICTIM, 60.0)
    silence.heard(b"4", (VICTIM[0], 1), 0.0)
    assert not silence.holds(b"3", VICTIM, 1.0)
    for key in (b"1", b"2"):
        silence.add(key, ("10.0.0.1", 1), 0.0)
    assert silence.holds(b"3", ("10.0.0.1", 1), 1.0)
    assert not silence.holds(b"3", ("10.0.0.1", 2), 1.0)
    for port in range(100):
        silence.add(b"1", ("127.0.0.1", port), 0.0)
        assert len(silence) <= 4
    silence.tidy(3601.0)
    assert len(silence) == 0


def test_one_invented_key_at_a_nodes_address_does_not_hide_the_node():
    silence = Silence(60.0, 8)
    silence.add(b"invented", (VICTIM[0], 9999), 0.0)
    assert silence.holds(b"invented", (VICTIM[0], 9999), 1.0)
    assert not silence.holds(b"node", VICTIM, 1.0)
    silence.heard(b"node", VICTIM, 1.0)
    for number in range(7):
        silence.add(bytes([number]), VICTIM, 2.0)
    assert not silence.holds(b"neighbour", VICTIM, 3.0)
    silence.add(b"one more", VICTIM, 3.0)
    assert silence.holds(b"neighbour", VICTIM, 4.0)


class Asks:
    """Counts how its requests ended."""

    introduces = True
    hasty = False
    over = False

    def __init__(self):
        self.failures = 0
        self.answers = 0

    def answered(self, call, answer, now):
        self.answers += 1

    def slow(self, call, now):
        pass

    def silent(self, call, now):
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


def carry(engines: list[Engine], now: float, relay: dict[tuple, tuple] | None = None) -> None:
    """Hand over all that is sent; ``relay``: of datagrams from and to these, other ones."""
    by_address = {one.address: one for one in engines}
    for _ in range(8):
        for one in engines:
            for data, target in one.poll(now).datagrams:
                source, to = (relay or {}).get((one.address, target), (one.address, target))
                if to in by_address:
                    by_address[to].receive(data, source, now)


def ask(one: Engine, other: Engine, address: tuple[str, int], now: float) -> Asks:
    waiter = Asks()
    one.ask(Contact(other.identity.public, *address), Ping(0, False), waiter, now)
    return waiter


RELAY = ("203.0.113.66", 6666)


def relayed() -> tuple[Engine, Engine, dict[tuple, tuple]]:
    """Us, a peer that we have known for long and that asks us by way of a relay, and the relay's way."""
    us, friend = engine(1), engine(2)
    way = {(friend.address, RELAY): (RELAY, us.address), (us.address, RELAY): (RELAY, friend.address)}
    for _ in range(2):  # the second is answered in the session
        ask(us, friend, friend.address, 0.0)
        carry([us, friend], 0.0)
    friend._channel.sessions.drop(friend._channel.sessions.to(us.identity.public))
    friend.table.remove_contact(Contact(us.identity.public, *us.address))
    assert us.table.get(friend.identity.id).endpoint == friend.address
    return us, friend, way


def test_a_relay_of_handshakes_moves_nobody_to_its_own_address():
    us, friend, way = relayed()
    through = ask(friend, us, RELAY, 10.0)
    carry([us, friend], 10.0, way)
    assert through.answers == 1  # a session from there works
    known = us.table.get(friend.identity.id)
    assert known.endpoint == friend.address
    direct = ask(us, friend, friend.address, 11.0)
    carry([us, friend], 11.0)  # the relay says nothing more
    assert direct.answers == 1
    assert known.heard == 11.0


def test_who_owns_a_relays_address_evicts_nobody_heard_lately():
    us, friend, way = relayed()
    ask(friend, us, RELAY, 10.0)
    carry([us, friend], 10.0, way)
    owner = engine(3)
    owner.profile.address = RELAY
    ask(owner, us, us.address, 11.0)
    carry([us, friend, owner], 11.0)
    assert us.table.get(friend.identity.id).endpoint == friend.address


def test_a_peer_that_did_move_is_found_at_its_new_address_once_the_old_one_is_silent():
    us, friend, _ = relayed()
    third, now = engine(3), 10.0
    way = {
        (friend.address, us.address): (RELAY, us.address),
        (us.address, RELAY): (us.address, friend.address),
        (us.address, friend.address): (us.address, ("192.0.2.99", 1)),
    }
    ask(friend, us, us.address, now)
    carry([us, friend], now, way)
    assert us.table.get(friend.identity.id).endpoint == friend.address
    while now < 60.0 and us.table.get(friend.identity.id).endpoint != RELAY:
        now += 1.0
        ask(third, us, us.address, now)
        carry([us, friend, third], now, way)
    assert us.table.get(friend.identity.id).endpoint == RELAY
    again = ask(us, friend, RELAY, now)
    carry([us, friend], now, way)
    assert again.answers == 1


def test_whoever_was_silent_and_asks_us_is_asked_again():
    us, friend, waiter = engine(1), engine(2), Asks()
    for key in (bytes(32), friend.identity.public):
        us._silence.add(key, friend.address, 0.0)
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
