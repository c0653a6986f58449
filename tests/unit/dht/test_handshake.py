"""How a session begins, step by step, and each attack on it."""

from __future__ import annotations

import pytest

from p2pgrid.dht import packets
from p2pgrid.errors import BadSeal, Expired, LimitReached, Malformed, RemoteError, Replayed, WrongIdentity


def test_the_first_packet_is_sealed_and_answered_at_once(pair):
    alice, bob = pair.alice, pair.bob
    bob.answer = b"the answer"
    init = alice.send(bob, b"the request", 600)
    assert init[0] == packets.INIT
    assert len(init) == 600
    assert b"the request" not in init
    [accept] = bob.take(init, alice.endpoint)
    assert bob.told("asked") == [b"the request"]
    assert b"the answer" not in accept
    alice.take(accept, bob.endpoint)
    [told] = alice.told("met")
    assert (told.answer, told.name, told.http, told.flags) == (b"the answer", "node-2", 8002, packets.SERVER)
    assert told.observed == alice.endpoint


def test_the_responder_keeps_nothing_until_its_ticket_comes_back(pair):
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
    assert len(bob.channel.sessions) == 0
    alice.take(accept, bob.endpoint)
    ticketed = alice.send(bob, b"two")
    assert ticketed[0] == packets.TICKETED
    bob.take(ticketed, alice.endpoint)
    assert len(bob.channel.sessions) == 1
    assert bob.told("said") == [b"two"]


def test_the_ticket_goes_along_until_the_responder_was_heard(pair):
    pair.handshake()
    assert pair.alice.told("said") == [b"third"]
    assert pair.alice.send(pair.bob, b"fourth")[0] == packets.DATA
    assert pair.alice.channel.sessions.to(pair.bob.identity.public).ticket is None


def test_several_packets_with_one_ticket_make_one_session(pair):
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    for datagram in [alice.send(bob, b"two"), alice.send(bob, b"three")][::-1]:
        bob.take(datagram, alice.endpoint)
    assert bob.told("said") == [b"three", b"two"]
    assert len(bob.channel.sessions) == 1


