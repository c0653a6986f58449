"""The event loop of a node that runs by itself: uvloop's when it is installed, asyncio's otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar, cast

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory() -> LoopFactory | None:
    """What makes uvloop's loops, or None for asyncio's own.  Sets no policy: other loops of the process stay theirs."""
    try:
        return cast(LoopFactory, import_module("uvloop").new_event_loop)
    except ImportError:
        return None


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on the quickest loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)
