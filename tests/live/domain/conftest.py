"""A domain that is opened on whichever database and shelf a test names, and the people who use it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, crypto, wire
from p2pgrid.domain.review import statement
from p2pgrid.domain.runner import Runner
from p2pgrid.domain.service import Caller, DomainService
from p2pgrid.domain.storage import Storage

OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")
SUM = "def f(data):\n    return data.sum()\n"


@dataclass
class Person:
    """Somebody logged in, who stays so when the domain is opened again."""

    estate: Estate
    identity: crypto.Identity
    caller: Caller

    async def __call__(self, verb: str, /, **args: Any) -> Any:
        assert self.estate.service is not None
        return await self.estate.service.call(self.caller, verb, args)

    async def stage(self, value: Any) -> dict[str, Any]:
        """An upload of a value."""
        dumped, upload, offset = assets.dump(value), secrets.token_hex(16), 0
        for chunk in dumped.chunks(1 << 20):
            await self("blob.put", upload=upload, offset=offset, data=bytes(chunk))
            offset += len(chunk)
        return {"upload": upload, "meta": dumped.meta.to_wire()}

    async def publish(self, name: str = "numbers", data: Any = None, **more: Any) -> Any:
        """A dataset of one asset."""
        data = await self.stage(np.array([1, 2, 3]) if data is None else data)
        asset = {"name": "values", "data": data, "mock": await self.stage(np.array([1, 1, 1]))}
        return await self("dataset.create", **{"name": name, "tags": [], "assets": [asset], **more})

    async def ask(self, asset: str, code: str = SUM, policy: str = "SingleExecutionExactOutput") -> Any:
        """A request to run ``f`` on an asset."""
        fields = {
            "project": None,
            "name": "f",
            "code": code,
            "inputs": {"data": asset},
            "input_policy": "ExactMatch",
            "output_policy": policy,
            "reason": "to learn",
        }
        said = {"node": (await self("node.metadata"))["id"], "account": (await self("auth.whoami"))["email"], **fields}
        signature = self.identity.sign(b"code-request", statement(**said))
        return await self("request.create", **fields, key=self.identity.public, signature=signature)

    async def run(self, request: Any) -> Any:
        """Call the code of a request."""
        inputs = {"data": {"asset": request["inputs"]["data"]}}
        return await self("code.call", id=request["code_id"], inputs=inputs)

    async def result(self, execution: str) -> Any:
        """What was released."""
        return wire.unpack_value((await self("result.read", execution=execution, offset=0, limit=1 << 20))["data"])

    async def actions(self) -> list[str]:
        """The audit log, in its order."""
        return [entry["action"] for entry in (await self("audit.list", limit=1000))[::-1]]


@dataclass
class Estate:
    """A node's home, and its domain while it is open."""

    folder: Path
    runner: Runner
    identity: crypto.Identity = field(default_factory=lambda: crypto.Identity.generate(secrets.token_bytes))
    service: DomainService | None = None

    async def open(self, database: str | None = None, shelf: str | None = None) -> DomainService:
        """Open the domain, anew if it is open: in SQLite and in the home unless told otherwise."""
        await self.close()
        url = database or f"sqlite:///{self.folder / 'domain.sqlite'}"
        storage = Storage(url, self.folder / "assets", assets_url=shelf)
        service = DomainService(storage, self.runner, identity=self.identity, name="estate")
        await service.open()
        self.service = service
        await service.ensure_owner()
        return service

    async def close(self) -> None:
        """Close it, if it is open."""
        service, self.service = self.service, None
        if service is not None:
            await service.close()

    async def login(self, email: str, password: str) -> Person:
        """Somebody at a place of their own."""
        identity = crypto.Identity.generate(secrets.token_bytes)
        person = Person(self, identity, Caller(key=identity.public, remote="127.0.0.1"))
        await person("auth.login", email=email, password=password)
        return person

    async def owner(self) -> Person:
        """The owner."""
        return await self.login(*OWNER)

    async def jane(self, owner: Person) -> Person:
        """A data scientist, whose account the owner makes."""
        await owner("account.register", name="Jane Doe", email=JANE[0], password=JANE[1])
        return await self.login(*JANE)


@pytest.fixture
async def estate(tmp_path: Path) -> AsyncIterator[Estate]:
    """A home of its own, with nothing in it."""
    folder = tmp_path / "estate"
    folder.mkdir()
    runner = Runner(hide=[folder])
    estate = Estate(folder, runner)
    yield estate
    await estate.close()
    await runner.close()
