"""One experiment with many seeds and parameters."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from p2pgrid.errors import BadExperiment, MissingExtra
from p2pgrid.sim import sweep
from p2pgrid.sim.experiments import named
from p2pgrid.sim.sweep import MOST_JOBS, Job, Sweep, jobs_of, merged, perform, run_all

SMALL = {"paths": (1, 2), "adversaries": (20,), "lookups": 20}


def test_there_is_a_job_for_each_combination_with_what_differs_as_columns():
    jobs = jobs_of("skademlia", nodes=[20, 30], seeds=[1, 2], parameters=SMALL, vary={"k": ["8", 16], "paths": [1, 2]})
    assert len(jobs) == 16
    assert jobs[0] == Job(
        "skademlia", 20, 1, {**SMALL, "k": 8, "paths": (1,)}, {"seed": 1, "nodes": 20, "k": 8, "paths": 1}
    )
    assert jobs[-1].varied == {"seed": 2, "nodes": 30, "k": 16, "paths": 2}
    assert len({repr(job.varied) for job in jobs}) == 16


def test_equal_combinations_are_one_run():
    usual = named("skademlia").nodes
    jobs = jobs_of(
        "skademlia",
        nodes=[None, usual],
        seeds=[1, 1, 2],
        parameters=SMALL,
        vary={"k": ["8", 8], "paths": [[1, 2], [1]]},
    )
    assert [(job.seed, job.parameters["paths"]) for job in jobs] == [(1, (1, 2)), (1, (1,)), (2, (1, 2)), (2, (1,))]
    assert len(jobs_of("skademlia", seeds=[5] * (MOST_JOBS + 1))) == 1
    assert len(jobs_of("churn", vary={"loss": ["0", "0.0", 0.1]})) == 2


def test_what_is_the_same_in_all_runs_is_no_column_but_the_seed_is():
    (job,) = jobs_of("skademlia", nodes=[20], parameters=SMALL)
    assert job == Job("skademlia", 20, 1, SMALL, {"seed": 1})


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"parameters": {"colour": 1}}, "no parameter 'colour'"),
        ({"vary": {"colour": [1]}}, "no parameter 'colour'"),
        ({"vary": {"k": [8, "many"]}}, "k is a whole number"),
        ({"vary": {"k": []}}, "no run at all"),
        ({"seeds": []}, "no run at all"),
        ({"nodes": [20, 1]}, "2 to 100,000 nodes"),
        ({"seeds": range(MOST_JOBS + 1)}, "more than 10,000 runs"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(more, cause):
    with pytest.raises(BadExperiment, match=cause):
        jobs_of("skademlia", **more)


def test_as_many_runs_as_allowed_are_taken():
    assert len(jobs_of("skademlia", seeds=range(MOST_JOBS))) == MOST_JOBS


def test_a_sweep_on_this_machine_gives_what_direct_runs_give_in_the_order_of_its_jobs():
    # The first is the longest, so that it is done last.
    jobs = [
        *jobs_of("skademlia", nodes=[60], seeds=[5], parameters={**SMALL, "lookups": 400}),
        *jobs_of("skademlia", nodes=[20], seeds=[1, 2], parameters=SMALL),
    ]
    told: list[tuple[int, int]] = []
    swept = run_all(jobs, processes=2, told=lambda *news: told.append(news))
    assert not swept.failed
    done = swept.done
    assert [job for job, _ in done] == jobs
    assert told == [(1, 3), (2, 3), (3, 3)]
    for job, result in done:
        direct = named("skademlia").run(nodes=job.nodes, seed=job.seed, parameters=job.parameters)
        assert result.rows == direct.rows == perform(job).rows
        assert result.digest == direct.digest
        assert result.pictures.keys() == direct.pictures.keys()
    assert done[1][1].digest != done[2][1].digest


def test_each_run_is_handed_out_when_it_is_done_whatever_becomes_of_the_others():
    bad = Job("skademlia", 20, 1, {"colour": 1}, {"seed": 1})
    good = jobs_of("skademlia", nodes=[20], seeds=[2, 3], parameters=SMALL)
    handed: list[tuple[Job, str]] = []
    told: list[int] = []
    run_all(
        [bad, *good],
        processes=1,
        told=lambda done, of: told.append(len(handed)),
        finished=lambda job, result: handed.append((job, result.digest)),
    )
    assert [job for job, _ in handed] == good
    assert told == [0, 1, 2]
    assert len({digest for _, digest in handed}) == 2


def test_a_sweep_is_one_result_with_rows_points_runs_and_pictures(tmp_path):
    jobs = jobs_of("skademlia", nodes=[20], seeds=[1, 2], parameters=SMALL, vary={"k": [8, 16]})
    bad = Job("skademlia", 20, 3, {**jobs[0].parameters, "colour": 1}, {"seed": 3, "k": 8})
    swept = run_all([*jobs, bad], processes=2)
    whole = swept.result()
    rows, runs = merged(swept.done)
    assert (whole.rows, whole.tables["runs"]) == (rows, runs)
    assert [(row["k"], row["adversaries_percent"], row["paths"], row["runs"]) for row in whole.tables["points"]] == [
        (k, 20, paths, 2) for k in (8, 16) for paths in (1, 2)
    ]
    document = whole.document()
    assert document["parameters"] == SMALL, "what is the same in all"
    assert document["points"] == whole.tables["points"]
    assert [failed["error"]["code"] for failed in document["failed"]] == ["P2P-0501"]
    assert document["complete"] is True
    names = {path.name for path in whole.save(tmp_path)}
    assert names >= {"points.csv", "points.parquet", "sweep-success_percent.png", "sweep-success_percent.svg"}
    assert not Sweep(jobs, swept.done[:3], []).result().complete


def test_what_a_run_raises_comes_out_of_the_sweep_beside_what_others_found():
    bad, good = Job("skademlia", 20, 1, {"colour": 1}, {"seed": 1}), Job("skademlia", 20, 2, SMALL, {"seed": 2})
    swept = run_all([bad, good], processes=1)
    assert [job for job, _ in swept.done] == [good], "what one does wrong costs no other"
    ((job, error),) = swept.failed
    assert job == bad
    assert isinstance(error, BadExperiment)
    assert error.cause.startswith("skademlia has no parameter 'colour'")
    assert "p2pgrid simulate --list" in error.fix


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (BadExperiment("It is wrong."), "P2P-0501", "It is wrong."),
        (BrokenProcessPool(), "P2P-0501", "want of memory"),
        (MemoryError(), "P2P-0501", "want of memory"),
        (type("KilledWorker", (Exception,), {})("often."), "P2P-0501", "Workers died at it"),
        (CancelledError("scheduler-connection-lost.\nCheck it."), "P2P-0201", "connection-lost. Check it."),
        (ZeroDivisionError("by 0"), "P2P-0004", "ZeroDivisionError: by 0."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_a_run_raises_is_its_failure_and_costs_no_other(monkeypatch, raised, code, says):
    bad, good = jobs_of("skademlia", nodes=[20], seeds=[1, 2], parameters=SMALL)
    result = perform(good)

    def here(jobs, processes):
        for number, ending in ((0, raised), (1, result)):
            future = Future()
            (future.set_exception if number == 0 else future.set_result)(ending)
            yield number, sweep._result_of(future)

    monkeypatch.setattr(sweep, "_here", here)
    swept = run_all([bad, good])
    assert swept.done == [(good, result)]
    ((job, error),) = swept.failed
    assert (job, error.code) == (bad, code)
    assert says in error.cause
    assert error.fix


def test_an_interrupt_ends_a_sweep_with_the_runs_that_are_done():
    jobs = jobs_of("skademlia", nodes=[20], seeds=[1, 2, 3], parameters=SMALL)

    def interrupt(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    done = run_all(jobs, processes=1, told=interrupt).done
    assert len(done) == 2
    assert all(job in jobs and result.complete for job, result in done)


def test_all_rows_are_merged_with_what_was_varied():
    jobs = jobs_of("skademlia", nodes=[20], seeds=[1, 2], parameters=SMALL, vary={"k": [8, 16]})
    done = [(job, perform(job)) for job in jobs]
    rows, runs = merged(done)
    assert len(rows) == 4 * 2
    assert [(row["seed"], row["k"], row["paths"]) for row in rows] == [
        (seed, k, paths) for seed in (1, 2) for k in (8, 16) for paths in (1, 2)
    ]
    assert rows[0] == {"seed": 1, "k": 8, **done[0][1].rows[0]}
    assert [(run["seed"], run["k"], run["digest"]) for run in runs] == [
        (job.seed, job.parameters["k"], result.digest) for job, result in done
    ]
    assert merged([]) == ([], [])


def test_a_cluster_without_dask_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match="Dask") as caught:
        run_all(jobs_of("skademlia"), scheduler="tcp://192.0.2.7:8786")
    assert caught.value.fix == sweep.DASK


@pytest.mark.parametrize(
    ("jobs", "processes", "says"),
    [
        ([], None, "nothing to run"),
        ([Job("grid", 5, 1, {}, {})], 0, "processes is a whole number from 1 on, not 0"),
        ([Job("grid", 5, 1, {}, {})], -1, "processes is a whole number from 1 on, not -1"),
    ],
)
def test_nothing_to_run_and_nobody_to_run_it_are_refused(jobs, processes, says):
    with pytest.raises(BadExperiment, match=says):
        run_all(jobs, processes=processes)
