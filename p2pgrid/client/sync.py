"""The calls at the top of the package, for scripts, prompts and notebooks.

Each runs on p2pgrid's own background loop, so it works whether or not the caller has a running one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from p2pgrid.client.bridge import portal
from p2pgrid.client.domain import DomainClient, node_url, open_client
from p2pgrid.client.keys import Key
from p2pgrid.client.orchestra import ServerHandle, launch_node
from p2pgrid.client.search import DEFAULT_LIMIT, DEFAULT_TIMEOUT, SearchResults, collect
from p2pgrid.client.show import clean


def launch(
    name: str,
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    dev_mode: bool = False,
    reset: bool = False,
    **options: Any,
) -> ServerHandle:
    """Bring up a node inside this process; it lands with ``.land()``, or when the process ends.

    ``options``: ``bootstrap``, ``gateway``, ``home``, ``owner_email``, ``owner_password``, as for ``p2pgrid launch``.
    """
    began, bridge = time.perf_counter(), portal()
    started = bridge.run(
        launch_node(bridge, name=name, port=port, host=host, dev_mode=dev_mode, reset=reset, **options)
    )
    bridge.at_exit(started._land)
    print(f"Started {started.name} on {started.url} (DHT {started.dht_address}) in {time.perf_counter() - began:.2f} s")
    return started


orchestra = SimpleNamespace(launch=launch)
"""The seeds' name for what launches nodes."""


def login(
    *,
    url: str | None = None,
    port: int | None = None,
    email: str | None = None,
    password: str | None = None,
    key: Key | None = None,
) -> DomainClient:
    """Log in to the domain of a node, on this machine unless ``url`` says otherwise; a guest without e-mail.

    ``key``: the path of a key file that ``set_key`` made, in place of the password.
    Raises ``Unreachable``, ``WrongLogin`` or ``BadAddress``.
    """
    bridge = portal()
    client = bridge.run(open_client(bridge, node_url(url, port), email=email, password=password, key=key))
    print(f"Logged into {clean(client.name)} as <{client.email or 'guest'}>")
    return client


def search(
    *tags: str,
    bootstrap: str | Sequence[str] = (),
    home: str | Path | None = None,
    match: Literal["all", "any"] = "all",
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT,
) -> SearchResults:
    """Every dataset of the grid that has all the tags (``match="any"``: one of them).

    ``bootstrap``: host:port of any node; without it, nodes that run on this machine and ``$P2PGRID_BOOTSTRAP``.
    ``timeout``: seconds.  Raises ``BadTag`` or ``NoBootstrap``.
    """
    bridge = portal()
    how: dict[str, Any] = {"bootstrap": bootstrap, "home": home, "match": match, "limit": limit, "timeout": timeout}
    return bridge.run(collect(bridge, tags, **how))
