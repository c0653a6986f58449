"""``p2pgrid check``: is a node healthy, door by door."""

from __future__ import annotations

import asyncio
import base64
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out, count_text
from p2pgrid.cli.where import HEX_ID, find_place, start_again
from p2pgrid.errors import Malformed, P2PError, UnknownNode, Unreachable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiohttp import ClientSession

    from p2pgrid.client.domain import DomainClient
    from p2pgrid.home import Home

EXAMPLES: Final = opt.examples(
    "p2pgrid check",
    "p2pgrid check all --json",
    "p2pgrid check Bob --wait --silent && echo up",
    "p2pgrid check http://127.0.0.1:8080",
)
PROBE_TIMEOUT: Final = 3.0
POLL: Final = 0.1
DISK_LOW: Final = 64 << 20
"""Bytes of an own node's disk under which it soon takes no upload."""
TAGS_SHOWN: Final = 8
DOORS: Final = ("api", "gateway", "id", "link", "DHT", "datasets", "confinement")
"""In the order of their rows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row: what was looked at, what was found, and whether it is well."""

    what: str
    info: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All rows about one node."""

    name: str
    url: str
    rows: tuple[Verdict, ...]

    @property
    def healthy(self) -> bool:
        """Whether every row is well."""
        return bool(self.rows) and all(row.ok for row in self.rows)


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Own names, URLs or node ids; all own nodes without, or: all.", metavar="[NODE]..."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Look again until healthy, or --timeout.")] = False,
    silent: Annotated[bool, typer.Option("--silent", "-s", help="Print nothing; the exit code tells.")] = False,
    timeout: Annotated[float, opt.timeout()] = 30,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Look at every door of nodes.

    Exit code 0: all healthy, 3: no node, 4: not healthy in time.
    """
    out = Out(as_json=as_json, silent=silent)
    try:
        with out.working("Checking"):
            reports = asyncio.run(_look(names or [], home, wait=wait, timeout=timeout))
    except P2PError as error:
        if silent and not as_json:
            raise typer.Exit(error.exit_code) from None
        raise
    _print(out, reports)
    document = {"healthy": all(report.healthy for report in reports), "nodes": [_to_json(item) for item in reports]}
    ill = [report.name for report in reports if not report.healthy]
    if ill:
        out.fail(Unreachable(f"Not healthy: {', '.join(ill)}.", fix="Look at the rows above and at the log."), document)
    out.document(document)


def _print(out: Out, reports: list[Report]) -> None:
    for report in reports:
        rows = [(row.what, row.info, out.mark(row.ok)) for row in report.rows]
        out.table((report.name, "info", ""), rows)


def _to_json(report: Report) -> dict[str, Any]:
    rows = [asdict(row) for row in report.rows]
    return {"name": report.name, "url": report.url, "healthy": report.healthy, "checks": rows}


