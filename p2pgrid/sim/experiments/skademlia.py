"""Lookups among adversaries, over one or several disjoint paths: S/Kademlia's experiment, on our lookup.

Baumgart and Mies (2007, "S/Kademlia: a practicable approach towards secure key-based routing", section 5) let a share
of the nodes answer lookups with other adversaries only, and count lookups that reach the node they look for.  Here the
real ``Lookup`` asks full tables, without packets and time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from p2pgrid.dht.contacts import Contact, Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.lookup import Lookup
from p2pgrid.dht.routing import Table
from p2pgrid.errors import BadExperiment
from p2pgrid.sim.experiment import Experiment, Run
from p2pgrid.sim.order import Ordered
from p2pgrid.sim.result import Result
from p2pgrid.sim.world import World

SHARES: Final = (10, 20, 30, 40, 50)
REFERENCE: Final = {
    1: (84.8, 69.0, 53.8, 45.0, 32.7),
    2: (98.2, 89.3, 81.2, 63.7, 51.7),
    4: (99.8, 98.7, 94.5, 83.5, 77.2),
    8: (100.0, 100.0, 99.7, 96.3, 89.8),
}
"""Of each number of paths: success in percent at ``SHARES``; computed from the paper's model, 600 lookups each."""
MODELLED: Final = (10_000, 16)
"""Nodes and k that the reference is for."""
TOLERANCE: Final = 3.0
"""Percentage points; above the reference is good."""


class Model:
    """Nodes with full tables, made when they are first asked, and a share of adversaries."""

    def __init__(self, nodes: int, limits: Limits, world: World) -> None:
        chance = world.random
        self.limits, self.chance = limits, chance
        self.contacts = [
            Contact(chance.randbytes(32), f"{20 + n // 62_500}.{n // 250 % 250 + 1}.{n % 250}.7", 4000)
            for n in range(nodes)
        ]
        self._everybody = Ordered([(contact.long_id, contact) for contact in self.contacts])
        self._tables: dict[bytes, Table] = {}
        self.bad: set[bytes] = set()
        self._bad = Ordered[Contact]([])

    def corrupt(self, percent: float) -> None:
        """So many of them, by chance, answer with each other from now on."""
        chosen = self.chance.sample(self.contacts, round(len(self.contacts) * percent / 100))
        self.bad = {contact.id for contact in chosen}
        self._bad = Ordered([(contact.long_id, contact) for contact in chosen])

    def answer(self, asked: Contact, target: bytes) -> Sequence[Contact]:
        """What a node says to ``find_node``."""
        point = int.from_bytes(target, "big")
        if asked.id in self.bad:
            return self._bad.nearest(point, self.limits.k)
        return self.table(asked).nearest(point, self.limits.k)

    def table(self, owner: Contact) -> Table:
        """Of each distance range as many as a bucket has, by chance."""
        table = self._tables.get(owner.id)
        if table is None:
            table = self._tables[owner.id] = Table(owner.id, self.limits, 0.0)
            for row in self._everybody.ranges(owner.long_id):
                for other in self.chance.sample(row, min(self.limits.k, len(row))):
                    table.add_contact(Peer(other.key, other.ip, other.port, None, 0.0))
        return table

    def reaches(self, asker: Contact, wanted: Contact, paths: int) -> tuple[bool, int]:
        """Whether a lookup by ``asker`` comes to an honest node, and how many it asked."""
        lookup = Lookup(wanted.id, self.limits, asker.id, paths=paths)
        lookup.add(self.table(asker).nearest(wanted.long_id, self.limits.k))
        while chosen := lookup.next():
            told = [(contact, self.answer(contact, wanted.id)) for contact in chosen]
            for contact, contacts in told:
                lookup.add(contacts, contact.id)
                lookup.answered(contact.id)
            if lookup.done():
                break
        return any(contact.id == wanted.id for contact in lookup.nearest()), lookup.asked


def check(nodes: int, given: Mapping[str, Any]) -> None:
    """Raises ``BadExperiment``."""
    if nodes - round(nodes * max(given["adversaries"]) / 100) < 2:
        raise BadExperiment("Fewer than two honest nodes would be left.")


def measure(run: Run) -> None:
    """Every number of paths at every share of adversaries."""
    world = World(run.seed)
    model = Model(run.nodes, Limits(k=run["k"]), world)
    parts = [(percent, paths) for percent in run["adversaries"] for paths in run["paths"]]
    trace = hashlib.blake2b(digest_size=16)
    corrupted = -1.0
    for number, (percent, paths) in enumerate(parts):
        run.step(number, len(parts))
        if percent != corrupted:
            model.corrupt(percent)
            corrupted = percent
        honest = [contact for contact in model.contacts if contact.id not in model.bad]
        right = asked_sum = 0
        for at in range(run["lookups"]):
            run.within(at / run["lookups"])
            asker, wanted = world.random.sample(honest, 2)
            reached, asked = model.reaches(asker, wanted, paths)
            right += reached
            asked_sum += asked
            trace.update(wanted.id + bytes([reached]) + asked.to_bytes(2, "big"))
        run.count(asked_sum)
        success = 100 * right / run["lookups"]
        known = _reference(run, percent, paths)
        run.row(
            paths=paths,
            adversaries_percent=percent,
            lookups=run["lookups"],
            success_percent=success,
            asked=asked_sum / run["lookups"],
            **(run.against(success, known, TOLERANCE, better="more") if known is not None else {}),
        )
    run.note(trace.hexdigest())


def _reference(run: Run, percent: float, paths: int) -> float | None:
    """Of the paper's model at this point, which is for 10,000 nodes and k = 16."""
    if (run.nodes, run["k"]) != MODELLED or paths not in REFERENCE or percent not in SHARES:
        return None
    return REFERENCE[paths][SHARES.index(percent)]


def draw(result: Result, axes: Any) -> None:
    """Success against adversaries, with the reference as crosses."""
    for paths in sorted({row["paths"] for row in result.rows}):
        rows = [row for row in result.rows if row["paths"] == paths]
        (line,) = axes.plot(
            [row["adversaries_percent"] for row in rows],
            [row["success_percent"] for row in rows],
            "o-",
            markersize=3,
            label=f"d={paths}",
        )
        known = [row for row in rows if "reference" in row]
        shares, percents = [row["adversaries_percent"] for row in known], [row["reference"] for row in known]
        axes.plot(shares, percents, "x", color=line.get_color())
    if any("reference" in row for row in result.rows):
        axes.plot([], [], "kx", label="reference")
    axes.set(xlabel="adversaries, % of the nodes", ylabel="lookups that succeed, %", ylim=(0, 102))
    axes.legend(loc="lower left")


EXPERIMENT: Final = Experiment(
    "skademlia",
    "Lookups among adversaries, by disjoint paths",
    "A share of the nodes answers lookups with each other only; how many lookups still reach the node they look for.",
    10_000,
    {"paths": (1, 2, 4, 8), "adversaries": tuple(range(0, 91, 5)), "lookups": 600, "k": 16},
    measure,
    {"skademlia": draw},
    {"paths": (1, 16), "adversaries": (0, 99), "lookups": (1, 1e6), "k": (1, 24)},
    measures={"success_percent": "lookups", "asked": ""},
    apart=("adversaries_percent", "paths"),
    check=check,
)
