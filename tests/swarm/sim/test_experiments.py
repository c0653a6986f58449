"""Every experiment, small: its rows have what its pictures draw, and the same seed gives the same."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import pytest
from matplotlib.figure import Figure

from p2pgrid.errors import BadExperiment
from p2pgrid.sim import Result, experiment, world
from p2pgrid.sim.experiments import NAMES, hops, named
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.result import columns_of
from p2pgrid.sim.workload import Find, Workload, times

NODES = 16
SMALL = {
    "grid": {"hours": 0.01, "searches": 6, "tags": 4, "mean_session": 60.0},
    "hops": {"sizes": [8], "lookups": 4, "k": [4, 8]},
    "skademlia": {"lookups": 20, "paths": [1, 2], "adversaries": [0, 20], "k": 8},
    "churn": {"sessions": [84.0, 300.0], "hours": 0.01, "searches": 6, "tags": 4},
    "dead-nodes": {"dead": [0, 50], "lookups": 4, "k": 20},
    "hot-tag": {"listings": [4, 12], "searches": 2},
    "bought-neighbourhood": {"bought": [0, 3], "listings": 4, "searches": 2},
    "partition": {"lasts": 20.0, "after": 60.0, "tags": 4, "searches": 4},
    "bootstrap-loss": {"doors": 2, "tags": 4, "searches": 4, "after": [1.0, 30.0], "restarts": 2},
    "flash-crowd": {"before": 6, "seconds": 2.0, "tags": 4, "searches": 4, "after": [1.0]},
}
EVERY = pytest.mark.parametrize("name", NAMES)


@cache
def run(name: str) -> Result:
    return named(name).run(nodes=NODES, seed=5, parameters=SMALL[name])


def shares(result: Result) -> list[float]:
    """Everything in its rows that is a share or a percentage, as a share."""
    found = []
    for row in result.rows:
        for name, value in row.items():
            if value is not None and (name == "share" or name.endswith(("_share", "_percent"))):
                found.append(value / 100 if name.endswith("percent") else value)
    return found


@EVERY
def test_every_experiment_runs_small_to_its_end(name):
    result = run(name)
    assert result.complete
    assert result.nodes == NODES
    assert result.rows
    assert result.events > 0
    assert result.notes == []
    assert all(0 <= share <= 1 for share in shares(result))


@EVERY
def test_its_numbers_are_numbers(name):
    for row in run(name).rows:
        assert all(not isinstance(value, float) or math.isfinite(value) for value in row.values())


@EVERY
def test_its_pictures_draw_what_its_rows_have(name):
    result = run(name)
    for picture in named(name).pictures:
        figure = result.plot(picture)
        assert isinstance(figure, Figure)
        (axes, *_) = figure.axes
        assert axes.get_xlabel()
        drawn = [line for line in axes.lines if len(line.get_xdata())] or axes.patches
        assert drawn
        assert axes.get_legend() or figure.legends or len(drawn) <= len(result.rows)


COMPARED = {
    "hops": ("hops", "reference, full tables", {"nodes": 16, "tables": "full", "reference": 1.66}),
    "skademlia": ("skademlia", "reference", {"adversaries_percent": 20, "reference": 69.0}),
    "hot-tag": ("hot-tag", "bound of the busiest", {"listings": 12, "reference": 5.0}),
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_legend_names_a_reference_only_where_one_is_drawn(name):
    picture, label, point = COMPARED[name]
    without = run(name)
    compared = dataclasses.replace(without, rows=[*without.rows, {**without.rows[-1], **point}])
    for result, crosses in ((without, 0), (compared, 1)):
        (axes, *_) = result.plot(picture).axes
        drawn = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
        assert sum(len(line.get_xdata()) for line in drawn) == crosses
        assert (label in [text.get_text() for text in axes.get_legend().get_texts()]) is bool(crosses)


@pytest.mark.parametrize(("name", "column"), [("hops", "nodes"), ("hot-tag", "listings"), ("churn", "mean_session")])
def test_sizes_and_sessions_are_told_below_their_pictures(name, column):
    result = run(name)
    measured = {row[column] for row in result.rows if row.get("shape") != 1.0}
    for picture in result.pictures:
        axes = result.plot(picture).axes[0]
        assert [text.get_text() for text in axes.get_xticklabels()] == [f"{one:g}" for one in sorted(measured)]


def test_seconds_of_searches_are_drawn_from_0():
    axes = run("hot-tag").plot("hot-tag-searches").axes
    assert [one.get_ylim()[0] for one in axes] == [0, 0]


@EVERY
def test_the_same_seed_gives_the_same_rows_and_another_seed_another_digest(name):
    again = named(name).run(nodes=NODES, seed=5, parameters=SMALL[name])
    assert again.rows == run(name).rows
    assert again.tables == run(name).tables
    assert again.digest == run(name).digest
    other = named(name).run(nodes=NODES, seed=6, parameters=SMALL[name])
    assert other.digest != again.digest


@EVERY
def test_its_progress_never_goes_back(name, monkeypatch):
    monkeypatch.setattr(experiment, "TELL_EVERY", 0.0)
    monkeypatch.setattr(world, "WATCH", 64)
    told: list[float] = []
    watched = named(name).run(
        nodes=NODES, seed=5, parameters=SMALL[name], progress=lambda share, run: told.append(share)
    )
    assert watched.digest == run(name).digest
    assert told == sorted(told)
    assert told[-1] == 1.0


@EVERY
def test_an_interrupt_in_the_middle_leaves_the_rows_that_are_finished(name, monkeypatch):
    monkeypatch.setattr(experiment, "TELL_EVERY", 0.0)

    def interrupt(share: float, under_way: experiment.Run) -> None:
        if under_way.result.rows:
            raise KeyboardInterrupt

    result = named(name).run(nodes=NODES, seed=5, parameters=SMALL[name], progress=interrupt)
    assert not result.complete
    assert 1 <= len(result.rows) <= 2
    for row, whole in zip(result.rows, run(name).rows, strict=False):
        # A search that had not ended when the interrupt came, ended in the whole run.
        ended_later = {"unfinished", "success_percent", *times([])} if row.get("unfinished") else set()
        assert [row[key] for key in row if key not in ended_later] == [
            whole[key] for key in row if key not in ended_later
        ]
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


@EVERY
def test_its_rows_have_what_many_runs_are_summed_up_by(name):
    of = named(name)
    columns = columns_of(run(name).rows)
    assert set(columns) >= {*of.measures, *of.apart, *filter(None, of.measures.values())}
    for row in run(name).rows:
        for measure, counted in of.measures.items():
            if counted and row[measure] is not None:
                hits = row[measure] * row[counted] / (100 if measure.endswith("_percent") else 1)
                assert hits == pytest.approx(round(hits), abs=1e-6), f"{measure} is a share of {counted}"


WITH_NETWORK = [name for name in NAMES if "latency" in named(name).parameters]
ROUGH = {
    "latency": "regions",
    "loss": 0.03,
    "duplicate": 0.05,
    "reorder": 0.1,
    "uplink": 1e5,
    "nat_cone": 0.3,
    "nat_symmetric": 0.2,
}


def found(result: Result) -> float:
    """The most that it found in any row, as a share."""
    shares = [row.get("share", row.get("found_share")) for row in result.rows]
    percents = [row["success_percent"] / 100 for row in result.rows if row.get("success_percent") is not None]
    return max(*percents, *(share for share in shares if share is not None), 0.0)


@pytest.mark.parametrize("name", WITH_NETWORK)
def test_it_runs_in_a_rough_network_as_well_and_finds_but_is_compared_with_nothing(name):
    result = named(name).run(nodes=NODES, seed=5, parameters={**SMALL[name], **ROUGH})
    assert result.complete
    assert result.digest != run(name).digest
    assert found(result) >= 0.75
    assert result.holds is None
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


@pytest.mark.parametrize("name", WITH_NETWORK)
def test_it_ends_where_no_packet_arrives_and_its_pictures_are_drawn(name):
    result = named(name).run(nodes=NODES, seed=5, parameters={**SMALL[name], "loss": 1.0})
    assert result.complete
    assert found(result) < 0.6, "no more than what searchers hold themselves"
    assert result.unjoined + result.summary["unheld"] > 0
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


def test_hops_are_fewer_than_nodes_and_compared_with_the_reference_where_there_is_one():
    result = run("hops")
    assert [(row["nodes"], row["k"], row["tables"]) for row in result.rows] == [
        (size, k, tables) for size in (8, NODES) for k in (4, 8) for tables in ("full", "grown")
    ]
    assert all(1 <= row["hops"] <= 4 for row in result.rows)
    assert all(row["recall"] >= 0.9 for row in result.rows)
    assert "reference" not in columns_of(result.rows)
    known = named("hops").run(nodes=100, parameters={"sizes": [100], "k": [20], "lookups": 30, "grown_most": 0})
    (row,) = known.rows
    assert row["reference"] == 1.43
    assert known.holds


QUICK = {"k": [4], "lookups": 1, "grown_most": 0}


@pytest.mark.parametrize(
    ("nodes", "sizes", "ran"),
    [
        (None, [10, 20], [10, 20]),
        (20, [10], [10, 20]),
        (20, [20, 10], [10, 20]),
        (20, None, [20]),
        (100, None, [100]),
        (120, None, [100, 120]),
    ],
)
def test_grids_are_of_the_sizes_that_were_asked_for(nodes, sizes, ran):
    given = {"sizes": sizes, **QUICK} if sizes else QUICK
    assert [row["nodes"] for row in named("hops").run(nodes=nodes, parameters=given).rows] == ran


def test_hops_of_the_usual_sizes_up_to_the_usual_number_of_nodes():
    of = named("hops")
    assert hops._sizes(of.nodes, of.parameters) == [100, 300, 1_000, 10_000]


@pytest.mark.parametrize(("nodes", "least"), [(20, "20 nodes"), (None, "10,000 nodes")])
def test_a_size_above_the_nodes_is_refused_before_anything_runs(nodes, least):
    begun: list[Result] = []
    with pytest.raises(BadExperiment, match=f"size of 20,000 is above the {least}") as caught:
        named("hops").run(nodes=nodes, parameters={"sizes": [5, 20_000], **QUICK}, begun=begun.append)
    assert caught.value.fix == f"Take --nodes 20000, or --set sizes=... of at most {nodes or 10_000}."
    assert begun == []


def test_a_lookup_among_adversaries_always_succeeds_without_any_and_more_paths_help():
    result = named("skademlia").run(
        nodes=400, parameters={"paths": [1, 8], "adversaries": [0, 50], "lookups": 100, "k": 8}
    )
    success = {(row["adversaries_percent"], row["paths"]): row["success_percent"] for row in result.rows}
    assert success[0, 1] == success[0, 8] == 100
    assert success[50, 8] > success[50, 1] + 10
    assert success[50, 1] < 90
    assert "reference" not in columns_of(result.rows), "the model's points are for 10,000 nodes and k = 16"


def test_dead_nodes_are_compared_with_the_reference_for_its_size_only():
    result = run("dead-nodes")
    assert "reference" not in columns_of(result.rows)
    assert result.rows[0]["recall_percent"] == 100


def test_churn_is_compared_with_bamboo_at_its_size_and_sessions_only():
    rows = run("churn").rows
    assert "reference" not in columns_of(rows)
    assert rows[-1]["shape"] == 1.0
    assert rows[-1]["mean_session"] == pytest.approx(121.2, abs=0.1), "a median of 84 s"
    assert all(row["unfinished"] <= 1 for row in run("churn").rows)


def test_a_churning_grid_without_traffic_is_drawn_without_a_warning(tmp_path):
    silent = dataclasses.replace(
        run("churn"), rows=[{**row, "bytes_a_node_and_second": 0.0} for row in run("churn").rows]
    )
    figure = silent.plot("churn")
    assert figure.axes[1].get_yscale() == "linear"
    assert {path.name for path in silent.save(tmp_path)} >= {"churn.png", "churn-times.png"}
    assert run("churn").plot("churn").axes[1].get_yscale() == "log"


def test_a_partition_hides_what_was_announced_meanwhile_until_it_heals():
    rows = run("partition").rows
    cut = [row["found_share"] for row in rows if row["state"] == "cut" and row["announced"] == "while cut"]
    assert cut
    assert set(cut) == {0}
    last = rows[-1]
    assert (last["state"], last["found_share"], last["holds"]) == ("healed", 1.0, True)


def test_a_grid_outlives_its_doors_and_nobody_joins_by_the_dead_alone():
    rows = run("bootstrap-loss").rows
    assert [row["share"] for row in rows[:-1]] == [1.0] * (len(rows) - 1)
    assert rows[-1]["state"] == "new"
    assert rows[-1]["share"] == 0.0


def test_a_whole_crowd_joins_and_each_join_is_in_the_table():
    result = run("flash-crowd")
    (row,) = result.rows
    assert row["joined_share"] == 1.0
    assert len(result.tables["joins"]) == row["crowd"] == NODES
    assert row["join_p50"] <= row["join_p95"]


def test_those_of_a_crowd_that_nobody_answers_are_told():
    given = {"before": 5, "searches": 5, "tags": 2, "loss": 0.9, "after": [1.0]}
    result = named("flash-crowd").run(nodes=20, parameters=given)
    (row,) = result.rows
    assert row["joined_share"] < 0.5
    assert result.unjoined >= round(20 * (1 - row["joined_share"]))


@pytest.mark.parametrize("finding", [True, False])
def test_a_crowd_must_be_in_and_find(finding, monkeypatch):
    def search(work: Workload, node: Any, tag: Any) -> Find:
        work.finds.append(Find(work.grid.world.now, right=finding))
        return work.finds[-1]

    monkeypatch.setattr(Workload, "search", search)
    result = named("flash-crowd").run(nodes=NODES, seed=5, parameters=SMALL["flash-crowd"])
    (row,) = result.rows
    assert (row["joined_share"], row["found_share"], row["holds"]) == (1.0, float(finding), finding)


def test_listings_of_a_hot_tag_are_all_found():
    assert [(row["listings"], row["found_share"]) for row in run("hot-tag").rows] == [(4, 1.0), (12, 1.0)]
    assert [row["unfinished"] for row in run("hot-tag").rows] == [0, 0]


def test_the_usual_numbers_of_listings_are_cut_to_what_the_nodes_may_announce():
    rows = named("hot-tag").run(nodes=8, seed=5, parameters={"searches": 1}).rows
    assert [row["listings"] for row in rows] == [10, 100]
    with pytest.raises(BadExperiment, match=r"1,000 listings need 63 nodes, not 8") as caught:
        named("hot-tag").run(nodes=8, parameters={"listings": [10, 1_000]})
    assert caught.value.fix == "Take --nodes 63, or --set listings=... of at most 128."


def test_searches_that_do_not_end_in_time_are_counted_and_end_no_run(monkeypatch):
    search = Grid.search

    def impatient(grid: Grid, *asked: Any, patience: float) -> Any:
        return search(grid, *asked, patience=0.1)

    monkeypatch.setattr(Grid, "search", impatient)
    slow = {"listings": [300], "searches": 2, "latency": "constant:0.1"}
    result = named("hot-tag").run(nodes=30, seed=5, parameters=slow)
    assert result.complete
    (row,) = result.rows
    assert row["unfinished"] == result.unfinished == result.summary["unfinished"] == 2
    assert row["search_seconds"] is None
    assert "2 searches or lookups did not end in the time they had" in result.notes[-1]
    assert all(isinstance(result.plot(picture), Figure) for picture in result.pictures)


def test_bought_ids_are_compared_with_the_bound_where_listings_are_in_every_range():
    rows = run("bought-neighbourhood").rows
    assert [(row["placement"], row["bought"], row.get("reference")) for row in rows] == [
        ("every range", 0, 0.95),
        ("every range", 3, 0.95),
        ("one key", 0, None),
        ("one key", 3, None),
    ]
    assert rows[0]["found_share"] == rows[2]["found_share"] == 1.0


def test_every_event_of_every_grid_counts(monkeypatch):
    made: list[Grid] = []

    class Kept(Grid):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(experiment, "Grid", Kept)
    for name in sorted(set(NAMES) - {"skademlia"}):
        made.clear()
        result = named(name).run(nodes=NODES, seed=5, parameters=SMALL[name])
        assert result.events == sum(grid.world.events for grid in made), name
