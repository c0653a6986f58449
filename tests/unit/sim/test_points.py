"""Runs summed up: intervals of what was counted, the spread over seeds, and pictures of both."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from p2pgrid.sim.experiments import everyone
from p2pgrid.sim.points import pictures, points, wilson
from p2pgrid.sim.result import Result
from p2pgrid.sim.sweep import Job, Sweep


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_the_literature(hits, tries, low, high):
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert wilson(hits, tries) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda tries: st.tuples(st.integers(0, tries), st.just(tries))))
def test_an_interval_holds_its_share_lies_within_0_and_1_and_is_the_mirror_of_the_misses(counted):
    hits, tries = counted
    low, high = wilson(hits, tries)
    assert 0 <= low <= hits / tries <= high <= 1
    assert high > low
    assert wilson(tries - hits, tries) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def grid_run(seed: int, rows: list[dict[str, Any]], **varied: Any) -> tuple[Job, Result]:
    """A run of ``grid``, which counts ``success_percent`` by ``searches``, and keeps no rows apart."""
    whole = {"first_p50": None, "complete_p50": None, "bytes_a_node_and_second": 10.0}
    job = Job("grid", 10, seed, varied, {"seed": seed, **varied})
    return job, Result("grid", "A grid", 10, seed, {}, [{**whole, **row} for row in rows])


def hops_run(seed: int, hops: list[float], **varied: Any) -> tuple[Job, Result]:
    """A run of ``hops`` with two rows, which are kept apart by k, and counts nothing."""
    rows = [
        {"nodes": 10, "k": k, "tables": "full", "hops": of, "asked": 1.0, "recall": 1.0, "holds": of < 3}
        for k, of in zip((8, 20), hops, strict=True)
    ]
    return Job("hops", 10, seed, varied, {"seed": seed, **varied}), Result("hops", "Hops", 10, seed, {}, rows)


def test_what_was_counted_is_counted_over_all_rows_and_seeds():
    (point,) = points(
        [
            grid_run(1, [{"searches": 60, "success_percent": 100.0}, {"searches": 0, "success_percent": None}]),
            grid_run(2, [{"searches": 10, "success_percent": 50.0}, {"searches": 30, "success_percent": 90.0}]),
        ]
    )
    row = point.row()
    low, high = wilson(92, 100)
    assert row["success_percent"] == pytest.approx(92.0), "not the mean of 100 and 80"
    assert (row["success_percent_low"], row["success_percent_high"]) == pytest.approx((100 * low, 100 * high))
    assert (row["success_percent_least"], row["success_percent_most"]) == (80.0, 100.0)
    assert row["runs"] == 2


def test_what_was_not_counted_has_the_mean_of_the_runs_and_their_spread():
    first, second = points([hops_run(seed, [seed, 2.0]) for seed in (1, 2, 6)])
    assert first.row() == {
        "nodes": 10,
        "k": 8,
        "tables": "full",
        "runs": 3,
        "hops": 3,
        "hops_least": 1,
        "hops_most": 6,
        "asked": 1,
        "asked_least": 1,
        "asked_most": 1,
        "recall": 1,
        "recall_least": 1,
        "recall_most": 1,
        "holds": False,
    }
    assert (second.row()["hops"], second.row()["holds"]) == (2.0, True)


def test_what_was_varied_is_kept_apart_but_the_seed_and_named_otherwise_where_rows_have_a_column_of_its_name():
    runs = [hops_run(seed, [1, 2], nodes=nodes) for nodes in (100, 50) for seed in (1, 2)]
    assert [(row["given_nodes"], row["nodes"], row["k"], row["runs"]) for row in (p.row() for p in points(runs))] == [
        (100, 10, 8, 2),
        (100, 10, 20, 2),
        (50, 10, 8, 2),
        (50, 10, 20, 2),
    ]


def test_what_no_run_found_has_no_value_and_no_bars():
    (point,) = points([grid_run(1, [{"searches": 0, "success_percent": None}])])
    row = point.row()
    assert row["success_percent"] is row["success_percent_least"] is row["first_p50"] is None
    assert "success_percent_low" not in row
    assert point.measures["success_percent"].bar is None
    assert row["bytes_a_node_and_second"] == 10.0
    assert points([]) == []


def drawn(runs: list[tuple[Job, Result]], measure: str) -> Any:
    """The axes of a sweep's picture."""
    figure = Sweep([job for job, _ in runs], runs, []).result().plot(f"sweep-{measure}")
    assert isinstance(figure, Figure)
    return figure.axes[0]


