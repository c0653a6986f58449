"""Sessions, and the attacks on logins: stolen, replayed, prepared, guessed from everywhere."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from p2pgrid import crypto
from p2pgrid.domain.service import Caller, DomainLimits
from p2pgrid.errors import NotAllowed, NotFound, NotLoggedIn, SessionEnded, TooManyTries, WrongLogin

OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")
HOUR = 3600.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def visitor(service: Any, like: Any, login: tuple[str, str] | None, remote: str = "127.0.0.1") -> Any:
    identity = crypto.Identity.generate(secrets.token_bytes)
    person = type(like)(service, Caller(key=identity.public, remote=remote), identity)
    if login:
        await person.login(*login)
    return person


async def set_key(person: Any, service: Any, key: crypto.Identity | None, password: str = JANE[1]) -> None:
    proof: dict[str, Any] = {}
    if key is not None:
        said = bytes.fromhex((await person("auth.whoami"))["id"]) + service._domain.identity.public
        proof = {"key": key.public, "signature": key.sign(b"account-key", said)}
    await person("account.set_key", password=password, **proof)


async def test_sessions_are_listed_with_where_and_when(scientist: Any, guest: Any, owner: Any) -> None:
    elsewhere = guest("10.1.2.3")
    await elsewhere.login(*JANE)
    found = await scientist("session.list")
    assert [(one["remote"], one["this"]) for one in found] == [("127.0.0.1", True), ("10.1.2.3", False)]
    assert found[1]["key"] == elsewhere.identity.public.hex()
    assert [one["id"] for one in await owner("session.list", account=JANE[0])] == [one["id"] for one in found]
    assert len(await owner("session.list")) == 1


async def test_a_session_ends_by_age_and_by_silence(house: Any, owner: Any) -> None:
    clock = Clock()
    service = await house.open(clock=clock)
    person = await visitor(service, owner, OWNER)
    await person("settings.set", name="session_hours", value=3)
    await person("settings.set", name="idle_hours", value=2)
    clock.now += 1.9 * HOUR
    await person("project.list")
    clock.now += 1.2 * HOUR
    with pytest.raises(SessionEnded, match="its time was over"):
        await person("project.list")
    with pytest.raises(SessionEnded):
        await person("dataset.list")
    await person.login(*OWNER)
    clock.now += 2 * HOUR
    with pytest.raises(SessionEnded, match="silent"):
        await person("project.list")
    await person("auth.logout")
    assert await person("dataset.list") == []


async def test_a_stolen_session_is_ended_by_its_person(scientist: Any, guest: Any) -> None:
    thief = guest("10.6.6.6")
    await thief.login(*JANE)
    stolen = next(one for one in await scientist("session.list") if not one["this"])
    await scientist("session.end", id=stolen["id"])
    with pytest.raises(SessionEnded, match="its person ended it"):
        await thief("project.list")
    assert await scientist("project.list") == []


async def test_log_out_everywhere(scientist: Any, guest: Any, owner: Any) -> None:
    others = [guest(), guest()]
    for other in others:
        await other.login(*JANE)
    assert await scientist("session.end_all") == {"ended": 3}
    for person in (scientist, *others):
        with pytest.raises(SessionEnded):
            await person("project.list")
    await scientist.login(*JANE)
    assert await owner("session.end_all", account=JANE[0]) == {"ended": 1}
    with pytest.raises(NotLoggedIn):
        await scientist("project.list")


async def test_nobody_sees_or_ends_the_sessions_of_others(scientist: Any, newcomer: Any, owner: Any) -> None:
    bob = await newcomer("bob@x")
    [janes], [owners] = await scientist("session.list"), await owner("session.list")
    for an_id in (janes["id"], owners["id"], "0" * 32):
        with pytest.raises(NotFound, match="no session"):
            await bob("session.end", id=an_id)
    for verb in ("session.list", "session.end_all"):
        for account in (JANE[0], janes["account"], "nobody@x"):
            with pytest.raises(NotAllowed):
                await bob(verb, account=account)
    assert await scientist("project.list") == []


async def test_a_session_id_opens_nothing(scientist: Any, guest: Any) -> None:
    """Sessions belong to links: who learns an id, from a list or a log, has a name and no token."""
    [held] = await scientist("session.list")
    thief = guest()
    for args in ({"session": held["id"]}, {"id": held["id"]}, {"key": held["key"]}):
        with pytest.raises(WrongLogin):
            await thief("auth.key", **args)
        with pytest.raises(NotLoggedIn):
            await thief("auth.whoami", **args)


async def test_session_fixation_a_login_never_goes_on_with_a_session_from_before(guest: Any, scientist: Any) -> None:
    person = guest()
    await person.login(*OWNER)
    prepared = (await person("session.list"))[-1]["id"]
    await person.login(*JANE)
    assert prepared not in [one["id"] for one in await person("session.list")]
    with pytest.raises(NotAllowed):
        await person("account.list")


async def test_a_key_that_another_proves_is_no_login(owner: Any, guest: Any, scientist: Any) -> None:
    """The key is what the link's handshake proved; a key or a signature in the arguments is not looked at."""
    await owner.service.ensure_owner(verify_key=owner.identity.public)
    thief = guest()
    replayed = owner.identity.sign(b"link", b"an old handshake")
    with pytest.raises(WrongLogin):
        await thief("auth.key", key=owner.identity.public, signature=replayed)
    with pytest.raises(WrongLogin):
        await owner.service.call(Caller(key=b""), "auth.key", {"key": owner.identity.public})


