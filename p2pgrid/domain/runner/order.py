"""What passes between node, zygote and worker: each message is msgpack in a frame of four bytes of length.

Node -> zygote: a setup, once.  Node -> worker: an order.  Worker -> node: ``READY``, then ``LOADED`` or why the inputs
cannot be read, both before the code begins, then one answer, which is a stranger's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from p2pgrid import wire
from p2pgrid.domain.runner.spec import MAX_CODE_BYTES, Limits, RunSpec
from p2pgrid.errors import Malformed

HEAD: Final = 4
MAX_ORDER: Final = 2 * MAX_CODE_BYTES
ANSWER_ROOM: Final = 64 << 10
"""Bytes of an answer besides its result."""
PARSING_ROOM: Final = 4
"""Reading an input may take this many times its size for a moment; the limit is tightened afterwards."""
MAX_ERROR: Final = 4000
READY: Final = b"ready"
"""The worker is confined; nothing that was asked of it is left out."""
LOADED: Final = b"loaded"
"""Its inputs are there; anything else is why they are not."""

START: Final = """
import sys

sys.path[:] = sys.argv[2:]
from p2pgrid.domain.runner.inside.zygote import main

main(int(sys.argv[1]))
"""
"""How a clean interpreter becomes a zygote: the descriptor of its socket, then the folders of its modules."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a zygote does to itself and to each worker.

    ``readable``: files and folders that a worker may read.  ``user``: for root, whom to become; 0 for nobody.
    ``must_become``: not becoming that user is a failure.  ``landlock``: restrict files.  ``calls``: the system call
    filter, empty for none.  ``shared_count``: the kernel counts tasks of other programs with the worker's.
    ``at_once``: workers at the same time.
    """

    readable: tuple[str, ...]
    user: int
    must_become: bool
    landlock: bool
    calls: bytes
    shared_count: bool
    at_once: int

    def pack(self) -> bytes:
        """As one datagram."""
        return wire.pack({**asdict(self), "readable": list(self.readable)})

    @classmethod
    def unpack(cls, raw: bytes) -> Setup:
        """From the node, so a fault in it is ours."""
        fields = wire.unpack(raw, limit=MAX_ORDER)
        return cls(**{**fields, "readable": tuple(fields["readable"])})


@dataclass(frozen=True, slots=True)
class Order:
    """A ``RunSpec`` as its worker gets it; ``inputs`` are (argument, kind), their descriptors come beside it."""

    code: str
    function: str
    inputs: tuple[tuple[str, str], ...]
    input_bytes: int
    limits: Limits

    def pack(self) -> bytes:
        """As one frame."""
        fields = {
            "code": self.code.encode("utf-8", "surrogatepass"),
            "function": self.function,
            "inputs": [list(pair) for pair in self.inputs],
            "input_bytes": self.input_bytes,
            "limits": self.limits.to_wire(),
        }
        return frame(wire.pack(fields))

    @classmethod
    def unpack(cls, raw: bytes) -> Order:
        """From the node, so a fault in it is ours."""
        fields = wire.unpack(raw, limit=MAX_ORDER)
        return cls(
            code=fields["code"].decode("utf-8", "surrogatepass"),
            function=fields["function"],
            inputs=tuple((name, kind) for name, kind in fields["inputs"]),
            input_bytes=fields["input_bytes"],
            limits=Limits(**fields["limits"]),
        )


def order_of(spec: RunSpec, input_bytes: int) -> Order:
    """The order for ``spec``, whose inputs have ``input_bytes`` together."""
    inputs = tuple((name, given.kind) for name, given in spec.inputs.items())
    return Order(spec.code, spec.function, inputs, input_bytes, spec.limits)


def frame(body: bytes) -> bytes:
    """``body`` behind its length."""
    return len(body).to_bytes(HEAD, "big") + body


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says came of its code.  ``failure`` is one of ``CODE_FAILURES``; ``result`` is not looked into."""

    failure: str
    error: str
    result: bytes

    def pack(self) -> bytes:
        """As one frame."""
        return frame(wire.pack({"failure": self.failure, "error": self.error, "result": self.result}))

    @classmethod
    def unpack(cls, raw: bytes, limits: Limits) -> Answer:
        """A stranger's bytes.  Raises ``RemoteError``."""
        fields: Any = wire.unpack(raw, limit=limits.result_bytes + ANSWER_ROOM)
        try:
            answer = cls(fields["failure"], fields["error"], fields["result"])
        except (KeyError, TypeError, IndexError) as error:
            raise Malformed("An answer lacks a field.") from error
        fits = isinstance(answer.failure, str) and isinstance(answer.error, str) and isinstance(answer.result, bytes)
        if not fits or answer.failure not in CODE_FAILURES:
            raise Malformed("An answer has an impossible field.")
        return cls(answer.failure, answer.error[:MAX_ERROR], answer.result)


CODE_FAILURES: Final = ("", "error", "value", "result", "memory")
"""Failures that the worker may tell; the others are the node's to find."""
