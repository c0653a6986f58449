"""Hundreds of real nodes on this machine: real sockets, real time, in one process or several."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Literal, Protocol

from p2pgrid.dht import DhtNode
from p2pgrid.errors import InternalError, InvalidInput, NoBootstrap, Unreachable, from_wire
from p2pgrid.link.http import raise_open_files
from p2pgrid.records import Listing, Verified
from p2pgrid.sim.checks import seed_number, told, whole_number
from p2pgrid.sim.share import Member, Order, Share, row_of

MOST_NODES: Final = 10_000
MOST_PROCESSES: Final = 64
FIRST: Final = 4
"""Nodes of the swarm's own process that are up before other processes start: everybody joins through them."""
END_WITHIN: Final = 15.0
"""Seconds that a process has to close its nodes."""
LONGEST_LINE: Final = 1 << 26
AGAIN: Final = "Bring the swarm up again, with fewer nodes if memory was short."


class Part(Protocol):
    """The nodes of one process, here or elsewhere."""

    @property
    def lost(self) -> list[Member]:
        """All of them when their process died by itself, else none."""

    async def start(self) -> list[Member]:
        """Bring them up."""

    async def rows(self) -> list[dict[str, Any]]:
        """A row for each."""

    async def kill(self, names: Sequence[str]) -> None:
        """These are gone."""

    async def close(self) -> None:
        """End them."""


