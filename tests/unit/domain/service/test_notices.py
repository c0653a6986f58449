"""What people are told, and that it holds nothing private."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pgrid.domain.notices import NOTICES, RETRIES, letter, next_try
from p2pgrid.domain.service import DomainLimits
from p2pgrid.errors import InvalidInput, NotLoggedIn

OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")


async def kinds(person: Any, **args: Any) -> list[str]:
    return [one["kind"] for one in (await person("notification.list", **args))["notifications"]]


async def test_owners_hear_of_requests_and_authors_of_verdicts(owner: Any, scientist: Any, newcomer: Any) -> None:
    bob = await newcomer("bob@x")
    request = await scientist.ask((await owner.publish())["assets"][0]["id"])
    told = (await owner("notification.list"))["notifications"][0]
    assert (told["kind"], told["subject"], told["read"]) == ("request.create", request["id"], False)
    await owner("request.deny", id=request["id"], reason="no")
    await owner("request.approve", id=request["id"])
    await owner("request.deposit", id=request["id"], result=b"\x01")
    assert await kinds(scientist) == ["request.deposit", "request.approve", "request.deny", "account.create"]
    assert await kinds(bob) == ["account.create"]
    assert await kinds(owner) == ["request.create"]


async def test_nobody_is_told_of_what_they_did_to_requests(owner: Any) -> None:
    request = await owner.ask((await owner.publish())["assets"][0]["id"])
    await owner("request.approve", id=request["id"])
    assert await kinds(owner) == []


async def test_people_hear_of_what_others_do_to_their_account(owner: Any, scientist: Any) -> None:
    await owner("account.reset", account=JANE[0])
    await owner("account.set_role", account=JANE[0], role="guest")
    await scientist("account.set_password", old=JANE[1], new="better password")
    assert await kinds(scientist) == ["account.password", "account.role", "account.reset", "account.create"]


async def test_notices_are_marked_as_read(owner: Any, scientist: Any, newcomer: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    await scientist.ask(asset)
    await scientist.ask(asset)
    box = await owner("notification.list")
    assert box["unread"] == 2
    first = box["notifications"][0]["id"]
    bob = await newcomer("bob@x")
    assert await bob("notification.read", ids=[first]) == {"unread": 1}
    assert await owner("notification.read", ids=[first, first, "0" * 32]) == {"unread": 1}
    assert len(await kinds(owner, unread=True)) == 1
    assert len(await kinds(owner, limit=1, offset=1)) == 1
    assert await owner("notification.read") == {"unread": 0}
    assert await kinds(owner, unread=True) == []
    for ids in ([], ["x"], [first] * 1001, "x"):
        with pytest.raises(InvalidInput):
            await owner("notification.read", ids=ids)


async def test_a_visitor_has_no_box(guest: Any) -> None:
    for verb in ("notification.list", "notification.read"):
        with pytest.raises(NotLoggedIn):
            await guest()(verb)


async def test_a_box_is_bounded_and_keeps_the_newest(house: Any, owner: Any, guest: Any) -> None:
    service = await house.open(limits=DomainLimits(notices_each=3))
    person = guest()
    await service.ensure_owner(verify_key=person.identity.public)
    await service.call(person.caller, "auth.key", {})
    for _ in range(5):
        await service.call(person.caller, "account.reset", {})
    box = await service.call(person.caller, "notification.list", {})
    assert [one["kind"] for one in box["notifications"]] == ["account.reset"] * 3


async def test_notices_carry_nothing_private(owner: Any, scientist: Any) -> None:
    code = "def secret_function(data):\n    return 'secret result'\n"
    asset = (await owner.publish(name="secret dataset"))["assets"][0]["id"]
    request = await scientist.ask(asset, code=code, name="secret_function", reason="secret purpose")
    await owner("request.deny", id=request["id"], reason="secret reason")
    await owner("request.approve", id=request["id"])
    boxes = [await owner("notification.list"), await scientist("notification.list")]
    letters = [letter(one["kind"], one["subject"], "Bob", JANE[0]) for box in boxes for one in box["notifications"]]
    assert len(letters) == 4
    for text in (json.dumps(boxes, default=str), repr(letters)):
        assert "secret" not in text
        assert "abc123" not in text


def test_each_notice_has_words_of_its_own() -> None:
    texts = [telling.text for telling in NOTICES.values()]
    assert len(set(texts)) == len(texts)
    assert all(text.endswith(".") and text.isascii() for text in texts)


def test_tries_are_bounded_and_ever_farther_apart() -> None:
    waits = [next_try(tries) for tries in range(1, len(RETRIES) + 2)]
    assert waits[-1] is None
    assert waits[:-1] == sorted(RETRIES)
