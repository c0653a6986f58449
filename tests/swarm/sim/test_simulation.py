"""``Simulation``: the same to the byte again, in this process and in others; churn, tables, pictures, files."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from pyarrow import parquet

from p2pgrid.errors import BadExperiment
from p2pgrid.sim import Conditions, Constant, LogNormal, Regions, Result, Simulation, Weibull, experiment, named, world
from p2pgrid.sim.simulation import SLICES

HOURS = 0.05


@cache
def small(seed: int = 3) -> Result:
    """A dozen nodes for three minutes, in which they come and go."""
    return Simulation(12, seed=seed, churn=Weibull(0.5, 120.0), tags=5).run(hours=HOURS, searches=20)


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    one = small()
    again = Simulation(12, seed=3, churn=Weibull(0.5, 120.0), tags=5).run(hours=HOURS, searches=20)
    assert again.digest == one.digest
    assert again.rows == one.rows
    assert again.tables == one.tables
    assert again.events == one.events
    other = small(4)
    assert other.digest != one.digest
    assert other.rows != one.rows


def test_the_same_seed_gives_the_same_run_in_processes_that_hash_differently():
    script = (
        "from p2pgrid.sim import Simulation, Weibull\n"
        "made = Simulation(12, seed=3, churn=Weibull(0.5, 120.0), tags=5)\n"
        f"result = made.run(hours={HOURS}, searches=20)\n"
        "import json\n"
        "print(json.dumps([result.digest, result.rows, result.tables]))\n"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout) == [small().digest, small().rows, small().tables]


def test_looking_at_invariants_and_progress_changes_nothing():
    told: list[float] = []
    looked = Simulation(12, seed=3, churn=Weibull(0.5, 120.0), tags=5, check_every=1).run(
        hours=HOURS, searches=20, progress=lambda share, run: told.append(share)
    )
    assert told
    assert looked.digest == small().digest


def test_churn_keeps_the_number_of_nodes():
    rows = small().rows
    assert [row["nodes"] for row in rows] == [12] * SLICES
    deaths = [row["deaths"] for row in rows]
    assert deaths == [row["births"] for row in rows]
    assert sum(deaths) > 3


def test_without_churn_everybody_stays_and_every_search_finds():
    result = Simulation(10, seed=2, tags=3).run(hours=HOURS, searches=15)
    assert {row["deaths"] for row in result.rows} == {0}
    assert result.frame("searches").right.all()


def test_rows_are_equal_parts_of_the_time_and_count_every_search():
    result = small()
    assert len(result.rows) == SLICES
    assert [row["seconds"] for row in result.rows] == pytest.approx([3600 * HOURS * n / SLICES for n in range(SLICES)])
    assert result.virtual_seconds >= 3600 * HOURS
    ended = [find for find in result.tables["searches"] if find["complete"] is not None]
    assert sum(row["searches"] for row in result.rows) <= len(ended)
    for row in result.rows:
        assert (row["success_percent"] is None) == (row["searches"] == 0)


def test_tables_have_every_search_and_every_node():
    result = small()
    searches, nodes = result.frame("searches"), result.frame("nodes")
    assert list(searches.columns) == ["seconds", "first", "complete", "listings", "right", "local"]
    assert len(searches) == 20
    assert searches.seconds.between(0, 3600 * HOURS).all()
    assert (searches["first"].dropna() <= searches.complete[searches["first"].notna()]).all()
    assert len(nodes) == 12
    assert nodes.id.is_unique
    assert nodes.peers.between(1, 40).all()
    assert (nodes.bytes_sent > nodes.packets_sent * 28).all()
    assert list(result.frame().columns) == list(result.rows[0])


def test_every_picture_is_drawn():
    result = small()
    assert list(result.pictures) == ["over-time", "latency"]
    for picture in result.pictures:
        figure = result.plot(picture)
        assert isinstance(figure, Figure)
        assert all(len(line.get_xdata()) for line in figure.axes[0].lines)


def test_what_is_saved_loads_again(tmp_path):
    result = small()
    written = result.save(tmp_path)
    assert {path.name for path in written} == {
        "summary.json",
        *(f"{table}.{kind}" for table in ("rows", "searches", "nodes") for kind in ("csv", "parquet")),
        *(f"{picture}.{kind}" for picture in ("over-time", "latency") for kind in ("png", "svg")),
    }
    assert json.loads((tmp_path / "summary.json").read_text())["digest"] == result.digest
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == result.rows
    for table, rows in result.tables.items():
        assert parquet.read_table(tmp_path / f"{table}.parquet").to_pylist() == rows


def test_an_interrupt_ends_a_run_with_the_rows_that_are_finished(monkeypatch):
    monkeypatch.setattr(experiment, "TELL_EVERY", 0.0)

    def interrupt(share: float, run: experiment.Run) -> None:
        if len(run.result.rows) == 10:
            raise KeyboardInterrupt

    result = Simulation(12, seed=3, churn=Weibull(0.5, 120.0), tags=5).run(hours=HOURS, searches=20, progress=interrupt)
    assert not result.complete
    assert len(result.rows) == 10
    assert result.rows[:9] == small().rows[:9], "they are the same as those of a whole run"
    begun = [find for find in small().tables["searches"] if find["seconds"] < 3600 * HOURS * 10 / SLICES]
    assert len(begun) <= len(result.tables["searches"]) <= len(begun) + 1
    assert len(result.tables["nodes"]) == 12
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


def test_an_interrupt_while_the_grid_grows_leaves_an_empty_result(tmp_path):
    def interrupt(share: float, run: experiment.Run) -> None:
        raise KeyboardInterrupt

    result = Simulation(12).run(hours=HOURS, progress=interrupt)
    assert (result.complete, result.rows) == (False, [])
    assert [path.name for path in result.save(tmp_path)] == ["summary.json"]


def test_progress_never_goes_back_and_ends_at_1(monkeypatch):
    monkeypatch.setattr(experiment, "TELL_EVERY", 0.0)
    monkeypatch.setattr(world, "WATCH", 16)
    shares: list[float] = []
    Simulation(12, tags=5).run(hours=0.002, searches=5, progress=lambda share, run: shares.append(share))
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-2] < shares[-1] == 1.0


def test_a_simulation_without_searches_and_tags_shows_what_an_idle_grid_costs():
    result = Simulation(5, tags=0).run(hours=0.01, searches=0)
    assert result.tables["searches"] == []
    assert {row["success_percent"] for row in result.rows} == {None}
    assert sum(row["bytes_a_node_and_second"] for row in result.rows) > 0
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


def test_numbers_of_numpy_are_numbers_in_its_files_too(tmp_path):
    made = Simulation(np.int64(5), seed=np.int32(2), tags=np.int64(2))
    result = made.run(hours=np.float32(0.01), searches=np.int64(3))
    result.save(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["nodes"], summary["seed"], summary["parameters"]["searches"]) == (5, 2, 3)


def test_conditions_are_those_of_the_network():
    slow = Simulation(5, tags=2, conditions=Conditions(Constant(0.5))).run(hours=0.01, searches=10)
    asked = [find["complete"] for find in slow.tables["searches"] if find["complete"]]
    assert min(asked) >= 1.0, "a round trip takes a second"


ROUGH = Conditions(Regions(), loss=0.02, duplicate=0.02, reorder=0.05, uplink=1e5, nat_cone=0.3, nat_symmetric=0.2)


def test_regions_nats_and_a_rough_network_are_conditions_too():
    result = Simulation(30, seed=3, tags=5, conditions=ROUGH).run(hours=HOURS, searches=40)
    nodes = result.frame("nodes")
    assert set(nodes.region) == {"africa", "america", "asia", "europe"}
    assert set(nodes.nat) == {"open", "cone", "symmetric"}
    assert result.frame("searches").right.mean() >= 0.95
    again = Simulation(30, seed=3, tags=5, conditions=ROUGH).run(hours=HOURS, searches=40)
    assert again.digest == result.digest
    assert again.parameters == result.parameters, "nothing of them depends on where a model lies in memory"


def test_the_same_network_by_plain_parameters_is_the_same_run():
    words = {
        "latency": "regions",
        "loss": 0.02,
        "duplicate": 0.02,
        "reorder": 0.05,
        "uplink": 1e5,
        "nat_cone": 0.3,
        "nat_symmetric": 0.2,
    }
    by_words = named("grid").run(nodes=20, seed=3, parameters={**words, "tags": 5, "hours": HOURS, "searches": 20})
    assert by_words.digest == Simulation(20, seed=3, tags=5, conditions=ROUGH).run(hours=HOURS, searches=20).digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 1},
        {"nodes": 10**6},
        {"tags": -1},
        {"tags": 10_001},
        {"check_every": -1},
        {"churn": Weibull(0.5, 0.9)},
        {"nodes": 2.5},
        {"nodes": "5"},
        {"nodes": True},
        {"seed": None},
        {"seed": -1},
        {"seed": "x"},
        {"seed": 1.5},
        {"seed": True},
        {"seed": 2**63},
        {"tags": None},
        {"churn": 0.5},
        {"churn": Weibull},
        {"conditions": LogNormal()},
        {"conditions": "lognormal:0.03"},
        {"limits": None},
    ],
    ids=str,
)
def test_impossible_simulations_are_refused_with_the_name_and_the_value(wrong):
    ((name, value),) = wrong.items()
    told = "mean session" if isinstance(value, Weibull) else f"{name} is .*not {re.escape(repr(value))}"
    with pytest.raises(BadExperiment, match=told):
        Simulation(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hours": 0},
        {"hours": -1},
        {"hours": math.inf},
        {"hours": math.nan},
        {"hours": "1"},
        {"searches": -1},
        {"searches": 1_000_001},
        {"searches": 1.5},
    ],
    ids=str,
)
def test_impossible_runs_are_refused(wrong):
    with pytest.raises(BadExperiment):
        Simulation(5).run(**wrong)
