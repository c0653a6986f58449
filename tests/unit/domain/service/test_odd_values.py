"""Whatever value stands for an argument: the answer is an error that may be shown, never a fault of ours."""

from __future__ import annotations

import datetime as dt
import inspect
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from p2pgrid.domain.service import VERBS
from p2pgrid.errors import InternalError, P2PError

ODD: dict[str, Any] = {
    "array": np.zeros(3),
    "empty-array": np.zeros(0),
    "scalar": np.float64("nan"),
    "frame": pd.DataFrame({"a": [1, 2]}),
    "nan": float("nan"),
    "big": 2**63,
    "bytes": b"\xff",
    "list": [[[]]],
    "map": {"kind": np.zeros(2)},
    "number-keys": {1: 2, None: 3},
    "time": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "true": True,
    "text": "\0" * 32,
}
ARGUMENT = re.compile(
    r'[._](?:text|label|id|maybe_id|digest|number|blob|raw|has|texts|children|child|named|meta|or)\((?:args, )?"(\w+)"'
)


def arguments(verb: str) -> list[str]:
    """The names that the verb's module reads."""
    module = inspect.getmodule(VERBS[verb].work)
    return sorted(set(ARGUMENT.findall(inspect.getsource(module)))) if module else []


async def is_answered(person: Any, verb: str, args: Any) -> bool:
    """Whether the verb ends in an answer, or in an error that is not a fault of ours."""
    try:
        await person.service.call(person.caller, verb, args)
    except P2PError as error:
        return not isinstance(error, InternalError)
    return True


@pytest.mark.parametrize("kind", ODD)
async def test_odd_values_for_every_argument_of_every_verb(owner: Any, kind: str) -> None:
    asset = (await owner.publish(mock=False))["assets"][0]["id"]
    good = {
        "code": "def f(data):\n    return 1\n",
        "inputs": {"data": asset},
        "key": owner.identity.public,
        "signature": bytes(64),
        "side": "data",
        "result": b"\x01",
        "id": asset,
        "upload": "0" * 32,
        "data": b"",
        "offset": 0,
        "assets": [{"name": "a", "data": {"upload": "0" * 32, "meta": {}}}],
        "email": "a@b.c",
        "password": "secret1",
        "name": "f",
    }
    assert {"input_policy", "output_policy", "inputs", "signature"} <= set(arguments("request.create"))
    for verb in VERBS.keys() - {
        "auth.login",
        "account.set_password",
    }:  # a password takes 80 ms, and is a text as others
        for name in arguments(verb):
            assert await is_answered(owner, verb, {**good, name: ODD[kind]}), (verb, name)


@pytest.mark.parametrize("kind", ODD)
async def test_arguments_that_are_no_map(owner: Any, kind: str) -> None:
    for verb in VERBS:
        assert await is_answered(owner, verb, ODD[kind]), verb
