"""Accounts, sessions, settings and notifications through the client, at a real node."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import p2pgrid as sy
from p2pgrid.crypto import Identity
from p2pgrid.errors import Conflict, NotAllowed, NotLoggedIn, SessionEnded, WrongLogin

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"email": "jane@caltech.edu", "password": "abc123"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    with sy.orchestra.launch(name="Bob", home=tmp_path) as server:
        yield server


@pytest.fixture
def owner(server: Any) -> Any:
    return server.login(**OWNER)


@pytest.fixture
def jane(server: Any, owner: Any) -> Any:
    owner.register(name="Jane Doe", **JANE)
    return server.login(**JANE)


def test_a_stranger_signs_up_and_is_let_in(server: Any, owner: Any) -> None:
    guest = server.login()
    with pytest.raises(NotAllowed, match="Nobody signs up"):
        guest.register(name="Jane Doe", **JANE)
    assert owner.settings.set(sign_up="approval")["sign_up"] == "approval"
    assert "data owner will look" in guest.register(name="Jane Doe", **JANE)
    with pytest.raises(NotAllowed):
        server.login(**JANE)
    assert not owner.accounts[JANE["email"]].active
    assert owner.accounts[JANE["email"]].activate().active
    assert server.login(**JANE).role == "data scientist"


def test_notifications_are_a_table_that_is_read(server: Any, owner: Any, jane: Any) -> None:
    asset = sy.Asset(name="numbers", data=np.arange(3), mock=np.zeros(3))
    owner.upload_dataset(sy.Dataset(name="my dataset", asset_list=[asset]), progress=False)
    held = jane.datasets[0].assets[0]
    function = sy.syft_function(input_policy=sy.ExactMatch(data=held))(total)
    request = jane.submit(function)
    told = owner.notifications
    assert (told.unread_count, told[0]["kind"], told[0]["subject"]) == (1, "request.create", request.id)
    assert "A new code request waits for a verdict." in repr(told)
    assert "<table" in told._repr_html_()
    told[0].mark_as_read()
    assert (owner.notifications.unread_count, len(owner.notifications.unread)) == (0, 0)
    owner.notifications.mark_all_as_read()
    assert owner.notifications.unread_count == 0
    assert owner.requests[0].verify_signature() == jane.door.identity.public.hex()
    owner.requests[0].approve()
    assert jane.notifications[0]["text"] == "Your code request was approved."


def total(data: Any) -> Any:
    return data.sum()


def test_sessions_are_seen_and_ended(server: Any, owner: Any, jane: Any) -> None:
    thief = server.login(**JANE)
    found = jane.sessions
    assert [one["this"] for one in found] == [True, False]
    found[1].end()
    with pytest.raises(SessionEnded):
        _ = thief.projects
    assert jane.log_out_everywhere() == 1
    assert jane.role == "guest"
    with pytest.raises(NotLoggedIn):
        _ = jane.projects
    again = server.login(**JANE)
    assert len(owner.accounts[JANE["email"]].sessions) == 1
    assert owner.accounts[JANE["email"]].log_out_everywhere() == 1
    with pytest.raises(SessionEnded):
        _ = again.projects
    again.log_out()
    with pytest.raises(NotLoggedIn, match="account"):
        _ = again.projects


def test_a_link_that_closed_is_no_session(server: Any, owner: Any, jane: Any) -> None:
    import gc
    import time

    other = server.login(**JANE)
    assert len(jane.sessions) == 2
    other.close()
    deadline = time.monotonic() + 20
    while len(jane.sessions) > 1 and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert len(jane.sessions) == 1


def test_people_look_after_their_account(server: Any, owner: Any, jane: Any, tmp_path: Path) -> None:
    account = jane.update(institution="Caltech", website="caltech.edu", mail=False)
    assert (account["institution"], account["website"], account["mail"]) == ("Caltech", "https://caltech.edu", False)
    jane.set_email("jane@mit.edu", password=JANE["password"])
    assert jane.email == "jane@mit.edu"
    jane.set_password(JANE["password"], "better password")
    key = Identity.generate(secrets.token_bytes)
    jane.set_key(key, password="better password")
    by_key = sy.login(url=server.url, key=key)
    assert by_key.email == "jane@mit.edu"
    key = tmp_path / "jane.key"
    jane.set_key(key, password="better password")  # makes the file
    assert server.login(key=str(key)).email == "jane@mit.edu"
    with pytest.raises(WrongLogin, match="not the login of"):
        server.login(email="info@openmined.org", key=key)
    jane.set_key(None, password="better password")
    with pytest.raises(WrongLogin):
        sy.login(url=server.url, key=key)
    jane.delete_account(password="better password")
    with pytest.raises(WrongLogin):
        server.login("jane@mit.edu", "better password")


def test_an_owner_looks_after_accounts(server: Any, owner: Any, jane: Any) -> None:
    account = owner.accounts[JANE["email"]]
    server.login().redeem(JANE["email"], account.reset_password(), "a new password")
    jane = server.login(JANE["email"], "a new password")
    assert account.set_role("data owner").role == "data owner"
    assert len(jane.accounts) == 2
    with pytest.raises(NotAllowed):
        jane.accounts[OWNER["email"]].deactivate()
    account.deactivate()
    with pytest.raises(SessionEnded):
        _ = jane.projects
    account.delete()
    assert len(owner.accounts) == 1
    with pytest.raises(Conflict, match="last admin"):
        owner.delete_account(password=OWNER["password"])
    assert [one["action"] for one in owner.audit(3)] == ["account.delete", "account.deactivate", "account.role"]
