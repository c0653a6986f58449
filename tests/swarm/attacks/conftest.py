"""What every attack needs: a grown grid of honest nodes, made once and copied, and a box of misbehaviours.

``grid`` is an ``Arena`` with 300 honest nodes that joined by themselves; ``arena`` is an empty one.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import types
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from nacl import bindings as sodium

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.messages import AddListing, FindListings, FindNode, Nodes, Page, Ping, Request, Stored
from p2pgrid.dht.operations import Operation
from p2pgrid.ids import node_id, normalise_tag, tag_key
from p2pgrid.records import Address, Listing, Verified, sign_listing

SEED = 20_261_121
NODES = 300
Pair = tuple[bytes, bytes]
Answerer = Callable[[Request, int], bytes | None]
"""A request and the bytes that its answer may have; None leaves the answer to the honest node."""


class Snapshot:
    """A grid that was grown, to be had again and again as it was, chance and time included."""

    def __init__(self, grid: Any) -> None:
        self._functions: list[Any] = []
        kept = io.BytesIO()
        pickler = pickle.Pickler(kept, protocol=5)
        pickler.persistent_id = self._number  # type: ignore[method-assign]
        pickler.dump(grid)
        self._bytes = kept.getvalue()

    def copy(self) -> Any:
        """The grid, anew."""
        unpickler = pickle.Unpickler(io.BytesIO(self._bytes))
        unpickler.persistent_load = self._functions.__getitem__  # type: ignore[method-assign]
        return unpickler.load()

    def _number(self, thing: object) -> int | None:
        """Callbacks that hold nothing of the grid are shared."""
        if not isinstance(thing, types.FunctionType) or "<" not in thing.__qualname__:
            return None
        assert all(not isinstance(cell.cell_contents, Engine) for cell in thing.__closure__ or ()), thing
        self._functions.append(thing)
        return len(self._functions) - 1


class Tell(Operation):
    """Sends one request and keeps the answer."""

    __slots__ = ("answer", "ended")

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.answer: Any = None
        self.ended = False

    def answered(self, call: Any, answer: Any, now: float) -> None:
        self.answer, self.ended = answer, True

    def failed(self, call: Any, now: float) -> None:
        self.ended = True


class Liar:
    """Stands at a node's desk and answers what it likes; the rest of the node stays real."""

    def __init__(self, honest: Any, answer: Answerer) -> None:
        self.honest, self.lie = honest, answer

    def answer(self, request: Request, asker: Contact, room: int, proven: bool) -> bytes:
        told = self.lie(request, room)
        return self.honest.answer(request, asker, room, proven) if told is None else told

    def __getattr__(self, name: str) -> Any:
        return getattr(self.honest, name)


class Pool:
    """Keys, sorted by id, to name those nearest to any point."""

    def __init__(self, contacts: Iterable[Contact]) -> None:
        self._sorted = sorted(contacts, key=lambda contact: contact.long_id)
        self._ids = [contact.long_id for contact in self._sorted]

    def nearest(self, target: bytes, count: int) -> list[bytes]:
        """Packed contacts, about the nearest of all, nearest first."""
        point = int.from_bytes(target, "big")
        at = bisect_left(self._ids, point)
        near = self._sorted[max(0, at - 2 * count) : at + 2 * count]
        return [contact.packed for contact in sorted(near, key=lambda contact: contact.long_id ^ point)[:count]]


