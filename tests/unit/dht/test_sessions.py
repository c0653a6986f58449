"""Packets within a session: order, replays, loss of the session at one end, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.sessions import WINDOW, Session, SessionTable
from p2pgrid.errors import BadSeal, LimitReached, Replayed

HERE = ("10.0.0.1", 1)


def two_ends() -> tuple[Session, Session]:
    peer = Peer(bytes(32), *HERE, None, 0.0)
    one = Session(peer, HERE, bytes(32), b"a" * 8, b"b" * 8, 0.0)
    other = Session(peer, HERE, bytes(32), b"b" * 8, b"a" * 8, 0.0)
    one.initiator = True
    return one, other


@given(st.lists(st.integers(0, 150), max_size=300))
def test_each_packet_is_taken_once_whatever_the_order(order):
    one, other = two_ends()
    sent = [one.seal(str(n).encode())[1:] for n in range(151)]
    taken: set[int] = set()
    top = -1
    for number in order:
        if number in taken or top - number >= WINDOW:
            with pytest.raises(Replayed):
                other.open(sent[number])
        else:
            assert other.open(sent[number]) == str(number).encode()
            taken.add(number)
            top = max(top, number)


def test_a_packet_is_no_good_in_the_other_direction():
    one, other = two_ends()
    packet = one.seal(b"x")[1:]
    with pytest.raises(BadSeal):
        one.open(packet)
    assert other.open(packet) == b"x"


def test_replayed_packet(pair):
    pair.handshake()
    data = pair.alice.send(pair.bob, b"once")
    pair.bob.take(data, pair.alice.endpoint)
    with pytest.raises(Replayed):
        pair.bob.take(data, pair.alice.endpoint)
    assert pair.bob.told("said").count(b"once") == 1


def test_altered_packet(pair):
    pair.handshake()
    data = pair.alice.send(pair.bob, b"whole")
    for at in range(1, len(data)):
        with pytest.raises((BadSeal, Replayed)):
            pair.bob.take(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], pair.alice.endpoint)
    pair.bob.take(data, pair.alice.endpoint)
    assert pair.bob.told("said")[-1] == b"whole"


def test_packet_from_another_address_than_the_proven_one(pair):
    pair.handshake()
    data = pair.alice.send(pair.bob, b"x")
    with pytest.raises(BadSeal):
        pair.bob.take(data, pair.mallory.endpoint)
    pair.bob.take(data, pair.alice.endpoint)


def test_a_peer_that_lost_the_session_says_so_and_a_new_one_is_agreed(pair):
    pair.handshake()
    alice, bob = pair.alice, pair.bob
    bob.channel.sessions.drop(bob.channel.sessions.to(alice.identity.public))
    data = alice.send(bob, b"x")
    with pytest.raises(BadSeal):
        bob.channel.receive(data, alice.endpoint, pair.now)
    hint = bob.out()
    assert len(hint) < len(data)
    alice.take(hint, bob.endpoint)
    assert alice.told("lost")
    assert alice.send(bob, b"x")[0] == packets.INIT


def test_forged_unknown_session_hint_tears_nothing_down(pair):
    pair.handshake()
    alice, bob = pair.alice, pair.bob
    session = alice.channel.sessions.to(bob.identity.public)
    alice.take(bytes([packets.UNKNOWN]) + session.remote, bob.endpoint)  # forged with its source
    bob.channel.reply(bob.channel.sessions.to(alice.identity.public), b"still here", pair.now)
    alice.take(bob.out(), bob.endpoint)
    assert alice.told("said")[-1] == b"still here"
    assert alice.send(bob, b"y")[0] == packets.DATA
    with pytest.raises(LimitReached):
        alice.take(bytes([packets.UNKNOWN]) + session.remote, bob.endpoint)


def test_forged_hint_without_the_session_id_or_address(pair):
    pair.handshake()
    session = pair.alice.channel.sessions.to(pair.bob.identity.public)
    for sid, source in ((bytes(8), pair.bob.endpoint), (session.remote, pair.mallory.endpoint)):
        with pytest.raises(BadSeal):
            pair.alice.take(bytes([packets.UNKNOWN]) + sid, source)
    assert not pair.alice.told("lost")


def test_hints_are_limited_however_many_packets_ask_for_them(pair):
    sent = 0
    for number in range(500):
        with pytest.raises(BadSeal):
            pair.bob.channel.receive(
                bytes([packets.DATA]) + number.to_bytes(8, "big") + bytes(30), pair.mallory.endpoint, pair.now
            )
        sent += len(pair.bob.channel.outbox)
        pair.bob.channel.outbox = []
    assert sent <= pair.limits.hint_rate


def test_the_table_is_bounded_and_drops_the_least_recently_used():
    table = SessionTable(Limits(sessions=3))
    sessions = []
    for number in range(5):
        peer = Peer(bytes([number]) * 32, *HERE, None, 0.0)
        sessions.append(Session(peer, HERE, bytes(32), bytes([number]) * 8, bytes(8), 0.0))
        table.add(sessions[-1])
    assert len(table) == 3
    assert [table.by_sid(s.sid) is s for s in sessions] == [False, False, True, True, True]
    assert table.to(sessions[0].peer.key) is None


def session_of(number: int, endpoint: tuple[str, int], sid: int) -> Session:
    peer = Peer(number.to_bytes(32, "big"), *endpoint, None, 0.0)
    return Session(peer, endpoint, bytes(32), sid.to_bytes(8, "big"), (sid + 1000).to_bytes(8, "big"), 0.0)


def test_one_key_does_not_flush_the_table():
    table = SessionTable(Limits(sessions=16))
    honest = session_of(1, ("192.0.2.1", 1), 1)
    table.add(honest)
    mine = [session_of(2, ("198.51.100.1", 1), sid) for sid in range(2, 100)]
    for session in mine:
        table.add(session)
    assert len(table) == 3
    assert table.by_sid(honest.sid) is honest
    assert table.to(mine[-1].peer.key) is mine[-1]
    assert [table.by_sid(session.sid) for session in mine[-3:]] == [None, mine[-2], mine[-1]]


def test_many_keys_of_one_address_group_evict_one_another():
    table = SessionTable(Limits(sessions=16))
    honest = [session_of(number, (f"192.0.{number}.1", 1), number) for number in range(8)]
    for session in honest:
        table.add(session)
    for number in range(100, 200):
        table.add(session_of(number, ("198.51.100.1", number), number))
    assert len(table) == 16
    assert all(table.by_sid(session.sid) is session for session in honest)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans(), st.booleans()), max_size=120))
def test_the_indexes_of_the_table_agree_whatever_comes_and_goes(steps):
    table = SessionTable(Limits(sessions=8))
    for sid, (number, group, aside, drop) in enumerate(steps):
        session = session_of(number, (f"192.0.{group}.1", 1), sid)
        session.aside = aside
        table.add(session)
        if drop:
            table.drop(session)
        kept = table.everybody()
        assert len(kept) == len(table) <= 8
        assert sum(table._groups.values()) == len(kept)
        assert table._heavy == {name for name, count in table._groups.items() if count > 2}
        assert {id(s) for s in kept} == {id(s) for t in (table._out, table._beside) for s in t.values()}
        assert all(table.by_remote(s.remote, s.endpoint) is s for s in kept)


def test_idle_and_replaced_sessions_are_dropped():
    limits = Limits()
    table = SessionTable(limits)
    peer = Peer(bytes(32), *HERE, None, 0.0)
    old = Session(peer, HERE, bytes(32), b"1" * 8, bytes(8), 0.0)
    new = Session(peer, HERE, bytes(32), b"2" * 8, bytes(8), 0.0)
    table.add(old)
    table.add(new)
    table.drop_idle(61.0)
    assert table.by_sid(old.sid) is None
    assert table.to(peer.key) is new
    table.drop_idle(limits.session_idle)
    assert len(table) == 0