class Swarm:
    """Real nodes, as many as wanted, that know one another.

    ``nodes``: how many; ``datasets``: by name, each held by a node with a domain of its own: a source such as
    ``"sklearn:digits"`` or a file, or a ``Dataset``; ``full``: every node has a domain and an HTTP door, not only the
    DHT; ``processes``: they are spread over so many; ``host``: the address to listen at; ``bootstrap``: nodes of
    another grid to join; ``seed``: of who joins through whom.

    >>> async with Swarm(300, datasets={"digits": "sklearn:digits"}) as grid:
    ...     for listing in await grid.search("digits"):
    ...         print(listing.record.title, grid.bootstrap)

    Raises ``InvalidInput`` for impossible numbers; at the start ``NoBootstrap`` when nobody answers there, and what a
    node cannot be started for.
    """

    def __init__(
        self,
        nodes: int = 300,
        *,
        datasets: Mapping[str, Any] | None = None,
        full: bool = False,
        processes: int = 1,
        host: str = "127.0.0.1",
        bootstrap: Sequence[str] = (),
        seed: int = 1,
    ) -> None:
        datasets = _sources({} if datasets is None else datasets)
        nodes = whole_number("nodes", nodes, 1, MOST_NODES)
        processes = whole_number("processes", processes, 1, MOST_PROCESSES)
        if processes > nodes:
            raise InvalidInput(f"{nodes} nodes live in 1 to {nodes} processes, not {processes}.")
        if len(datasets) > nodes:
            raise InvalidInput(f"{len(datasets)} datasets need as many nodes; there are {nodes}.")
        self.members: list[Member] = []
        seed = seed_number(seed)
        self._chance = random.Random(seed)  # noqa: S311 - who joins through whom, and who searches
        self._count, self._processes, self._seed = nodes, processes, seed
        self._datasets, self._full, self._host, self._bootstrap = datasets, full, host, _addresses(bootstrap)
        self._parts: list[Part] = []
        self._own: list[Share] = []
        self._held = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        several = f" in {self._processes} processes" if self._processes > 1 else ""
        up = bool(self._parts) and len(self.members) == self._count
        return f"<Swarm of {self._count:,} node{'s' * (self._count > 1)}{several}, {'' if up else 'not '}up>"

    async def __aenter__(self) -> Swarm:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ------------------------------------------------------------ what it is

    @property
    def bootstrap(self) -> list[str]:
        """host:port of some nodes, for others to join through."""
        return [member.dht for member in self.members[:FIRST]]

    @property
    def up(self) -> int:
        """How many nodes are up so far, while it starts; those of other processes count once all of theirs are."""
        return len(self.members) + sum(len(share.members) for share in self._own if not share.told)

    @property
    def nodes(self) -> list[DhtNode]:
        """The DHT of each node in this process."""
        return [dht for share in self._own for dht in share.dht]

    @property
    def lost(self) -> list[Member]:
        """Nodes whose process died by itself; the others go on without them."""
        return sorted((one for part in self._parts for one in part.lost), key=lambda member: member.name)

    async def status(self) -> list[dict[str, Any]]:
        """A row for each node, as it is now: name, id, address, url, process, state, peers, listings, sent...

        Those that were killed, or whose process died, are "offline".
        """
        rows = [row for rows in await asyncio.gather(*(part.rows() for part in self._parts)) for row in rows]
        return sorted(rows, key=lambda row: str(row["name"]))

    async def search(
        self, *tags: str, match: Literal["all", "any"] = "all", limit: int = 100, timeout: float = 5.0
    ) -> list[Verified[Listing]]:
        """What one of our nodes finds; see ``DhtNode.search``.  Raises ``Unreachable`` when all of them are dead."""
        living = [dht for share in self._own for at, dht in enumerate(share.dht) if at not in share.dead]
        if not living:
            raise Unreachable("No node of the swarm is up in this process.")
        found = self._chance.choice(living).search(*tags, match=match, limit=limit, timeout=timeout)
        return [listing async for listing in found]

    async def kill(self, *members: Member | str) -> None:
        """These nodes (or nodes of these names) are gone, without a word to others.  Raises ``InvalidInput``."""
        names = {one.name if isinstance(one, Member) else one for one in members}
        if unknown := names - {member.name for member in self.members}:
            raise InvalidInput(f"The swarm has no node {sorted(unknown)[0]!r}.")
        await asyncio.gather(*(part.kill(sorted(names)) for part in self._parts))

    async def close(self) -> None:
        """End all nodes and processes, and remove what they wrote; to the end, however often that is cancelled."""
        closing = asyncio.create_task(self._close())
        given_up: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.wait([closing])
            except asyncio.CancelledError as error:
                given_up = error
        closing.result()
        if given_up is not None:
            raise given_up

    async def _close(self) -> None:
        parts, self._parts = self._parts, []
        try:
            await asyncio.gather(*(part.close() for part in reversed(parts)), return_exceptions=True)
        finally:
            self._own = []
            await self._held.aclose()

    # ------------------------------------------------------------ inside

    async def _start(self) -> None:
        raise_open_files()
        self.members = []
        home = self._held.enter_context(tempfile.TemporaryDirectory(prefix="p2pgrid-swarm-"))
        width = len(str(self._count))
        names = [f"node-{number + 1:0{width}}" for number in range(self._count)]
        holders = dict(zip(names, ([item] for item in self._datasets.items()), strict=False))
        first, rest = names[:FIRST], names[FIRST:]
        await self._begin(Here(Share(self._order(0, 0, first, holders, self._bootstrap, home))))
        if self._bootstrap and not self.nodes[0].joined:
            raise NoBootstrap(f"No node answered at {', '.join(self._bootstrap)}.")
        shares = [rest[number :: self._processes] for number in range(self._processes)]
        begun = []
        for process, share in enumerate(shares):
            if share:
                order = self._order(process, process + 1, share, holders, self.bootstrap, home)
                part = Here(Share(order)) if process == 0 else Elsewhere(order)
                begun.append(asyncio.ensure_future(self._begin(part)))
        if not begun:
            return
        try:
            await asyncio.wait(begun, return_when=asyncio.FIRST_EXCEPTION)
        finally:  # when one fails, the others must not go on while all is closed
            for one in begun:
                one.cancel()
            ends = await asyncio.gather(*begun, return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception):
                raise error
        self.members.sort(key=lambda member: member.name)

    async def _begin(self, part: Part) -> None:
        self._parts.append(part)
        if isinstance(part, Here):
            self._own.append(part.share)
        members = await part.start()
        if isinstance(part, Here):
            part.share.told = True
        self.members += members

    def _order(
        self, process: int, number: int, names: list[str], holders: Mapping[str, Any], bootstrap: list[str], home: str
    ) -> Order:
        datasets = {name: holders[name] for name in names if name in holders}
        seed = self._seed * (MOST_PROCESSES + 1) + number
        return Order(process, names, self._full, datasets, bootstrap, self._host, home, seed)


