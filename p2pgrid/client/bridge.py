"""One implementation for two ways of calling: every call is written once, as a coroutine.

An object made through ``p2pgrid`` carries a ``Portal``: its calls run on a background loop and return their value, so
that they work in a script and inside a notebook's running loop alike.  An object made through ``p2pgrid.aio``
carries ``Here``: its calls return the coroutine, to be awaited on the caller's own loop.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from p2pgrid.errors import InvalidInput

T = TypeVar("T")
P = ParamSpec("P")


class Bridge(Protocol):
    """How a coroutine becomes what the caller gets."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The value of ``work``, or ``work`` itself to be awaited."""
        ...


class Bridged(Protocol):
    """An object whose calls go over a bridge."""

    @property
    def _bridge(self) -> Bridge: ...


B = TypeVar("B", bound=Bridged)


class Here:
    """The caller awaits on its own loop."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, untouched; typed as its value because callers without a loop are the common case."""
        return work  # type: ignore[return-value]


class Portal:
    """An event loop on a thread of its own, for callers that have none or whose loop is busy."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="p2pgrid", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        atexit.register(self._close)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and return the value; an interrupt of the caller cancels the work."""
        if threading.current_thread() is self._thread:
            work.close()
            raise InvalidInput("A blocking call was made from p2pgrid's own loop.", fix="Use p2pgrid.aio there.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def at_exit(self, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close something before the process ends."""
        self._closers.append(closer)

    def _close(self) -> None:
        # A forked child has the list of closers, and no thread to run them on.
        if os.getpid() != self._pid or self._loop.is_closed():
            return
        for closer in reversed(self._closers):
            future = asyncio.run_coroutine_threadsafe(closer(), self._loop)
            try:
                future.result(timeout=5)
            except Exception:  # noqa: S112 - the process ends; nothing is left to tell
                continue
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)


def portal() -> Portal:
    """The one portal of this process; a forked child gets its own."""
    return _portal_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _portal_of(_pid: int) -> Portal:
    return Portal()


def bridged(method: Callable[Concatenate[B, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[B, P], T]:
    """Let a coroutine method be called over its object's bridge."""

    def call(self: B, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._bridge.run(method(self, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


class bridged_property(Generic[T]):  # noqa: N801 - used as a decorator, like property
    """A property whose getter is a coroutine over its object's bridge."""

    def __init__(self, getter: Callable[[Any], Coroutine[Any, Any, T]]) -> None:
        self._getter = getter
        self.__doc__ = getter.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> bridged_property[T]: ...

    @overload
    def __get__(self, instance: Bridged, owner: type) -> T: ...

    def __get__(self, instance: Bridged | None, owner: type) -> bridged_property[T] | T:
        if instance is None:
            return self
        return instance._bridge.run(self._getter(instance))