class Arena:
    """A fake network, the honest nodes in it, and what attackers can do."""

    tell_class = Tell

    def __init__(self, swarm: Any, honest: Sequence[Engine] = ()) -> None:
        self.swarm = swarm
        self.honest = list(honest)

    # ------------------------------------------------------------ one node to another

    def tell(self, engine: Engine, other: Engine, request: Request) -> Any:
        """The answer to one request, None when there is none."""
        asked = Tell(engine)
        engine.ask(Contact(other.identity.public, *other.address), request, asked, self.swarm.now)
        self.swarm.flush(engine)
        assert self.swarm.run(30.0, lambda: asked.ended)
        return asked.answer

    def listing(self, identity: Identity, tag: str = "prey", **changes: Any) -> Verified[Listing]:
        """A signed listing; a dataset id makes it another."""
        made = Listing(
            key=identity.public,
            name="n",
            addresses=(Address("10.0.0.1", 1),),
            tag=normalise_tag(tag),
            dataset=bytes(16),
            title="",
            seq=1,
            issued=int(self.swarm.wall()),
            ttl=3600,
        )
        return sign_listing(identity, dataclasses.replace(made, **changes))

    @staticmethod
    def pair(verified: Verified[Listing]) -> Pair:
        """As it travels."""
        return (verified.raw, verified.signature)

    # ------------------------------------------------------------ misbehaviour

    def lie(self, engine: Engine, answer: Answerer) -> None:
        """Let a real node answer requests with something of ours."""
        engine._desk = Liar(engine._desk, answer)  # type: ignore[assignment]

    def silence(self, engine: Engine) -> None:
        """It answers pings, so that it stays in tables, and nothing else."""
        self.lie(engine, lambda request, room: None if isinstance(request, Ping) else b"")

    def misroute(self, engine: Engine, pool: Pool) -> None:
        """It names contacts of ``pool`` only, nearest to the target first, and holds nothing."""

        def answer(request: Request, room: int) -> bytes | None:
            if isinstance(request, FindNode):
                return messages.encode(Nodes(request.call, tuple(pool.nearest(request.target, 16))))
            if isinstance(request, FindListings):
                near = tuple(pool.nearest(tag_key(request.tag), 16))
                return messages.encode(Page(request.call, 0, 0, (), near))
            return messages.encode(Stored(request.call, 0)) if isinstance(request, AddListing) else None

        self.lie(engine, answer)

    def deceive(self, engine: Engine, pool: Pool, junk: Sequence[Pair], start: int) -> None:
        """It claims to store, names contacts of ``pool`` only, and pages through ``junk`` with false totals."""

        def page(request: FindListings, room: int) -> bytes:
            near = tuple(pool.nearest(tag_key(request.tag), 4)) if not request.cursor else ()
            room -= 32 + 52 * len(near)
            told: list[Pair] = []
            while len(told) < request.limit:
                pair = junk[(start + request.cursor + len(told)) % len(junk)]
                room -= len(pair[0]) + 72
                if room < 0:
                    break
                told.append(pair)
            return messages.encode(Page(request.call, 2**20, request.cursor + len(told), tuple(told), near))

        def answer(request: Request, room: int) -> bytes | None:
            if isinstance(request, FindListings):
                return page(request, room)
            if isinstance(request, FindNode):
                return messages.encode(Nodes(request.call, tuple(pool.nearest(request.target, 16))))
            return messages.encode(Stored(request.call, 0)) if isinstance(request, AddListing) else None

        self.lie(engine, answer)

    # ------------------------------------------------------------ keys

    def grind(self, count: int, wanted: Callable[[int], bool]) -> list[Identity]:
        """Keys made until ``count`` have a wanted id, as an attacker makes them."""
        found = []
        while len(found) < count:
            seed = self.swarm.random.randbytes(32)
            public, _ = sodium.crypto_sign_seed_keypair(seed)
            if wanted(int.from_bytes(node_id(public), "big")):
                found.append(Identity(seed))
        return found

    def phantoms(self, count: int) -> list[Contact]:
        """Real keys at addresses where nobody is, each in an address group of its own."""
        made = []
        for number in range(count):
            public, _ = sodium.crypto_sign_seed_keypair(self.swarm.random.randbytes(32))
            made.append(Contact(public, f"{150 + number // 60000}.{number // 250 % 240}.{number % 250}.9", 9999))
        return made

    def enter(self, identities: Iterable[Identity]) -> list[Engine]:
        """Attackers' nodes, each in an address group of its own, that join as honest ones do."""
        swarm, joined = self.swarm, []
        entered = [swarm.make(identity=identity) for identity in identities]
        for node in entered:
            door = swarm.random.choice(self.honest).address
            node.upkeep.join([door], [], lambda ok, at: joined.append(ok), swarm.now)
            swarm.flush(node)
        assert swarm.run(30.0, lambda: len(joined) == len(entered))
        assert all(joined)
        swarm.run(15.0)
        return entered

    def contacts(self, nodes: Iterable[Engine]) -> list[Contact]:
        """Where they are."""
        return [Contact(node.identity.public, *node.address) for node in nodes]

    # ------------------------------------------------------------ what is measured

    def announce(self, count: int, tag: str) -> set[bytes]:
        """Let ``count`` honest nodes announce one dataset each; the publishers' keys."""
        chosen = self.swarm.random.sample(self.honest, count)
        for node in chosen:
            self.swarm.announce(node, tag, node.identity.public[:16])
        self.swarm.run(30.0)  # the outer ranges are placed after the announcement returned
        return {node.identity.public for node in chosen}

    def search(self, asker: Engine, tag: str, limit: int = 1000) -> list[tuple[float, Verified[Listing]]]:
        """What was found, and how many seconds after the start; the end of the search is ``swarm.now``."""
        swarm, found, done = self.swarm, [], []
        began = swarm.now
        asker.search(
            normalise_tag(tag),
            limit,
            lambda listing: found.append((swarm.now - began, listing)),
            lambda at: done.append(at),
            swarm.now,
        )
        swarm.flush(asker)
        assert swarm.run(60.0, lambda: bool(done)), "a search did not end"
        return found

    def near_to(self, tag: str) -> int:
        """A tag's key as a number."""
        return int.from_bytes(tag_key(normalise_tag(tag)), "big")

    def note(self, **figures: float | str) -> None:
        """Show figures: ``pytest -rP`` prints them, a failure does too."""
        print("measured:", ", ".join(f"{name} {value}" for name, value in figures.items()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever comes first grows the grid; on a busy machine the usual two minutes are too few for that."""
    for item in items:
        if "attacks" in item.path.parts and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def grown(swarm_class: type[Any]) -> Snapshot:
    """The grid of ``NODES`` honest nodes."""
    swarm = swarm_class(SEED)
    return Snapshot((swarm, swarm.grow(NODES)))


@pytest.fixture
def grids(grown: Snapshot) -> Callable[[int], Arena]:
    """Makes copies of a grid of 300 honest nodes, each going on with a seed of its own."""

    def make(seed: int) -> Arena:
        print(f"swarm seeds {SEED}, {seed}")
        arena = Arena(*grown.copy())
        arena.swarm.random.seed(seed)
        return arena

    return make


@pytest.fixture
def grid(grids: Callable[[int], Arena]) -> Arena:
    """One such copy."""
    return grids(SEED)


@pytest.fixture
def arena(swarm: Any) -> Arena:
    """An empty fake network."""
    return Arena(swarm)


@pytest.fixture
def pool_class() -> type[Pool]:
    """To make pools."""
    return Pool


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> dict[Engine, int]:
    """Requests of lookups and searches that each node sends from now on."""
    counted: dict[Engine, int] = {}
    ask = Engine.ask

    def count(self: Engine, contact: Contact, request: Request, waiter: Operation, now: float) -> None:
        if isinstance(request, (FindNode, FindListings)):
            counted[self] = counted.get(self, 0) + 1
        ask(self, contact, request, waiter, now)

    monkeypatch.setattr(Engine, "ask", count)
    return counted
