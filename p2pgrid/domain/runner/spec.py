"""What a run is given and what comes back: records without behaviour, shared by node, worker and tests."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from p2pgrid.assets import KINDS
from p2pgrid.errors import InvalidInput, TooLarge

MAX_CODE_BYTES: Final = 256 << 10
MAX_INPUTS: Final = 32

FAILURES: Final = ("", "error", "time", "cpu", "memory", "output", "result", "value", "crash", "unavailable")
"""Why a run has no result; the empty word when it has one."""

TIERS: Final = ("strong", "kernel", "none")
"""How well this machine confines a run: namespaces, Landlock and seccomp; the last two; or not well enough."""

LAYERS: Final = (
    "namespaces",  # a view of the files, network and processes of its own, by bubblewrap
    "other-user",  # a node that is root: the run is a user that owns nothing
    "rlimits",  # CPU, memory, descriptors, tasks, file size, core
    "landlock",  # no file but the interpreter's, no TCP, no signal to anybody
    "seccomp",  # a list of the system calls that numerical code makes; every other fails
)
"""What may stand around a run; ``RunReport.confinement`` names what did."""

SIDES: Final = ("mock", "private")
"""Runs on mocks and runs on private data never share a process to be forked from."""


@dataclass(frozen=True, slots=True)
class RunInput:
    """One argument: a file on disk in one of ``p2pgrid.assets.KINDS``, opened read-only for the run."""

    kind: str
    path: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"{self.kind!r} is no kind of asset.", fix=f"Use one of {', '.join(KINDS)}.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use.  Seconds and bytes; ``memory_bytes`` is beyond the interpreter and the inputs.

    ``wall_seconds`` starts when the run is confined, before its inputs are read.  A run is one process: ``threads``
    counts its threads.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 8
    memory_bytes: int = 1 << 30
    threads: int = 64
    open_files: int = 64
    output_bytes: int = 256 << 10
    result_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        bounds = {
            "wall_seconds": (0.05, 86_400.0),
            "cpu_seconds": (1, 86_400),
            "memory_bytes": (16 << 20, 1 << 40),
            "threads": (1, 4096),
            "open_files": (16, 4096),
            "output_bytes": (0, 64 << 20),
            "result_bytes": (64, 64 << 20),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise InvalidInput(f"The limit {name} is {value!r}, not between {least} and {most}.")
            if name != "wall_seconds" and not isinstance(value, int):
                raise InvalidInput(f"The limit {name} is {value!r}, not a whole number.")

    def changed(self, wishes: Mapping[str, int | float]) -> Limits:
        """These limits with some others, by name.  Raises ``InvalidInput``."""
        if unknown := sorted(set(wishes) - {item.name for item in fields(self)}):
            names = ", ".join(item.name for item in fields(self))
            raise InvalidInput(f"{', '.join(unknown)[:80]} is no limit of a run.", fix=f"There are {names}.")
        return replace(self, **wishes)  # type: ignore[arg-type]

    def to_wire(self) -> dict[str, Any]:
        """As plain values, for the process that runs the code."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Source text, the function in it to call, and one file for each keyword argument.

    ``side``: one of ``SIDES``.  ``environment``: the name of one of the runner's environments; empty for its own.
    Raises ``InvalidInput`` for names that are no identifiers, ``TooLarge`` for too much text or too many inputs.
    """

    code: str
    function: str
    inputs: Mapping[str, RunInput] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    side: str = "mock"
    environment: str = ""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise InvalidInput(f"A run's side is {self.side!r}; it must be one of {', '.join(SIDES)}.")
        for name in (self.function, *self.inputs):
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or len(name) > 256:
                raise InvalidInput(f"{name!r} is no name of a function or argument.")
        if len(self.code.encode("utf-8", "surrogatepass")) > MAX_CODE_BYTES:
            raise TooLarge(f"The code is over {MAX_CODE_BYTES} bytes.")
        if len(self.inputs) > MAX_INPUTS:
            raise TooLarge(f"The run has over {MAX_INPUTS} inputs.")


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended.

    ``result``: the bytes of ``wire.pack_value`` without Arrow, checked; whoever decodes them checks again.
    ``result_shape``: the result in a few words, such as ``numpy float64 (3, 4)``.  ``failure``: one of ``FAILURES``.
    ``error`` and ``output`` are printable text: control characters are escaped, this machine's folders are cut out.
    ``output``: stdout and stderr together, cut at the limit with a note.  ``wall_seconds``: from confinement to end.
    ``cpu_seconds``: of all its threads.  ``max_rss``: bytes, with the interpreter.  ``started``: the code had its
    inputs and may have begun; what it says about that itself counts for nothing.  ``tier``: one of ``TIERS``.
    ``confinement``: which of ``LAYERS`` held.
    """

    ok: bool
    result: bytes | None = None
    error: str = ""
    failure: str = ""
    output: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss: int = 0
    result_shape: str = ""
    started: bool = False
    tier: str = "none"
    confinement: tuple[str, ...] = ()


def unavailable(error: str, *, started: bool = False) -> RunReport:
    """The report of a run that the node could not give."""
    return RunReport(ok=False, failure="unavailable", error=error, started=started)
