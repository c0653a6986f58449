"""The names that the package promises, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import p2pgrid

PROMISED = {
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
}
AIO_PROMISED = {"launch", "login", "orchestra", "search"}
HEAVY = ("numpy", "aiohttp", "pydantic", "sqlalchemy", "pandas", "pyarrow", "msgpack", "nacl", "rich", "asyncio")


def test_the_promised_names_are_exactly_these() -> None:
    assert set(p2pgrid.__all__) == PROMISED
    assert len(p2pgrid.__all__) == len(PROMISED)
    assert set(dir(p2pgrid)) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_each_promised_name_is_there(name: str) -> None:
    assert getattr(p2pgrid, name) is not None


def test_the_async_twin_promises_these() -> None:
    assert set(p2pgrid.aio.__all__) == AIO_PROMISED
    assert all(hasattr(p2pgrid.aio, name) for name in AIO_PROMISED)
    assert p2pgrid.aio.orchestra.launch is p2pgrid.aio.launch


def test_the_names_of_the_seeds_are_the_same_things() -> None:
    assert p2pgrid.syft_function is p2pgrid.grid_function
    assert callable(p2pgrid.orchestra.launch)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        p2pgrid.no_such_name  # noqa: B018 - the look-up is the test


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, p2pgrid; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert fresh(code) == "[]\n"


def test_the_dht_alone_imports_no_room_beside_it() -> None:
    """So that another program can embed it; see "Use just the DHT" in docs/guide.md."""
    rooms = ("aiohttp", "sqlalchemy", "pydantic", "numpy", "typer", "rich", "prometheus_client")
    code = f"import sys; from p2pgrid.dht import DhtNode; print([name for name in {rooms!r} if name in sys.modules])"
    assert fresh(code) == "[]\n"


def test_everything_can_be_imported_at_once() -> None:
    assert fresh("from p2pgrid import *; print(callable(login), roles.UPLOADER.value)") == "True Uploader\n"


def test_the_package_says_that_it_is_typed() -> None:
    from importlib import resources

    assert (resources.files("p2pgrid") / "py.typed").is_file()
