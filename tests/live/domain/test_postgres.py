"""A domain on a real PostgreSQL server: what holds in SQLite holds there, also when the server goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from p2pgrid import aio
from p2pgrid.domain.storage import Storage, database, migrate
from p2pgrid.domain.storage.tables import Base
from p2pgrid.errors import InvalidInput, P2PError, StorageError

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'p2pgrid[postgres]'")

USER, PASSWORD = "grid", "hunter2secret"
OWNER = {"email": "info@openmined.org", "password": "changethis"}
QUIET = "-c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories= -p"
STEP = """
from alembic import op
import sqlalchemy as sa

revision, down_revision, branch_labels, depends_on = "9999", "{last}", None, None


def upgrade() -> None:
    with op.batch_alter_table("datasets") as table:
        table.add_column(sa.Column("licence", sa.Text(), server_default="none"))
    {more}
"""


def binaries() -> Path | None:
    """Where PostgreSQL's programs lie: Debian keeps them out of the path, one folder a version."""
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = kept[-1] if kept else shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass
class Server:
    """A PostgreSQL server in a folder of its own, on this machine only."""

    programs: Path
    folder: Path
    port: int
    user: str | None
    """Whom its processes belong to: it refuses to be root's."""

    def make(self) -> None:
        """The empty cluster, with a password."""
        words = self.folder / "password"
        words.write_text(PASSWORD)
        if self.user is not None:
            for path in (self.folder, words):
                shutil.chown(path, self.user)
        how = ["--auth=scram-sha-256", f"--pwfile={words}", f"--username={USER}", "--encoding=UTF8", "--no-locale"]
        self._do("initdb", *how, "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._do("pg_ctl", "--wait", "--log", str(self.folder / "log"), "--options", f"{QUIET} {self.port}", "start")

    def stop(self) -> None:
        """End it as a crash would, and wait until none of its processes is left."""
        self._do("pg_ctl", "--wait", "--mode=immediate", "stop")

    def new(self) -> str:
        """The URL of an empty database."""
        name = f"grid_{secrets.token_hex(6)}"
        address = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
        with contextlib.closing(psycopg.connect(**address, dbname="postgres", autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _do(self, program: str, *options: str) -> None:
        command = [str(self.programs / program), "--pgdata", str(self.folder / "data"), *options]
        how: dict[str, Any] = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        with (self.folder / "told").open("w+b") as told:  # a pipe would stay open as long as the server runs
            done = subprocess.run(
                command, cwd=self.folder, stdout=told, stderr=told, timeout=60, check=False, **how, env={"LC_ALL": "C"}
            )
            told.seek(0)
            assert done.returncode == 0, told.read().decode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None and user not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL's server runs as anybody but root, and there is no user postgres")
    # Not below pytest's own folders, which only the user of the tests may enter.
    folder = Path(tempfile.mkdtemp(prefix="p2pgrid-postgres-"))
    server = Server(programs, folder, free_port(), user)
    try:
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def url(server: Server) -> str:
    return server.new()


@pytest.fixture
async def owner(estate: Any, url: str) -> Any:
    await estate.open(url)
    return await estate.owner()


@pytest.fixture
async def jane(estate: Any, owner: Any) -> Any:
    return await estate.jane(owner)


def execute(url: str, statement: str) -> None:
    """A change that the node knows nothing of."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(statement)


async def test_nothing_is_lost_when_a_domain_is_opened_again(estate: Any, url: str, owner: Any, jane: Any) -> None:
    made = await owner.publish(tags=["#numbers"], description="of no meaning")
    request = await jane.ask(made["assets"][0]["id"])
    before = [await owner(verb) for verb in ("dataset.list", "account.list", "request.list", "audit.list")]
    for _ in range(2):
        await estate.open(url)
        assert [await owner(verb) for verb in ("dataset.list", "account.list", "request.list", "audit.list")] == before
    assert (await jane("auth.whoami"))["email"] == "jane@caltech.edu"
    assert (await jane("request.get", id=request["id"]))["mock_run"]["ok"]
    with pytest.raises(P2PError):
        await estate.login("jane@caltech.edu", "wrong word")
    assert not list(estate.folder.glob("*.sqlite*"))


TEXTS = [
    ("Iris flowers", ["#plants", "#classification"], "Sepal and petal lengths; 1e10e of them, 3.5 cm each."),
    ("Straßen", ["#karte"], "Österreich & |!:* (quoted 'words' and \"more\") under_scored user@example.org"),
    ("日本語の本", [], "ＦＵＬＬ width, ½ and x², http://x.org/path?q=1 🦊fox"),
    ("genome", ["#dna"], "acgt" * 700),
]
QUERIES = [
    *("iris", "IRI", "flow", "plants", "#classi", "sep pet", "petal iris", "iris karte", "e", "1e10e", "1e", "3.5"),
    *("strasse", "Straße", "Österr", "scored", "under", "user@example", "quoted 'wor", "& |", "!:*", "'", "\\", "*"),
    *("日本", "full", "1", "x2", "fox", "path?q", "acgtacgt", "acgt" * 50, "of of of", "zebra", "words <-> more"),
]


async def found(owner: Any) -> dict[str, list[str]]:
    for name, tags, description in TEXTS:
        await owner.publish(name, tags=tags, description=description)
    answers = {}
    for query in QUERIES:
        told = await owner("dataset.search", text=query)
        answers[query] = [dataset["name"] for dataset in told["datasets"]]
        assert told["total"] == len(answers[query])
    return answers


async def test_a_search_finds_by_the_beginnings_of_words_as_in_sqlite(estate: Any, owner: Any, tmp_path: Path) -> None:
    answers = await found(owner)
    assert answers["sep pet"] == answers["plants"] == answers["#classi"] == answers["1e10e"] == ["Iris flowers"]
    assert answers["e"] == ["Iris flowers", "Straßen"]  # "each" and "example": no piece of "1e10e"
    assert answers["strasse"] == ["Straßen"]
    assert answers["日本"] == answers["fox"] == ["日本語の本"]
    assert answers["acgtacgt"] == answers["acgt" * 50] == ["genome"]
    assert answers["zebra"] == answers["iris karte"] == answers["!:*"] == []
    await estate.close()
    estate.folder = tmp_path / "in-sqlite"
    await estate.open()
    assert await found(await estate.owner()) == answers


async def test_a_changed_dataset_is_found_by_its_new_words_only(owner: Any) -> None:
    made = await owner.publish("first", description="old words")
    await owner("dataset.update", id=made["id"], description="new words")
    counts = [(await owner("dataset.search", text=word))["total"] for word in ("old", "new", "first")]
    assert counts == [0, 1, 1]
    await owner("dataset.delete", id=made["id"])
    assert (await owner("dataset.search", text="new"))["total"] == 0


async def test_values_that_only_sqlite_would_take(owner: Any, jane: Any) -> None:
    made = await owner.publish()
    with pytest.raises(InvalidInput, match="NUL"):
        await owner("dataset.get", name="a\0b")
    request = await jane.ask(made["assets"][0]["id"])
    await owner("request.approve", id=request["id"])
    done = await jane.run(request)
    assert (await jane("result.read", execution=done["execution"], offset=2**30))["data"] == b""
    assert len(await owner("audit.list", before=2**62, limit=2)) == 2
    assert (await owner("audit.export", after=2**62))["entries"] == []


async def test_a_request_is_approved_run_and_released_once_by_calls_at_once(
    estate: Any, url: str, owner: Any, jane: Any
) -> None:
    asset = (await owner.publish(data=np.arange(10)))["assets"][0]["id"]
    request = await jane.ask(asset, "def f(data):\n    import random; return [int(data.sum()), random.random()]\n")
    await owner("request.approve", id=request["id"])
    there = [await estate.login("jane@caltech.edu", "abc123"), jane]
    answers = await asyncio.gather(*(person.run(request) for person in there * 2))
    assert len({answer["execution"] for answer in answers}) == 1
    value = await jane.result(answers[0]["execution"])
    assert value[0] == 45
    assert (await owner("request.get", id=request["id"]))["released"] == 1
    actions = await owner.actions()
    assert (actions.count("code.run"), actions.count("result.release")) == (1, 1)
    await estate.open(url)
    assert await jane.result((await jane.run(request))["execution"]) == value


async def test_a_job_runs_to_its_end_and_one_that_waits_outlives_the_domain(
    estate: Any, url: str, owner: Any, jane: Any
) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    slow = "def f(data):\n    import time; print('asleep'); time.sleep(60 * (data.sum() == 6))\n"
    requests = [await jane.ask(asset, code) for code in (slow, "def f(data):\n    return data.sum()\n")]
    jobs = []
    for request in requests:
        await owner("request.approve", id=request["id"])
        inputs = {"data": {"asset": asset}}
        jobs.append(await jane("job.start", id=request["code_id"], inputs=inputs))
    while not (await owner("job.logs", id=jobs[0]["id"], seconds=1))["text"]:
        pass
    await estate.open(url)
    done = await jane("job.wait", id=jobs[1]["id"])
    assert done["status"] == "finished"
    assert await jane.result(done["execution"]) == 6
    assert (await jane("job.get", id=jobs[0]["id"]))["status"] == "interrupted"


async def test_the_audit_log_is_read_from_its_end_and_checked_as_a_whole(estate: Any, url: str, owner: Any) -> None:
    for number in range(5):
        await owner("account.register", name="Jane Doe", email=f"{number}@example.org", password="abc123")
    newest = await owner("audit.list", limit=1)  # the rest of the rows is left at the server
    assert newest[0]["seq"] == len(await owner.actions())
    assert len((await owner("audit.export", after=4))["entries"]) == newest[0]["seq"] - 4
    assert (await owner("audit.verify"))["intact"]
    noted = f"{newest[0]['seq']}:{newest[0]['hash']}"
    await estate.open(url)
    assert (await owner("audit.verify", noted=[noted]))["intact"]
    execute(url, "UPDATE audit SET body = body || 'x'::bytea WHERE seq = 4")
    told = await owner("audit.verify", noted=[noted])
    assert (told["intact"], told["flaw"]["seq"]) == (False, 4)


async def test_entries_cut_off_while_the_domain_was_closed_are_missed(estate: Any, url: str, owner: Any) -> None:
    await estate.close()
    execute(url, "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    service = await estate.open(url)
    flaw = await service.verify_audit()
    assert flaw is not None
    assert "cut off" in flaw.why


def test_the_steps_and_the_models_make_the_same_tables(server: Server, tmp_path: Path) -> None:
    shapes = []
    for make in (migrate.create, migrate.upgrade):
        storage = Storage(server.new(), tmp_path)
        storage._engine = engine = storage._make_engine()
        with engine.begin() as connection:
            make(connection)
            context = MigrationContext.configure(connection, opts=dict(migrate.CONFIGURED))
            assert compare_metadata(context, Base.metadata) == []
            columns = "table_name, column_name, data_type, character_maximum_length, is_nullable"
            rows = connection.execute(
                text(f"SELECT {columns} FROM information_schema.columns WHERE table_schema = 'public'")
            )
            indexes = connection.execute(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"))
            named = {index for (index,) in indexes if migrate.VERSION_TABLE not in index}
            shapes.append(({tuple(row) for row in rows}, named))
        storage.close()
    assert shapes[0] == shapes[1]


def with_step(monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "pass") -> None:
    """A p2pgrid that is one step further."""
    last = migrate.steps()[-1]
    shutil.copytree(migrate.FOLDER, folder / "migrations")
    (folder / "migrations" / "versions" / "9999_a_licence.py").write_text(STEP.format(last=last, more=more))
    monkeypatch.setattr(migrate, "FOLDER", folder / "migrations")


@pytest.mark.parametrize("more", ["pass", "op.execute('no statement')"])
async def test_an_older_database_takes_a_step_whole_once_or_stays_as_it_was(
    estate: Any, url: str, owner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    await owner.publish()
    before = migrate.steps()[-1]
    await estate.close()
    with monkeypatch.context() as patch:
        with_step(patch, tmp_path, more)
        if more == "pass":
            for _ in range(2):  # the second time there is nothing to do
                await estate.open(url)
                assert [dataset["name"] for dataset in await owner("dataset.list")] == ["numbers"]
                assert (await owner("audit.verify"))["intact"]
        else:
            with pytest.raises(StorageError, match="syntax error"):
                await estate.open(url)
        await estate.close()
    if more == "pass":
        with pytest.raises(StorageError, match="newer"):
            await estate.open(url)
    else:
        service = await estate.open(url)
        with service._domain.storage.read() as session:
            assert migrate.present(session.connection()) == before
        assert [dataset["name"] for dataset in await owner("dataset.list")] == ["numbers"]


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "password": (lambda url: url.replace(PASSWORD, f"{PASSWORD}s"), "password authentication failed"),
    "user": (lambda url: url.replace(f"{USER}:", "nobody:"), "password authentication failed"),
    "database": (lambda url: f"{url}x", "does not exist"),
    "port": (lambda url: url.replace(url.split(":")[-1].split("/")[0], str(free_port())), "refused"),
    "driver": (lambda url: url.replace("+psycopg", "+pg8000"), "not installed"),
    "kind": (lambda url: url.replace("postgresql+psycopg", "postgres"), "no kind of database"),
    "number": (lambda url: url.replace("@127.0.0.1:", "@127.0.0.1:secret"), "cannot be read"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_url_is_told_without_its_password(estate: Any, url: str, what: str) -> None:
    change, why = WRONG[what]
    with pytest.raises(P2PError, match=why) as caught:
        await estate.open(change(url))
    assert PASSWORD not in f"{caught.value} {caught.value!r} {caught.value.to_wire()}"
    assert "secret" not in str(caught.value)
    assert not (estate.folder / "assets").exists()


async def test_a_server_that_never_answers_is_given_up(estate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)  # libpq's least
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(StorageError, match="timeout"):
        async with asyncio.timeout(20):
            await estate.open(f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{mute.getsockname()[1]}/grid")


Outage = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def outage(server: Server) -> Outage:
    """The server is away for as long as the block lasts."""

    @contextlib.contextmanager
    def away() -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    return away


async def test_a_server_that_goes_away_costs_nothing_and_is_used_again_when_it_is_back(
    estate: Any, url: str, owner: Any, jane: Any, outage: Outage
) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    request = await jane.ask(asset)
    await owner("request.approve", id=request["id"])
    before = await owner.actions()
    with outage():
        for person, verb, args in (
            (owner, "dataset.list", {}),
            (owner, "project.create", {"id": "a" * 32, "name": "lost"}),
            (jane, "code.call", {"id": request["code_id"], "inputs": {"data": {"asset": asset}}}),
        ):
            with pytest.raises(StorageError) as caught:
                await person(verb, **args)
            assert "server runs" in caught.value.fix
            assert PASSWORD not in str(caught.value)
    assert await owner.actions() == before  # the first call finds it again
    assert await jane.result((await jane.run(request))["execution"]) == 6
    assert (await owner("request.get", id=request["id"]))["released"] == 1
    await estate.open(url)
    assert (await owner("audit.verify"))["intact"]
    assert [dataset["name"] for dataset in await owner("dataset.list")] == ["numbers"]
    assert await owner("project.list") == []


async def test_a_server_that_goes_away_in_the_middle_of_a_run_releases_nothing_twice(
    owner: Any, jane: Any, outage: Outage
) -> None:
    asset = (await owner.publish())["assets"][0]["id"]
    code = "def f(data):\n    import time; time.sleep(1.0 * (data.sum() == 6)); return data.sum()\n"
    request = await jane.ask(asset, code)
    await owner("request.approve", id=request["id"])
    running = asyncio.create_task(jane.run(request))
    async with asyncio.timeout(20):
        while "code.run.begin" not in await owner.actions():
            pass
    with outage(), pytest.raises(StorageError):
        await running
    held = await owner("request.get", id=request["id"])
    assert held["released"] == 0
    assert await jane.result((await jane.run(request))["execution"]) == 6
    assert (await owner.actions()).count("result.release") == 1
    assert (await owner("audit.verify"))["intact"]


async def test_another_nodes_database_is_refused(estate: Any, url: str, owner: Any) -> None:
    await estate.close()
    estate.identity = type(estate.identity).generate(secrets.token_bytes)
    with pytest.raises(StorageError, match="another key"):
        await estate.open(url)


def launch(home: Path, url: str) -> tuple[str, int]:
    """A node in a process of its own: its address and the process's number."""
    environment = {**os.environ, "P2PGRID_HOME": str(home), "P2PGRID_DATABASE_URL": url}
    command = [sys.executable, "-m", "p2pgrid", "launch", "bob", "--detach", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["url"], json.loads((home / "bob" / "run.json").read_bytes())["pid"]


def kill(number: int) -> None:
    process = psutil.Process(number)
    process.send_signal(signal.SIGKILL)
    process.wait(30)


async def test_a_node_killed_in_the_middle_of_writes_keeps_all_that_it_acknowledged(tmp_path: Path, url: str) -> None:
    address, number = launch(tmp_path, url)
    try:
        owner = await aio.login(url=address, **OWNER)
        kept: list[str] = []

        async def write(place: int) -> None:
            for turn in range(1000):
                email = f"{place}.{turn}@example.org"
                await owner.register(name="Jane Doe", email=email, password="abc123")
                kept.append(email)

        writers = [asyncio.create_task(write(place)) for place in range(3)]
        async with asyncio.timeout(30):
            while len(kept) < 6:
                await asyncio.wait(writers, timeout=0.01)
        kill(number)
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
        with contextlib.suppress(P2PError):
            await owner.close()
        address, number = launch(tmp_path, url)
        owner = await aio.login(url=address, **OWNER)
        there = {account.email for account in await owner.accounts}
        assert set(kept) <= there
        assert len(there) <= len(kept) + 1 + len(writers)
        assert await owner.audit.verify()
        await owner.close()
    finally:
        kill(number)
    assert PASSWORD not in (tmp_path / "bob" / "log").read_text()
