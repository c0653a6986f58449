"""Many domains in one process: they share nothing, and each costs little."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from p2pgrid import crypto
from p2pgrid.domain.runner import Runner
from p2pgrid.domain.service import Caller, DomainService
from p2pgrid.domain.storage import Storage
from p2pgrid.errors import NotLoggedIn

MANY = 60


async def test_sixty_domains_are_small_and_apart(tmp_path: Path) -> None:
    process, runner = psutil.Process(), Runner()
    services: list[DomainService] = []
    memory, files = process.memory_info().rss, process.num_fds()
    for number in range(MANY):
        identity = crypto.Identity.generate(secrets.token_bytes)
        storage = Storage.in_folder(tmp_path / str(number))
        service = DomainService(storage, runner, identity=identity, name=f"domain {number}")
        await service.open()
        await service.ensure_owner(verify_key=identity.public)
        services.append(service)
    assert process.memory_info().rss - memory < MANY * (2 << 20)
    assert process.num_fds() - files <= MANY * 6
    assert threading.active_count() < 40
    callers: list[Any] = [Caller(key=service._domain.identity.public) for service in services]
    for service, caller in zip(services, callers, strict=True):
        await service.call(caller, "auth.key", {})
    with pytest.raises(NotLoggedIn):
        await services[0].call(callers[1], "auth.whoami", {})
    for service in services:
        await service.close()
    await runner.close()
    assert process.num_fds() <= files + 4
