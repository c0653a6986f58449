"""The table of verbs, and who is let through to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgrid.domain.accounts import PERMISSIONS, Role
from p2pgrid.domain.service import VERBS
from p2pgrid.errors import InvalidInput, LocalError, NotAllowed, NotLoggedIn

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "email password name role id side offset limit upload data tags assets contributors project code inputs reason "
    "key signature result execution before old new description input_policy output_policy"
]


def test_each_permission_is_a_verb_and_each_verb_has_one() -> None:
    assert set(VERBS) == set(PERMISSIONS)
    assert all(row.name == name and row.least is PERMISSIONS[name] for name, row in VERBS.items())


@pytest.mark.parametrize("verb", sorted(PERMISSIONS))
async def test_a_stranger_is_stopped_before_the_arguments_are_read(guest: Any, verb: str) -> None:
    if PERMISSIONS[verb] is Role.GUEST:
        return
    with pytest.raises(NotLoggedIn):
        await guest()(verb, nonsense=1)


async def test_a_data_scientist_is_stopped_at_every_owners_verb(scientist: Any) -> None:
    for verb, least in PERMISSIONS.items():
        if least > Role.DATA_SCIENTIST:
            with pytest.raises(NotAllowed):
                await scientist(verb)


async def test_an_unknown_verb_is_refused(owner: Any) -> None:
    for verb in ("dataset.steal", "", "__class__"):
        with pytest.raises(InvalidInput, match="no verb"):
            await owner(verb)
    with pytest.raises(InvalidInput, match="named arguments"):
        await owner.service.call(owner.caller, "auth.whoami", ["not", "a", "map"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verb=st.sampled_from(sorted(set(PERMISSIONS) - {"auth.login", "account.set_password", "account.register"})),
    args=st.dictionaries(st.sampled_from(NAMES[0].split()), VALUES, max_size=8),
)
async def test_garbage_arguments_are_the_callers_fault(owner: Any, verb: str, args: dict[str, Any]) -> None:
    try:
        await owner.service.call(owner.caller, verb, args)
    except LocalError as error:
        assert error.code not in ("P2P-0004", "P2P-0408"), error  # noqa: PT017 - neither a fault of ours nor the disk's


async def test_node_metadata_is_for_anyone(guest: Any, house: Any) -> None:
    told = await guest()("node.metadata")
    assert (told["name"], told["id"], told["datasets"]) == ("my-domain", house.identity.id.hex(), 0)