async def test_a_login_key_must_sign_for_its_account(scientist: Any, newcomer: Any, guest: Any, service: Any) -> None:
    bob, mine = await newcomer("bob@x"), crypto.Identity.generate(secrets.token_bytes)
    jane, node = await scientist("auth.whoami"), service._domain.identity.public
    signature = mine.sign(b"account-key", bytes.fromhex(jane["id"]) + node)
    with pytest.raises(WrongLogin):
        await scientist("account.set_key", password="a guess", key=mine.public, signature=signature)
    made = await scientist("account.set_key", password=JANE[1], key=mine.public, signature=signature)
    assert made["verify_key"] == mine.public.hex()
    with pytest.raises(Exception, match="did not sign"):  # stolen from Jane, for Bob's account
        await bob("account.set_key", password="abc123", key=mine.public, signature=signature)
    assert (await service.call(Caller(key=mine.public), "auth.key", {}))["email"] == JANE[0]
    await scientist("account.set_key", password=JANE[1])
    with pytest.raises(WrongLogin):
        await service.call(Caller(key=mine.public), "auth.key", {})


async def test_a_thief_of_a_login_key_is_out_when_it_is_changed(scientist: Any, service: Any, owner: Any) -> None:
    key = crypto.Identity.generate(secrets.token_bytes)
    await set_key(scientist, service, key)
    thief = type(owner)(service, Caller(key=key.public), key)
    await thief("auth.key")
    await set_key(scientist, service, None)
    with pytest.raises(SessionEnded, match="key that logs in was changed"):
        await thief("project.list")
    with pytest.raises(WrongLogin):
        await thief("auth.key")
    assert (await scientist("auth.whoami"))["email"] == JANE[0], "the session that changed it goes on"


async def test_a_code_that_a_thief_of_a_key_made_is_worth_nothing_when_it_is_changed(
    owner: Any, service: Any, guest: Any
) -> None:
    key = crypto.Identity.generate(secrets.token_bytes)
    await set_key(owner, service, key, OWNER[1])
    thief = type(owner)(service, Caller(key=key.public), key)
    await thief("auth.key")
    code = (await thief("account.reset"))["code"]
    await set_key(owner, service, None, OWNER[1])
    with pytest.raises(WrongLogin):
        await guest()("auth.redeem", email=OWNER[0], code=code, password="a thief's password")


async def test_a_new_password_by_code_takes_the_key_away(scientist: Any, owner: Any, service: Any, guest: Any) -> None:
    key = crypto.Identity.generate(secrets.token_bytes)
    await set_key(scientist, service, key)
    code = (await owner("account.reset", account=JANE[0]))["code"]
    await guest()("auth.redeem", email=JANE[0], code=code, password="a new password")
    with pytest.raises(WrongLogin):
        await service.call(Caller(key=key.public), "auth.key", {})


