"""Logins and accounts, and the attacks on them."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from typing import Any

import pytest

from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import Conflict, InvalidInput, NotAllowed, NotLoggedIn, TooManyTries, WrongLogin

OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")


async def test_the_default_owner_logs_in(guest: Any) -> None:
    person = guest()
    account = await person.login(" INFO@openmined.org ", OWNER[1])
    assert (account["email"], account["role"]) == (OWNER[0], "admin")
    assert await person("auth.whoami") == account


async def test_an_owners_key_is_a_login(house: Any, guest: Any, service: Any) -> None:
    person = guest()
    with pytest.raises(WrongLogin):
        await person("auth.key")
    await service.ensure_owner(verify_key=person.identity.public)
    assert (await person("auth.key"))["verify_key"] == person.identity.public.hex()
    with pytest.raises(WrongLogin):
        await guest()("auth.key")


async def test_a_registered_data_scientist_logs_in(owner: Any, guest: Any) -> None:
    made = await owner(
        "account.register", name="Jane Doe", email="Jane@Caltech.edu", password="abc123", institution="Caltech"
    )
    assert (made["email"], made["role"], made["institution"]) == (JANE[0], "data scientist", "Caltech")
    person = guest()
    assert (await person.login(*JANE))["id"] == made["id"]
    assert [account["email"] for account in await owner("account.list")] == [OWNER[0], JANE[0]]
    with pytest.raises(Conflict):
        await owner("account.register", name="Jane", email=JANE[0], password="another")


async def test_an_owner_cannot_make_somebody_above_themselves(owner: Any, guest: Any) -> None:
    await owner("account.register", name="Bob", email="bob@x", password="secret", role="data owner")
    bob = guest()
    await bob.login("bob@x", "secret")
    for role in ("admin", "data owner"):
        with pytest.raises(NotAllowed):
            await bob("account.register", name="Eve", email="eve@x", password="secret", role=role)


async def test_a_wrong_password_and_an_unknown_email_look_the_same(guest: Any, scientist: Any) -> None:
    causes = set()
    for email, password in ((JANE[0], "wrong"), ("nobody@x", "abc123"), (OWNER[0], "")):
        with pytest.raises(WrongLogin) as caught:
            await guest().login(email, password)
        causes.add(str(caught.value))
    assert len(causes) == 1


async def test_a_login_takes_as_long_for_an_account_that_does_not_exist(house: Any, owner: Any) -> None:
    async def takes(remote: int, email: str) -> float:
        person = type(owner)(owner.service, type(owner.caller)(remote=f"10.0.0.{remote}"), owner.identity)
        begin = time.perf_counter()
        with pytest.raises(WrongLogin):
            await person.login(email, "not the password")
        return time.perf_counter() - begin

    known = statistics.median([await takes(number, OWNER[0]) for number in range(7)])
    unknown = statistics.median([await takes(number, "nobody@x") for number in range(7)])
    assert 0.5 < known / unknown < 2.0


async def test_guessing_passwords_from_one_place_waits_and_the_owner_gets_in_from_another(guest: Any) -> None:
    for _ in range(10):
        with pytest.raises(WrongLogin):
            await guest("10.9.9.9").login(OWNER[0], "a guess")
    with pytest.raises(TooManyTries, match=r"wait \d+ seconds"):
        await guest("10.9.9.9").login(*OWNER)
    await guest("10.8.8.8").login(*OWNER)


async def test_guessing_many_passwords_at_once_counts_them_all(guest: Any) -> None:
    tries = [guest("10.9.9.9").login(OWNER[0], f"guess {number}") for number in range(30)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(end, WrongLogin) for end in ends) == 10
    assert sum(isinstance(end, TooManyTries) for end in ends) == 20


async def test_a_flood_of_logins_from_everywhere_is_turned_away_at_a_bound(guest: Any) -> None:
    tries = [guest(f"10.9.{number // 250}.{number % 250}").login(OWNER[0], "a guess") for number in range(90)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(end, TooManyTries) for end in ends) == 90 - 66


async def test_set_password_cannot_be_used_to_guess_it(scientist: Any, guest: Any) -> None:
    for _ in range(10):
        with pytest.raises(WrongLogin):
            await scientist("account.set_password", old="a guess", new="better password")
    with pytest.raises(TooManyTries):
        await scientist("account.set_password", old=JANE[1], new="better password")


async def test_a_new_password_ends_the_sessions_of_the_old_one(scientist: Any, guest: Any) -> None:
    thief = guest()
    await thief.login(*JANE)
    await scientist("account.set_password", old=JANE[1], new="better password")
    with pytest.raises(NotLoggedIn):
        await thief("project.list")
    assert await scientist("project.list") == []
    with pytest.raises(WrongLogin):
        await guest().login(*JANE)
    await guest().login(JANE[0], "better password")
    with pytest.raises(InvalidInput, match="default password"):
        await scientist("account.set_password", old="better password", new="changethis")


async def test_default_credentials_work_on_loopback_only(house: Any, guest: Any) -> None:
    service = await house.open(loopback=False, dev_mode=True)
    assert service.has_default_password()
    for email in (OWNER[0], "sheldon@caltech.edu"):
        person = guest()
        with pytest.raises(WrongLogin):
            await service.call(person.caller, "auth.login", {"email": email, "password": "changethis"})


async def test_dev_mode_has_a_data_scientist(house: Any, guest: Any) -> None:
    person = guest()
    with pytest.raises(WrongLogin):
        await person.login("sheldon@caltech.edu", "changethis")
    service = await house.open(dev_mode=True)
    login = {"email": "sheldon@caltech.edu", "password": "changethis"}
    assert (await service.call(person.caller, "auth.login", login))["role"] == "data scientist"


async def test_the_test_account_closes_when_dev_mode_ends(house: Any, guest: Any) -> None:
    await (await house.open(dev_mode=True)).close()
    service = await house.open(dev_mode=False)
    login = {"email": "sheldon@caltech.edu", "password": "changethis"}
    with pytest.raises(WrongLogin):
        await service.call(guest().caller, "auth.login", login)


async def test_a_handed_in_password_replaces_the_default_one_and_never_a_chosen_one(service: Any, guest: Any) -> None:
    assert service.has_default_password()
    await service.ensure_owner(password="handed in")
    assert not service.has_default_password()
    await service.ensure_owner(password="something else")
    await guest().login(OWNER[0], "handed in")
    with pytest.raises(WrongLogin):
        await guest().login(*OWNER)


async def test_a_first_owner_may_have_another_name(house: Any) -> None:
    account = await (await house.open()).ensure_owner()
    assert account["email"] == OWNER[0]
    assert (await house.open_services[-1].ensure_owner(email="me@home.org"))["email"] == OWNER[0]


async def test_no_password_or_hash_in_answers_reprs_or_logs(
    owner: Any, guest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a very secret word"
    shown = [await owner("account.register", name="Jane", email=JANE[0], password=secret)]
    person = guest()
    shown += [await person.login(JANE[0], secret), await person("auth.whoami"), await owner("account.list")]
    shown += [await owner("audit.list"), repr(owner.service), repr(owner.service._domain.storage), repr(person.caller)]
    for text in (repr(shown), caplog.text):
        assert secret not in text
        assert "argon2" not in text


async def test_an_account_table_is_bounded(house: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(accounts=2))
    person = guest()
    await service.call(person.caller, "auth.login", dict(zip(("email", "password"), OWNER, strict=True)))
    args = {"name": "x", "password": "abcdef"}
    await service.call(person.caller, "account.register", {**args, "email": "a@x"})
    with pytest.raises(Exception, match="has 2 accounts"):
        await service.call(person.caller, "account.register", {**args, "email": "b@x"})
