"""Launching a node from a script or a notebook: ``orchestra.launch(name="my-domain", port=8080)``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pgrid.client.bridge import Bridge, bridged
from p2pgrid.client.domain import DomainClient, open_client
from p2pgrid.client.keys import Key
from p2pgrid.client.show import Shown
from p2pgrid.ids import host_ports

if TYPE_CHECKING:
    from p2pgrid.node import Node


class DeploymentType(Enum):
    """How a launched node runs."""

    PYTHON = "python"
    """On a loop inside this process; its sockets are real."""


class ServerHandle(Shown):
    """A node that was launched here: log in to it, land it."""

    deployment_type = DeploymentType.PYTHON

    def __init__(self, node: Node, bridge: Bridge) -> None:
        self._node = node
        self._bridge_used = bridge
        self._watcher = asyncio.create_task(self._land_when_told())

    async def _land_when_told(self) -> None:
        """Land when the node's owner says so from elsewhere."""
        await self._node.stopping.wait()
        await self._node.close()

    @property
    def _bridge(self) -> Bridge:
        return self._bridge_used

    @property
    def name(self) -> str:
        """The node's label."""
        return self._node.name

    @property
    def id(self) -> str:
        """The node id, in hexadecimal."""
        return self._node.id

    @property
    def port(self) -> int:
        """The port of HTTP (TCP) and DHT (UDP)."""
        return self._node.port

    @property
    def url(self) -> str:
        """The address of the HTTP door."""
        return self._node.url

    @property
    def dht_address(self) -> str:
        """host:port for the bootstrap of others."""
        return self._node.dht_address

    @bridged
    async def login(
        self, email: str | None = None, password: str | None = None, key: Key | None = None
    ) -> DomainClient:
        """A client of this node; a guest without e-mail."""
        return await open_client(
            self._bridge, self.url, email=email, password=password, key=key, expect=self._node.identity.id
        )

    @bridged
    async def land(self) -> None:
        """Stop the node and free its home."""
        await self._land()

    async def _land(self) -> None:
        self._node.stopping.set()
        await self._watcher

    async def __aenter__(self) -> ServerHandle:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._land()

    def __enter__(self) -> ServerHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.land()

    def fields(self) -> Mapping[str, Any]:
        """Where it is."""
        return {
            "name": self.name,
            "id": self.id,
            "url": self.url,
            "dht_address": self.dht_address,
            "home": str(self._node.home.path),
            "deployment_type": self.deployment_type.value,
        }


async def launch_node(
    bridge: Bridge,
    *,
    name: str,
    port: int = 0,
    host: str = "127.0.0.1",
    dev_mode: bool = False,
    reset: bool = False,
    bootstrap: str | Sequence[str] = (),
    gateway: str | None = None,
    home: str | Path | None = None,
    owner_email: str | None = None,
    owner_password: str | None = None,
) -> ServerHandle:
    """Bring up a node on the loop that runs this; it is healthy when this returns.

    ``port`` 0 takes any free one; ``reset`` forgets everything a node of this name had; ``home`` is the base folder.
    Raises ``PortTaken``, ``HomeInUse``, ``DefaultPassword``, ``BadConfig`` or ``BadHome``.
    """
    from p2pgrid.config import load_settings
    from p2pgrid.home import Home
    from p2pgrid.node import Node

    place = Home(name, home)
    settings = load_settings(
        name=name,
        port=port,
        host=host,
        dev_mode=dev_mode,
        bootstrap=host_ports(bootstrap) or None,
        gateway=gateway,
        owner_email=owner_email,
        owner_password=owner_password,
    )
    if reset:
        place.wipe()
    return ServerHandle(await Node.start(settings, place), bridge)