async def _look(names: list[str], base: Path | None, *, wait: bool, timeout: float) -> list[Report]:
    """Reports on all; with ``wait`` looked at again until all are healthy or the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            targets = names if names and opt.ALL not in names else _launched(base)
            reports = await _reports(targets, base, min(left, PROBE_TIMEOUT))
            if not wait or all(report.healthy for report in reports):
                return list(reports)
        except UnknownNode:
            if not wait or time.monotonic() > deadline:
                raise
            reports = []
        if time.monotonic() > deadline:
            return list(reports)
        await asyncio.sleep(POLL)


def _launched(base: Path | None) -> list[str]:
    """Own nodes that were launched and did not land: the running, the starting, and the dead."""
    from p2pgrid.home import base_folder, homes

    found = [home.name for home in homes(base) if _was_launched(home)]
    if not found:
        raise UnknownNode(f"No node is running in {base_folder(base)}.", fix="Start one with: p2pgrid launch NAME")
    return found


def _was_launched(home: Home) -> bool:
    return home.in_use or (home.path / "run.json").exists()


async def _reports(names: list[str], base: Path | None, timeout: float) -> list[Report]:
    """A report on each.  What is timed is not timed beside links being opened, which keep this process busy."""
    from p2pgrid.link.http import client_session

    doors = await asyncio.gather(*(_door_of(name, base) for name in names))
    async with client_session() as session:
        checks = [_Checks(url, expect, timeout, session) if url else None for url, _, expect in doors]
        asked = [each for each in checks if each is not None]
        await asyncio.gather(*(each.look() for each in asked))
        for each in asked:
            await each.time_health()
        await asyncio.gather(*(each.look_deeper() for each in asked))
        await asyncio.gather(*(each.ping_dht() for each in asked))
    down = [(Verdict("host", reason, False),) for _, _, reason in doors]
    return [
        Report(label, url, (*(each.rows() if each else rows), *_disk(name, base)))
        for name, (url, label, _), each, rows in zip(names, doors, checks, down, strict=True)
    ]


def _disk(name: str, base: Path | None) -> tuple[Verdict, ...]:
    """How much room the disk of an own node has."""
    from p2pgrid.home import Home, is_name

    if not is_name(name) or not Home(name, base).path.is_dir():
        return ()
    free = shutil.disk_usage(Home(name, base).path).free
    return (Verdict("disk", f"{free / 1e9:.1f} GB free", free > DISK_LOW),)


async def _door_of(name: str, base: Path | None) -> tuple[str, str, str]:
    """URL, label and expected id.  A node that is down has no URL, and the reason in place of the id."""
    from p2pgrid.home import Home

    if "://" not in name and ":" not in name and not HEX_ID.fullmatch(name):
        home = Home(name, base)
        if home.exists or _was_launched(home):
            state = home.running()
            if state is None:
                return "", name, "starting" if home.in_use else f"not running. {start_again(home)}"
            return state.url, name, state.id
    place = await find_place(name, base)
    return place.url, place.label, place.expect.hex() if place.expect else ""


class _Checks:
    """The doors of one node.  One whose first door is shut gets no further looks."""

    def __init__(self, url: str, expect: str, timeout: float, session: ClientSession) -> None:
        self._url = url
        self._expect = expect
        self._timeout = timeout
        self._session = session
        self._health: dict[str, Any] = {}
        self._found: dict[str, Verdict] = {}

    def rows(self) -> tuple[Verdict, ...]:
        """A verdict on each door that was looked at."""
        host = Verdict("host", urlsplit(self._url).hostname or self._url, self._found["api"].ok)
        return (host, *(self._found[what] for what in DOORS if what in self._found))

    async def look(self) -> None:
        """Whether it answers at all."""
        self._found["api"] = await self._row("api", self._ask_health)

    async def time_health(self) -> None:
        """How long it takes to answer, over a connection that is open already."""
        if self._found["api"].ok:
            self._found["api"] = await self._row("api", self._ask_health)

    async def look_deeper(self) -> None:
        """Every other door but the DHT."""
        if "nodes" in self._health and not self._is_node:
            known = count_text(self._health.get("total", 0), "node")
            self._found["gateway"] = Verdict("gateway", f"knows {known}", True)
        if not self._is_node:
            return  # a gateway, or a node of the older kind, which has no other doors
        others = (
            ("id", self._ask_identity),
            ("link", self._ask_link),
            ("datasets", self._ask_tags),
            ("confinement", self._ask_confinement),
        )
        rows = await asyncio.gather(*(self._row(what, ask) for what, ask in others))
        self._found |= {row.what: row for row in rows}

    async def ping_dht(self) -> None:
        """The DHT, whose time is told too."""
        if self._is_node:
            self._found["DHT"] = await self._row("DHT", self._ask_dht)

    @property
    def _is_node(self) -> bool:
        return self._found["api"].ok and "node-id" in self._health

    async def _row(self, what: str, ask: Callable[[], Awaitable[str]]) -> Verdict:
        try:
            async with asyncio.timeout(self._timeout + 1):
                return Verdict(what, await ask(), True)
        except TimeoutError:
            return Verdict(what, f"no answer within {self._timeout:g} s", False)
        except P2PError as error:
            return Verdict(what, error.cause, False)

    async def _get(self, path: str) -> Any:
        from p2pgrid.link.http import fetch_json

        url = f"{self._url}{path}"
        status, answer = await fetch_json("GET", url, session=self._session, timeout=self._timeout)
        if status != 200:
            raise Unreachable(f"{self._url}{path} answers with status {status}.")
        return answer

    async def _ask_health(self) -> str:
        began = time.perf_counter()
        answer = await self._get("/health-check")
        if not isinstance(answer, dict):
            raise Malformed(f"What answers at {self._url} is no node.")
        self._health = answer
        took = (time.perf_counter() - began) * 1000
        return f"{self._url}/health-check ({answer.get('status', 'online')}, {took:.0f} ms)"

    async def _ask_identity(self) -> str:
        from p2pgrid.records import verify_node

        answer = await self._get("/identity")
        try:
            pair = [base64.b64decode(part, validate=True) for part in answer["record"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("Its identity is no signed record.") from error
        record = verify_node(pair, now=time.time()).record
        told = record.id.hex()
        if self._expect not in ("", told) or self._health["node-id"] != told:
            raise Malformed(f"It proves to be {told}, and is told to be {self._expect or self._health['node-id']}.")
        return told

    def _visit(self) -> AbstractAsyncContextManager[DomainClient]:
        from p2pgrid.cli.where import Place, visit
        from p2pgrid.ids import parse_node_id

        return visit(Place("", self._url, parse_node_id(str(self._health["node-id"]))))

    async def _ask_link(self) -> str:
        async with self._visit():
            return f"{self._url.replace('http', 'ws', 1)}/link"

    async def _ask_confinement(self) -> str:
        """The tier in which submitted code runs there.  A node that runs none may be healthy all the same."""
        async with self._visit() as client:
            told = await client.door.call("node.confinement")
        try:
            tier, layers, why = str(told["tier"]), ", ".join(map(str, told["layers"])), str(told["why"])
        except (KeyError, TypeError) as error:
            raise Malformed("It does not tell how it confines code.") from error
        return f"{tier} ({layers}){'' if tier == 'strong' else f'. {why}'}"

    async def _ask_dht(self) -> str:
        from p2pgrid.client.search import host_towards
        from p2pgrid.dht import DhtNode

        address = str(self._health.get("dht", ""))
        if ":" not in address:
            raise Malformed("It tells no DHT address.")
        node = await DhtNode.start(host_towards([address]), 0, mode="client")
        try:
            pong = await node.ping(address, timeout=self._timeout)
        finally:
            await node.close()
        return f"{address} ({pong.state}, {pong.rtt_ms:.0f} ms, {count_text(self._health.get('peers', 0), 'peer')})"

    async def _ask_tags(self) -> str:
        answer = await self._get("/dataset-tags")
        tags = [str(tag) for tag in answer] if isinstance(answer, list) else []
        more = f" and {len(tags) - TAGS_SHOWN} more" if len(tags) > TAGS_SHOWN else ""
        return f"{self._health.get('datasets', 0)} with tags {' '.join(tags[:TAGS_SHOWN])}{more}".strip()