def _sources(datasets: Any) -> dict[str, Any]:
    """By name, each as it can be published.  Raises ``InvalidInput``."""
    if not isinstance(datasets, Mapping):
        raise InvalidInput(f"datasets are such as {{'digits': 'sklearn:digits'}}, not {told(datasets)}.")
    for name, source in datasets.items():
        if not (isinstance(name, str) and (isinstance(source, str) or _is_dataset(source))):
            raise InvalidInput(f"datasets are sources or Datasets by name, not {told(source)} by {told(name)}.")
    return dict(datasets)


def _is_dataset(source: Any) -> bool:
    from p2pgrid.client.values import Dataset  # takes a while, and most swarms have none

    return isinstance(source, Dataset)


def _addresses(bootstrap: Any) -> list[str]:
    """As a list.  Raises ``InvalidInput``."""
    if not isinstance(bootstrap, list | tuple) or not all(isinstance(one, str) for one in bootstrap):
        raise InvalidInput(f"bootstrap is a list of host:port, not {told(bootstrap)}.")
    return list(bootstrap)


class Here:
    """A share on our own loop."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.lost: list[Member] = []

    async def start(self) -> list[Member]:
        """See ``Share.start``."""
        return list(await self.share.start())

    async def rows(self) -> list[dict[str, Any]]:
        """See ``Share.status``."""
        return self.share.status()

    async def kill(self, names: Sequence[str]) -> None:
        """See ``Share.kill``."""
        await self.share.kill(names)

    async def close(self) -> None:
        """See ``Share.close``."""
        await self.share.close()


class Elsewhere:
    """A share in a process of its own, which ends when we do, however that is."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._members: list[Member] = []
        self._silent = False
        """Whether its ends of our pipes are closed, which may be told before its death is."""
        self._turn = asyncio.Lock()
        self._asked = 0

    async def start(self) -> list[Member]:
        """Start the process and its nodes."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the current folder is no module of ours
            "-m",
            "p2pgrid.sim.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # a Ctrl-C is for us, who then close it
        )
        try:
            text = asdict(self._order)
            json.dumps(text)
        except TypeError as error:
            raise InvalidInput(
                "A dataset that is no source cannot travel to another process.", fix="Give its file, or processes=1."
            ) from error
        answer = await self._ask({"do": "start", "order": text})
        if answer is None:
            raise InternalError("A process of the swarm died while it started.", fix=AGAIN)
        self._members = [Member(**{**row, "datasets": tuple(row["datasets"])}) for row in answer["members"]]
        return self._members

    @property
    def lost(self) -> list[Member]:
        """See ``Part.lost``."""
        ended = self._process is not None and self._process.returncode is not None
        return list(self._members) if self._silent or ended else []

    async def rows(self) -> list[dict[str, Any]]:
        """Ask for them."""
        answer = await self._ask({"do": "status"})
        if answer is None:
            return [row_of(member, "offline") for member in self._members]
        rows: list[dict[str, Any]] = answer["rows"]
        return rows

    async def kill(self, names: Sequence[str]) -> None:
        """Tell it; when it is dead, they are."""
        await self._ask({"do": "kill", "names": list(names)})

    async def close(self) -> None:
        """End the process: gently, and soon by force."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(END_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _ask(self, command: dict[str, Any]) -> dict[str, Any] | None:
        """What it answers; None when it is dead."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise InternalError("A process of the swarm is not there.")
        async with self._turn:
            self._asked += 1
            answer: dict[str, Any] = {}
            try:
                if process.stdin.is_closing():  # some loops would raise what is no ConnectionError
                    raise ConnectionResetError
                process.stdin.write(json.dumps({**command, "number": self._asked}).encode() + b"\n")
                await process.stdin.drain()
                while answer.get("number") != self._asked:  # an earlier one's, which nobody waited for
                    line = await process.stdout.readline()
                    if not line:
                        raise ConnectionResetError
                    answer = json.loads(line)
            except ConnectionError:
                self._silent = True
                return None
            except ValueError as error:
                raise InternalError(f"A process of the swarm says what is no answer: {error!r}.", fix=AGAIN) from error
        if "error" in answer:
            raise from_wire(answer["error"])
        return answer
