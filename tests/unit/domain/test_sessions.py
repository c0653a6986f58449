"""The table of who is logged in."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.sessions import Session, Sessions


def session(number: int, account: str = "jane", since: float = 0.0) -> Session:
    return Session(f"{number:032x}", account, 0, b"", "10.0.0.1", "auth.login", since, since)


def test_a_session_ends_by_age_and_by_silence() -> None:
    table = Sessions(each=5)
    aged, silent = table.begin(session(1)), table.begin(session(2))
    for hour in range(1, 10):
        table.use(aged, hour * 3600.0)
        assert table.lasts(aged, hour * 3600.0, life=36_000, idle=7200)
    assert not table.lasts(aged, 36_000.0, life=36_000, idle=7200)
    assert not table.lasts(silent, 7200.0, life=36_000, idle=7200)
    assert (aged.over, silent.over) == ("its time was over", "it was silent for too long")
    assert len(table) == 0


def test_one_session_too_many_ends_the_one_that_was_silent_longest() -> None:
    table = Sessions(each=2)
    first, second = table.begin(session(1, since=1.0)), table.begin(session(2, since=2.0))
    table.use(first, 3.0)
    third, other = table.begin(session(3, since=4.0)), table.begin(session(4, account="bob"))
    assert table.of("jane") == [first, third]
    assert second.over
    assert table.of() == [other, first, third]


def test_a_session_goes_with_its_link() -> None:
    table = Sessions(each=5)
    notes = {"session": table.begin(session(1))}
    assert len(table) == 1
    notes.clear()
    gc.collect()
    assert len(table) == 0


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "use"]), st.integers(0, 2), st.floats(0, 10)), max_size=60))
def test_no_account_has_more_than_its_share_and_what_is_over_stays_over(steps: list[tuple[str, int, float]]) -> None:
    table, held, now = Sessions(each=3), [], 0.0
    for number, (step, account, later) in enumerate(steps):
        now += later
        if step == "begin":
            held.append(table.begin(session(number, str(account), now)))
        elif held and step == "end":
            table.end(held[account % len(held)], "told so")
        elif held:
            table.use(held[account % len(held)], now)
        assert all(len(table.of(str(one))) <= 3 for one in range(3))
        assert set(table.of()) == {one for one in held if not one.over}