def test_a_bare_address_tells_its_key_in_fewer_bytes_than_it_got(pair):
    alice, bob = pair.alice, pair.bob
    alice.channel.greet(bob.endpoint)
    hello = alice.out()
    [welcome] = bob.take(hello, alice.endpoint)
    assert len(welcome) < len(hello)
    alice.take(welcome, bob.endpoint)
    [contact] = alice.told("welcomed")
    assert contact == bob.contact
    # The cookie of the welcome proves the address: the answer may now be longer than the question.
    bob.answer = bytes(900)
    [accept] = bob.take(alice.send(bob, b"q"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    assert alice.told("met")[0].answer == bytes(900)


def test_under_load_a_cookie_is_asked_for_before_any_key_is_agreed(make_pair):
    pair = make_pair(unproven_rate=0.0, unproven_burst=0.0)
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    [retry] = bob.take(init, alice.endpoint)
    assert retry[0] == packets.RETRY
    assert len(retry) < len(init)
    [again] = alice.take(retry, bob.endpoint)
    [accept] = bob.take(again, alice.endpoint)
    alice.take(accept, bob.endpoint)
    assert alice.told("met")


def test_sessions_have_keys_of_their_own(pair):
    pair.handshake()
    first = pair.alice.channel.sessions.to(pair.bob.identity.public).key
    pair.now += pair.limits.session_life
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"renew"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    assert alice.channel.sessions.to(bob.identity.public).key != first


def test_a_ticket_that_was_never_used_in_time_is_not_used_at_all(pair):
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"q"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    pair.now += pair.limits.secret_life
    assert alice.send(bob, b"later")[0] == packets.INIT


# ---------------------------------------------------------------- attacks


def test_replayed_init(pair):
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    bob.take(init, alice.endpoint)
    with pytest.raises(Replayed):
        bob.take(init, alice.endpoint)
    with pytest.raises(Replayed):
        bob.take(init, pair.mallory.endpoint)
    assert len(bob.told("asked")) == 1


def test_replayed_init_after_everything_was_forgotten(pair):
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    pair.now += pair.limits.init_slack + 1
    with pytest.raises(Expired):
        bob.take(init, alice.endpoint)


def test_replayed_ticket_makes_no_second_session(pair):
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    ticketed = alice.send(bob, b"two")
    bob.take(ticketed, alice.endpoint)
    with pytest.raises(Replayed):
        bob.take(ticketed, alice.endpoint)
    bob.channel.sessions.drop(bob.channel.sessions.to(alice.identity.public))
    with pytest.raises(Replayed):
        bob.take(ticketed, alice.endpoint)
    assert bob.told("said") == [b"two"]


def test_flood_of_tickets_retires_the_secret_instead_of_forgetting_a_used_one(make_pair):
    pair = make_pair(seen=3)
    alice, bob = pair.alice, pair.bob
    kept = []
    for _ in range(3):
        [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
        alice.take(accept, bob.endpoint)
        kept.append(alice.send(bob, b"two"))
        bob.take(kept[-1], alice.endpoint)
        for end, other in ((alice, bob), (bob, alice)):
            end.channel.sessions.drop(end.channel.sessions.to(other.identity.public))
    for ticketed in kept:
        with pytest.raises((Replayed, BadSeal)):
            bob.take(ticketed, alice.endpoint)


def test_stolen_ticket_from_another_address(pair):
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    with pytest.raises(BadSeal):
        bob.take(alice.send(bob, b"two"), mallory.endpoint)
    assert len(bob.channel.sessions) == 0


def test_ticket_of_a_period_that_is_over(pair):
    alice, bob = pair.alice, pair.bob
    [accept] = bob.take(alice.send(bob, b"one"), alice.endpoint)
    alice.take(accept, bob.endpoint)
    ticketed = alice.send(bob, b"two")
    pair.now += 2 * pair.limits.secret_life + 1
    with pytest.raises(BadSeal):
        bob.take(ticketed, alice.endpoint)


@pytest.mark.parametrize("size", [0, 300, 400, 700, 1000, 1280])
def test_spoofed_source_gets_no_more_bytes_than_it_sent(pair, size):
    alice, bob = pair.alice, pair.bob
    bob.answer = bytes(2000)
    victim = ("203.0.113.9", 53)
    init = alice.send(bob, b"q", size)
    sent = bob.take(init, victim)
    assert sum(map(len, sent)) <= len(init)
    assert len(bob.channel.sessions) == 0


def test_spoofed_source_with_the_shortest_init_gets_nothing(pair, monkeypatch):
    alice, bob = pair.alice, pair.bob
    monkeypatch.setattr("p2pgrid.dht.handshake.LEAST_INIT", 0)  # a sender that does not pad
    init = alice.send(bob, b"q")
    with pytest.raises(LimitReached):
        bob.take(init, ("203.0.113.9", 53))


def test_cookie_of_one_address_proves_no_other(pair):
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    alice.channel.greet(bob.endpoint)
    [welcome] = bob.take(alice.out(), alice.endpoint)
    alice.take(welcome, bob.endpoint)
    bob.answer = bytes(1100)
    init = alice.send(bob, b"q")
    [accept] = bob.take(init, mallory.endpoint)
    assert len(accept) <= len(init)


def test_altered_packets_change_nothing(pair):
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    for at in range(18, len(init), 7):  # the cookie before that is only a courtesy
        with pytest.raises(RemoteError):
            bob.take(_flip(init, at), alice.endpoint)
    [accept] = bob.take(init, alice.endpoint)
    for at in range(len(accept)):
        with pytest.raises(RemoteError):
            alice.take(_flip(accept, at), bob.endpoint)
    alice.take(accept, bob.endpoint)
    ticketed = alice.send(bob, b"two")
    for at in range(len(ticketed)):
        with pytest.raises(RemoteError):
            bob.take(_flip(ticketed, at), alice.endpoint)
    assert len(bob.channel.sessions) == 0


def test_init_with_somebody_elses_key(pair):
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    init = mallory.send(bob, b"q")
    at = init.index(mallory.identity.public)
    forged = init[:at] + alice.identity.public + init[at + 32 :]
    with pytest.raises(BadSeal):
        bob.take(forged, mallory.endpoint)


def test_accept_by_somebody_else_than_was_asked(pair):
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    init = alice.send(bob, b"q")
    with pytest.raises(BadSeal):
        mallory.take(init, alice.endpoint)
    [accept] = bob.take(init, alice.endpoint)
    with pytest.raises(WrongIdentity):
        alice.take(accept, mallory.endpoint)
    alice.take(accept, bob.endpoint)


def test_welcome_that_nobody_asked_for(pair):
    alice, bob, mallory = pair.alice, pair.bob, pair.mallory
    mallory.channel.greet(bob.endpoint)
    [welcome] = bob.take(mallory.out(), mallory.endpoint)
    with pytest.raises(WrongIdentity):
        alice.take(welcome, bob.endpoint)


def test_our_own_key_sent_back_to_us(pair):
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    with pytest.raises(WrongIdentity):
        alice.take(init, bob.endpoint)


def test_handshake_of_another_version(pair):
    alice, bob = pair.alice, pair.bob
    init = alice.send(bob, b"q")
    with pytest.raises(Malformed):
        bob.take(init[:1] + b"\x02" + init[2:], alice.endpoint)


def test_flood_of_handshakes_keeps_tables_bounded(make_pair):
    pair = make_pair(handshakes=4, seen=16)
    alice = pair.alice
    for number in range(40):
        other = type(alice)(10 + number, pair.limits, lambda: pair.now)
        alice.send(other, b"q")
        [accept] = pair.bob.take(other.send(pair.bob, b"q"), other.endpoint)
        assert accept[0] == packets.ACCEPT
    assert len(alice.channel._initiator) <= 4
    assert len(pair.bob.channel._responder._seen) <= 2 * 16


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
