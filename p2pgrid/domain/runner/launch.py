"""One run as the node sees it: start a warden, hand it the order, collect output and report, see it end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from p2pgrid.domain.runner.confine import private_places
from p2pgrid.domain.runner.order import MAX_ORDER, REPORT_ROOM, pack_order, read_report
from p2pgrid.domain.runner.spec import RunReport, RunSpec
from p2pgrid.domain.runner.text import printable, without_folders
from p2pgrid.errors import StorageError, TooLarge

START_SECONDS: Final = 60.0
"""Beyond the run's own time, for an interpreter to start and an answer to be read through on a busy machine."""
END_SECONDS: Final = 5.0
"""For a warden to put away its run after it was told to stop; then it is killed."""
LAST_OUTPUT_SECONDS: Final = 1.0
FLOOD_FACTOR: Final = 64
FLOOD_LEAST: Final = 1 << 20
"""Output over its limit is cut; over this many times its limit, the run ends: reading it costs the node time."""
CHUNK: Final = 64 << 10

PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[3])
START_WARDEN: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from p2pgrid.domain.runner.warden import main; main(int(sys.argv[2]))"
)  # fmt: skip


def environment(folder: str) -> dict[str, str]:
    """All that a run has of an environment.  One thread for numerical libraries; memory that can be accounted for."""
    one_thread = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        **dict.fromkeys(one_thread, "1"),
    }


def private_folders(*more: str) -> tuple[str, ...]:
    """Folders that say where on this machine things are."""
    return (PACKAGE_ROOT, sys.prefix, sys.base_prefix, os.path.expanduser("~"), *more)


def people_folders() -> tuple[str, ...]:
    """What the user who runs the node, and others of this machine, keep for themselves."""
    homes = [os.path.expanduser("~")]
    with contextlib.suppress(ImportError, KeyError):  # no such database, or nobody of this number in it
        import pwd

        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return private_places(*homes)


@dataclass(slots=True)
class _Output:
    kept: bytearray = field(default_factory=bytearray)
    total: int = 0
    flood: bool = False


