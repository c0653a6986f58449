"""The states of a job, every pair of them; who sees what of one; and whose turn is next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.jobs import ENDED, MOVES, Event, Job, Side, State, Ticket, move, next_ticket
from p2pgrid.errors import Conflict

JOB = Job("j", "r", "c", "f", Side.DATA, State.RUNNING, "a", "jane@x", 100.25, 101.0, None, None, None, "secret", 1)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_pair_moves_as_the_table_says_or_is_refused(state: State, event: Event) -> None:
    if (state, event) in MOVES:
        assert move(state, event) is MOVES[state, event]
    else:
        with pytest.raises(Conflict, match=state.value):
            move(state, event)


def test_what_is_finished_stays_finished_and_all_else_that_ended_can_be_queued_again() -> None:
    assert [event for state, event in MOVES if state is State.FINISHED] == []
    assert {state for state, event in MOVES if event is Event.RETRY} == ENDED - {State.FINISHED}
    assert {state for state, event in MOVES if event is Event.CANCEL} == set(State) - ENDED
    assert MOVES[State.RUNNING, Event.INTERRUPT] is State.INTERRUPTED


def test_every_state_can_be_reached() -> None:
    reached = {State.QUEUED}
    for _ in State:
        reached |= {after for (before, _), after in MOVES.items() if before in reached}
    assert reached == set(State)


def test_an_author_learns_the_time_of_a_private_run_in_whole_seconds_only() -> None:
    ended = replace(JOB, state=State.FINISHED, ended_at=103.4567)
    assert ended.to_wire(200.0, private=False)["seconds"] == 3.0
    assert ended.to_wire(200.0, private=True)["seconds"] == 2.457
    assert replace(ended, side=Side.MOCK).to_wire(200.0, private=False)["seconds"] == 2.457
    assert "103" not in repr(ended.to_wire(200.0, private=False))
    assert not ended.shows_output(private=False)
    assert "secret" not in repr(ended.to_wire(200.0, private=True))


def test_a_long_queue_of_one_keeps_nobody_waiting_behind_it() -> None:
    waiting = [Ticket(f"j{number}", "jane") for number in range(9)] + [Ticket("b", "bob")]
    assert next_ticket(waiting, [], at_once=2, each=1) == waiting[0]
    assert next_ticket(waiting[1:], ["jane"], at_once=2, each=1) == waiting[-1]
    assert next_ticket(waiting[1:], ["jane", "bob"], at_once=2, each=1) is None
    assert next_ticket(waiting[1:-1], ["jane"], at_once=2, each=1) is None


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 4), st.integers(1, 3))
def test_every_job_gets_its_turn_and_no_bound_is_passed(accounts: list[str], at_once: int, each: int) -> None:
    waiting = [Ticket(str(number), account) for number, account in enumerate(accounts)]
    running: list[Ticket] = []
    started = []
    while waiting or running:
        ticket = next_ticket(waiting, [job.account for job in running], at_once=at_once, each=each)
        if ticket is None:
            running.pop(0)
            continue
        waiting.remove(ticket)
        running.append(ticket)
        started.append(ticket)
        assert len(running) <= at_once
        assert [job.account for job in running].count(ticket.account) <= each
    assert len(started) == len(accounts)
    for account in "abc":
        own = [int(job.job) for job in started if job.account == account]
        assert own == sorted(own)
