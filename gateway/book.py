"""The nodes a gateway knows, in memory: who may take which name, who is well, who is asked next.

No I/O and no clock here: ``wall`` is seconds since the epoch, ``now`` is a monotonic second.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from gateway.addresses import IPAddress, NodeAddress
from gateway.registry import NodeRow
from gateway.settings import (
    BENCH_FIRST,
    BENCH_MOST,
    BUSY_MS,
    MAX_NAMES_PER_ADDRESS,
    MAX_NODES,
    MAX_NODES_PER_IP,
    MISSES_BEFORE_DROP,
    OFFLINE_KEEP,
    RETRY_FIRST,
    RETRY_MOST,
    STRIKES_TO_BENCH,
    UNSEEN_KEEP,
)
from p2pgrid.errors import GatewayFull, NameTaken

State = Literal["online", "busy", "offline"]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What anybody may know of a node: the rows of ``/health-check``."""

    name: str
    address: str
    state: State
    latency_ms: float | None
    last_seen: float | None
    signed: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a join says, once read and checked.

    ``key`` and ``seq`` come from a signed record that names the address; ``own_id`` tells that the name is that key's
    node id, to which nobody else can have a right.  ``group`` counts entries towards the limit of one network address.
    """

    name: str
    address: NodeAddress
    group: str | None
    key: bytes | None = None
    seq: int = 0
    own_id: bool = False


@dataclass(slots=True, eq=False)
class Member:
    """One node: its row on disk, and how it has been since the gateway started."""

    row: NodeRow
    address: NodeAddress
    group: str | None = None
    ips: tuple[IPAddress, ...] = ()
    looked_up: float = -math.inf
    state: State = "offline"
    latency_ms: float | None = None
    last_seen: float | None = None
    misses: int = 0
    due: float = 0.0
    probing: bool = False
    strikes: int = 0
    struck: float = -math.inf
    benched_until: float = 0.0
    on_trial: bool = False

    @property
    def status(self) -> NodeStatus:
        """A snapshot of it."""
        row = self.row
        latency = None if self.latency_ms is None else round(self.latency_ms, 1)
        return NodeStatus(row.name, row.address, self.state, latency, self.last_seen, row.key is not None)

    def answered(self, seconds: float, *, now: float, wall: float, interval: float) -> None:
        """A probe was answered after ``seconds``."""
        self.latency_ms = seconds * 1000
        self.state = "online" if self.latency_ms < BUSY_MS else "busy"
        self.last_seen = wall
        self.misses = 0
        self.due = now + interval

    def missed(self, *, now: float, interval: float) -> None:
        """A probe was not answered: tried again soon at first, ever more rarely then."""
        self.state = "offline"
        self.latency_ms = None
        self.misses += 1
        first = min(RETRY_FIRST, interval)
        self.due = now + min(first * 2.0 ** min(self.misses - 1, 30), RETRY_MOST * interval)

    def let_wait(self, *, began: float, now: float) -> None:
        """It was asked a question at ``began`` and did not answer within the deadline.

        Questions that were under way at the same time count once: a burst of searches must not bench a busy node.
        """
        if began < self.struck:
            return
        self.struck = now
        self.strikes += 1
        over = self.strikes - STRIKES_TO_BENCH
        if over >= 0:
            self.benched_until = now + min(BENCH_FIRST * 2.0 ** min(over, 30), BENCH_MOST)

    @property
    def suspect(self) -> bool:
        """Whether no search should wait for it: it let the last ones wait in vain."""
        return self.strikes >= STRIKES_TO_BENCH

    def did_answer(self) -> None:
        """It was asked a question and answered in time, whatever it said."""
        self.strikes = 0

    def forgotten(self, *, wall: float) -> bool:
        """Whether it has been away for so long that its entry goes."""
        if self.state != "offline" or self.misses < MISSES_BEFORE_DROP:
            return False
        if self.last_seen is None:
            return wall - self.row.joined > UNSEEN_KEEP
        return wall - self.last_seen > OFFLINE_KEEP


class Book:
    """All members by name, at most ``MAX_NODES``."""

    def __init__(self, *, most: int = MAX_NODES) -> None:
        self._most = most
        self._members: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def get(self, name: str) -> Member | None:
        """The member of that name."""
        return self._members.get(name)

    def holds(self, member: Member) -> bool:
        """Whether ``member`` is still the one behind its name (it may have been replaced while it was asked)."""
        return self._members.get(member.row.name) is member

    def members(self) -> list[Member]:
        """All, by name."""
        return [self._members[name] for name in sorted(self._members)]

    def add(self, member: Member) -> None:
        """Put ``member`` behind its name."""
        self._members[member.row.name] = member

    def drop(self, name: str) -> None:
        """Forget a name."""
        self._members.pop(name, None)

    def counts(self) -> dict[str, int]:
        """How many are in which state."""
        found = Counter(member.state for member in self._members.values())
        return {state: found[state] for state in ("online", "busy", "offline")}

    def askable(self, now: float) -> list[Member]:
        """Who is asked in a search: all that are up and not benched, reliable and quick ones first."""
        able = [
            member
            for member in self._members.values()
            if member.state != "offline" and member.ips and member.benched_until <= now
        ]
        return sorted(able, key=lambda member: (member.strikes, member.latency_ms or 0.0))

    def due(self, now: float, most: int) -> list[Member]:
        """Who is to be probed now, longest overdue first."""
        ready = [member for member in self._members.values() if member.due <= now and not member.probing]
        return sorted(ready, key=lambda member: member.due)[:most]

    def next_due(self) -> float:
        """When the next probe is due."""
        return min((member.due for member in self._members.values() if not member.probing), default=math.inf)

    def admit(self, claim: Claim, *, wall: float) -> tuple[NodeRow, str | None]:
        """The row that ``claim`` earns, and the name that must go to make room (usually ``None``).

        Raises ``NameTaken`` or ``GatewayFull``.  Changes nothing.
        """
        old = self._members.get(claim.name)
        address = claim.address.text
        if old is not None:
            may_replace(old, claim)
            if old.row.address == address:
                if claim.key is None:
                    return old.row, None
                return NodeRow(claim.name, address, claim.key, claim.seq, old.row.joined, old.last_seen), None
        self._check_crowd(claim)
        victim = None
        if old is None and len(self._members) >= self._most:
            victim = self._longest_away()
        return NodeRow(claim.name, address, claim.key, claim.seq, wall, None), victim

    def _check_crowd(self, claim: Claim) -> None:
        others = [member for name, member in self._members.items() if name != claim.name]
        if sum(member.row.address == claim.address.text for member in others) >= MAX_NAMES_PER_ADDRESS:
            raise NameTaken(f"{claim.address.text} is already known under {MAX_NAMES_PER_ADDRESS} names.")
        if claim.group is not None and sum(member.group == claim.group for member in others) >= MAX_NODES_PER_IP:
            raise GatewayFull(f"{MAX_NODES_PER_IP} nodes at {claim.group} are already known.")

    def _longest_away(self) -> str:
        away = [member for member in self._members.values() if member.state == "offline" and member.misses]
        if not away:
            raise GatewayFull(f"This gateway already knows {self._most} nodes, and all of them are up.")
        return min(away, key=lambda member: member.last_seen or member.row.joined).row.name


def may_replace(old: Member, claim: Claim) -> None:
    """Whether ``claim`` may take the name that ``old`` has.  Raises ``NameTaken``.

    A name that a key owns changes only with a record of that key which names the new address and is not older than
    the last.  A name without a key goes to: the same address again; the key whose node id the name is; anybody, once
    the node behind it was asked and did not answer.
    """
    row = old.row
    same_address = row.address == claim.address.text
    if row.key is not None:
        if claim.key is None and same_address:
            return
        if claim.key is None:
            raise NameTaken(f"{row.name} belongs to a key; joining it elsewhere needs a record that names the address.")
        if claim.key != row.key:
            raise NameTaken(f"{row.name} belongs to another key.")
        if claim.seq < row.seq:
            raise NameTaken(f"{row.name} has shown a newer record than this one.")
        return
    if same_address or claim.own_id or (old.state == "offline" and old.misses > 0):
        return
    raise NameTaken(f"{row.name} is at {row.address} and answers there.")
