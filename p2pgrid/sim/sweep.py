"""One experiment with many seeds and parameters: on all cores of this machine, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from p2pgrid.errors import BadExperiment, InternalError, MissingExtra, P2PError, Unreachable
from p2pgrid.sim.checks import whole_number
from p2pgrid.sim.experiments import named
from p2pgrid.sim.points import pictures, points
from p2pgrid.sim.result import Result, Row

DASK: Final = "Install it with: pip install 'p2pgrid[dask]'"
CONNECT_WITHIN: Final = 10.0
"""Seconds to reach a scheduler."""
WORKERS_WITHIN: Final = 10.0
"""Seconds that a scheduler has to get its first worker."""
MOST_JOBS: Final = 10_000

Told = Callable[[int, int], None]
"""Hears how many runs are done, of how many."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run.

    ``parameters``: as the experiment takes them, so that no worker needs a file that is only here; ``varied``: what
    differs from the others, as columns of the merged table.
    """

    experiment: str
    nodes: int | None
    seed: int
    parameters: Mapping[str, Any]
    varied: Mapping[str, Any]


def jobs_of(
    experiment: str,
    *,
    nodes: Sequence[int | None] = (None,),
    seeds: Sequence[int] = (1,),
    parameters: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
) -> list[Job]:
    """A run for each combination; of equal ones, as of a seed that is named twice, one: it would give the same again.

    Raises ``BadExperiment`` before anything runs.
    """
    found, fixed, vary = named(experiment), dict(parameters or {}), dict(vary or {})
    jobs: list[Job] = []
    seen = set()
    for count, seed, *values in itertools.product(nodes, seeds, *vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        given = {**fixed, **chosen}
        whole, chance, taken = found.checked(count, seed, given)
        same = (whole, chance, tuple(taken.items()))
        if same in seen:
            continue
        seen.add(same)
        columns = {name: _column(taken[name]) for name in chosen}
        varied = {"seed": seed, **({"nodes": count} if len(nodes) > 1 else {}), **columns}
        jobs.append(Job(experiment, count, seed, {name: taken[name] for name in given}, varied))
        if len(jobs) > MOST_JOBS:
            raise BadExperiment(f"That would be more than {MOST_JOBS:,} runs.")
    if not jobs:
        raise BadExperiment("That would be no run at all: something to vary has no value.")
    return jobs


def _column(value: Any) -> Any:
    """A parameter as a cell of a table: a list of one is that one, a longer one is text."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 else ",".join(map(str, value))


def perform(job: Job) -> Result:
    """Do one; what a worker runs."""
    return named(job.experiment).run(nodes=job.nodes, seed=job.seed, parameters=job.parameters)


def run_all(
    jobs: Sequence[Job],
    *,
    scheduler: str | None = None,
    processes: int | None = None,
    told: Told = lambda done, of: None,
    finished: Callable[[Job, Result], None] = lambda job, result: None,
) -> Sweep:
    """All of them, in the order of the jobs; an interrupt ends it with those that are done, a failure fails one.

    ``scheduler``: a Dask scheduler's address, as ``tcp://host:8786``; else processes on this machine, one a core unless
    told.  ``finished`` is handed each run when it is done, such as to ``Journal.add``.  Raises ``BadExperiment``,
    ``Unreachable``, ``MissingExtra``.
    """
    if not jobs:
        raise BadExperiment("There is nothing to run: no jobs were given.", fix="Make some with jobs_of().")
    if processes is not None:
        whole_number("processes", processes, 1, error=BadExperiment)
    done: dict[int, Result] = {}
    failed: dict[int, P2PError] = {}
    try:
        for number, result in _on_cluster(jobs, scheduler) if scheduler else _here(jobs, processes):
            if isinstance(result, Result):
                done[number] = result
                finished(jobs[number], result)
            else:
                failed[number] = result
            told(len(done) + len(failed), len(jobs))
    except KeyboardInterrupt:
        pass
    return Sweep(
        list(jobs),
        [(jobs[number], done[number]) for number in sorted(done)],
        [(jobs[number], failed[number]) for number in sorted(failed)],
    )


@dataclass(frozen=True, slots=True)
class Sweep:
    """What runs came to: the results of those that are done, and what went wrong with others."""

    jobs: list[Job]
    done: list[tuple[Job, Result]]
    failed: list[tuple[Job, P2PError]]

    def result(self) -> Result:
        """All of them, which are of one experiment, as one: every row, the tables ``points`` and ``runs``, and a
        picture of each measure."""
        experiment, parameters = self.jobs[0].experiment, common(self.jobs)
        rows, runs = merged(self.done)
        found = points(self.done)
        summed = [point.row() for point in found]
        title = f"{named(experiment).title}: {len(self.done)} of {len(self.jobs)} runs"
        tables = {"points": summed, "runs": runs, **merged_tables(self.done)}
        whole = Result(experiment, title, 0, 0, parameters, rows, tables, pictures=pictures(found))
        whole.unjoined = sum(result.unjoined for _, result in self.done)
        whole.unheld = sum(result.unheld for _, result in self.done)
        whole.unfinished = sum(result.unfinished for _, result in self.done)
        ended = len(self.done) + len(self.failed) == len(self.jobs)
        whole.complete = ended and all(result.complete for _, result in self.done)
        whole.whole = {
            "experiment": experiment,
            "complete": whole.complete,
            "holds": whole.holds,
            "parameters": parameters,
            "failed": [{**job.varied, "error": error.to_wire()} for job, error in self.failed],
            "points": summed,
            "runs": runs,
            "rows": rows,
        }
        return whole


