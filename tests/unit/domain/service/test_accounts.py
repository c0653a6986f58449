"""The life of an account: asked for, changed, closed, deleted; and the attacks on that."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from p2pgrid.domain.accounts import MANAGES, Role
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import (
    Conflict,
    Denied,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotLoggedIn,
    TooLarge,
    TooManyTries,
    WrongLogin,
)

OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")
NEW = {"name": "Mallory", "email": "mallory@x", "password": "abcdef"}


@pytest.fixture
def member(owner: Any, guest: Any) -> Any:
    """Somebody of a role, logged in."""

    async def make(role: Role, email: str) -> Any:
        await owner("account.register", name="Somebody", email=email, password="changethis", role=role.words)
        person = guest()
        await person.login(email, "changethis")
        return person

    return make


@pytest.mark.parametrize(("role", "other"), list(itertools.product(Role, Role)))
async def test_every_verb_on_somebody_elses_account(member: Any, owner: Any, role: Role, other: Role) -> None:
    actor = await member(role, "actor@x")
    await member(other, "other@x")
    verbs: dict[str, dict[str, Any]] = {
        "session.list": {},
        "session.end_all": {},
        "account.update": {"institution": "Caltech"},
        "account.set_role": {"role": "guest"},
        "account.reset": {},
        "account.deactivate": {},
        "account.activate": {},
        "account.delete": {},
    }
    for verb, args in verbs.items():
        if verb == "account.activate":
            await owner("account.set_role", account="other@x", role=other.words)
        if other in MANAGES[role]:
            await actor(verb, account="other@x", **args)
        else:
            with pytest.raises(NotAllowed):
                await actor(verb, account="other@x", **args)
        if verb == "account.set_role":
            await owner(verb, account="other@x", role=other.words)


# ------------------------------------------------------------ signing up


async def test_nobody_signs_up_where_an_owner_did_not_allow_it(guest: Any) -> None:
    with pytest.raises(NotAllowed, match="Nobody signs up"):
        await guest()("account.sign_up", **NEW)


async def test_who_signs_up_where_it_is_open_logs_in_at_once(owner: Any, guest: Any) -> None:
    await owner("settings.set", name="sign_up", value="open")
    person = guest()
    assert (await person("node.metadata"))["sign_up"] == "open"
    assert await person("account.sign_up", **NEW, website="example.org") == {"email": NEW["email"], "sign_up": "open"}
    account = await person.login(NEW["email"], NEW["password"])
    assert (account["role"], account["website"]) == ("data scientist", "https://example.org")


async def test_who_asks_for_an_account_waits_for_an_owner(owner: Any, guest: Any) -> None:
    await owner("settings.set", name="sign_up", value="approval")
    person = guest()
    await person("account.sign_up", **NEW)
    with pytest.raises(NotAllowed, match="waits for a data owner"):
        await person.login(NEW["email"], NEW["password"])
    with pytest.raises(WrongLogin):
        await person.login(NEW["email"], "a guess")
    told = (await owner("notification.list"))["notifications"][0]
    waiting = next(one for one in await owner("account.list") if one["id"] == told["subject"])
    assert (told["kind"], waiting["email"], waiting["active"]) == ("account.sign_up", NEW["email"], False)
    await owner("account.activate", account=NEW["email"])
    assert (await person.login(NEW["email"], NEW["password"]))["active"]


async def test_privilege_escalation_by_signing_up_with_a_higher_role(owner: Any, guest: Any) -> None:
    await owner("settings.set", name="sign_up", value="open")
    for role in ("admin", "data owner", 3):
        with pytest.raises(NotAllowed, match="role cannot be asked for"):
            await guest()("account.sign_up", **NEW, role=role)
    await guest()("account.sign_up", **NEW, active=True, epoch=9, verify_key="00" * 32, is_owner=True)
    made = next(one for one in await owner("account.list") if one["email"] == NEW["email"])
    assert (made["role"], made["verify_key"]) == ("data scientist", None)


async def test_signing_up_tells_nobody_who_has_an_account(owner: Any, scientist: Any, guest: Any) -> None:
    await owner("settings.set", name="sign_up", value="open")
    taken = await guest()("account.sign_up", name="Eve", email=JANE[0], password="stolen")
    assert taken == {"email": JANE[0], "sign_up": "open"}
    with pytest.raises(WrongLogin):
        await guest("10.0.0.2").login(JANE[0], "stolen")
    assert (await guest().login(*JANE))["name"] == "Jane Doe"


async def test_a_flood_of_sign_ups_is_bounded(house: Any, owner: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(sign_ups_waiting=3))
    person = guest()
    await service.call(person.caller, "auth.login", dict(zip(("email", "password"), OWNER, strict=True)))
    await service.call(person.caller, "settings.set", {"name": "sign_up", "value": "approval"})
    for number in range(5):
        try:
            await service.call(guest("10.0.0.2").caller, "account.sign_up", {**NEW, "email": f"m{number}@x"})
        except TooLarge:
            assert number >= 3
    with pytest.raises(TooManyTries):
        await service.call(guest("10.0.0.2").caller, "account.sign_up", NEW)
    with pytest.raises(TooLarge, match="3 accounts wait"):
        await service.call(guest("10.0.0.3").caller, "account.sign_up", NEW)


# ------------------------------------------------------------ guests


async def test_what_guests_see_is_a_setting(owner: Any, guest: Any, scientist: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    person = guest()
    read = {"id": asset, "side": "mock"}
    assert len(await person("dataset.list")) == 1
    with pytest.raises(NotLoggedIn):
        await person("asset.read", **read)
    await owner("settings.set", name="guests", value="mocks")
    assert (await person("asset.read", **read))["total"] > 0
    with pytest.raises(NotAllowed):
        await person("asset.read", id=asset, side="data")
    await owner("settings.set", name="guests", value="nothing")
    for verb, args in (("dataset.list", {}), ("asset.read", read)):
        with pytest.raises(NotLoggedIn):
            await person(verb, **args)
    assert (await person("node.metadata"))["guests"] == "nothing"
    assert len(await scientist("dataset.list")) == 1


async def test_a_setting_outlives_a_restart_and_is_on_record(owner: Any, house: Any, guest: Any) -> None:
    await owner("settings.set", name="guests", value="nothing")
    entry = (await owner("audit.list"))[0]
    assert (entry["action"], entry["subject"]) == ("settings.set", "guests")
    assert entry["details"] == {"value": "nothing", "before": "metadata"}
    await house.close()
    service = await house.open()
    with pytest.raises(NotLoggedIn):
        await service.call(guest().caller, "dataset.list", {})


# ------------------------------------------------------------ changing


async def test_people_update_what_they_say_of_themselves(scientist: Any, owner: Any) -> None:
    fields = {"institution": "Caltech", "website": "http://jane.example", "name": "Jane Q. Doe", "mail": False}
    changed = await scientist("account.update", **fields)
    assert {name: changed[name] for name in fields} == fields
    assert (await scientist("account.update", institution=""))["institution"] == ""
    assert (await scientist("auth.whoami"))["website"] == "http://jane.example"
    await owner("account.update", account=JANE[0], institution="MIT")
    assert (await scientist("auth.whoami"))["institution"] == "MIT"


@pytest.mark.parametrize("website", ["javascript:alert(1)", "data:text/html,x", "http://a\nb", "javascript://x"])
async def test_a_website_that_would_run_is_refused(scientist: Any, website: str) -> None:
    with pytest.raises(InvalidInput):
        await scientist("account.update", website=website)


async def test_a_new_email_logs_in_and_the_old_one_does_not(scientist: Any, guest: Any, owner: Any) -> None:
    for password in ("a guess", ""):
        with pytest.raises(WrongLogin):
            await scientist("account.set_email", email="jane@mit.edu", password=password)
    with pytest.raises(Conflict, match="cannot be used"):
        await scientist("account.set_email", email=OWNER[0], password=JANE[1])
    await scientist("account.set_email", email=" Jane@MIT.edu", password=JANE[1])
    await guest().login("jane@mit.edu", JANE[1])
    with pytest.raises(WrongLogin):
        await guest().login(*JANE)


async def test_a_new_role_counts_at_once(scientist: Any, owner: Any) -> None:
    await owner("account.set_role", account=JANE[0], role="data owner")
    assert len(await scientist("account.list")) == 2
    await owner("account.set_role", account=JANE[0], role="guest")
    with pytest.raises(NotAllowed):
        await scientist("project.list")


async def test_an_owner_cannot_raise_anybody_to_their_own_role(member: Any, scientist: Any) -> None:
    bob = await member(Role.DATA_OWNER, "bob@x")
    for account in ("bob@x", JANE[0]):
        for role in ("admin", "data owner"):
            with pytest.raises(NotAllowed):
                await bob("account.set_role", account=account, role=role)


async def test_the_last_admin_cannot_leave(owner: Any, member: Any) -> None:
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("account.set_role", {"account": OWNER[0], "role": "data owner"}),
        ("account.deactivate", {}),
        ("account.delete", {"password": OWNER[1]}),
    )
    for verb, args in steps:
        with pytest.raises(Conflict, match="last admin"):
            await owner(verb, **args)
    assert (await owner("auth.whoami"))["role"] == "admin"
    await member(Role.ADMIN, "bob@x")
    await owner("account.set_role", account=OWNER[0], role="data scientist")
    with pytest.raises(NotAllowed):
        await owner("account.list")


# ------------------------------------------------------------ closing


async def test_a_closed_account_logs_out_and_keeps_its_requests(owner: Any, scientist: Any, guest: Any) -> None:
    request = await scientist.ask((await owner.publish())["assets"][0]["id"])
    await owner("account.deactivate", account=JANE[0])
    with pytest.raises(NotLoggedIn):
        await scientist("project.list")
    with pytest.raises(NotAllowed, match="closed"):
        await scientist.login(*JANE)
    assert (await owner("request.get", id=request["id"]))["status"] == "PENDING"
    await owner("account.activate", account=JANE[0])
    await scientist.login(*JANE)
    assert len(await scientist("request.list")) == 1


async def test_a_deleted_account_leaves_nothing_of_its_person(owner: Any, scientist: Any, guest: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    pending, approved = await scientist.ask(asset), await scientist.ask(asset)
    await scientist("project.create", id="1" * 32, name="a project")
    await owner("request.approve", id=approved["id"])
    await owner("account.delete", account=JANE[0])
    with pytest.raises(NotLoggedIn):
        await scientist("code.call", id=approved["code_id"], inputs={})
    with pytest.raises(WrongLogin):
        await guest().login(*JANE)
    found = await owner("request.list")
    assert {one["id"]: one["status"] for one in found} == {pending["id"]: "DENIED", approved["id"]: "DENIED"}
    shown = repr([found, await owner("project.list"), await owner("account.list")])
    assert "jane" not in shown.lower()
    with pytest.raises(NotFound):
        await owner("account.activate", account=JANE[0])
    assert [one["email"] for one in await owner("account.list")] == [OWNER[0]]
    await owner("account.register", name="Jane Doe", email=JANE[0], password="another")
    again = guest()
    await again.login(JANE[0], "another")
    assert await again("request.list") == []


async def test_people_delete_their_own_account_with_their_password(scientist: Any, owner: Any) -> None:
    with pytest.raises(WrongLogin):
        await scientist("account.delete", password="a guess")
    await scientist("account.delete", password=JANE[1])
    with pytest.raises(NotLoggedIn):
        await scientist("auth.whoami")


async def test_a_denied_call_after_an_account_was_closed_and_opened(owner: Any, scientist: Any) -> None:
    request = await scientist.ask((await owner.publish())["assets"][0]["id"])
    await owner("request.deny", id=request["id"], reason="no")
    await owner("account.deactivate", account=JANE[0])
    await owner("account.activate", account=JANE[0])
    await scientist.login(*JANE)
    with pytest.raises(Denied):
        await scientist("code.call", id=request["code_id"], inputs={})


# ------------------------------------------------------------ a forgotten password


async def test_a_code_chooses_a_new_password_once(owner: Any, scientist: Any, guest: Any) -> None:
    made = await owner("account.reset", account=JANE[0])
    assert await scientist("project.list") == []
    new = {"email": JANE[0], "code": made["code"], "password": "better password"}
    await guest()("auth.redeem", **new)
    with pytest.raises(NotLoggedIn):
        await scientist("project.list")
    await guest().login(JANE[0], "better password")
    with pytest.raises(WrongLogin):
        await guest()("auth.redeem", **{**new, "password": "another one"})


async def test_a_stolen_or_guessed_code_is_worth_little(owner: Any, scientist: Any, newcomer: Any, guest: Any) -> None:
    await newcomer("bob@x")
    made = await owner("account.reset", account=JANE[0])
    wrong = [("bob@x", made["code"]), ("nobody@x", made["code"]), (JANE[0], ""), (JANE[0], made["code"][:-1])]
    causes = set()
    for email, code in wrong:
        with pytest.raises(WrongLogin) as caught:
            await guest()("auth.redeem", email=email, code=code, password="better password")
        causes.add(str(caught.value))
    assert len(causes) == 1
    with pytest.raises(InvalidInput, match="default password"):
        await guest()("auth.redeem", email=JANE[0], code=made["code"], password="changethis")
    for _ in range(6):
        with pytest.raises(WrongLogin):
            await guest()("auth.redeem", email=JANE[0], code="a guess", password="better password")
    with pytest.raises(TooManyTries):
        await guest()("auth.redeem", email=JANE[0], code=made["code"], password="better password")


async def test_a_session_left_open_cannot_take_the_account(owner: Any, guest: Any) -> None:
    for args in ({}, {"account": OWNER[0]}):
        with pytest.raises(NotAllowed, match="login by key"):
            await owner("account.reset", **args)
    await owner.service.ensure_owner(verify_key=owner.identity.public)
    await owner("auth.key")
    made = await owner("account.reset")
    await guest()("auth.redeem", email=OWNER[0], code=made["code"], password="better password")
    await guest().login(OWNER[0], "better password")


async def test_a_code_grows_old_and_ends_with_a_change_of_password(house: Any, owner: Any, scientist: Any) -> None:
    made = await owner("account.reset", account=JANE[0])
    await scientist("account.set_password", old=JANE[1], new="better password")
    new = {"email": JANE[0], "code": made["code"], "password": "stolen password"}
    with pytest.raises(WrongLogin):
        await owner("auth.redeem", **new)
    made = await owner("account.reset", account=JANE[0])
    service = await house.open(clock=lambda: owner.service._domain.clock() + 25 * 3600)
    with pytest.raises(WrongLogin, match="too old"):
        await service.call(owner.caller, "auth.redeem", {**new, "code": made["code"]})


async def test_no_code_in_the_audit_log_or_the_database(owner: Any, scientist: Any, house: Any) -> None:
    made = await owner("account.reset", account=JANE[0])
    assert made["code"] not in repr(await owner("audit.list"))
    await house.close()
    for path in house.folder.iterdir():
        if path.is_file():
            assert made["code"].encode() not in path.read_bytes()
