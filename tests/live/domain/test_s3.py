"""Asset files at a real S3 server: everything goes as in a folder, and nothing is lost while the server is away."""

from __future__ import annotations

import contextlib
import secrets
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pgrid.domain.storage.files import AssetFiles
from p2pgrid.errors import NotFound, P2PError, StorageError

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'p2pgrid[s3]'")
pytest.importorskip("moto.server", reason="moto and flask are not installed: pip install 'p2pgrid[dev]'")

SECRET = "hunter2secret"
START_TIMEOUT = 60.0
FIRST, SECOND = np.array([1, 2, 3]), np.array([10, 20, 30])


class Relay(socketserver.ThreadingTCPServer):
    """A way to a server that a test can shut: the server itself would forget everything when it ends."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, to: int, port: int = 0) -> None:
        self.to, self.open = to, set[socket.socket]()
        super().__init__(("127.0.0.1", port), _Passing)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def shut(self) -> None:
        """Take no connections from now on, and end those that are open."""
        self.shutdown()
        self.server_close()
        for side in tuple(self.open):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class _Passing(socketserver.BaseRequestHandler):
    """One connection: bytes go both ways until either side ends it."""

    server: Relay

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.to)) as far:
            pair = {self.request, far}
            self.server.open |= pair
            back = threading.Thread(target=_pass, args=(far, self.request))
            back.start()
            _pass(self.request, far)
            back.join()
            self.server.open -= pair


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Way:
    """The way to the S3 server, at one port for as long as the tests last."""

    def __init__(self, to: int) -> None:
        self._to, self._relay = to, Relay(to)
        self.port = int(self._relay.server_address[1])

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        """For as long as the block lasts."""
        self._relay.shut()
        try:
            yield
        finally:
            self._relay = Relay(self._to, self.port)

    def close(self) -> None:
        """For good."""
        self._relay.shut()


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An S3 server in a process of its own, and the way to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    told = tmp_path_factory.mktemp("s3") / "log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    way = None
    try:
        end = time.monotonic() + START_TIMEOUT
        while way is None:
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < end, "the S3 server did not start in time"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                way = Way(port)
            time.sleep(0.02)
        yield way
    finally:
        if way is not None:
            way.close()
        process.kill()
        process.wait(30)


@pytest.fixture
def shelf(way: Way, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL of this test's own, in a bucket that need not be there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "grid")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # it would try for seconds whether a server is away
    return f"s3://grid-{secrets.token_hex(4)}/assets"


def lying(shelf: str) -> list[str]:
    """What lies there, seen by somebody else."""
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    return sorted(name.rpartition("/")[2] for name in system.ls(shelf, refresh=True))


@pytest.fixture
async def owner(estate: Any, shelf: str) -> Any:
    await estate.open(shelf=shelf)
    return await estate.owner()


@pytest.fixture
async def jane(estate: Any, owner: Any) -> Any:
    return await estate.jane(owner)


async def read(person: Any, asset: str, side: str = "data", limit: int = 1 << 20) -> bytes:
    data, total = b"", 1
    while len(data) < total:
        piece = await person("asset.read", id=asset, side=side, offset=len(data), limit=limit)
        data, total = data + piece["data"], piece["total"]
    return data


async def test_an_asset_is_uploaded_read_back_run_on_replaced_and_deleted(
    estate: Any, shelf: str, owner: Any, jane: Any
) -> None:
    private = np.arange(400_000)
    made = await owner.publish(data=private)
    asset = made["assets"][0]["id"]
    assert lying(shelf) == [".belongs-to", f"{asset}.data.npy", f"{asset}.mock.npy"]
    assert not list((estate.folder / "assets").rglob("*.npy"))
    data = await read(owner, asset)
    assert np.array_equal(np.frombuffer(data[-private.nbytes :], private.dtype), private)
    assert await read(owner, asset, limit=1 << 18) == data

    request = await jane.ask(asset)
    assert request["mock_run"]["ok"]
    await owner("request.approve", id=request["id"])
    assert await jane.result((await jane.run(request))["execution"]) == private.sum()

    fresh = {"name": "values", "data": await owner.stage(SECOND), "mock": await owner.stage(FIRST)}
    after = await owner("dataset.replace", name="numbers", assets=[fresh])
    second = after["assets"][0]["id"]
    assert (await read(owner, second))[-SECOND.nbytes :] == SECOND.tobytes()
    await owner("dataset.delete", id=made["id"])
    assert lying(shelf) == [".belongs-to"]
    assert not list((estate.folder / "assets").rglob("*.npy"))
    with pytest.raises(NotFound):
        await owner("asset.read", id=second, side="data")


async def test_nothing_is_lost_when_a_domain_is_opened_again_and_orphans_go(
    estate: Any, shelf: str, owner: Any
) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    data = await read(owner, asset)
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    orphan = "0" * 32 + ".data.npy"
    system.pipe_file(f"{shelf}/{orphan}", b"left by a crash")
    assert orphan in lying(shelf)
    await estate.open(shelf=shelf)
    assert lying(shelf) == [".belongs-to", f"{asset}.data.npy", f"{asset}.mock.npy"]
    assert await read(owner, asset) == data


async def test_what_belongs_to_another_database_is_refused_and_kept(estate: Any, shelf: str, owner: Any) -> None:
    await owner.publish()
    before = lying(shelf)
    await estate.close()
    (estate.folder / "domain.sqlite").rename(estate.folder / "away.sqlite")
    with pytest.raises(StorageError, match="another database"):
        await estate.open(shelf=shelf)
    assert lying(shelf) == before


async def test_files_without_a_mark_are_nobodys_to_clear(shelf: str, tmp_path: Path) -> None:
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.makedirs(shelf.split("//")[1].split("/")[0])
    system.pipe_file(f"{shelf}/holiday.jpg", b"of somebody")
    with pytest.raises(StorageError, match="no database that is known"):
        AssetFiles(tmp_path / "assets", shelf).open("an owner", set())
    assert lying(shelf) == ["holiday.jpg"]


async def test_bytes_that_were_changed_at_the_server_are_not_run_on(shelf: str, owner: Any, jane: Any) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await jane.ask(asset)
    await owner("request.approve", id=request["id"])
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.pipe_file(f"{shelf}/{asset}.data.npy", b"x" * len(await read(owner, asset)))
    with pytest.raises(P2PError):
        await jane.run(request)
    assert (await owner("request.get", id=request["id"]))["released"] == 0


async def test_a_server_that_is_away_is_told_and_loses_nothing(
    estate: Any, shelf: str, owner: Any, jane: Any, way: Way
) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await jane.ask(asset)
    await owner("request.approve", id=request["id"])
    data, before = await read(owner, asset), lying(shelf)
    await owner.publish("gone")
    with way.shut():
        with pytest.raises(StorageError, match="s3://") as caught:
            await owner.publish("lost", data=SECOND)
        assert SECRET not in str(caught.value)
        assert "assets_url" in caught.value.fix
        with pytest.raises(StorageError, match="s3://"):
            await read(owner, asset)
        with pytest.raises(StorageError, match="s3://"):
            await jane.run(request)
        with pytest.raises(StorageError, match="s3://"):
            await owner("dataset.delete", name="gone")
        with pytest.raises(StorageError, match="s3://"):
            await estate.open(shelf=shelf)
    await estate.open(shelf=shelf)
    assert lying(shelf) == before
    assert [dataset["name"] for dataset in await owner("dataset.list")] == ["numbers"]
    assert await read(owner, asset) == data
    assert await jane.result((await jane.run(request))["execution"]) == 6
    assert (await owner("audit.verify"))["intact"]
    await owner.publish("found", data=SECOND)
    assert len(lying(shelf)) == len(before) + 2
