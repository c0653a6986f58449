"""One implementation, two ways of calling: the background loop and the caller's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from p2pgrid.client.bridge import Bridge, Here, bridged, bridged_property, portal
from p2pgrid.errors import InvalidInput


class Thing:
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    @bridged
    async def add(self, a: int, b: int = 1) -> int:
        """The sum."""
        await asyncio.sleep(0)
        return a + b

    @bridged
    async def fail(self) -> None:
        raise InvalidInput("It broke.")

    @bridged_property
    async def size(self) -> int:
        """How large."""
        return 7


def test_a_script_gets_values() -> None:
    thing = Thing(portal())
    assert thing.add(1, b=2) == 3
    assert thing.size == 7
    with pytest.raises(InvalidInput):
        thing.fail()


async def test_a_notebook_with_a_running_loop_gets_values_too() -> None:
    thing = Thing(portal())
    assert thing.add(1) == 2
    assert thing.size == 7


async def test_an_async_caller_awaits_on_its_own_loop() -> None:
    thing = Thing(Here())
    work: Any = thing.add(1)
    assert asyncio.iscoroutine(work)
    assert await work == 2
    assert await thing.size == 7  # type: ignore[misc]
    with pytest.raises(InvalidInput):
        await thing.fail()  # type: ignore[func-returns-value]


def test_threads_share_the_one_portal() -> None:
    thing, found = Thing(portal()), []
    threads = [threading.Thread(target=lambda number=n: found.append(thing.add(number, 0))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(20))
    assert portal() is portal()


def test_a_blocking_call_from_the_portals_own_loop_is_refused_not_stuck() -> None:
    thing = Thing(portal())

    async def inside() -> int:
        return thing.add(1)

    with pytest.raises(InvalidInput, match="own loop"):
        portal().run(inside())


def test_an_interrupt_of_the_caller_cancels_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    submit = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine: Any, loop: Any) -> Any:
        future = submit(coroutine, loop)

        def result() -> None:
            assert started.wait(10)
            raise KeyboardInterrupt

        monkeypatch.setattr(future, "result", result)
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal().run(work())
    assert ended.wait(10)


def test_names_and_promises_are_kept() -> None:
    assert Thing.add.__name__ == "add"
    assert Thing.add.__doc__ == "The sum."
    assert isinstance(Thing.size, bridged_property)
    assert Thing.size.__doc__ == "How large."


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_open_is_closed_when_the_process_ends_newest_first() -> None:
    out = run(
        "from p2pgrid.client.bridge import portal\n"
        "async def close(name): print('closed', name)\n"
        "async def fail(): raise ValueError\n"
        "portal().at_exit(lambda: close('a'))\n"
        "portal().at_exit(fail)\n"
        "portal().at_exit(lambda: close('b'))\n"
    )
    assert out == "closed b\nclosed a\n"


def test_a_forked_child_has_a_portal_of_its_own_and_closes_nothing_of_its_parents() -> None:
    out = run(
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "from p2pgrid.client.bridge import portal\n"
        "async def close(): print('closed by', 'child' if os.getpid() != parent else 'parent')\n"
        "async def seven(): return 7\n"
        "parent = os.getpid()\n"
        "portal().at_exit(close)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    print(portal().run(seven()), flush=True)\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
    )
    assert out == "7\nclosed by parent\n"