def common(jobs: Sequence[Job]) -> dict[str, Any]:
    """The parameters that are the same in all of them."""
    first, *rest = (job.parameters for job in jobs)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in rest)}


def merged(done: Sequence[tuple[Job, Result]]) -> tuple[list[Row], list[Row]]:
    """All rows in one table, each with what was varied; and a summary of each run.

    Where a row has a column of the same name, what was varied is called ``given_`` and its name.
    """
    rows = _with_varied([(job, result.rows) for job, result in done])
    return rows, [{**job.varied, **result.summary} for job, result in done]


def merged_tables(done: Sequence[tuple[Job, Result]]) -> dict[str, list[Row]]:
    """Each of the further tables, all runs in one."""
    names = dict.fromkeys(name for _, result in done for name in result.tables)
    return {name: _with_varied([(job, result.tables.get(name, [])) for job, result in done]) for name in names}


def _with_varied(tables: Sequence[tuple[Job, Sequence[Row]]]) -> list[Row]:
    own = {name for _, rows in tables for row in rows for name in row}
    return [
        {**{f"given_{name}" if name in own else name: value for name, value in job.varied.items()}, **row}
        for job, rows in tables
        for row in rows
    ]


def _here(jobs: Sequence[Job], processes: int | None) -> Iterator[tuple[int, Result | P2PError]]:
    count = min(processes or os.cpu_count() or 1, len(jobs))
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_us)
    try:
        with _undisturbed():
            begun: dict[Future[Result], int] = {pool.submit(perform, job): number for number, job in enumerate(jobs)}
        for future in as_completed(begun):
            yield begun[future], _result_of(future)
    finally:
        for process in list(pool._processes.values()):  # those under way would go on for minutes
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _end_with_us() -> None:
    """In a process of ours: when we are killed, it does not go on for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _result_of(future: Any) -> Result | P2PError:
    """Of a process here, or of a cluster: whatever came of it instead is this run's failure, and costs no other."""
    try:
        found: Result = future.result()
        return found
    except P2PError as error:
        return error
    except (BrokenProcessPool, MemoryError):
        return BadExperiment("Its process died, probably for want of memory.", fix="Run fewer with --processes.")
    except Exception as error:
        return _failure(type(error).__name__, " ".join(str(error).split()).rstrip("."), error)


def _failure(kind: str, why: str, error: Exception) -> P2PError:
    if kind == "KilledWorker":  # Dask's, which need not be installed
        return BadExperiment(f"Workers died at it, probably for want of memory: {why}.", fix="Give them more memory.")
    if isinstance(error, CancelledError):
        return Unreachable(f"The cluster lost it: {why}.", fix="See why the scheduler ended, and run it again.")
    return InternalError(f"It failed unforeseen: {kind}: {why[:500]}.", fix="Run it alone to see more, and report it.")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """An interrupt waits for the end, and never reaches the processes begun here: it is for us, who then end them."""
    arrived: list[int] = []
    here = threading.current_thread() is threading.main_thread()
    # Another thread may take the signal in spite of our mask, and Python then interrupts the main one.
    before = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number)) if here else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # processes inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if here:
            signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def _on_cluster(jobs: Sequence[Job], scheduler: str) -> Iterator[tuple[int, Result | P2PError]]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise MissingExtra("A cluster needs Dask, which is not installed.", fix=DASK) from error
    fix = "Start one with 'dask scheduler', and workers with 'dask worker tcp://HOST:8786'."
    try:
        # A client would wait without end for one that is silent, and 20 s more when an address is none.
        with ThreadPoolExecutor(1) as apart:  # whoever calls us may have a loop of its own
            apart.submit(asyncio.run, _ask(distributed, scheduler)).result()
        client = distributed.Client(scheduler, timeout=CONNECT_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        why = str(error) or f"nothing came within {CONNECT_WITHIN:g} s"
        raise Unreachable(f"No Dask scheduler answers at {scheduler}: {why}.", fix=fix) from error
    with _quiet(), client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WITHIN)
        except TimeoutError as error:
            raise Unreachable(f"The Dask scheduler at {scheduler} has no worker.", fix=fix) from error
        begun = {client.submit(perform, job, pure=False): number for number, job in enumerate(jobs)}
        try:
            for future in distributed.as_completed(begun, loop=client.loop):
                yield begun[future], _result_of(future)
        finally:
            with suppress(Exception):  # a scheduler that died has nothing to be cancelled
                client.cancel(list(begun))


@contextmanager
def _quiet() -> Iterator[None]:
    """A client logs a scheduler that it lost with tracebacks; it is told as the failure of the runs."""
    log = logging.getLogger("distributed.client")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


async def _ask(distributed: Any, scheduler: str) -> None:
    """Raises ``OSError``, ``TimeoutError`` among them, or ``ValueError`` when no scheduler answers there."""
    async with asyncio.timeout(CONNECT_WITHIN), distributed.rpc(scheduler) as there:
        await there.identity()
