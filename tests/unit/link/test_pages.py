"""Who may read what is for this machine only."""

from __future__ import annotations

import pytest

from p2pgrid.errors import NotAllowed
from p2pgrid.link.pages import FORWARDED, refuse_far_caller

HERE = {"Host": "127.0.0.1:8080"}


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
def test_a_program_of_this_machine_may(remote: str, host: str) -> None:
    refuse_far_caller(remote, {"Host": host})


@pytest.mark.parametrize(
    "remote", [None, "", "192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "localhost.x"]
)
def test_a_caller_from_elsewhere_may_not(remote: str | None) -> None:
    with pytest.raises(NotAllowed):
        refuse_far_caller(remote, HERE)


@pytest.mark.parametrize("name", FORWARDED)
def test_a_proxy_on_this_machine_that_calls_for_a_stranger_may_not(name: str) -> None:
    with pytest.raises(NotAllowed):
        refuse_far_caller("127.0.0.1", {**HERE, name: "192.0.2.1"})


@pytest.mark.parametrize("headers", [{}, {"Host": "evil.example:8080"}, {**HERE, "Origin": "http://evil.example"}])
def test_a_page_that_was_led_to_this_machine_by_dns_rebinding_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(NotAllowed):
        refuse_far_caller("127.0.0.1", headers)
