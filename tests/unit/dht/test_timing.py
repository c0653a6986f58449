"""Waits, tries, votes and our own announcements."""

from __future__ import annotations

from math import inf

import pytest

from p2pgrid.dht.calls import SLOW_MOST, Call, Calls
from p2pgrid.dht.contacts import Contact, Peer
from p2pgrid.dht.greetings import Greetings
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.operations import Operation
from p2pgrid.dht.secrets import Allowance, Seen
from p2pgrid.dht.votes import Votes

LIMITS = Limits()


def peer(srtt: float = 0.0) -> Peer:
    made = Peer(bytes(32), "10.0.0.1", 1, None, 0.0)
    if srtt:
        made.measured(srtt)
    return made


def call(number: int = 1) -> Call:
    return Call(number, peer(), 17, b"", 0, Operation(None))


def test_waits_adapt_to_each_peer():
    calls = Calls(LIMITS, 0)
    assert calls.wait(None, 0.0) == LIMITS.try_first
    quick, far = peer(0.004), peer(0.1)
    for _ in range(40):
        quick.measured(0.004)
        far.measured(0.1)
    assert calls.wait(quick, 0.0) == LIMITS.try_least
    assert 0.1 < calls.wait(far, 0.0) < 0.11
    assert calls.wait(peer(5.0), 0.0) == SLOW_MOST


def test_strangers_are_given_what_is_typical_here():
    calls = Calls(LIMITS, 0)
    for _ in range(30):
        one = call()
        calls.begin(one, calls.wait(None, 0.0), 0.0)
        calls.take(1, 17, bytes(32))
        calls.measured(one, peer(), 0.05)
    assert 0.15 < calls.wait(None, 0.0) < 0.25


def test_late_answers_of_most_make_us_patient_and_prompt_ones_undo_it():
    calls = Calls(LIMITS, 0)
    known = peer(0.01)

    def answered(slow: bool) -> None:
        one = call()
        calls.begin(one, calls.wait(known, 0.0), 0.0)
        if slow:
            calls.slow(one, known, 0.05)
        assert calls.take(1, 17, bytes(32)) is one
        calls.measured(one, known, 0.01)

    calm = calls.wait(known, 0.0)
    for _ in range(10):
        answered(slow=True)
    assert calls.wait(known, 0.0) > 4 * calm
    assert calls.wait(known, 0.0) <= LIMITS.try_most
    for _ in range(30):
        answered(slow=False)
    assert calls.wait(known, 0.0) <= calm


def test_a_few_peers_that_always_answer_late_make_nobody_wait():
    calls = Calls(LIMITS, 0)
    known, calm = peer(0.01), None
    for number in range(300):
        one = call()
        calls.begin(one, calls.wait(known, 0.0), 0.0)
        if number % 8 == 0:
            calls.slow(one, known, 0.05)
        calls.take(1, 17, bytes(32))
        calls.measured(one, known, 0.01)
        calm = calm or calls.wait(known, 0.0)
        assert calls.wait(known, 0.0) <= calm


def test_a_call_is_first_slow_then_tried_again_and_then_over():
    calls = Calls(LIMITS, 0)
    one = call()
    calls.begin(one, calls.wait(None, 0.0), 0.0)
    times = []
    while len(times) < 10:
        now = calls.soonest
        if now == inf:
            break
        times.append(now)
        assert calls.due(now - 0.0001) == []
        assert calls.due(now) == [one]
        if not one.slow:
            calls.slow(one, None, now)
        elif one.tries < LIMITS.tries:
            calls.again(one, now)
        else:
            calls.end(one)
    assert times == pytest.approx([0.25, 0.5, 1.0, 2.0])
    assert len(calls) == 0


def test_an_answer_counts_only_from_whom_was_asked_and_what_was_asked():
    calls = Calls(LIMITS, 0)
    calls.begin(call(), calls.wait(None, 0.0), 0.0)
    assert calls.take(1, 17, b"x" * 32) is None
    assert calls.take(1, 18, bytes(32)) is None
    assert calls.take(2, 17, bytes(32)) is None
    assert calls.take(1, 17, bytes(32)) is not None
    assert calls.take(1, 17, bytes(32)) is None
    assert calls.due(10.0) == []
    assert calls.soonest == inf


def test_numbers_in_use_are_not_given_twice():
    calls = Calls(LIMITS, 2**32 - 2)
    calls.begin(call(2**32 - 1), calls.wait(None, 0.0), 0.0)
    calls.begin(call(0), calls.wait(None, 0.0), 0.0)
    assert calls.number() == 1


def test_a_silent_address_is_greeted_a_few_times_and_told_once():
    greetings = Greetings(LIMITS)
    told: list[Contact | None] = []
    for _ in range(2):
        greetings.begin(("10.0.0.1", 1), lambda contact, at: told.append(contact), 0.0)
    sent = 0
    while (now := greetings.soonest) < inf:
        sent += len(greetings.due(now))
    assert sent == LIMITS.tries
    assert told == [None, None]


