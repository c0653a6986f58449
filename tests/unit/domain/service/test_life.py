"""Random lives of a request against a model of what may be spent and released."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgrid import assets, crypto, wire
from p2pgrid.domain.review import statement
from p2pgrid.domain.runner import Runner
from p2pgrid.domain.service import Caller, DomainService
from p2pgrid.domain.storage import Storage
from p2pgrid.errors import Conflict, Denied, P2PError, Pending, PolicyRefused

STEPS = st.lists(st.sampled_from(["approve", "deny", "deposit", "call", "call", "restart"]), min_size=3, max_size=10)


@dataclass
class Model:
    """What the rules say: status, what waits, what was released."""

    limit: int
    status: str = "PENDING"
    runnable: bool = False
    waiting: str | None = None
    released: tuple[Any, ...] = ()

    def verdict(self, step: str, value: str) -> type[P2PError] | None:
        if step == "approve":
            if self.status == "APPROVED":
                return Conflict
            self.status, self.runnable = "APPROVED", True
        elif step == "deny":
            self.status, self.runnable, self.waiting = "DENIED", False, None
        else:
            if len(self.released) >= self.limit:
                return Conflict
            self.status, self.waiting = "APPROVED", value
        return None

    def call(self) -> type[P2PError] | Any:
        if self.status != "APPROVED":
            if self.released:
                return self.released[-1]  # a later denial takes back nothing
            return Denied if self.status == "DENIED" else Pending
        if len(self.released) < self.limit and self.waiting is not None:
            self.released, self.waiting = (*self.released, self.waiting), None
        elif len(self.released) < self.limit and self.runnable:
            self.released = (*self.released, 6)
        return self.released[-1] if self.released else PolicyRefused


class Played:
    """The same steps on a real domain."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner = folder, Runner(hide=[folder])
        self.identity = crypto.Identity.generate(secrets.token_bytes)
        self.caller = Caller(key=self.identity.public)

    async def start(self) -> None:
        storage = Storage.in_folder(self.folder)
        self.service = DomainService(storage, self.runner, identity=self.identity, name="life")
        await self.service.open()
        await self.service.ensure_owner(verify_key=self.identity.public)
        await self.do("auth.key")

    async def do(self, verb: str, **args: Any) -> Any:
        return await self.service.call(self.caller, verb, args)

    async def ask(self, limit: int) -> dict[str, Any]:
        dumped, upload = assets.dump(np.array([1, 2, 3])), secrets.token_hex(16)
        await self.do("blob.put", upload=upload, offset=0, data=dumped.tobytes())
        asset = {"name": "a", "data": {"upload": upload, "meta": dumped.meta.to_wire()}}
        made = await self.do("dataset.create", name="d", assets=[asset])
        fields = {
            "project": None,
            "name": "f",
            "code": "def f(data):\n    return int(data.sum())\n",
            "inputs": {"data": made["assets"][0]["id"]},
            "input_policy": "ExactMatch",
            "output_policy": {"kind": "OutputPolicyExecuteCount", "limit": limit},
            "reason": "",
        }
        said = {"node": self.identity.id.hex(), "account": "info@openmined.org", **fields}
        signature = self.identity.sign(b"code-request", statement(**said))
        request = await self.do("request.create", **fields, key=self.identity.public, signature=signature)
        return dict(request)

    async def call(self, request: dict[str, Any]) -> Any:
        given = {"data": {"asset": request["inputs"]["data"]}}
        answer = await self.do("code.call", id=request["code_id"], inputs=given)
        return wire.unpack_value((await self.do("result.read", execution=answer["execution"]))["data"])


async def play(steps: list[str], limit: int, folder: Path) -> None:
    model, played = Model(limit), Played(folder)
    await played.start()
    request = await played.ask(limit)
    for number, step in enumerate(steps):
        value = f"deposit {number}"
        if step == "restart":
            await played.service.close()
            await played.start()
        elif step == "call":
            await must(model.call(), played.call(request))
        else:
            more = {"deposit": {"result": wire.pack_value(value)}, "deny": {"reason": "no"}}.get(step, {})
            refused = model.verdict(step, value)
            doing = played.do(f"request.{step}", id=request["id"], **more)
            await (must(refused, doing) if refused else doing)
        held = await played.do("request.get", id=request["id"])
        assert (held["status"], held["released"]) == (model.status, len(model.released))
    entries = [entry["action"] for entry in await played.do("audit.list", limit=1000)]
    assert entries.count("result.release") == len(model.released)
    assert await played.service.verify_audit() is None
    await played.service.close()
    await played.runner.close()


async def must(expected: Any, doing: Any) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            await doing
    else:
        assert await doing == expected


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 3))
def test_any_life_of_a_request_goes_as_its_rules_say(steps: list[str], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(steps, limit, Path(folder)))
