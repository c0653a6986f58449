"""How long packets are under way: symmetric pairs, the promised distributions, fits to measured times."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import median, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import InvalidInput
from p2pgrid.sim.latency import DISTANCES, LEAST, Constant, LogNormal, Regions, Uniform

NUMBERS = st.integers(0, 2**31)
CHANCE = st.floats(0, 1)
REGIONS = st.sampled_from(sorted({name for pair in DISTANCES for name in pair}))


@dataclass
class Place:
    place: int
    region: str = ""


@given(NUMBERS, NUMBERS, REGIONS, REGIONS, CHANCE)
def test_two_hosts_are_as_far_apart_whichever_of_them_sends(one, other, here, there, chance):
    for model in (Constant(0.02, 0.3), LogNormal(), Regions()):
        out = model.one_way(Place(one, here), Place(other, there), chance)
        assert out == model.one_way(Place(other, there), Place(one, here), chance)
        assert out >= LEAST


@given(NUMBERS, NUMBERS, REGIONS, REGIONS, CHANCE)
def test_jitter_adds_up_to_its_share_and_never_takes_away(one, other, here, there, chance):
    a, b = Place(one, here), Place(other, there)
    for still, shaken in (
        (Constant(0.02), Constant(0.02, 0.5)),
        (LogNormal(jitter=0.0), LogNormal(jitter=0.5)),
        (Regions(jitter=0.0), Regions(jitter=0.5)),
    ):
        least = still.one_way(a, b, chance)
        assert still.one_way(a, b, 0.0) == least, "without jitter a pair has one latency"
        assert least <= shaken.one_way(a, b, chance) <= 1.5 * least + 1e-12


def test_log_normal_pairs_have_the_median_and_the_spread_that_were_asked_for():
    model = LogNormal(0.04, 0.6, jitter=0.0)
    times = [model.one_way(Place(a), Place(b), 0.0) for a in range(150) for b in range(a)]
    assert median(times) == pytest.approx(0.04, rel=0.03)
    assert pstdev(map(math.log, times)) == pytest.approx(0.6, rel=0.03)


def test_no_packet_is_quicker_than_the_least():
    assert LogNormal(1e-9).one_way(Place(1), Place(2), 0.0) == LEAST


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Constant, (0.0,)),
        (Constant, (-1.0,)),
        (Constant, (math.nan,)),
        (Constant, (0.1, -0.1)),
        (Constant, (math.inf,)),
        (Constant, ("0.1",)),
        (Constant, (0.1, math.inf)),
        (Uniform, (0.0, 0.1)),
        (Uniform, (0.1, math.inf)),
        (Uniform, (0.2, 0.1)),
        (LogNormal, (math.inf,)),
        (LogNormal, (0.1, math.inf)),
        (LogNormal, (0.0,)),
        (LogNormal, (0.1, -1.0)),
        (LogNormal, (0.1, 0.5, -1.0)),
        (Regions, ({},)),
        (Regions, ({("a", "a"): 0.1}, -0.1)),
        (Regions, ({("a", "a"): 0.0},)),
        (Regions, ({("a", "a"): math.inf},)),
        (Regions, ({("a", "a"): "near"},)),
        (Regions, ({"a": 0.1},)),
        (Regions, ({("a", "b", "c"): 0.1},)),
        (Regions, ("regions",)),
        (Regions, ([("a", "a")],)),
    ],
)
def test_impossible_latencies_are_refused(model, values):
    with pytest.raises(InvalidInput):
        model(*values)


def test_an_impossible_number_of_a_latency_is_named_with_its_value():
    for make, cause in (
        (lambda: Constant(-2), "seconds is a number above 0, not -2"),
        (lambda: Uniform(3, 2), "least is a number above 0 and at most 2, not 3"),
        (lambda: LogNormal(sigma=math.nan), "sigma is a number from 0 on, not nan"),
        (lambda: Regions({("a", "b"): 0.1, ("a", "a"): 1, ("b", "b"): -1}), "distance b-b is a number above 0, not -1"),
        (lambda: Regions({}), r"not \{\}"),
    ):
        with pytest.raises(InvalidInput, match=cause):
            make()


def test_regions_without_a_distance_between_two_of_them_are_refused():
    with pytest.raises(InvalidInput, match="a-b"):
        Regions({("a", "a"): 0.01, ("b", "b"): 0.01})
    with pytest.raises(InvalidInput, match="b-b"):
        Regions({("a", "a"): 0.01, ("a", "b"): 0.05})


def test_a_distance_serves_both_ways_unless_both_are_given():
    same = {("a", "a"): 0.01, ("b", "b"): 0.02}
    a, b = Place(1, "a"), Place(2, "b")
    one = Regions({**same, ("a", "b"): 0.05}, jitter=0.0)
    assert one.one_way(a, b, 0.0) == one.one_way(b, a, 0.0) == 0.05
    both = Regions({**same, ("a", "b"): 0.05, ("b", "a"): 0.07}, jitter=0.0)
    assert (both.one_way(a, b, 0.0), both.one_way(b, a, 0.0)) == (0.05, 0.07)
    assert both.names == ["a", "b"]


def test_regions_are_told_as_they_were_made():
    made = Regions({("a", "a"): 0.01}, 0.2)
    assert repr(made) == "Regions({('a', 'a'): 0.01}, 0.2)" == repr(eval(repr(made)))


def test_a_fit_to_measured_round_trips_has_their_median_and_spread(tmp_path):
    chance = random.Random(1)
    times = [2000 * chance.lognormvariate(math.log(0.03), 0.4) for _ in range(4000)]
    path = tmp_path / "rtt.csv"
    path.write_text("from,to,milliseconds\n" + "".join(f"a,b,{time}\n" for time in times))
    fitted = LogNormal.fitted(path, jitter=0.2)
    assert fitted.median * 1.1 == pytest.approx(0.03, rel=0.03), "with half of the jitter"
    assert fitted.sigma == pytest.approx(0.4, rel=0.03)
    assert fitted.jitter == 0.2


@pytest.mark.parametrize(
    "text",
    [
        "10\n40\n",
        "10\n\n40",
        "ms\r\n10\r\n40\r\n",
        "\ufeff10\n40\n",
        "x,10\n1,40\n# end\n",
        "# rtt\nto,ms\n \na,10\nb,40\n",
    ],
)
def test_headings_empty_lines_and_byte_order_marks_are_passed_over(tmp_path, text):
    path = tmp_path / "rtt.txt"
    path.write_bytes(text.encode())
    fitted = LogNormal.fitted(str(path))
    assert fitted.median * 1.05 == pytest.approx(0.010), "half of the geometric mean of 10 and 40 ms"
    assert fitted.sigma == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "content",
    [b"", b"ms\n", b"ms\n10\n", b"10\n0\n", b"10\n-3\n", b"10\nnan\n", b"10\ninf\n", b"10\n1e9\n", b"\xff\xfe\x00"],
)
def test_a_file_without_round_trip_times_is_refused(tmp_path, content):
    path = tmp_path / "rtt.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"rtt\.csv"):
        LogNormal.fitted(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\na,10\nb,20\nc,30,\nd,40\n", "line 4: 'c,30,'"),
        ("c,30,\nd,40\ne,50\n", "line 1: 'c,30,'"),
        ("to,ms\n\na,10\nb,timeout\nc,20\n", "line 4: 'b,timeout'"),
        ("to,ms\nfrom,ms\na,10\nb,20\n", "line 2: 'from,ms'"),
        ("10\n20\n30 ms\n", "line 3: '30 ms'"),
        ("10\n20\n0\n", "line 3: '0'"),
        ("10\nnan\n20\n", "line 2: 'nan'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_not_left_out(tmp_path, text, line):
    path = tmp_path / "rtt.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=line):
        LogNormal.fitted(path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InvalidInput):
            LogNormal.fitted(path)
