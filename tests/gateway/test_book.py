"""Who may take which name, who is asked, who is forgotten."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from gateway.addresses import parse_address
from gateway.book import Book, Claim, Member, may_replace
from gateway.registry import NodeRow
from gateway.settings import BENCH_MOST, MAX_NAMES_PER_ADDRESS, MAX_NODES_PER_IP, OFFLINE_KEEP, UNSEEN_KEEP
from p2pgrid.errors import GatewayFull, NameTaken

HERE, THERE = "http://203.0.113.5:80", "http://203.0.113.6:80"
BOB, EVE = b"b" * 32, b"e" * 32


def member(name: str = "Bob", address: str = HERE, *, key: bytes | None = None, seq: int = 0, **state: Any) -> Member:
    parsed = parse_address(address)
    made = Member(NodeRow(name, parsed.text, key, seq, 0.0, None), parsed, group=state.pop("group", None))
    for field, value in state.items():
        setattr(made, field, value)
    return made


def claim(address: str = HERE, *, name: str = "Bob", group: str | None = None, **proof: Any) -> Claim:
    return Claim(name, parse_address(address), group, **proof)


UP: dict[str, Any] = {"state": "online"}
DOWN: dict[str, Any] = {"state": "offline", "misses": 1}
UNPROBED: dict[str, Any] = {"state": "offline", "misses": 0}


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (member(**UP), claim(), True),
        (member(**UP), claim(THERE), False),
        (member(**UP), claim(THERE, key=EVE), False),
        (member(**UP), claim(key=BOB), True),
        (member(**UP), claim(THERE, key=BOB, own_id=True), True),
        (member(**DOWN), claim(THERE), True),
        (member(**UNPROBED), claim(THERE), False),
        (member(key=BOB, seq=5, **UP), claim(), True),
        (member(key=BOB, seq=5, **UP), claim(THERE), False),
        (member(key=BOB, seq=5, **DOWN), claim(THERE), False),
        (member(key=BOB, seq=5, **DOWN), claim(THERE, key=EVE, seq=9), False),
        (member(key=BOB, seq=5, **UP), claim(THERE, key=BOB, seq=5), True),
        (member(key=BOB, seq=5, **UP), claim(THERE, key=BOB, seq=6), True),
        (member(key=BOB, seq=5, **DOWN), claim(THERE, key=BOB, seq=4), False),
    ],
)
def test_attack_hijack_of_a_name(old: Member, new: Claim, allowed: bool) -> None:
    if allowed:
        may_replace(old, new)
    else:
        with pytest.raises(NameTaken):
            may_replace(old, new)


def test_a_join_without_record_does_not_take_the_key_from_a_name() -> None:
    book = Book()
    book.add(member(key=BOB, seq=5, **UP))
    row, victim = book.admit(claim(), wall=9.0)
    assert (row.key, row.seq, victim) == (BOB, 5, None)


def test_attack_many_names_for_a_victims_address() -> None:
    book = Book()
    for number in range(MAX_NAMES_PER_ADDRESS):
        book.add(member(f"n{number}"))
    with pytest.raises(NameTaken):
        book.admit(claim(), wall=0.0)
    book.admit(claim(name="n0"), wall=0.0)


def test_attack_many_ports_of_a_victims_address() -> None:
    book = Book()
    for number in range(MAX_NODES_PER_IP):
        book.add(member(f"n{number}", f"http://203.0.113.5:{1000 + number}", group="203.0.113.5"))
    with pytest.raises(GatewayFull):
        book.admit(claim(group="203.0.113.5"), wall=0.0)
    book.admit(claim(THERE, group="203.0.113.6"), wall=0.0)


def test_a_full_book_forgets_the_longest_silent_node_and_never_a_live_one() -> None:
    book = Book(most=3)
    book.add(member("a", "http://203.0.113.1", **UP))
    book.add(member("b", "http://203.0.113.2", last_seen=50.0, **DOWN))
    book.add(member("c", "http://203.0.113.3", last_seen=20.0, **DOWN))
    assert book.admit(claim(), wall=100.0)[1] == "c"
    book.drop("c")
    book.drop("b")
    book.add(member("d", "http://203.0.113.4", **UP))
    book.add(member("e", "http://203.0.113.7", **UP))
    with pytest.raises(GatewayFull):
        book.admit(claim(), wall=100.0)


def test_states_by_latency() -> None:
    one = member()
    for seconds, state in ((0.0999, "online"), (0.1, "busy"), (5.0, "busy")):
        one.answered(seconds, now=0.0, wall=7.0, interval=10.0)
        assert (one.state, one.last_seen, one.due) == (state, 7.0, 10.0)
    one.missed(now=0.0, interval=10.0)
    assert (one.state, one.latency_ms, one.last_seen) == ("offline", None, 7.0)


def test_an_offline_node_is_tried_soon_and_then_ever_more_rarely() -> None:
    one = member()
    pauses = []
    for _ in range(100):
        one.missed(now=0.0, interval=10.0)
        pauses.append(one.due)
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert pauses[-1] == 60.0


def test_a_node_that_lets_searches_wait_is_benched_ever_longer_until_it_answers() -> None:
    book, one = Book(), member(ips=(ipaddress.ip_address("203.0.113.5"),), **UP)
    book.add(one)
    one.let_wait(began=-2.0, now=0.0)
    assert book.askable(0.0) == [one]
    assert not one.suspect
    one.let_wait(began=0.0, now=2.0)
    assert one.suspect
    assert book.askable(11.9) == []
    assert book.askable(12.0) == [one]
    one.let_wait(began=12.0, now=14.0)
    assert one.benched_until == 34.0
    for spell in range(50):
        one.let_wait(began=1000.0 * spell + 998, now=1000.0 * spell + 1000)
    assert one.benched_until == 50_000.0 + BENCH_MOST
    one.did_answer()
    one.let_wait(began=60_000.0, now=60_002.0)
    assert book.askable(60_002.0) == [one]


def test_attack_burst_of_searches_to_bench_a_busy_node() -> None:
    one = member(**UP)
    for _ in range(1000):
        one.let_wait(began=1.0, now=3.0)
    assert one.strikes == 1
    for _ in range(1000):
        one.let_wait(began=3.5, now=5.5)
    assert one.benched_until == 15.5


def test_who_is_forgotten() -> None:
    assert not member(state="online", last_seen=0.0).forgotten(wall=1e9)
    assert not member(state="offline", misses=2, last_seen=0.0).forgotten(wall=1e9)
    assert not member(state="offline", misses=3, last_seen=0.0).forgotten(wall=OFFLINE_KEEP)
    assert member(state="offline", misses=3, last_seen=0.0).forgotten(wall=OFFLINE_KEEP + 1)
    assert member(state="offline", misses=3).forgotten(wall=UNSEEN_KEEP + 1)
