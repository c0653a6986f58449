"""The async twin: the same calls and objects, awaited on the caller's own loop.

    client = await p2pgrid.aio.login(port=8080, email="jane@caltech.edu", password="...")
    datasets = await client.datasets
    async for found in p2pgrid.aio.search("#digits", bootstrap=["127.0.0.1:8080"]): ...

Every method and property of the objects that is a call returns something to be awaited here.  Their types are written
for callers without a loop, so what these functions return is typed ``Any``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from p2pgrid.client.bridge import Here
from p2pgrid.client.domain import node_url, open_client
from p2pgrid.client.keys import Key
from p2pgrid.client.orchestra import launch_node
from p2pgrid.client.search import DEFAULT_LIMIT, DEFAULT_TIMEOUT, Found, SearchResults, stream

__all__ = ["launch", "login", "orchestra", "search"]


async def launch(
    name: str,
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    dev_mode: bool = False,
    reset: bool = False,
    **options: Any,
) -> Any:
    """``p2pgrid.orchestra.launch`` on this loop; ``async with await aio.launch(...) as server`` lands it at the end."""
    return await launch_node(Here(), name=name, port=port, host=host, dev_mode=dev_mode, reset=reset, **options)


orchestra = SimpleNamespace(launch=launch)
"""The seeds' name for what launches nodes."""


async def login(
    *,
    url: str | None = None,
    port: int | None = None,
    email: str | None = None,
    password: str | None = None,
    key: Key | None = None,
) -> Any:
    """``p2pgrid.login`` on this loop."""
    return await open_client(Here(), node_url(url, port), email=email, password=password, key=key)


class Search:
    """A search under way: ``async for`` gives each dataset as it arrives, ``await`` all of them at the end."""

    def __init__(self, found: AsyncIterator[Found]) -> None:
        self._found = found

    def __aiter__(self) -> AsyncIterator[Found]:
        return self._found

    def __await__(self) -> Generator[Any, None, SearchResults]:
        return self._all().__await__()

    async def _all(self) -> SearchResults:
        return SearchResults([item async for item in self._found])


def search(
    *tags: str,
    bootstrap: str | Sequence[str] = (),
    home: str | Path | None = None,
    match: Literal["all", "any"] = "all",
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT,
) -> Search:
    """``p2pgrid.search`` on this loop: each dataset as soon as its listing arrives.

    One comes again when a newer listing tells another address, name or title; the last counts.
    """
    return Search(stream(Here(), tags, bootstrap=bootstrap, home=home, match=match, limit=limit, timeout=timeout))
