"""A domain on disk, its people, and what they bring."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, crypto, wire
from p2pgrid.domain.review import statement
from p2pgrid.domain.runner import Limits, Runner
from p2pgrid.domain.service import Caller, DomainLimits, DomainService
from p2pgrid.domain.storage import Storage

SUM = "def compute_sum(data):\n    return data.sum()\n"
OWNER = ("info@openmined.org", "changethis")
JANE = ("jane@caltech.edu", "abc123")


@dataclass
class Person:
    """One session of somebody: a link's key, an address, and what they do."""

    service: DomainService
    caller: Caller
    identity: crypto.Identity

    async def __call__(self, verb: str, /, **args: Any) -> Any:
        return await self.service.call(self.caller, verb, args)

    async def login(self, email: str, password: str) -> Any:
        return await self("auth.login", email=email, password=password)

    async def stage(self, value: Any) -> dict[str, Any]:
        dumped, upload, offset = assets.dump(value), secrets.token_hex(16), 0
        for chunk in dumped.chunks(1 << 20):
            await self("blob.put", upload=upload, offset=offset, data=bytes(chunk))
            offset += len(chunk)
        return {"upload": upload, "meta": dumped.meta.to_wire()}

    async def publish(self, name: str = "my dataset", data: Any = None, mock: Any = None, **more: Any) -> Any:
        data = np.array([1, 2, 3]) if data is None else data
        side = None if mock is False else await self.stage(np.array([1, 1, 1]) if mock is None else mock)
        asset = {"name": "my asset", "data": await self.stage(data), "mock": side}
        return await self("dataset.create", **{"name": name, "tags": ["#Numbers"], "assets": [asset], **more})

    async def ask(self, asset: str, code: str = SUM, name: str = "compute_sum", **more: Any) -> Any:
        fields = {
            "project": None,
            "name": name,
            "code": code,
            "inputs": {"data": asset},
            "input_policy": "ExactMatch",
            "output_policy": "SingleExecutionExactOutput",
            "reason": "to learn",
            **more,
        }
        return await self("request.create", **(await self.signed(fields)))

    async def signed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a request with their signature."""
        said = {"node": (await self("node.metadata"))["id"], "account": (await self("auth.whoami"))["email"], **fields}
        signature = self.identity.sign(b"code-request", statement(**said))
        return {**fields, "key": self.identity.public, "signature": signature}

    async def result(self, execution: str) -> Any:
        data, total = b"", 1
        while len(data) < total:
            piece = await self("result.read", execution=execution, offset=len(data), limit=1 << 20)
            data, total = data + piece["data"], piece["total"]
        return wire.unpack_value(data)


@dataclass
class House:
    """Opens a domain in one folder, one at a time as a node's lock sees to, and closes what is open."""

    folder: Path
    runner: Runner
    identity: crypto.Identity
    environments: dict[str, str] = field(default_factory=dict)
    open_services: list[DomainService] = field(default_factory=list)

    async def open(self, **more: Any) -> DomainService:
        await self.close()
        limits = more.pop("limits", DomainLimits(mock_run=Limits(wall_seconds=20.0)))
        storage = Storage.in_folder(self.folder)
        service = DomainService(storage, self.runner, identity=self.identity, name="my-domain", limits=limits, **more)
        await service.open()
        self.open_services.append(service)
        await service.ensure_owner()
        return service

    async def close(self) -> None:
        while self.open_services:
            await self.open_services.pop().close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    folder = tmp_path / "home"
    folder.mkdir()
    environments: dict[str, str] = {}
    runner = Runner(hide=[folder], environments=environments)
    house = House(folder, runner, crypto.Identity.generate(secrets.token_bytes), environments)
    yield house
    await house.close()
    await house.runner.close()


@pytest.fixture
async def service(house: House) -> DomainService:
    return await house.open()


@pytest.fixture
def guest(service: DomainService) -> Callable[..., Person]:
    """Somebody new who has not logged in."""

    def make(remote: str = "127.0.0.1") -> Person:
        identity = crypto.Identity.generate(secrets.token_bytes)
        return Person(service, Caller(key=identity.public, remote=remote), identity)

    return make


@pytest.fixture
async def owner(guest: Callable[..., Person]) -> Person:
    person = guest()
    await person.login(*OWNER)
    return person


@pytest.fixture
async def scientist(guest: Callable[..., Person], owner: Person) -> Person:
    return await registered(owner, guest, *JANE)


async def registered(owner: Person, guest: Callable[..., Person], email: str, password: str) -> Person:
    await owner("account.register", name="Jane Doe", email=email, password=password)
    person = guest()
    await person.login(email, password)
    return person


Newcomer = Callable[[str], Awaitable[Person]]


@pytest.fixture
def newcomer(owner: Person, guest: Callable[..., Person]) -> Newcomer:
    """Another data scientist, logged in."""
    return lambda email: registered(owner, guest, email, "abc123")
