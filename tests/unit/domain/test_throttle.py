"""A bounded table of tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.throttle import Throttle, origin


def test_the_eleventh_failure_waits_and_others_do_not() -> None:
    throttle = Throttle(tries=10, window=60.0, most=8)
    assert [throttle.take("attacker", 100.0 + step) for step in range(10)] == [0.0] * 10
    assert throttle.take("attacker", 110.0) == 50.0
    assert throttle.take("owner", 110.0) == 0.0
    assert throttle.take("attacker", 160.0) == 0.0


def test_a_clock_set_back_locks_nobody_out() -> None:
    throttle = Throttle(tries=2, window=60.0, most=8)
    day = 86_400.0
    for _ in range(3):
        throttle.take("owner", day)
    assert throttle.take("owner", 10.0) == 0.0
    assert throttle.take("owner", 11.0) == 0.0
    assert throttle.take("owner", 12.0) == 58.0


def test_success_costs_nothing() -> None:
    throttle = Throttle(tries=3, window=60.0, most=8)
    for step in range(50):
        assert throttle.take("jane", step) == 0.0
        throttle.give_back("jane")
    assert len(throttle) == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.floats(0, 5)), max_size=300))
def test_the_table_stays_bounded_and_never_over_its_tries(steps: list[tuple[int, bool, float]]) -> None:
    throttle, now = Throttle(tries=3, window=10.0, most=5), 0.0
    granted: dict[int, list[float]] = {}
    for key, succeeds, later in steps:
        now += later
        if throttle.take(str(key), now) == 0.0:
            if succeeds:
                throttle.give_back(str(key))
            else:
                granted.setdefault(key, []).append(now)
        assert len(throttle) <= 5


def test_where_a_caller_comes_from() -> None:
    assert origin("10.1.2.3") == "10.1.2.3"
    assert origin("::ffff:10.1.2.3") == "10.1.2.3"
    assert origin("2001:db8:1:2::1") == origin("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert origin("fe80::1%eth0") == "fe80::/64"
    assert origin("in-memory") == "in-memory"
