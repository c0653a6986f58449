"""Jobs from a shell: a data scientist starts, waits and cancels, the owner reads the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

JANE = ("--on", "Bob", "--email", "sheldon@caltech.edu")
PASSWORD = {"P2PGRID_PASSWORD": "changethis"}
STUDY = """
def mean(ages):
    import time
    for step in range(3):
        print("step", step, flush=True)
        time.sleep(0.2)
    return float(ages.mean())

def naps(ages):
    import time
    print("zzz", flush=True)
    time.sleep(120 if ages.sum() == 1580 else 0)
    return 1

def scaled(ages, factor):
    return float(ages.sum() * factor)
"""


@pytest.fixture(scope="module")
def study(grid: Any) -> Any:
    np.save(grid.base.parent / "ages.npy", np.arange(20, 60))
    grid.json("publish", str(grid.base.parent / "ages.npy"), "--node", "Bob")
    (grid.base.parent / "study.py").write_text(STUDY)

    def submit(function: str, *more: str) -> str:
        words = (f"{grid.base.parent / 'study.py'}:{function}", "--to", "Bob", "--dataset", "ages")
        request = grid.json("submit", *words, *more, "--email", JANE[3], **PASSWORD)["request"]["id"]
        grid.json("requests", "approve", request, "--node", "Bob")
        return str(request)

    return submit


def test_a_job_from_its_start_to_its_result(grid: Any, study: Any) -> None:
    grid("jobs", "--node", "Bob").is_one_message("P2P-0903", 3)
    request = study("mean")
    job = grid.json("jobs", "start", request, *JANE, **PASSWORD)["job"]
    assert job["status"] in ("queued", "running")
    done = grid.json("jobs", "wait", job["id"][:8], *JANE, **PASSWORD)["job"]
    assert (done["status"], done["function"], done["on"]) == ("finished", "mean", "data")
    found = grid.json("jobs", "result", job["id"][:8], *JANE, **PASSWORD)
    assert found == grid.json("result", request, *JANE, **PASSWORD)
    assert found["result"]["value"] == 39.5
    logs = grid("jobs", "logs", job["id"], "--follow", "--node", "Bob")
    assert (logs.code, logs.out) == (0, "step 0\nstep 1\nstep 2\n")
    grid("jobs", "logs", job["id"], *JANE, **PASSWORD).is_one_message("P2P-0402", 1, "owner")
    listed = grid.json("jobs", "--node", "Bob")["jobs"]
    assert [(item["id"], item["status"]) for item in listed] == [(job["id"], "finished")]
    shown = grid("jobs", "show", job["id"][:8], "--node", "Bob")
    assert "finished" in shown.out


def test_each_job_has_the_result_of_its_own_run(grid: Any, study: Any, tmp_path: Any) -> None:
    request = study("scaled", "--own", "factor=int:2", "--limit", "2")
    grid("jobs", "start", request, *JANE, **PASSWORD).is_one_message("P2P-0002", 2, "--value factor=")
    started = grid("jobs", "start", request, "--value", "factor=2", *JANE, **PASSWORD)
    there = "--on Bob --email sheldon@caltech.edu"
    wait, get = started.err.splitlines()
    assert wait.startswith("Wait for its end: p2pgrid jobs wait ")
    assert get.startswith("Then get its result: p2pgrid jobs result ")
    assert wait.endswith(there)
    assert get.endswith(there)
    first = get.split()[7]
    second = grid.json("jobs", "start", request, "--value", "factor=3", *JANE, **PASSWORD)["job"]["id"]
    for job, value in ((first, 3160.0), (second, 4740.0), (first, 3160.0)):
        grid.json("jobs", "wait", job, *JANE, **PASSWORD)
        assert grid("jobs", "result", job, *JANE, **PASSWORD).out == f"{value}\n"
    kept = tmp_path / "kept.json"
    assert grid.json("jobs", "result", first, "--out", str(kept), *JANE, **PASSWORD)["file"] == str(kept)
    assert kept.read_text() == "3160.0\n"
    grid("jobs", "result", first, "--out", "kept.xyz", *JANE, **PASSWORD).is_one_message("P2P-0901", 1)


def test_a_run_on_the_mock_shows_its_author_what_it_prints(grid: Any, study: Any) -> None:
    request = study("mean")
    job = grid.json("jobs", "start", request, "--mock", *JANE, **PASSWORD)["job"]
    logs = grid("jobs", "logs", job["id"], "--follow", *JANE, **PASSWORD)
    assert logs.out == "step 0\nstep 1\nstep 2\n"
    grid.json("jobs", "wait", job["id"], *JANE, **PASSWORD)
    none = grid("jobs", "result", job["id"], *JANE, **PASSWORD)
    none.is_one_message("P2P-0400", 3, "ran on the mock", "p2pgrid jobs logs")
    assert grid.json("jobs", "show", job["id"], *JANE, **PASSWORD)["job"]["on"] == "mock"


def test_a_job_is_cancelled_by_the_owner_and_queued_again_by_its_author(grid: Any, study: Any) -> None:
    job = grid.json("jobs", "start", study("naps"), *JANE, **PASSWORD)["job"]["id"]
    late = grid("jobs", "wait", job, "--timeout", "0.5", *JANE, **PASSWORD)
    late.is_one_message("P2P-0902", 4, "naps")
    early = grid("jobs", "result", job, *JANE, **PASSWORD)
    early.is_one_message("P2P-0406", 1, "no result yet", f"p2pgrid jobs wait {job[:8]} --on Bob --email {JANE[3]}")
    assert grid.json("jobs", "cancel", job, "--node", "Bob")["job"]["status"] == "cancelled"
    waited = grid("jobs", "wait", job, "--json", *JANE, **PASSWORD)
    assert waited.code == 1
    assert waited.document["error"]["code"] == "P2P-0430"
    grid("jobs", "result", job, *JANE, **PASSWORD).is_one_message("P2P-0430", 1)
    grid("jobs", "cancel", job, "--node", "Bob").is_one_message("P2P-0401", 1)
    assert grid.json("jobs", "retry", job, *JANE, **PASSWORD)["job"]["status"] in ("queued", "running")
    grid.json("jobs", "cancel", job, *JANE, **PASSWORD)
    grid("jobs", "show", "ffff", "--node", "Bob").is_one_message("P2P-0400", 3)
