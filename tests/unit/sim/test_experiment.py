"""What every experiment has: parameters that are looked at, progress, an end that an interrupt may bring."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import BadExperiment
from p2pgrid.sim import experiment
from p2pgrid.sim.conditions import network
from p2pgrid.sim.experiment import MOST_NODES, Experiment, Run
from p2pgrid.sim.experiments import NAMES, everyone, named
from p2pgrid.sim.latency import Constant
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.result import Result
from p2pgrid.sim.sweep import jobs_of

PARAMETERS = MappingProxyType({"sizes": (10, 20), "times": (1.0,), "count": 3, "share": 0.5})


def ticking(run: Run) -> None:
    """A row a step, and a second of an empty grid."""
    for number in range(run["count"]):
        run.step(number, run["count"])
        run.pass_time(run.grid(), 1.0, 0.0, 1.0)
        run.row(number=number)


def made(measure: Any = ticking) -> Experiment:
    return Experiment("test", "A test", "It tests.", 5, PARAMETERS, measure, {})


def fresh() -> Run:
    return Run(Result("test", "A test", 5, 1, dict(PARAMETERS)))


@pytest.fixture(autouse=True)
def told_at_once(monkeypatch):
    """Progress is told whenever there is some, not ten times a second."""
    monkeypatch.setattr(experiment, "TELL_EVERY", 0.0)


def test_parameters_not_given_have_their_defaults():
    assert made().with_parameters({}) == PARAMETERS


def test_parameters_given_take_the_type_of_their_defaults():
    given_ = {"sizes": ["5", 7.0], "times": 3, "count": "4", "share": 1}
    taken = made().with_parameters(given_)
    assert taken == {"sizes": (5, 7), "times": (3.0,), "count": 4, "share": 1.0}
    assert [type(one) for one in (*taken["sizes"], *taken["times"], taken["count"], taken["share"])] == [
        int,
        int,
        float,
        int,
        float,
    ]


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 10**9), st.floats(0, 1e300))
def test_all_numbers_from_0_on_are_taken_as_numbers_and_as_text(sizes, count, share):
    wanted = {"sizes": tuple(dict.fromkeys(sizes)), "times": (1.0,), "count": count, "share": share}
    assert made().with_parameters({"sizes": sizes, "count": count, "share": share}) == wanted
    as_text = {"sizes": [str(size) for size in sizes], "count": str(count), "share": repr(share)}
    assert made().with_parameters(as_text) == wanted


def test_equal_values_of_a_list_are_one():
    assert made().with_parameters({"sizes": [3, "7", 7.0, 3], "times": ["0", 0.0, 2]})["sizes"] == (3, 7)
    assert made().with_parameters({"times": ["0", 0.0, 2]})["times"] == (0.0, 2.0)


def test_an_unknown_parameter_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(BadExperiment, match=r"'colour'.*sizes, times, count, share"):
        made().with_parameters({"count": 1, "colour": 1})


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize(
    "value",
    [-1, -0.5, "many", "", None, {}, [], (), [1, -1], [[1]], math.nan, math.inf, "inf", "nan", -math.inf, b"\xff"],
    ids=repr,
)
def test_what_is_no_number_from_0_on_is_refused(name, value):
    with pytest.raises(BadExperiment, match=rf"^test: {name} "):
        made().with_parameters({name: value})


@pytest.mark.parametrize("value", [1.5, "1.5", "1e3", [1, 2]])
def test_whole_numbers_are_whole_and_single(value):
    with pytest.raises(BadExperiment, match="whole number"):
        made().with_parameters({"count": value})


@pytest.mark.parametrize("nodes", [-1, 0, 1, MOST_NODES + 1])
def test_too_few_and_too_many_nodes_are_refused_before_anything_runs(nodes):
    with pytest.raises(BadExperiment, match=r"2 to 100,000 nodes"):
        made(lambda run: pytest.fail("it ran")).run(nodes=nodes)


@pytest.mark.parametrize("name", ["grid", "churn"])
@pytest.mark.parametrize(
    ("parameter", "most"), [("searches", 1_000_000), ("tags", 10_000), ("hours", 100_000), ("shape", 100)]
)
def test_a_grid_that_nobody_could_wait_for_is_refused(name, parameter, most):
    assert named(name).with_parameters({parameter: most})[parameter] == most
    with pytest.raises(BadExperiment, match=f"{parameter} is a .*number from"):
        named(name).with_parameters({parameter: most + 1})


def test_a_mean_session_is_none_or_a_second_at_least():
    with pytest.raises(BadExperiment, match=r"mean_session is 0 for none, or from 1 s on"):
        named("grid").run(nodes=3, parameters={"mean_session": 0.5})
    with pytest.raises(BadExperiment, match="sessions is a number from 1 to"):
        named("churn").run(nodes=3, parameters={"sessions": 0.5})


def test_a_run_has_its_own_number_of_nodes_unless_told():
    assert made().run().nodes == 5
    assert made().run(nodes=2).nodes == 2


def test_a_result_says_what_was_run_and_what_it_took():
    result = made().run(nodes=9, seed=4, parameters={"count": 2})
    assert (result.experiment, result.title, result.nodes, result.seed) == ("test", "A test", 9, 4)
    assert result.parameters == {**PARAMETERS, "count": 2}
    assert result.rows == [{"number": 0}, {"number": 1}]
    assert result.complete
    assert result.virtual_seconds == 2.0
    assert result.wall_seconds > 0
    assert result.peak_rss_mib > 1
    assert len(bytes.fromhex(result.digest)) == 16


def test_events_and_seconds_are_those_of_all_grids_and_what_was_counted_beside():
    def several(run: Run) -> None:
        for _ in range(3):
            grid = run.grid()
            grid.world.after(0.5, int)
            grid.run(1.0)
            assert run.grids == [grid], "those before it are let go"
        assert (run.events, run.virtual_seconds) == (3, 3.0)
        run.count(10)

    result = made(several).run()
    assert (result.events, result.virtual_seconds) == (13, 3.0)


def test_joins_and_listings_that_failed_in_any_of_its_grids_are_in_the_result():
    def failing(run: Run) -> None:
        for unjoined, unheld, unfinished in ((1, 0, 7), (2, 5, 0), (0, 0, 1)):
            grid = run.grid()
            grid.unjoined, grid.unheld, grid.unfinished = unjoined, unheld, unfinished

    result = made(failing).run()
    assert (result.unjoined, result.unheld, result.unfinished) == (3, 5, 8)
    assert [result.summary[name] for name in ("unjoined", "unheld", "unfinished")] == [3, 5, 8]


def test_the_digest_is_that_of_the_grids_and_of_what_was_noted_beside():
    def noting(run: Run) -> None:
        grid = run.grid()
        grid.world.note(0, run["share"].hex().encode() + grid.world.random.randbytes(2))
        run.note(str(run["count"]))

    digests = [
        made(noting).run(seed=seed, parameters={"share": share, "count": count}).digest
        for seed, share, count in ((1, 0.1, 1), (1, 0.1, 1), (2, 0.1, 1), (1, 0.2, 1), (1, 0.1, 2))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_progress_begins_at_0_ends_at_1_and_never_goes_back():
    shares: list[float] = []
    made().run(progress=lambda share, run: shares.append(share))
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert len(set(shares)) >= PARAMETERS["count"]


def test_progress_is_not_told_more_often_than_it_can_be_read(monkeypatch):
    monkeypatch.setattr(experiment, "TELL_EVERY", 3600.0)
    shares: list[float] = []
    made().run(progress=lambda share, run: shares.append(share))
    assert shares == [0.0, 1.0]


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupt_ends_a_run_with_the_rows_that_are_finished(after):
    told: list[float] = []

    def interrupt(share: float, run: Run) -> None:
        told.append(share)
        if len(run.result.rows) == after:
            raise KeyboardInterrupt

    result = made().run(progress=interrupt)
    assert not result.complete
    assert result.rows == [{"number": number} for number in range(after)]
    assert result.virtual_seconds >= after
    assert result.digest
    assert told[-1] < 1.0, "it is not done"


def test_an_interrupt_at_the_last_word_of_progress_loses_nothing():
    def interrupt(share: float, run: Run) -> None:
        if share == 1.0:
            raise KeyboardInterrupt

    result = made().run(progress=interrupt)
    assert len(result.rows) == PARAMETERS["count"]
    assert result.digest == made().run().digest


def test_a_fault_in_an_experiment_is_not_taken_for_its_end():
    def broken(run: Run) -> None:
        run.row(number=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made(broken).run()


def test_what_was_finished_before_a_fault_is_in_the_result_that_was_handed_out():
    def broken(run: Run) -> None:
        run.pass_time(run.grid(), 2.0, 0.0, 1.0)
        run.row(number=1)
        raise ZeroDivisionError

    handed: list[Result] = []
    with pytest.raises(ZeroDivisionError):
        made(broken).run(begun=handed.append)
    (result,) = handed
    assert result.rows == [{"number": 1}]
    assert (result.complete, result.virtual_seconds) == (False, 2.0)
    assert len(bytes.fromhex(result.digest)) == 16


@pytest.mark.parametrize(
    ("measured", "better", "holds"),
    [
        (10.0, "", True),
        (12.0, "", True),
        (8.0, "", True),
        (12.1, "", False),
        (7.9, "", False),
        (99.0, "more", True),
        (7.9, "more", False),
        (8.0, "more", True),
        (0.0, "less", True),
        (12.1, "less", False),
        (12.0, "less", True),
    ],
)
def test_a_point_holds_within_the_tolerance_and_beyond_it_on_the_better_side(measured, better, holds):
    assert fresh().against(measured, 10.0, 2.0, better=better) == {"reference": 10.0, "tolerance": 2.0, "holds": holds}


def test_nothing_is_compared_with_a_reference_in_another_network_than_the_usual_one():
    def compared(run: Run) -> None:
        run.row(**run.against(1.0, 1.0, 0.0))

    plain = Experiment("test", "A test", "It tests.", 5, {"count": 3, **network("lognormal:0.03")}, compared, {})
    for same in ({}, {"count": 4}, {"latency": 0.03}, {"latency": " lognormal:0.03"}, {"loss": 0}):
        assert plain.run(parameters=same).holds is True
    for other in ({"latency": "lognormal:0.04"}, {"loss": 0.1}, {"uplink": 1e6}, {"nat_cone": 0.1}):
        result = plain.run(parameters=other)
        assert (result.holds, result.rows) == (None, [{}])


def test_a_runs_grids_have_the_network_that_its_parameters_say():
    def asked(run: Run) -> None:
        grid = run.grid()
        run.row(conditions=grid.network.conditions)

    plain = Experiment("test", "A test", "It tests.", 5, {**network()}, asked, {})
    given_ = {"latency": "constant:0.05", "loss": 0.5, "nat_symmetric": 1}
    assert plain.run().rows == [{"conditions": Conditions()}]
    assert plain.run(parameters=given_).rows == [
        {"conditions": Conditions(Constant(0.05), loss=0.5, nat_symmetric=1.0)}
    ]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_more_and_less_only_ever_forgive(measured, reference, tolerance):
    run = fresh()
    strict = run.against(measured, reference, tolerance)["holds"]
    more = run.against(measured, reference, tolerance, better="more")["holds"]
    less = run.against(measured, reference, tolerance, better="less")["holds"]
    assert strict == (more and less)
    assert more or less


def test_experiments_are_found_by_their_names():
    for name, found in zip(NAMES, everyone(), strict=True):
        assert found.name == name
        assert named(name) is found


@pytest.mark.parametrize("name", ["", "nothing", "__init__", "../grid", "grid.measure", "experiments", " grid"])
def test_an_experiment_that_does_not_exist_is_refused(name):
    with pytest.raises(BadExperiment, match="no experiment"):
        named(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hot_tag", "hot-tag"), ("Hops", "hops"), ("bootstrap", "bootstrap-loss"), ("flash-crwod", "flash-crowd")],
)
def test_a_name_that_is_nearly_one_is_refused_with_the_one_that_was_meant(name, meant):
    with pytest.raises(BadExperiment, match=rf"Did you mean {meant}\?"):
        named(name)
    with pytest.raises(BadExperiment) as caught:
        named("nothing")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("found", everyone(), ids=lambda found: found.name)
def test_every_experiment_takes_its_own_defaults_and_has_pictures(found):
    assert found.with_parameters(found.parameters) == found.parameters
    assert found.with_nodes(None) == found.nodes
    assert found.about.endswith(".")
    assert found.pictures
    assert all(isinstance(value, (int, float, tuple, str)) for value in found.parameters.values())


@pytest.mark.parametrize(
    ("name", "nodes", "parameters", "says"),
    [
        ("grid", 10, {"mean_session": 0.5}, "mean_session is 0 for none"),
        ("hops", 20, {"sizes": [100, 300]}, "A size of 300 is above the 20 nodes"),
        ("hot-tag", 2, {"listings": [1_000]}, "1,000 listings need 63 nodes, not 2"),
        ("bootstrap-loss", 3, {"doors": 3}, "3 bootstrap nodes of 3 leave nobody"),
        ("dead-nodes", 10, {"dead": [20, 90]}, "Fewer than three nodes would live on"),
        ("skademlia", 10, {"adversaries": [90]}, "Fewer than two honest nodes"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_runs(name, nodes, parameters, says):
    begun = []
    with pytest.raises(BadExperiment, match=says):
        named(name).run(nodes=nodes, parameters=parameters, begun=begun.append)
    assert begun == []
    with pytest.raises(BadExperiment, match=says):
        jobs_of(name, nodes=[1_000, nodes], parameters=parameters)
