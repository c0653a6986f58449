"""The network by plain words and numbers: every model, and what is no network."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import BadExperiment, InvalidInput
from p2pgrid.sim.conditions import FIX, NETWORK, conditions_of, latency_of, network, written
from p2pgrid.sim.experiments import everyone, named
from p2pgrid.sim.latency import DISTANCES, Constant, LogNormal, Regions, Uniform
from p2pgrid.sim.network import Conditions

TEXTS = {
    "constant": Constant(),
    "constant:0.05": Constant(0.05),
    "constant:0.05:0.2": Constant(0.05, 0.2),
    "uniform:0.002:0.03": Uniform(0.002, 0.03),
    "lognormal": LogNormal(),
    "lognormal:0.04": LogNormal(0.04),
    "lognormal:0.04:0.6:0": LogNormal(0.04, 0.6, 0.0),
    "0.04": LogNormal(0.04),
    " 4e-2 ": LogNormal(0.04),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_latency_is_read_as_it_is_written(text):
    assert latency_of(written(text)) == TEXTS[text]


def test_a_number_alone_is_the_median_of_a_log_normal_latency():
    assert written(0.05) == written("0.05") == "lognormal:0.05"
    assert latency_of(written(2)) == LogNormal(2.0)


def test_regions_have_the_distances_that_are_typical_and_the_jitter_that_is_given():
    for text, jitter in (("regions", 0.1), ("regions:0.5", 0.5)):
        read = latency_of(text)
        assert isinstance(read, Regions)
        assert read.distances.items() >= DISTANCES.items()
        assert read.jitter == jitter


def test_a_file_of_measured_times_becomes_what_is_fitted_to_it(tmp_path):
    path = tmp_path / "rtt:of today.csv"
    path.write_text("10\n20\n40\n")
    fit = LogNormal.fitted(path)
    text = written(f"fitted:{path}")
    path.unlink()
    read = latency_of(text)
    assert isinstance(read, LogNormal)
    assert (read.median, read.sigma, read.jitter) == pytest.approx((fit.median, fit.sigma, fit.jitter), rel=1e-5)


@given(st.sampled_from(sorted(TEXTS)))
def test_what_is_written_is_not_written_otherwise_again(text):
    assert written(written(text)) == written(text)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("", "'' is no latency"),
        ("fast", "'fast' is no latency"),
        ("rtt.csv", "'rtt.csv' is no latency"),
        (True, "'True' is no latency"),
        (None, "'None' is no latency"),
        ([0.1], r"'\[0.1\]' is no latency"),
        (-1, "'-1' is no latency"),
        ("nan", "'nan' is no latency"),
        ("inf", "'lognormal:inf' is no latency: lognormal takes numbers from 0 up to 60, 5, 10"),
        (0, "median is a number above 0"),
        ("constant:0", "seconds is a number above 0"),
        ("constant:", "constant takes numbers from 0 up to 60, 10"),
        ("constant:soon", "constant takes numbers"),
        ("constant:-1", "constant takes numbers"),
        ("constant:nan", "constant takes numbers"),
        ("constant:61", "constant takes numbers"),
        ("constant:1:1:1", "constant takes numbers"),
        ("uniform:0.03:0.002", "least is a number above 0 and at most 0.002, not 0.03"),
        ("uniform:0.05", "least is a number above 0 and at most 0.03"),
        ("lognormal:0.03:6", "lognormal takes numbers from 0 up to 60, 5, 10"),
        ("regions:europe", "regions takes numbers"),
        ("fitted:", "holds no round-trip times"),
        ("fitted:no-such.csv", "no-such.csv holds no round-trip times"),
    ],
)
def test_what_is_no_latency_is_refused_with_all_ways_to_write_one(value, cause):
    with pytest.raises(InvalidInput, match=cause) as caught:
        written(value)
    assert caught.value.fix == FIX


@given(st.text() | st.floats() | st.integers())
def test_any_value_is_a_latency_or_refused(value):
    with contextlib.suppress(InvalidInput):
        assert latency_of(written(value)).one_way


def test_the_parameters_of_a_network_are_its_conditions():
    given_ = {
        "latency": "constant:0.05",
        "loss": 0.01,
        "duplicate": 0.02,
        "reorder": 0.03,
        "uplink": 5e4,
        "nat_cone": 0.3,
        "nat_symmetric": 0.2,
    }
    assert set(given_) == set(NETWORK)
    assert conditions_of({**given_, "hours": 1.0}) == Conditions(
        Constant(0.05), loss=0.01, duplicate=0.02, reorder=0.03, uplink=5e4, nat_cone=0.3, nat_symmetric=0.2
    )


def test_a_network_is_plain_unless_told_and_without_parameters_there_is_none():
    assert conditions_of(network()) == Conditions()
    assert conditions_of({"hours": 1.0}) is None


def test_experiments_with_a_network_have_all_of_its_parameters():
    with_one = [one for one in everyone() if "latency" in one.parameters]
    assert {one.name for one in with_one} == {
        "grid",
        "churn",
        "hot-tag",
        "bought-neighbourhood",
        "partition",
        "bootstrap-loss",
        "flash-crowd",
    }
    assert all(set(NETWORK) <= set(one.parameters) for one in with_one)


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"latency": "fast"}, "grid: 'fast' is no latency"),
        ({"loss": 1.5}, "grid: loss is a number from 0 to 1"),
        ({"duplicate": -0.1}, "grid: duplicate is a number from 0 to 1"),
        ({"reorder": "often"}, "grid: reorder is a number from 0 to 1"),
        ({"uplink": -1}, "grid: uplink is a number from 0 on"),
        ({"nat_cone": 2}, "grid: nat_cone is a number from 0 to 1"),
        ({"nat_symmetric": "all"}, "grid: nat_symmetric is a number from 0 to 1"),
        ({"nat_cone": 0.6, "nat_symmetric": 0.5}, "grid: nat_cone and nat_symmetric are shares of the same hosts"),
    ],
)
def test_an_experiment_refuses_what_is_no_network_before_it_runs(wrong: dict[str, Any], cause):
    with pytest.raises(BadExperiment, match=cause):
        named("grid").with_parameters(wrong)
