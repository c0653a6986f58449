"""Settings that owners change while the domain runs."""

from __future__ import annotations

from typing import Any

import pytest

from p2pgrid.domain.accounts import Guests
from p2pgrid.domain.settings import READERS, DomainSettings, SignUp
from p2pgrid.errors import InvalidInput


def test_the_defaults_are_closed() -> None:
    assert DomainSettings() == DomainSettings(SignUp.CLOSED, Guests.METADATA, 168, 24)
    assert set(DomainSettings().to_wire()) == set(READERS)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("sign_up", "open", "open"), ("guests", "mocks", "mocks"), ("idle_hours", 1, 1), ("session_hours", "8760", 8760)],
)
def test_one_setting_changes_and_the_others_stay(name: str, value: Any, kept: Any) -> None:
    assert DomainSettings().changed(name, value).to_wire() == {**DomainSettings().to_wire(), name: kept}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sign_up", "OPEN"),
        ("sign_up", True),
        ("sign_up", None),
        ("guests", "private"),
        ("guests", ["mocks"]),
        ("idle_hours", 0),
        ("idle_hours", 1.5),
        ("idle_hours", True),
        ("session_hours", "99999999999999999999"),
        ("session_hours", 8761),
        ("__class__", 1),
    ],
)
def test_what_is_no_setting(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        DomainSettings().changed(name, value)
