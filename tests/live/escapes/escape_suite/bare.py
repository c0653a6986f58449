"""The control: the same function in a plain subprocess, as a node without confinement would run it."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from escape_suite.scene import Scene
from escape_suite.watch import descendants, kill

CUT: Final = 4.2
"""Seconds after which a control is ended: by then it has shown what it can."""
KEPT: Final = 8 << 20

LAUNCH: Final = """
import os, sys
source, given, out = sys.argv[1], sys.argv[2], int(sys.argv[3])
pid = os.fork()
if pid:  # stands for the process that forks runs
    os.close(out)
    os.waitpid(pid, 0)
    os._exit(0)
space = {"__name__": "__main__"}
try:
    with open(source, encoding="utf-8", errors="surrogatepass") as file:
        exec(compile(file.read(), "<submitted code>", "exec"), space)
    values = {}
    if given:
        import numpy
        values["x"] = numpy.load(given, mmap_mode="r")
    answer = ("", space["f"](**values))
except BaseException as error:
    answer = (type(error).__name__ + ": " + str(error), None)
import pickle
try:
    packed = pickle.dumps(answer)
except BaseException as error:
    packed = pickle.dumps((type(error).__name__ + ": " + str(error)[:200], None))
left = memoryview(packed)
while left:
    left = left[os.write(out, left):]
sys.stdout.flush()
os._exit(0)
"""


@dataclass(slots=True)
class BareRun:
    """What came of it.  ``answer`` is a pickle: it is only opened by a reader of its own."""

    answer: bytes = b""
    output: bytes = b""
    launcher: int | None = None
    wall: float = 0.0
    pipes: dict[int, bytearray] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """What the function raised.  Ours, written before any of its own pickled objects."""
        try:
            return str(_Head.load(self.answer))
        except Exception:
            return ""


class _Head(pickle.Unpickler):
    """Opens the text at the head of an answer, and no objects."""

    @staticmethod
    def load(answer: bytes) -> str:  # type: ignore[override]
        """The first text in a pickle of a pair."""
        import pickletools

        for code, argument, _ in pickletools.genops(answer):
            if "UNICODE" in code.name:
                return str(argument)
        return ""


def run(code: str, scene: Scene, *, inputs: bool, to_the_end: bool) -> BareRun:
    """Run ``f`` of ``code``; nothing of it is left afterwards.

    ``to_the_end``: wait until all who hold its pipes are gone, as a careless node would.
    """
    source = Path(scene.folder, "source.py")
    source.write_text(code, encoding="utf-8", errors="surrogatepass")
    answer, answer_end = os.pipe()
    output, output_end = os.pipe()
    found = BareRun(pipes={answer: bytearray(), output: bytearray()})
    started = time.monotonic()
    given = str(scene.files["input"]) if inputs else ""
    process = subprocess.Popen(
        [sys.executable, "-B", "-I", "-c", LAUNCH, str(source), given, str(answer_end)],
        stdin=subprocess.DEVNULL,
        stdout=output_end,
        stderr=output_end,
        pass_fds=[answer_end, *scene.inherited],
        cwd=scene.folder / "people",
        process_group=0,
    )
    os.close(answer_end)
    os.close(output_end)
    try:
        _read(found, process, started, to_the_end)
    finally:
        found.wall = time.monotonic() - started
        found.answer, found.output = bytes(found.pipes[answer]), bytes(found.pipes[output])
        os.close(answer)
        os.close(output)
        found.launcher = process.poll()
    return found


def end(scene: Scene) -> None:
    """Kill whatever a control left."""
    for _ in range(50):
        there = descendants({scene.victim.pid})
        if not there:
            return
        kill(there)
        time.sleep(0.01)


def _read(found: BareRun, process: subprocess.Popen[bytes], started: float, to_the_end: bool) -> None:
    waiting = set(found.pipes)
    while waiting and time.monotonic() - started < CUT:
        ended = process.poll() is not None  # asked first: what it wrote before is in the pipes then
        ready = select.select(list(waiting), [], [], 0.05)[0]
        for fd in ready:
            part = os.read(fd, 1 << 20)
            if not part:
                waiting.discard(fd)
            elif len(found.pipes[fd]) < KEPT:
                found.pipes[fd] += part
        if not ready and not to_the_end and ended:
            return
    if not waiting:
        try:
            process.wait(timeout=max(0.1, CUT - (time.monotonic() - started)) if to_the_end else 1.0)
        except subprocess.TimeoutExpired:
            return