def test_a_picture_has_values_against_what_was_varied_with_error_bars_and_each_run_as_a_dot():
    runs = [
        grid_run(seed, [{"searches": 10, "success_percent": 100.0 - 100 * loss * seed}], loss=loss)
        for loss in (0.2, 0.0)
        for seed in (1, 2)
    ]
    axes = drawn(runs, "success_percent")
    (bars,) = axes.containers
    line, caps, (segments,) = bars
    assert list(line.get_xdata()) == [0.0, 0.2], "sorted"
    assert list(line.get_ydata()) == pytest.approx([100.0, 70.0])
    assert [tuple(path.vertices[:, 1]) for path in segments.get_paths()] == [
        pytest.approx([100 * end for end in wilson(hits, 20)]) for hits in (20, 14)
    ]
    assert len(caps) == 2
    (dots,) = [one for one in axes.lines if one.get_marker() == "."]
    assert sorted(dots.get_ydata()) == pytest.approx([60.0, 80.0, 100.0, 100.0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("loss", "success percent")


def test_a_picture_of_what_was_not_counted_has_the_spread_over_seeds_and_a_line_for_what_else_differs():
    axes = drawn([hops_run(seed, [seed, 5.0], share=share) for share in (1, 100) for seed in (1, 3)], "hops")
    first, second = axes.containers
    (segments,) = first[2]
    assert [tuple(path.vertices[:, 1]) for path in segments.get_paths()] == [(1, 3), (1, 3)]
    assert list(second[0].get_ydata()) == [5, 5]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["k 8", "k 20"]
    assert axes.get_xscale() == "log"


def test_texts_are_across_a_picture_in_the_order_of_the_runs_without_a_line_between_them():
    runs = [
        grid_run(1, [{"searches": 10, "success_percent": 50.0}], latency=latency) for latency in ("regions", "constant")
    ]
    axes = drawn(runs, "success_percent")
    assert axes.containers[0][0].get_linestyle() == "None"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["regions", "constant"]


def test_a_picture_of_nothing_but_seeds_or_of_nothing_found_is_drawn():
    runs = [grid_run(seed, [{"searches": 10, "success_percent": 50.0}]) for seed in (1, 2)]
    assert drawn(runs, "success_percent").get_xlabel() == "all seeds"
    assert not drawn(runs, "first_p50").containers
    assert pictures([]) == {}


@pytest.mark.parametrize("found", everyone(), ids=lambda found: found.name)
def test_every_experiment_says_what_many_runs_are_summed_up_by(found):
    assert found.measures
    assert not set(found.measures) & set(found.apart)


def test_the_median_of_a_run_is_that_of_all_its_searches_and_not_the_mean_of_its_slices():
    """A slice with one slow search once weighed as much as one with fifty quick ones."""
    quick = {"first": 0.1, "complete": 0.2, "local": False}
    finds = [
        *[quick] * 50,
        {"first": 4.0, "complete": 9.0, "local": False},
        {"first": 0.0, "complete": 0.2, "local": True},
    ]
    runs = []
    for seed in (1, 2):
        job, result = grid_run(
            seed, [{"success_percent": 100.0, "searches": n, "complete_p50": p} for n, p in ((51, 0.2), (1, 9.0))]
        )
        result.tables["searches"] = finds
        runs.append((job, result))
    (point,) = points(runs)
    row = point.row()
    assert (row["runs"], row["first_p50"], row["complete_p50"]) == (2, 0.1, 0.2)
    assert (row["complete_p50_least"], row["complete_p50_most"]) == (0.2, 0.2)
