"""Peer-to-peer remote data science: data never leaves its owner, questions travel to it.

The names below are the package's promise; each is imported when it is first used, so ``import p2pgrid`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pgrid import aio
    from p2pgrid.assets import OnDisk
    from p2pgrid.client.data import load_source, make_mock
    from p2pgrid.client.domain import DomainClient
    from p2pgrid.client.functions import GridFunction, grid_function, syft_function
    from p2pgrid.client.orchestra import ServerHandle
    from p2pgrid.client.policies import (
        Constant,
        CustomInputPolicy,
        CustomOutputPolicy,
        ExactMatch,
        Matches,
        MixedInputPolicy,
        OutputPolicyExecuteCount,
        OutputPolicyExecuteOnce,
        SingleExecutionExactOutput,
        UserOwned,
    )
    from p2pgrid.client.projects import Project
    from p2pgrid.client.requests import ActionObject, Request, RequestStatus, UserCode
    from p2pgrid.client.search import Found, SearchResults
    from p2pgrid.client.sync import login, orchestra, search
    from p2pgrid.client.values import Asset, Contributor, Dataset, roles
    from p2pgrid.dht import DhtNode
    from p2pgrid.domain.policies.rules import MaximumResultSize, MinimumCellCount, MinimumRows, NoAssetRows
    from p2pgrid.errors import LocalError, P2PError, RemoteError

__version__ = "0.1.0.dev0"

_HOMES = {
    "p2pgrid.assets": ("OnDisk",),
    "p2pgrid.client.sync": ("login", "orchestra", "search"),
    "p2pgrid.client.data": ("load_source", "make_mock"),
    "p2pgrid.client.domain": ("DomainClient",),
    "p2pgrid.client.functions": ("GridFunction", "grid_function", "syft_function"),
    "p2pgrid.client.orchestra": ("ServerHandle",),
    "p2pgrid.client.policies": (
        "Constant",
        "CustomInputPolicy",
        "CustomOutputPolicy",
        "ExactMatch",
        "Matches",
        "MixedInputPolicy",
        "OutputPolicyExecuteCount",
        "OutputPolicyExecuteOnce",
        "SingleExecutionExactOutput",
        "UserOwned",
    ),
    "p2pgrid.domain.policies.rules": ("MaximumResultSize", "MinimumCellCount", "MinimumRows", "NoAssetRows"),
    "p2pgrid.client.projects": ("Project",),
    "p2pgrid.client.requests": ("ActionObject", "Request", "RequestStatus", "UserCode"),
    "p2pgrid.client.search": ("Found", "SearchResults"),
    "p2pgrid.client.values": ("Asset", "Contributor", "Dataset", "roles"),
    "p2pgrid.dht": ("DhtNode",),
    "p2pgrid.errors": ("LocalError", "P2PError", "RemoteError"),
}

__all__ = [
    "ActionObject",
    "Asset",
    "Constant",
    "Contributor",
    "CustomInputPolicy",
    "CustomOutputPolicy",
    "Dataset",
    "DhtNode",
    "DomainClient",
    "ExactMatch",
    "Found",
    "GridFunction",
    "LocalError",
    "Matches",
    "MaximumResultSize",
    "MinimumCellCount",
    "MinimumRows",
    "MixedInputPolicy",
    "NoAssetRows",
    "OnDisk",
    "OutputPolicyExecuteCount",
    "OutputPolicyExecuteOnce",
    "P2PError",
    "Project",
    "RemoteError",
    "Request",
    "RequestStatus",
    "SearchResults",
    "ServerHandle",
    "SingleExecutionExactOutput",
    "UserCode",
    "UserOwned",
    "__version__",
    "aio",
    "grid_function",
    "load_source",
    "login",
    "make_mock",
    "orchestra",
    "roles",
    "search",
    "syft_function",
]


def __getattr__(name: str) -> Any:
    if name == "aio":
        return importlib.import_module("p2pgrid.aio")
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'p2pgrid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
