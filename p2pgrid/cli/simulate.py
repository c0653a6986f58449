"""``p2pgrid simulate``: experiments with whole grids in virtual time, from one command."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.ending import INTERRUPTED, as_p2p_error
from p2pgrid.cli.output import Out, console, count_text
from p2pgrid.errors import InvalidInput, MissingExtra, WrongUse

if TYPE_CHECKING:
    from p2pgrid.sim.experiment import Experiment, Progress, Run
    from p2pgrid.sim.plan import Plan
    from p2pgrid.sim.result import Result, Row
    from p2pgrid.sim.sweep import Job, Sweep

EXAMPLES: Final = opt.examples(
    "p2pgrid simulate --list",
    "p2pgrid simulate churn --nodes 300 --seed 7 --out churn",
    "p2pgrid simulate grid --nodes 1000 --hours 2 --set mean_session=3600",
    "p2pgrid simulate grid --set latency=regions --set nat_cone=0.3 --set nat_symmetric=0.2",
    "p2pgrid simulate flash-crowd --seed 1 --seed 2 --set seconds=5,10,20 --json",
    "p2pgrid simulate study.toml --scheduler tcp://192.0.2.7:8786 --out study",
)
DIGITS: Final = 4
BARS: Final = ("_low", "_high", "_least", "_most")
"""Ends of the names of columns with error bars."""
NEEDED: Final = 1 << 20
"""Bytes that a folder for results should have room for."""


def experiment_names(incomplete: str) -> list[str]:
    """For the shell's completion."""
    from p2pgrid.sim.experiments import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def simulate(
    experiment: Annotated[
        str,
        typer.Argument(
            help="An experiment's name, or a TOML file.",
            metavar="[EXPERIMENT|FILE.toml]",
            autocompletion=experiment_names,
        ),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Name the experiments and their parameters.")] = False,
    nodes: Annotated[list[int] | None, typer.Option("--nodes", "-n", min=2, help="Nodes; repeatable.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="Seed of all chance; repeatable.")] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Virtual hours, where the experiment has them.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter; each of several values is a run. Repeatable.", metavar="NAME=VALUE"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write tables and pictures here.", metavar="DIR")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on the Dask cluster with this scheduler.", metavar="tcp://HOST:PORT")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Runs at the same time on this machine; one a core unless told.")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Run an experiment with a whole grid in virtual time.

    The engines are those of real nodes; network and clock are simulated, and the same seed gives the same run. Exit
    code 1 when a figure is not within the tolerance of its reference.
    """
    voice = Out(as_json=as_json)
    if list_:
        _list(voice)
        return
    if not experiment:
        raise WrongUse("No experiment is named.", fix="Choose one of: p2pgrid simulate --list")
    from p2pgrid.sim import plan as plans

    plan = plans.read(experiment)
    _add_options(plan, nodes, seed, hours, set_ or [])
    jobs = plan.jobs()
    with _terminable(), _writable(out):
        if len(jobs) == 1 and scheduler is None:
            _one(voice, jobs[0], out)
        else:
            _many(voice, jobs, out, scheduler, processes)


def _add_options(
    plan: Plan, nodes: list[int] | None, seed: list[int] | None, hours: float | None, settings: Sequence[str]
) -> None:
    plan.nodes = list(nodes) if nodes else plan.nodes
    plan.seeds = list(seed) if seed else plan.seeds
    if hours is not None:
        plan.vary.pop("hours", None)
        plan.parameters["hours"] = hours
    for text in settings:
        plan.set(text)


def _list(voice: Out) -> None:
    from p2pgrid.sim.experiments import everyone

    found = everyone()
    voice.document([_described(one) for one in found])
    for one in found:
        voice.line(f"{one.name}: {one.about}")
        voice.line(f"    {one.nodes} nodes; " + ", ".join(f"{k}={_settable(v)}" for k, v in one.parameters.items()))


def _settable(value: Any) -> str:
    """As ``--set`` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(_settable, value))
    return f"{value:.15g}" if isinstance(value, float) else f"{value}"


def _described(one: Experiment) -> Row:
    return {
        "name": one.name,
        "title": one.title,
        "about": one.about,
        "nodes": one.nodes,
        "parameters": dict(one.parameters),
        "pictures": list(one.pictures),
    }


def _one(voice: Out, job: Job, out: Path | None) -> None:
    from p2pgrid.sim.experiments import named
    from p2pgrid.sim.journal import Journal

    journal = Journal(out, [job]) if out is not None else None
    begun: list[Result] = []
    fault: Exception | None = None
    try:
        with _progress(voice, job.experiment) as progress:
            named(job.experiment).run(
                nodes=job.nodes, seed=job.seed, parameters=job.parameters, progress=progress, begun=begun.append
            )
    except Exception as error:
        if not (begun and begun[0].rows):
            raise
        fault = error
    finally:
        if journal is not None and not (begun and begun[0].rows):
            journal.discard()
    result = begun[0]
    saved = _saved(voice, out if result.rows else None, result, interrupted=fault is None and not result.complete)
    if fault is None:
        _document(voice, result, saved)
    _show(voice, result.title, result.rows)
    voice.pairs({name: _shown(value) for name, value in result.summary.items()}, "run")
    if fault is not None:
        _fail(voice, out, result, saved, fault)
    _tell_of(voice, out, result, saved)
    _end(voice, result, result.holds)


def _document(voice: Out, result: Result, saved: list[Path] | InvalidInput) -> None:
    """The one document; with what kept it from being written, which ends the command."""
    if voice.as_json and isinstance(saved, InvalidInput):
        voice.fail(saved, result.document())
    voice.document(result.document())


def _fail(voice: Out, out: Path | None, result: Result, saved: list[Path] | InvalidInput, fault: Exception) -> NoReturn:
    """End with what ended the run: after its finished rows, or beside them in the document."""
    if isinstance(saved, InvalidInput):
        voice.warn(saved)
    else:
        _tell_of(voice, out, result, saved)
    voice.note("ended by an error; what was finished is above")
    if voice.as_json:
        voice.fail(as_p2p_error(fault), result.document())
    raise fault


def _many(voice: Out, jobs: Sequence[Job], out: Path | None, scheduler: str | None, processes: int | None) -> None:
    from p2pgrid.sim.journal import Journal
    from p2pgrid.sim.sweep import run_all

    journal = Journal(out, jobs) if out is not None else None

    def finished(job: Job, result: Result) -> None:
        nonlocal journal
        try:
            if journal is not None:
                journal.add(job, result)
        except InvalidInput as error:  # what is found is told at the end all the same, and written if it can be then
            journal = None
            voice.warn(error)

    begun = journal
    sweep: Sweep | None = None
    try:
        with _counting(voice, jobs[0].experiment, len(jobs)) as told:
            sweep = run_all(jobs, scheduler=scheduler, processes=processes, told=told, finished=finished)
    finally:
        if begun is not None and (sweep is None or not sweep.done):
            begun.discard()
    whole = sweep.result()
    saved = _saved(voice, out if sweep.done else None, whole, interrupted=not whole.complete)
    _document(voice, whole, saved)
    _show(voice, whole.title, [_for_people(row) for row in whole.tables["points"]])
    _show(voice, "runs", whole.tables["runs"])
    for job, error in sweep.failed:
        voice.note(f"failed: {', '.join(f'{name}={value}' for name, value in job.varied.items())}")
        voice.warn(error)
    _tell_of(voice, out, whole, saved)
    _end(voice, whole, whole.holds, failed=len(sweep.failed), of=len(jobs))


def _for_people(point: Row) -> Row:
    """A row of the points with its error bars in the cells of their values."""
    shown: Row = {}
    for name, value in point.items():
        if name.endswith(BARS) and name.rpartition("_")[0] in point:
            continue
        low, high = (
            point.get(f"{name}{end}", point.get(f"{name}{other}"))
            for end, other in zip(BARS[:2], BARS[2:], strict=True)
        )
        barred = value is not None and low is not None and low != high
        shown[name] = f"{_shown(value)} [{_shown(low)}, {_shown(high)}]" if barred else value
    return shown


def _show(voice: Out, title: str, rows: Sequence[Row]) -> None:
    from p2pgrid.sim.result import columns_of

    names = columns_of(rows)
    voice.table(
        [name.replace("_", " ") for name in names], [[_shown(row.get(name)) for name in names] for row in rows], title
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}" if abs(value) < 10**DIGITS else f"{value:.0f}"
    if isinstance(value, (tuple, list)):
        return ",".join(_shown(one) for one in value)
    return "" if value is None else f"{value}"


def _saved(voice: Out, out: Path | None, result: Result, *, interrupted: bool) -> list[Path] | InvalidInput:
    """What was written, or why it was not: before anything is shown, as whoever reads may go away meanwhile."""
    if out is None:
        return []
    if interrupted:
        voice.note("interrupted; writing what was finished, tables first (Ctrl-C again leaves the rest out)")
    try:
        return result.save(out)
    except InvalidInput as error:
        return error
    except KeyboardInterrupt:
        result.complete = False
        return sorted(path for path in out.iterdir() if path.is_file())


def _tell_of(voice: Out, out: Path | None, result: Result, written: list[Path] | InvalidInput) -> None:
    if isinstance(written, InvalidInput):
        raise written
    if not written:
        return
    voice.note(f"written to {out}: {', '.join(path.name for path in written)}")
    if result.complete and result.pictures and result.rows and not any(path.suffix == ".svg" for path in written):
        voice.warn(MissingExtra("Pictures need matplotlib, which is not installed.", fix="pip install 'p2pgrid[sim]'"))


def _end(voice: Out, result: Result, holds: bool | None, *, failed: int = 0, of: int = 1) -> None:
    for note in result.notes:
        voice.note(note)
    if failed:
        voice.line(f"{voice.mark(False)} {failed} of {count_text(of, 'run')} failed")
    if not result.complete:
        voice.note(f"interrupted{'; what was finished is above' if result.rows else ' before anything was finished'}")
        raise typer.Exit(INTERRUPTED)
    if holds is not None:
        voice.line(f"{voice.mark(holds)} {'within' if holds else 'not within'} the tolerances of the references")
    if failed or holds is False:
        raise typer.Exit(1)


@contextmanager
def _terminable() -> Iterator[None]:
    """Who asks us to end, as service managers and ``kill`` do, is heard as an interrupt is: what was finished stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        whose = signal.getsignal(signal.SIGINT)
        if not callable(whose):  # ignored, as in what a shell begins in the background
            raise KeyboardInterrupt
        whose(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _writable(folder: Path | None) -> Iterator[None]:
    """A folder for results, if one is wanted; what was made for it is gone afterwards when nothing was written."""
    if folder is None:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        _must_be_writable(folder)
        yield
    finally:
        for path in made:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _must_be_writable(folder: Path) -> None:
    """Before anything runs: an hour of simulation must not end at a folder that cannot be written, or is in use."""
    from p2pgrid.sim.journal import must_be_free
    from p2pgrid.sim.result import unwritable

    must_be_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(NEEDED))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(folder, error) from error


@contextmanager
def _progress(voice: Out, name: str) -> Iterator[Progress | None]:
    """A bar with virtual time, events a second and the time left, where a person looks on."""
    if not (voice.speaks and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    words = "{task.fields[virtual]} of virtual time, {task.fields[rate]} events/s"
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(words),
        TimeRemainingColumn(),
        console=console(sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task(name, total=1.0, virtual="0 s", rate="0")

        def told(share: float, run: Run) -> None:
            bar.update(task, completed=share, virtual=_duration(run.virtual_seconds), rate=f"{run.rate:,.0f}")

        yield told


@contextmanager
def _counting(voice: Out, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar of whole runs."""
    if not (voice.speaks and sys.stderr.isatty()):
        yield lambda done, of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(f"{name}, runs", total=total)
        yield lambda done, of: bar.update(task, completed=done)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
