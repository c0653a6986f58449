"""``p2pgrid simulate``: one experiment, many of them, files of results, and an interrupt that keeps what was done."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import parquet

NAMES = {
    "grid",
    "hops",
    "skademlia",
    "churn",
    "dead-nodes",
    "hot-tag",
    "bought-neighbourhood",
    "partition",
    "bootstrap-loss",
    "flash-crowd",
}
SMALL = (
    *("bootstrap-loss", "--nodes", "20", "--set", "tags=5", "--set", "searches=10"),
    *("--set", "after=1,30", "--set", "restarts=3"),
)
"""An experiment that is over within a second."""
ENDLESS = (*SMALL[:-4], "--set", "after=1,1e8")
"""One that is not, whose first row is there at once."""
HARD = (
    *("hops", "--nodes", "100", "--set", "sizes=100", "--set", "k=8"),
    *("--set", "lookups=1", "--set", "grown_most=0"),
)
"""A whole number of hops: none is within 15 % of 1.66."""
WORDS = {"experiment", "nodes", "seed", "events", "virtual_seconds", "wall_seconds", "peak_rss_mib", "digest", "rows"}
FILES = {"summary.json", "rows.csv", "rows.parquet", "bootstrap-loss.png", "bootstrap-loss.svg"}


def ran(done: Any) -> Any:
    """The document of a run to the end, whether or not its figures are as good as their references."""
    assert done.code in (0, 1), done
    assert done.err == ""
    assert done.document["complete"] is True
    return done.document


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def workers(process: Any) -> list[psutil.Process]:
    """The processes in which a sweep runs."""
    return [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]


def kill_workers(process: Any) -> None:
    """As the kernel does when memory is short."""
    for one in workers(process):
        one.kill()


# ---------------------------------------------------------------- what there is


def test_the_experiments_and_their_parameters(shell: Any) -> None:
    listed = shell.json("simulate", "--list")

    assert [one["name"] for one in listed] == list(dict.fromkeys(one["name"] for one in listed))
    assert {one["name"] for one in listed} == NAMES
    for one in listed:
        assert one["title"]
        assert one["about"].endswith(".")
        assert one["nodes"] >= 2
        assert one["parameters"]
        assert one["pictures"]
    done = shell("simulate", "--list")
    assert (done.code, done.err) == (0, "")
    assert {line.partition(":")[0] for line in done.out.splitlines() if not line.startswith(" ")} == NAMES
    for one in listed:
        assert all(f"{name}=" in done.out for name in one["parameters"])


# ---------------------------------------------------------------- one run


def test_the_same_seed_is_the_same_run(shell: Any) -> None:
    one, same, other = (ran(shell("simulate", *SMALL, "--seed", seed, "--json")) for seed in ("7", "7", "8"))

    assert set(one) >= WORDS
    assert (one["experiment"], one["nodes"], one["seed"]) == ("bootstrap-loss", 20, 7)
    chosen = {"doors": 3, "tags": 5, "searches": 10, "after": [1.0, 30.0], "restarts": 3}
    assert {name: one["parameters"][name] for name in chosen} == chosen
    assert len(one["rows"]) == 5
    assert one["events"] > 1000
    assert one["virtual_seconds"] > 30
    assert one["wall_seconds"] > 0
    assert one["peak_rss_mib"] > 10
    assert (one["digest"], one["rows"], one["events"]) == (same["digest"], same["rows"], same["events"])
    assert len(one["digest"]) == 32
    assert one["digest"] != other["digest"]


def test_a_run_for_people(shell: Any, watched: Any) -> None:
    done = shell("simulate", *SMALL)

    assert done.err == ""
    assert "all are up" in done.out
    assert "digest" in done.out
    assert done.out.splitlines()[-1].endswith("within the tolerances of the references")
    assert done.code == ("not within" in done.out)
    at = watched("simulate", *SMALL)
    assert at.end()[0] == done.code
    assert b"events/s" in at.shown
    assert b"all are up" in at.shown


def test_a_reference_that_is_missed_is_told_with_exit_code_1(shell: Any) -> None:
    done = shell("simulate", *HARD)
    assert done.code == 1
    assert "not within the tolerances" in done.out
    done = shell("simulate", *HARD, "--json")
    assert (done.code, done.err, done.document["holds"]) == (1, "", False)


def test_files_of_a_run(shell: Any, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "of today"
    document = ran(shell("simulate", *SMALL, "--out", str(folder), "--json"))

    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "summary.json").read_text()) == document
    rows = rows_of(folder / "rows.csv")
    assert [row["state"] for row in rows] == [row["state"] for row in document["rows"]]
    table = parquet.read_table(folder / "rows.parquet").to_pylist()
    assert [row["share"] for row in table] == [row["share"] for row in document["rows"]]
    assert (folder / "bootstrap-loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "bootstrap-loss.svg").read_text()[:2000]

    again = shell("simulate", *SMALL, "--out", str(tmp_path / "again"))
    assert again.err.startswith(f"written to {tmp_path}/again: ")
    for name in FILES - {"summary.json"}:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), "the same run, the same file"


@pytest.mark.parametrize("more", [(), ("--seed", "1", "--seed", "2")], ids=["one run", "several"])
def test_a_folder_with_results_is_refused_before_anything_runs(shell: Any, tmp_path: Path, more: tuple[str]) -> None:
    folder = tmp_path / "out"
    shell("simulate", *SMALL, "--out", str(folder))
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused = shell("simulate", *ENDLESS, *more, "--out", str(folder))
    refused.is_one_message("P2P-0002", 2, "holds the results of another run")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written


def test_what_must_be_known_beside_the_figures_is_told(shell: Any) -> None:
    grid = ("grid", "--nodes", "6", "--hours", "0.01", "--set", "tags=2", "--set", "searches=4")
    done = shell("simulate", *grid, "--set", "loss=1")
    assert done.err.splitlines() == [
        "5 joins were answered by nobody: those nodes were not in the grid then.",
        "2 announcements ended with a listing that nobody held.",
    ]
    several = ran(shell("simulate", *grid, "--set", "loss=0,1", "--json"))
    assert [(run["unjoined"], run["unheld"]) for run in several["runs"]] == [(0, 0), (5, 2)]
    assert shell("simulate", *grid).err == ""


# ---------------------------------------------------------------- many runs


def test_seeds_and_values_are_run_one_by_one(shell: Any, tmp_path: Path) -> None:
    words = ("--seed", "1", "--seed", "2", "--set", "doors=2,3", "--out", str(tmp_path / "out"))
    document = ran(shell("simulate", *SMALL, *words, "--json"))

    combinations = [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert [(run["seed"], run["doors"]) for run in document["runs"]] == combinations
    assert len({run["digest"] for run in document["runs"]}) == 4
    assert list(dict.fromkeys((row["seed"], row["doors"]) for row in document["rows"])) == combinations
    assert len(document["rows"]) == 4 * 5
    assert {row["state"] for row in document["rows"]} >= {"all are up", "restarted", "new"}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"summary.json", "rows.csv", "rows.parquet"}
    saved = rows_of(tmp_path / "out" / "rows.csv")
    assert [(row["seed"], row["doors"], row["state"]) for row in saved] == [
        (str(row["seed"]), str(row["doors"]), row["state"]) for row in document["rows"]
    ]
    assert parquet.read_table(tmp_path / "out" / "rows.parquet").num_rows == len(saved)

    assert [(point["doors"], point["runs"]) for point in document["points"]] == [(2, 2)] * 5 + [(3, 2)] * 5
    first = document["points"][0]
    assert (first["state"], first["measure"]) == ("all are up", "searches that find")
    assert 0 < first["share_low"] <= first["share"] <= first["share_high"] <= 1
    assert first["share_high"] - first["share_low"] < 0.2, "of 20 searches"
    table = parquet.read_table(tmp_path / "out" / "points.parquet").to_pylist()
    assert [row["share_low"] for row in table] == [point["share_low"] for point in document["points"]]
    assert (tmp_path / "out" / "sweep-share.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out" / "sweep-share.svg").read_text()[:2000]

    alone = ran(shell("simulate", *SMALL, "--seed", "2", "--set", "doors=3", "--json"))
    assert alone["digest"] == document["runs"][3]["digest"]


def test_several_sizes(shell: Any) -> None:
    document = ran(shell("simulate", *SMALL, "--nodes", "25", "--json"))
    assert [(run["nodes"], run["seed"]) for run in document["runs"]] == [(20, 1), (25, 1)]
    assert {row["nodes"] for row in document["rows"]} == {20, 25}


def test_a_plan_in_a_file(shell: Any, tmp_path: Path) -> None:
    plan = tmp_path / "study.toml"
    plan.write_text(
        'experiment = "bootstrap-loss"\nnodes = 20\nseed = [3, 4]\n'
        "[parameters]\ntags = 5\nsearches = 10\nafter = [1.0, 30]\n[vary]\nrestarts = [2, 3]\n"
    )
    document = ran(shell("simulate", str(plan), "--json"))
    assert [(run["seed"], run["restarts"]) for run in document["runs"]] == [(3, 2), (3, 3), (4, 2), (4, 3)]

    one = ran(shell("simulate", str(plan), "--seed", "3", "--set", "restarts=3", "--json"))
    assert (one["seed"], one["nodes"], one["parameters"]["tags"]) == (3, 20, 5), "options go before the file"
    assert one["digest"] == document["runs"][1]["digest"]


def test_a_network_by_settings(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "rtt.csv").write_text("from,to,ms\na,b,20\na,c,60\n")
    small = ("grid", "--nodes", "12", "--hours", "0.01", "--set", "tags=4", "--set", "searches=10", "--json")
    rough = ("--set", "nat_cone=0.3", "--set", "nat_symmetric=0.2", "--set", "loss=0.01", "--set", "uplink=50000")
    regions = ran(shell("simulate", *small, *rough, "--set", "latency=regions"))
    assert regions["parameters"]["latency"] == "regions"
    assert regions["parameters"]["nat_cone"] == 0.3
    assert sum(row["searches"] for row in regions["rows"]) == 10

    fitted = ran(shell("simulate", *small, *rough, "--set", f"latency=fitted:{tmp_path}/rtt.csv"))
    kind, median, sigma, _ = fitted["parameters"]["latency"].split(":")
    assert (kind, float(median), float(sigma)) == (
        "lognormal",
        pytest.approx(0.0165, abs=1e-4),
        pytest.approx(0.549, abs=1e-3),
    )
    assert fitted["digest"] != regions["digest"]

    several = ran(shell("simulate", *small, "--set", "latency=constant:0.02,regions", "--set", "nat_cone=0,0.5"))
    assert [(run["latency"], run["nat_cone"]) for run in several["runs"]] == [
        (latency, share) for latency in ("constant:0.02", "regions") for share in (0.0, 0.5)
    ]


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_keeps_what_was_finished(watched: Any, family: Any, tmp_path: Path) -> None:
    at = watched("simulate", *ENDLESS, "--out", str(tmp_path / "out"), piped=True)
    assert at.read_until(lambda shown: b"33%" in shown), at.shown
    at.type("\x03")
    code, out = at.end()

    assert code == 130
    assert "all are up" in out
    assert b"interrupted" in at.shown
    assert b"Traceback" not in at.shown
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["complete"] is False
    assert [row["state"] for row in summary["rows"]] == ["all are up", "1 s after they died"]
    assert [row["state"] for row in rows_of(tmp_path / "out" / "rows.csv")] == ["all are up", "1 s after they died"]


def test_an_interrupt_still_gives_one_document(begin: Any, soon: Any, tmp_path: Path) -> None:
    process = begin("simulate", *ENDLESS, "--json", "--out", str(tmp_path / "out"))
    soon((tmp_path / "out").exists)
    used = psutil.Process(process.pid).cpu_times
    before = used().user
    soon(lambda: used().user > before + 3.0)  # the first rows take a tenth of it
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (130, "")
    document = json.loads(out)
    assert document["complete"] is False
    assert [row["state"] for row in document["rows"]] == ["all are up", "1 s after they died"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == document


@pytest.mark.parametrize("background", [False, True])
def test_who_is_asked_to_end_keeps_what_was_finished(
    shell: Any, begin: Any, soon: Any, tmp_path: Path, background: bool
) -> None:
    out = tmp_path / "out"
    if background:  # a shell that begins something in the background lets it ignore interrupts
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = begin("simulate", *ENDLESS, "--json", "--out", str(out))
    finally:
        if background:
            signal.signal(signal.SIGINT, before)
    soon(out.exists)
    used = psutil.Process(process.pid).cpu_times
    start = used().user
    soon(lambda: used().user > start + 3.0)  # the first rows take a tenth of it
    process.terminate()
    printed, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (130, "")
    document = json.loads(printed)
    assert document["complete"] is False
    assert [row["state"] for row in document["rows"]] == ["all are up", "1 s after they died"]
    assert json.loads((out / "summary.json").read_text()) == document


@pytest.mark.parametrize("more", [(), ("--seed", "1", "--seed", "2")], ids=["one run", "several"])
def test_who_ends_before_anything_is_finished_leaves_nothing(
    begin: Any, family: Any, soon: Any, shell: Any, tmp_path: Path, more: tuple[str]
) -> None:
    out = tmp_path / "made" / "out"
    first = ("churn", "--nodes", "20", "--set", "sessions=300", "--hours", "10000")
    process = begin("simulate", *first, *more, "--out", str(out))
    begun = family(process)
    soon(out.exists)
    if more:
        soon(lambda: len(begun.look()) >= 3)
    process.send_signal(signal.SIGTERM if more else signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert begun.ended()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_between_many_runs_keeps_those_that_are_done(watched: Any, family: Any, tmp_path: Path) -> None:
    words = ("--nodes", "20", "--set", "sessions=300", "--set", "searches=5", "--set", "tags=3")
    out = tmp_path / "out"
    at = watched("simulate", "churn", *words, "--set", "hours=0.01,10000", "--out", str(out), piped=True)
    assert at.read_until(lambda shown: b"1/2" in shown), at.shown
    begun = family(at.process)
    assert len(begun.look()) >= 2
    at.type("\x03")
    code, printed = at.end()

    assert code == 130
    assert "1 of 2 runs" in printed
    assert b"Traceback" not in at.shown, at.shown.decode()
    assert begun.ended()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] is False
    assert [row["hours"] for row in summary["rows"]] == [0.01, 0.01]
    assert [row["hours"] for row in rows_of(out / "rows.csv")] == ["0.01", "0.01"]
    assert [row["complete"] for row in rows_of(out / "runs.csv")] == ["True"]


def test_a_sweep_that_is_killed_keeps_what_was_finished(
    begin: Any, family: Any, soon: Any, shell: Any, tmp_path: Path
) -> None:
    words = ("--nodes", "20", "--set", "sessions=300", "--set", "searches=5", "--set", "tags=3")
    out = tmp_path / "out"
    process = begin("simulate", "churn", *words, "--set", "hours=0.01,0.02,10000", "--out", str(out))
    begun = family(process)
    soon(lambda: (out / "runs.csv").exists() and len(rows_of(out / "runs.csv")) == 2, 30.0)
    assert len(begun.look()) >= 2
    process.kill()
    process.communicate()

    assert begun.ended(), "nobody goes on for nobody"
    assert {row["hours"] for row in rows_of(out / "rows.csv")} == {"0.01", "0.02"}
    assert [row["complete"] for row in rows_of(out / "runs.csv")] == ["True", "True"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["experiment"], summary["complete"]) == ("churn", False)
    assert [planned["hours"] for planned in summary["planned"]] == [0.01, 0.02, 10000.0]
    shell("simulate", *SMALL, "--out", str(out)).is_one_message("P2P-0002", 2, "another run")


def test_results_are_written_though_whoever_reads_goes_away(begin: Any, tmp_path: Path) -> None:
    process = begin("simulate", *SMALL, "--out", str(tmp_path / "out"))
    process.stdout.close()
    process.wait(20)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_an_interrupt_right_after_many_runs_began_is_quiet(watched: Any, family: Any, soon: Any) -> None:
    at = watched("simulate", *ENDLESS, "--seed", "1", "--seed", "2")
    begun = family(at.process)
    soon(lambda: len(begun.look()) >= 3)  # they only just load what they need
    at.type("\x03")

    assert at.end()[0] == 130
    assert b"Traceback" not in at.shown, at.shown.decode()
    assert begun.ended()


# ---------------------------------------------------------------- what goes wrong


def test_runs_whose_process_dies_fail_and_keep_those_that_are_done(begin: Any, soon: Any, tmp_path: Path) -> None:
    words = ("--nodes", "20", "--set", "sessions=300", "--set", "searches=5", "--set", "tags=3")
    out = tmp_path / "out"
    process = begin("simulate", "churn", *words, "--set", "hours=0.01,10000", "--out", str(out))
    soon((out / "runs.csv").exists, 30.0)
    kill_workers(process)
    told, warned = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "1 of 2 runs failed" in told
    assert "of the references" not in told
    assert "failed: seed=1, hours=10000" in warned
    assert "Its process died" in warned
    assert {row["hours"] for row in rows_of(out / "rows.csv")} == {"0.01"}


def test_runs_that_all_fail_are_one_document_and_leave_nothing(begin: Any, soon: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = begin("simulate", *ENDLESS, "--seed", "1", "--seed", "2", "--json", "--out", str(out))
    soon(lambda: len(workers(process)) == 2, 30.0)
    kill_workers(process)
    told, warned = process.communicate(timeout=30)

    assert (process.returncode, warned) == (1, "")
    failed = json.loads(told)["failed"]
    assert [one["error"]["code"] for one in failed] == 2 * ["P2P-0501"]
    assert not out.exists(), "nothing was finished"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["no-such"], "P2P-0501", "no-such"),
        (["hot_tag"], "P2P-0501", "Did you mean hot-tag?"),
        ([], "P2P-0900", "experiment"),
        (["churn", "--nodes", "1"], "P2P-0900", "--nodes"),
        (["churn", "--nodes", "many"], "P2P-0900", "--nodes"),
        (["churn", "--nodes", "100001"], "P2P-0501", "100,000"),
        (["churn", "--nodes", "100001", "--seed", "1", "--seed", "2"], "P2P-0501", "100,000"),
        (["churn", "--set", "color=red"], "P2P-0501", "color"),
        (["churn", "--set", "color=red,blue"], "P2P-0501", "color"),
        (["hops", "--hours", "1"], "P2P-0501", "hours"),
        (["churn", "--set", "searches=many"], "P2P-0501", "searches"),
        (["churn", "--set", "searches=1.5"], "P2P-0501", "searches"),
        (["churn", "--set", "shape=-1"], "P2P-0501", "shape"),
        (["churn", "--set", "shape=nan"], "P2P-0501", "shape"),
        (["churn", "--hours", "inf"], "P2P-0501", "hours"),
        (["churn", "--set", "tags=" + 400 * "9"], "P2P-0501", "tags"),
        (["churn", "--set", "searches=1,many"], "P2P-0501", "searches"),
        (["churn", "--set", "searches"], "P2P-0501", "searches"),
        (["churn", "--set", "searches="], "P2P-0501", "searches"),
        (["churn", "--set", "latency=fast"], "P2P-0501", "constant:SECONDS"),
        (["churn", "--set", "latency=fitted:none.csv"], "P2P-0501", "none.csv"),
        (["churn", "--set", "nat_cone=0.7", "--set", "nat_symmetric=0.7"], "P2P-0501", "nat_symmetric"),
        (["hops", "--set", "nat_cone=0.5"], "P2P-0501", "nat_cone"),
        (["churn", "--seed", "-1"], "P2P-0900", "--seed"),
        (["no-such.toml"], "P2P-0501", "no-such.toml"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_run_is_told_once(shell: Any, words: list[str], code: str, says: str) -> None:
    shell("simulate", *words).is_one_message(code, 2, says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("experiment = ", "no TOML"),
        ('experiment = "churn"\ncolor = "red"\n', "color"),
        ("nodes = 20\n", "experiment"),
        ('experiment = "no-such"\n', "no-such"),
        ('experiment = "churn"\nnodes = "many"\n', "nodes"),
        ('experiment = "churn"\nnodes = 1\n', "nodes"),
        ('experiment = "churn"\nseed = []\n', "seed"),
        ('experiment = "churn"\n[parameters]\ncolor = "red"\n', "color"),
        ('experiment = "churn"\n[parameters]\nsearches = "many"\n', "searches"),
        ('experiment = "churn"\nparameters = 7\n', "parameters"),
        ('experiment = "churn"\n[vary]\nsearches = 7\n', "vary"),
        ('experiment = "churn"\n[vary]\nsearches = []\n', "vary"),
    ],
)
def test_a_plan_that_cannot_be_read_is_told_once(shell: Any, tmp_path: Path, text: str, says: str) -> None:
    plan = tmp_path / "study.toml"
    plan.write_text(text)
    shell("simulate", str(plan)).is_one_message("P2P-0501", 2, says)


def test_files_that_are_no_plans(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("folder.toml", "bytes.toml"):
        shell("simulate", str(tmp_path / name)).is_one_message("P2P-0501", 2, name)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(shell: Any, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("no folder")
    shell("simulate", *ENDLESS, "--out", os.path.join(tmp_path / "file", below)).is_one_message("P2P-0002", 2, "file")


def test_errors_as_a_document(shell: Any) -> None:
    done = shell("simulate", "no-such", "--json")
    assert (done.code, done.err) == (2, "")
    assert done.document["error"]["code"] == "P2P-0501"