class Launch:
    """One run.  ``run`` may be awaited once; ``stop`` ends it early, from the same loop."""

    def __init__(self, spec: RunSpec, *, python: str, hide: tuple[str, ...], require: tuple[str, ...]) -> None:
        self._spec, self._python, self._hide, self._require = spec, python, hide, require
        self._output = _Output()
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = self._ordered = False

    def stop(self) -> None:
        """Close the lifeline: the warden kills the run and reports."""
        self._stopped = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def run(self) -> RunReport:
        """The report.  Raises ``StorageError`` when an input cannot be opened; otherwise nothing of its own."""
        folder = tempfile.mkdtemp(prefix="p2pgrid-run-")
        try:
            with contextlib.ExitStack() as stack:
                inputs = {name: stack.enter_context(_opened(i.path)) for name, i in self._spec.inputs.items()}
                os.chmod(folder, 0o755)  # noqa: S103 - an empty folder that another user may have to enter
                return self._shown(await self._started(folder, inputs), folder)
        finally:
            await _settled(asyncio.to_thread(_remove, folder))

    async def _started(self, folder: str, inputs: dict[str, int]) -> RunReport:
        size = sum(os.fstat(fd).st_size for fd in inputs.values())
        order = pack_order(self._spec, inputs, size, self._hide, people_folders(), self._require)
        if len(order) > MAX_ORDER:
            raise TooLarge(f"The run's order is over {MAX_ORDER} bytes.")
        with _pipe() as (output, output_end), _pipe() as (report, report_end):
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(self._python, "-I", "-B", "-c", START_WARDEN, PACKAGE_ROOT, str(report_end.fileno())),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=output_end.fileno(),
                    stderr=output_end.fileno(),
                    env=environment(folder),
                    cwd=folder,
                    pass_fds=(report_end.fileno(), *inputs.values()),
                    start_new_session=True,
                )
            except OSError as error:
                return _unavailable(f"The run's process cannot be started: {error.strerror}.")
            try:
                output_end.close()
                report_end.close()
                return await self._served(order, output, report)
            finally:
                await _settled(self._end())

    async def _served(self, order: bytes, output: _File, report: _File) -> RunReport:
        limits = self._spec.limits
        report_reader, report_transport = await _reader(report)
        output_reader, output_transport = await _reader(output)
        drain = asyncio.create_task(self._drain(output_reader))
        try:
            async with asyncio.timeout(limits.wall_seconds + START_SECONDS):
                await self._feed(order)
                body = await _bounded(report_reader, limits.result_bytes + REPORT_ROOM)
            with contextlib.suppress(TimeoutError):  # somebody who got away may still hold the other end
                await asyncio.wait_for(asyncio.shield(drain), LAST_OUTPUT_SECONDS)
        except TimeoutError:
            return replace(_unavailable("The run's process did not answer."), started=self._ordered)
        finally:
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
            output_transport.close()
            report_transport.close()
        return self._judged(body)

    def _judged(self, body: bytes) -> RunReport:
        limits = self._spec.limits
        found = read_report(body, limits)
        if found is None and self._stopped and not self._output.flood:
            return replace(_unavailable("The run was stopped: the node is closing."), started=self._ordered)
        if found is None:
            error = "The run's process ended without a report."
            found = RunReport(ok=False, failure="crash", error=error, started=self._ordered)
        if self._output.flood:
            error = f"The run printed more than {self._flood_limit()} bytes."
            return replace(found, ok=False, result=None, result_shape="", failure="output", error=error)
        if self._stopped and not found.ok:
            return replace(found, failure="unavailable", error="The run was stopped: the node is closing.")
        return found

    async def _feed(self, order: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        if self._stopped:  # before it had started
            process.stdin.close()
            return
        self._ordered = True  # whether the code began is the warden's to say from here on; it may die before
        with contextlib.suppress(ConnectionError):  # it ended at once; the missing report says so
            process.stdin.write(order)
            await process.stdin.drain()

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        """Keep output up to its limit, count the rest, end the run when it floods."""
        out, limit = self._output, self._spec.limits.output_bytes
        while part := await reader.read(CHUNK):
            out.total += len(part)
            out.kept += part[: max(0, limit - len(out.kept))]
            if out.total > self._flood_limit() and not out.flood:
                out.flood = True
                self.stop()

    def _flood_limit(self) -> int:
        return max(FLOOD_LEAST, FLOOD_FACTOR * self._spec.limits.output_bytes)

    def _shown(self, report: RunReport, folder: str) -> RunReport:
        """``report`` with its texts fit for a person's terminal."""
        folders = private_folders(folder)
        out = self._output
        text = printable(without_folders(out.kept.decode("utf-8", "replace"), folders))
        if out.total > len(out.kept):
            text += f"\n[cut: {out.total} bytes were printed, the limit is {self._spec.limits.output_bytes}]\n"
        return replace(report, output=text, error=printable(without_folders(report.error, folders)))

    async def _end(self) -> None:
        """Nothing of the run is left afterwards.  Gives the warden time to put its run away, then kills."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            pass
        finally:
            # The group is the warden's own; while a member of it lives its number is nobody else's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _unavailable(error: str) -> RunReport:
    return RunReport(ok=False, failure="unavailable", error=error)


class _File:
    """A pipe's end that is closed once, by whoever comes first."""

    def __init__(self, fd: int, mode: str) -> None:
        self.file = os.fdopen(fd, mode, buffering=0)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[_File, _File]]:
    """(read end, write end), neither inherited unless passed."""
    read, write = os.pipe()
    ends = _File(read, "rb"), _File(write, "wb")
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise StorageError(f"An input of a run cannot be opened: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StorageError("An input of a run is no plain file.")
        os.set_blocking(fd, True)
        yield fd
    finally:
        os.close(fd)


async def _reader(end: _File) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader(limit=CHUNK)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end.file)
    return reader, transport


async def _bounded(reader: asyncio.StreamReader, limit: int) -> bytes:
    """Everything until the end, or one byte over ``limit``, which no report may be."""
    body = bytearray()
    while len(body) <= limit and (part := await reader.read(CHUNK)):
        body += part
    return bytes(body)


async def _settled(ending: Coroutine[Any, Any, None]) -> None:
    """Await ``ending`` to its end, however often the caller is cancelled meanwhile; then pass the cancelling on."""
    task, cancelled = asyncio.ensure_future(ending), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _remove(folder: str) -> None:
    """The folder and whatever was left in it, also in folders made unreadable."""
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.isdir(folder):
        return
    os.chmod(folder, 0o700)
    for top, names, _ in os.walk(folder):
        for name in names:
            if not os.path.islink(os.path.join(top, name)):
                os.chmod(os.path.join(top, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)
