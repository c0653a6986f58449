"""Experiments on a Dask cluster: a scheduler and two workers of this machine do what this machine does alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

WORDS = (
    *("bootstrap-loss", "--nodes", "20", "--set", "tags=5", "--set", "searches=10", "--set", "after=1,30"),
    *("--set", "restarts=3", "--seed", "1", "--seed", "2", "--set", "doors=2,3"),
)
"""Four jobs of half a second."""
START = 60.0
WHO = """
import json, sys
import distributed

with distributed.Client(sys.argv[1], timeout=20) as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=40)
    # An experiment's module is loaded by whoever runs it.
    ran = client.run(lambda: "p2pgrid.sim.experiments.bootstrap_loss" in __import__("sys").modules)
print(json.dumps(sorted(ran.values())))
"""


def did_run(address: str, workers: int = 2) -> list[bool]:
    """Of each worker, once there are so many, whether it has run an experiment."""
    command = [sys.executable, "-c", WHO, address, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=True)
    found: list[bool] = json.loads(done.stdout)
    return found


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, with warnings as errors."""
    command = [sys.executable, "-m", "p2pgrid", "simulate", *words]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, env=environment)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def begun(log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", *words], stdout=file, stderr=file, cwd=log.parent)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two worker processes, none of which has run anything."""
    folder = tmp_path_factory.mktemp("dask")
    told = folder / "scheduler.json"
    here = ("--host", "127.0.0.1", "--no-dashboard")
    ended = []
    try:
        where = ("--port", "0", "--scheduler-file", str(told))
        ended.append(begun(folder / "scheduler.log", "distributed.cli.dask_scheduler", *here, *where))
        address = _address(told)
        how = ("--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder))
        ended.append(begun(folder / "workers.log", "distributed.cli.dask_worker", address, *here, *how))
        assert did_run(address) == [False, False]
        yield address
    finally:
        whole = [one for process in ended for one in _family(process.pid)]
        for one in whole:
            one.kill()
        for process in ended:
            process.wait(10)
        psutil.wait_procs(whole, timeout=10)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _address(told: Path) -> str:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if told.exists() and (text := told.read_text()):
            return str(json.loads(text)["address"])
        time.sleep(0.05)
    raise AssertionError("the scheduler did not start")


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """What is the same wherever it runs."""
    runs = [{k: v for k, v in run.items() if k not in ("wall_seconds", "peak_rss_mib")} for run in document["runs"]]
    return {**document, "runs": runs}


def test_a_cluster_gives_what_this_machine_gives(cluster: str) -> None:
    there, here = simulate(*WORDS, "--scheduler", cluster, "--json"), simulate(*WORDS, "--json")

    assert (there.stderr, here.stderr) == ("", "")
    assert there.returncode == here.returncode <= 1
    document = json.loads(there.stdout)
    assert without_times(document) == without_times(json.loads(here.stdout))
    assert document["complete"] is True
    assert len({run["digest"] for run in document["runs"]}) == len(document["runs"]) == 4
    assert did_run(cluster) == [True, True]


def test_one_run_on_a_cluster_with_files(cluster: str, tmp_path: Path) -> None:
    done = simulate(*WORDS[:-6], "--scheduler", cluster, "--out", str(tmp_path / "out"))

    assert done.returncode <= 1
    assert "1 of 1 runs" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"summary.json", "rows.csv", "rows.parquet"}


def test_what_a_worker_refuses_is_told_as_it_is_here(cluster: str) -> None:
    there = simulate("churn", "--nodes", "100001", "--scheduler", cluster)
    assert (there.returncode, there.stdout) == (2, "")
    assert there.stderr == simulate("churn", "--nodes", "100001").stderr
    assert there.stderr.startswith("error[P2P-0501]: ")


def test_runs_that_are_done_outlive_the_scheduler(tmp_path: Path) -> None:
    told, out = tmp_path / "scheduler.json", tmp_path / "out"
    here = ("--host", "127.0.0.1", "--no-dashboard")
    where = ("--port", "0", "--scheduler-file", str(told))
    ended = [begun(tmp_path / "scheduler.log", "distributed.cli.dask_scheduler", *here, *where)]
    try:
        address = _address(told)
        how = ("--nworkers", "1", "--nthreads", "1", "--local-directory", str(tmp_path))
        ended.append(begun(tmp_path / "workers.log", "distributed.cli.dask_worker", address, *here, *how))
        with ThreadPoolExecutor() as pool:
            words = ("churn", "--nodes", "20", "--set", "sessions=300", "--set", "searches=5", "--set", "tags=3")
            hours = ("--set", "hours=0.01,10000")  # the second is still at it when the first is done
            run = pool.submit(simulate, *words, *hours, "--scheduler", address, "--out", str(out), "--json")
            end = time.monotonic() + START
            while not (out / "runs.csv").exists() and time.monotonic() < end:
                time.sleep(0.01)
            ended[0].kill()
            done = run.result()
    finally:
        for one in [member for process in ended for member in _family(process.pid)]:
            one.kill()
        for process in ended:
            process.wait(10)
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert len(document["runs"]) == len(document["failed"]) == 1
    assert document["failed"][0]["error"]["code"] == "P2P-0201"
    assert json.loads((out / "summary.json").read_text()) == document


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler without a worker."""
    folder = tmp_path_factory.mktemp("idle")
    told = folder / "scheduler.json"
    where = ("--host", "127.0.0.1", "--no-dashboard", "--port", "0", "--scheduler-file", str(told))
    scheduler = begun(folder / "scheduler.log", "distributed.cli.dask_scheduler", *where)
    try:
        yield _address(told)
    finally:
        scheduler.kill()
        scheduler.wait(10)


def test_where_no_scheduler_answers_or_no_worker_is_there(idle: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        nobody = f"tcp://127.0.0.1:{other.getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as pool:
        mute = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        addresses = [nobody, mute, "tcp://no.such.invalid:8786", idle]
        ends = list(pool.map(lambda address: simulate(*WORDS, "--scheduler", address), addresses))

    for address, done in zip(addresses, ends, strict=True):
        assert (done.returncode, done.stdout) == (4, "")
        cause, fix = done.stderr.splitlines()
        assert cause.startswith("error[P2P-0201]: "), cause
        assert address in cause
        assert fix.startswith("fix: ")
    assert "no worker" in ends[3].stderr


@pytest.mark.parametrize("address", ["nowhere", "smoke://127.0.0.1:1", "tcp://127.0.0.1:port"])
def test_an_address_that_is_none_is_told_and_leaves_no_folder(address: str, tmp_path: Path) -> None:
    done = simulate(*WORDS, "--scheduler", address, "--out", str(tmp_path / "made" / "out"))

    assert list(tmp_path.iterdir()) == []
    assert (done.returncode, done.stdout) == (4, "")
    cause, _ = done.stderr.splitlines()
    assert address in cause