async def test_the_key_of_the_nodes_home_stays_with_the_owners_account(service: Any, owner: Any) -> None:
    home = crypto.Identity.generate(secrets.token_bytes)
    await service.ensure_owner(verify_key=home.public)
    for key in (crypto.Identity.generate(secrets.token_bytes), None):
        with pytest.raises(NotAllowed, match="node's own home"):
            await set_key(owner, service, key, OWNER[1])
    by_home = type(owner)(service, Caller(key=home.public), home)
    assert (await by_home("auth.key"))["email"] == OWNER[0]
    code = (await by_home("account.reset"))["code"]
    await owner("auth.redeem", email=OWNER[0], code=code, password="another password")
    assert (await by_home("auth.key"))["email"] == OWNER[0]


async def test_guesses_from_a_thousand_addresses_end_and_lock_nobody_out(house: Any, owner: Any) -> None:
    service = await house.open(limits=DomainLimits(strange_logins=5))
    await visitor(service, owner, OWNER, "10.8.8.8")  # where the owner always is
    for number in range(5):
        with pytest.raises(WrongLogin):
            await visitor(service, owner, (OWNER[0], "a guess"), f"10.9.0.{number}")
    for password in ("a guess", OWNER[1]):
        with pytest.raises(TooManyTries, match="places where it is new"):
            await visitor(service, owner, (OWNER[0], password), "10.9.1.1")
    at_home = await visitor(service, owner, OWNER, "10.8.8.8")
    assert await at_home("project.list") == []
    identity = crypto.Identity.generate(secrets.token_bytes)
    await service.ensure_owner(verify_key=identity.public)
    assert (await service.call(Caller(identity.public, "10.9.1.1"), "auth.key", {}))["email"] == OWNER[0]


async def test_guesses_from_a_thousand_addresses_tell_nobody_who_has_an_account(house: Any, owner: Any) -> None:
    service = await house.open(limits=DomainLimits(strange_logins=3))
    ends = {}
    for email in (OWNER[0], "nobody@x"):
        tries = [visitor(service, owner, (email, "a guess"), f"10.7.{email == 'nobody@x':d}.{one}") for one in range(5)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        ends[email] = sorted(f"{type(end).__name__} {getattr(end, 'fix', '')}" for end in found)
    assert ends[OWNER[0]] == ends["nobody@x"]
    assert sum("TooManyTries" in end for end in ends["nobody@x"]) == 2


async def test_places_that_an_account_is_known_at_are_bounded(house: Any, owner: Any) -> None:
    service = await house.open(limits=DomainLimits(places_each=2, strange_logins=1))
    for number in range(4):
        await visitor(service, owner, OWNER, f"10.8.0.{number}")
    with pytest.raises(WrongLogin):
        await visitor(service, owner, (OWNER[0], "a guess"), "10.9.9.9")
    await visitor(service, owner, OWNER, "10.8.0.3")
    with pytest.raises(TooManyTries):
        await visitor(service, owner, OWNER, "10.8.0.0")


async def test_one_account_holds_a_bounded_number_of_sessions(house: Any, owner: Any) -> None:
    service = await house.open(limits=DomainLimits(sessions_each=2))
    people = [await visitor(service, owner, OWNER) for _ in range(3)]
    with pytest.raises(SessionEnded, match="took its place"):
        await people[0]("project.list")
    assert len(await people[2]("session.list")) == 2


async def test_logins_and_their_ends_are_in_the_audit_log(scientist: Any, owner: Any) -> None:
    [held] = await scientist("session.list")
    await owner("session.end", id=held["id"])
    await scientist("auth.logout")
    await scientist.login(*JANE)
    await scientist("auth.logout")
    entries = [one for one in await owner("audit.list") if one["actor"] in (JANE[0], OWNER[0])][:4]
    assert [one["action"] for one in entries] == ["auth.logout", "auth.login", "session.end", "auth.login"]
    assert entries[1]["details"]["key"] == scientist.identity.public.hex()
