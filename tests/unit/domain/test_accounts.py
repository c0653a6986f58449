"""Roles, permissions, e-mails and passwords."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import crypto
from p2pgrid.domain import accounts
from p2pgrid.domain.accounts import PERMISSIONS, Guests, Role, permit
from p2pgrid.errors import InvalidInput, NotAllowed, NotLoggedIn

GUESTS = {
    "auth.login auth.key auth.whoami auth.logout auth.redeem node.metadata node.confinement dataset.list "
    "dataset.search dataset.get",
    "session.list session.end session.end_all notification.list notification.read",
    "account.sign_up account.update account.set_password account.set_email account.set_key account.delete",
}
SCIENTISTS = {
    "asset.read project.create project.list project.get request.create request.list request.get request.proof "
    "code.list code.call result.read request.review rules.list",
    "job.start job.list job.get job.wait job.logs job.cancel job.retry",
}
OWNERS = {
    "account.register account.list account.set_role account.activate account.deactivate account.reset settings.get "
    "settings.set dataset.create dataset.update dataset.replace dataset.delete blob.put request.approve request.deny "
    "request.deposit request.withdraw request.run rules.set audit.list audit.export audit.verify",
}


def words(texts: set[str]) -> set[str]:
    return set(" ".join(texts).split())


def test_the_table_is_this_one() -> None:
    by_role = {role: {verb for verb, least in PERMISSIONS.items() if least is role} for role in Role}
    assert by_role == {
        Role.GUEST: words(GUESTS),
        Role.DATA_SCIENTIST: words(SCIENTISTS),
        Role.DATA_OWNER: words(OWNERS),
        Role.ADMIN: set(),
    }


@pytest.mark.parametrize(("verb", "role"), list(itertools.product(sorted(PERMISSIONS), [None, *Role])))
def test_every_verb_for_every_role(verb: str, role: Role | None) -> None:
    allowed = verb in words(GUESTS)
    allowed = allowed or (role is not None and role >= Role.DATA_SCIENTIST and verb in words(SCIENTISTS))
    allowed = allowed or (role is not None and role >= Role.DATA_OWNER)
    if allowed:
        permit(verb, role)
    else:
        with pytest.raises(NotLoggedIn if role is None else NotAllowed):
            permit(verb, role)


@pytest.mark.parametrize(("verb", "guests"), list(itertools.product(sorted(PERMISSIONS), Guests)))
def test_every_verb_for_visitors_without_an_account(verb: str, guests: Guests) -> None:
    doorstep = words({"auth.login auth.key auth.whoami auth.logout auth.redeem account.sign_up node.metadata"})
    allowed = verb in doorstep or (guests is not Guests.NOTHING and verb in words(GUESTS))
    if allowed or (guests is Guests.MOCKS and verb == "asset.read"):
        permit(verb, None, guests)
    else:
        with pytest.raises(NotLoggedIn):
            permit(verb, None, guests)
    if verb not in words(OWNERS):
        permit(verb, Role.DATA_SCIENTIST, guests)


@pytest.mark.parametrize(("role", "other"), list(itertools.product(Role, Role)))
def test_who_manages_whom(role: Role, other: Role) -> None:
    managed = {"data owner": ["guest", "data scientist"], "admin": ["guest", "data scientist", "data owner", "admin"]}
    if other.words in managed.get(role.words, []):
        accounts.manage(role, other, "close")
    else:
        with pytest.raises(NotAllowed, match="cannot close an account"):
            accounts.manage(role, other, "close")


@pytest.mark.parametrize("text", ["data scientist", "DATA_SCIENTIST", " Data-Scientist "])
def test_a_role_has_many_spellings(text: str) -> None:
    assert accounts.parse_role(text) is Role.DATA_SCIENTIST


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidInput, match="data owner"):
        accounts.parse_role("root")


@pytest.mark.parametrize(
    "text", ["", "jane", "@x", "x@", "a@b@c", "ja ne@x", "a\n@x", "a\u202e@x", "x" * 250 + "@abcd"]
)
def test_what_is_no_email(text: str) -> None:
    with pytest.raises(InvalidInput):
        accounts.normalise_email(text)


@given(st.emails())
def test_an_email_has_one_form(email: str) -> None:
    once = accounts.normalise_email(email)
    assert accounts.normalise_email(once) == once
    assert accounts.normalise_email(f"  {email.upper()} ") == accounts.normalise_email(email.upper())


def test_the_default_hash_is_the_default_passwords() -> None:
    assert accounts.hash_for(accounts.DEFAULT_PASSWORD) == accounts.DEFAULT_HASH
    assert accounts.opens(accounts.DEFAULT_HASH, accounts.DEFAULT_PASSWORD)
    assert not accounts.opens(accounts.DEFAULT_HASH, "changethat")


def test_an_absent_account_costs_what_a_present_one_does() -> None:
    parameters = {hashed.split("$")[1:4].__repr__() for hashed in (accounts.ABSENT_HASH, accounts.DEFAULT_HASH)}
    assert parameters == {crypto.hash_password("any password").split("$")[1:4].__repr__()}


def test_nothing_opens_an_absent_account() -> None:
    assert not accounts.opens(None, "nobody-0")
    assert not accounts.opens(None, accounts.DEFAULT_PASSWORD)


def test_each_keyboards_password_is_the_same() -> None:
    assert accounts.normalise_password("cafe\u0301s") == accounts.normalise_password("caf\u00e9s")


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        accounts.check_new_password(password)
    assert not password or password not in str(caught.value)
