"""The optional registry of the partially distributed mode: who is on the grid, and who holds a tag.

It knows names and addresses, never data, models or code (seed 003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.book import NodeStatus
    from gateway.running import run
    from gateway.server import Gateway
    from gateway.settings import GatewaySettings

__all__ = ["Gateway", "GatewaySettings", "NodeStatus", "run"]

_HOMES = {
    "Gateway": "gateway.server",
    "GatewaySettings": "gateway.settings",
    "NodeStatus": "gateway.book",
    "run": "gateway.running",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: aiohttp and SQLAlchemy are not needed to read the settings."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateway' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
