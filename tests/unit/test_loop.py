"""Which event loop a node runs on."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec

import pytest

from p2pgrid import loop


async def _kind() -> type:
    return type(asyncio.get_running_loop())


def test_uvloop_is_used_when_it_is_installed() -> None:
    home = "uvloop" if find_spec("uvloop") else "asyncio."
    assert loop.run(_kind()).__module__.startswith(home)


def test_asyncios_own_loop_is_used_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop.loop_factory() is None
    assert loop.run(_kind()).__module__.startswith("asyncio.")


def test_other_loops_of_the_process_stay_as_they_are() -> None:
    loop.run(_kind())
    assert asyncio.run(_kind()).__module__.startswith("asyncio.")
