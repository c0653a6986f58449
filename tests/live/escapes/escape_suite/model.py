"""One attack and what was seen of it: records without behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pgrid.domain.runner import Limits

SUCCEEDS: Final = "succeeds"

WAYS: Final = ("bare", "strong", "kernel")
"""How the submitted function is run: in a bare subprocess as control, or under a tier."""
USERS: Final = ("root", "user")

LIMITS: Final = Limits(
    wall_seconds=6,
    cpu_seconds=4,
    memory_bytes=256 << 20,
    threads=32,
    open_files=64,
    output_bytes=64 << 10,
    result_bytes=1 << 20,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the driver, which plays the node, saw of one run."""

    result: str = ""
    """The value that came back, as text."""
    output: str = ""
    error: str = ""
    failure: str = ""
    result_bytes: int = 0
    secrets: frozenset[str] = frozenset()
    """Names of the canaries whose content came out."""
    arrived: frozenset[str] = frozenset()
    """Names of the listeners that heard something."""
    changed: tuple[str, ...] = ()
    """Files of the node that are new, gone or altered."""
    signals: int = 0
    """Signals that came to the node."""
    victim: str = ""
    """What happened to a process of the node: ``dead``, ``stopped``, ``altered``."""
    left: int = 0
    """Processes more than before the run, some time after its end."""
    beside: bool = True
    """An honest run at the same time ended well."""
    after: bool = True
    """An honest run afterwards ended well."""
    memory: int = 0
    """Bytes that the run's processes held at their peak, over those of before."""
    shared: int = 0
    """Bytes of shared memory (memfd, tmpfs) of the whole machine at the peak, over those of before."""
    tasks: int = 0
    """Threads at the peak, over those of before."""
    stalled: float = 0.0
    """Seconds for which the node's event loop stood still at most."""
    spent: float = 0.0
    """Seconds of processor time that the node itself took."""
    opened: int = 0
    """Descriptors that the node holds over those of before."""
    grown: int = 0
    """Bytes that the node itself held at its peak, over those of before."""
    raised: bool = False
    """A process had an effective user that is not its real one."""
    wall: float = 0.0
    """Seconds, as the driver's clock has them."""
    harm: str = ""
    """What reading the result did to its reader."""
    forged: str = ""
    """What the run's report says that cannot be true."""
    shown: str = ""
    """What a reviewer's terminal gets."""
    page: str = ""
    """What a reviewer's notebook or browser gets."""
    notes: Mapping[str, float] = field(default_factory=dict)


Judge = Callable[[Evidence], bool]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    ``source`` defines ``f``; it finds helpers and ``AT``, where everything is, above it.  ``judge``: whether the
    evidence shows success.  ``control``: what a bare subprocess does, ``succeeds`` or ``fails: why``; ``as_user`` the
    same for an ordinary user, where that differs.  ``needs``: a kernel setting (file, values) without which the
    control fails, for an ordinary user or, where root gets round none, for both.  ``capability``: the one that root
    must have (capabilities(7)).  ``then``: another function that is run next, and counted.  ``inputs``: ``f`` takes
    an array ``x``.  ``beside``: an honest run goes on at the same time.  ``fields``: what else the submitter writes.
    ``allowed``: why
    its success is no fault.
    """

    name: str
    family: str
    judge: Judge
    source: str
    control: str = SUCCEEDS
    as_user: str = ""
    needs: tuple[str, tuple[str, ...]] | None = None
    capability: int | None = None
    limits: Limits = LIMITS
    then: str = ""
    inputs: bool = False
    beside: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    allowed: str = ""

    def expected(self, user: str) -> str:
        """What the control does for ``user`` on this machine."""
        word = (self.as_user or self.control) if user == "user" else self.control
        if word != SUCCEEDS:
            return word
        if user == "root" and self.capability is not None and not _holds(self.capability):
            return f"fails: root has no capability {self.capability} here"
        if self.needs and (user == "user" or self.needs[0].startswith(FOR_ALL)):
            path, values = self.needs
            if (found := _setting(path)) not in (None, *values):
                return f"fails: {path} is {found}"
        return word


FOR_ALL: Final = ("/proc/sys/net", "/proc/sys/kernel/core_pattern")
"""Settings that no capability gets round."""


def _setting(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _holds(capability: int) -> bool:
    with open("/proc/self/status") as file:
        held = next(line for line in file if line.startswith("CapEff:")).split()[1]
    return bool(int(held, 16) >> capability & 1)