def test_a_majority_of_address_groups_decides_what_our_address_is():
    votes = Votes(8)
    assert votes.winner() is None
    votes.add(("9.1.0.1", 1), ("1.1.1.1", 1))
    assert votes.winner() == ("1.1.1.1", 1)
    for host in range(50):  # one network with many nodes has one voice
        votes.add((f"9.2.0.{host}", 1), ("6.6.6.6", 6))
    assert votes.winner() is None
    votes.add(("9.3.0.1", 1), ("1.1.1.1", 1))
    assert votes.winner() == ("1.1.1.1", 1)
    for group in range(20):
        votes.add((f"9.{group}.9.1", 1), ("2.2.2.2", 2))
    assert len(votes._words) == 8


def test_an_allowance_refills_with_time():
    allowance = Allowance(10.0, 2.0, 0.0)
    assert [allowance.take(0.0) for _ in range(3)] == [True, True, False]
    assert allowance.take(0.1)
    assert not allowance.take(0.1)


def test_what_was_seen_is_remembered_for_a_period_within_bounds():
    seen = Seen(3, 10.0, 0.0)
    seen.add(b"a", 0.0)
    seen.add(b"b", 11.0)
    assert b"a" in seen
    seen.add(b"c", 22.0)
    assert b"a" not in seen
    for number in range(100):
        seen.add(b"%d" % number, 23.0)
        assert len(seen) <= 6


def measured(calls: Calls, rtt: float, now: float, asked: Peer | None = None) -> None:
    one = call()
    calls.begin(one, 1.0, now - rtt)
    calls.take(1, 17, bytes(32))
    calls.measured(one, asked or peer(), now)


def test_the_hasty_wait_twice_what_the_quickest_take():
    calls, jammed = Calls(LIMITS, 0), peer(0.4)
    for number in range(8):
        measured(calls, 0.03 if number % 2 else 0.2, 1.0)
    assert calls.wait(jammed, 1.0) == SLOW_MOST
    assert 0.06 <= calls.wait(jammed, 1.0, hasty=True) < 0.12
    assert calls.wait(None, 1.0, hasty=True) == calls.wait(jammed, 1.0, hasty=True)


def test_the_hasty_wait_on_when_they_look_too_late():
    calls = Calls(LIMITS, 0)
    one = Call(1, peer(), 17, b"", 0, Operation(None))
    calls.begin(one, 0.02, 1.0)
    assert not calls.put_off(one, 1.025), "in time"
    assert calls.put_off(one, 1.05)
    assert one.due == pytest.approx(1.07)
    assert calls.due(1.06) == []
    assert calls.due(1.08) == [one]
    assert not calls.put_off(one, 1.08)


def test_the_hasty_forget_how_slow_all_were_but_not_how_far_a_peer_is():
    calls, far = Calls(LIMITS, 0), peer()
    for _ in range(4):
        measured(calls, 0.2, 1.0, far)
    assert 0.39 < calls.wait(None, 1.0, hasty=True) <= 0.41
    assert calls.wait(None, 10.0, hasty=True) == LIMITS.hasty_least
    assert far.srtt <= calls.wait(far, 10.0, hasty=True) <= 0.4


def test_who_was_called_slow_in_haste_is_tried_again_no_sooner():
    calls, known = Calls(LIMITS, 0), peer(0.1)
    one = call()
    calls.begin(one, 0.01, 0.0)
    calls.slow(one, known, 0.01)
    assert calls.due(0.59) == []
    assert calls.due(0.61) == [one]


class Hasty(Operation):
    """Who needs one answer of any."""

    hasty = True


def test_haste_tells_of_no_jam():
    calls, hasty = Calls(LIMITS, 0), Hasty(None)
    for _ in range(10):
        one = Call(1, peer(), 17, b"", 0, hasty)
        calls.begin(one, 0.01, 0.0)
        calls.slow(one, peer(), 0.01)
        calls.take(1, 17, bytes(32))
        calls.measured(one, peer(), 0.1)
    calm = peer(0.1)
    assert calls.wait(calm, 0.1) == pytest.approx(calm.srtt + 4 * calm.var)


def test_however_jammed_nobody_waits_longer_than_allowed_to_try_again():
    calls, far = Calls(LIMITS, 0), peer(0.5)
    for _ in range(100):
        one = call()
        calls.begin(one, 0.5, 0.0)
        calls.slow(one, far, 0.5)
        calls.take(1, 17, bytes(32))
        calls.measured(one, far, 0.5)
    one = call()
    calls.begin(one, calls.wait(far, 0.0), 0.0)
    calls.slow(one, far, 3.0)
    assert calls.due(2 * LIMITS.try_most) == [one]
