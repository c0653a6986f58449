"""What to run, as a person wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.errors import BadExperiment
from p2pgrid.sim.plan import Plan, read

WHOLE = """
experiment = "churn"
nodes = [100, 300]
seed = [1, 2, 3]
hours = 0.25

[parameters]
tags = 7

[vary]
shape = [0.4, 0.5]
"""


@pytest.fixture
def written(tmp_path):
    """Write a plan; its path as text."""

    def write(text: str) -> str:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return str(path)

    return write


def test_an_experiments_name_alone_is_a_plan_with_its_defaults():
    plan = read("dead-nodes")
    (job,) = plan.jobs()
    assert (job.experiment, job.nodes, job.seed, job.parameters) == ("dead-nodes", None, 1, {})


def test_a_file_says_everything(written):
    plan = read(written(WHOLE))
    assert plan == Plan("churn", [100, 300], [1, 2, 3], {"tags": 7, "hours": 0.25}, {"shape": [0.4, 0.5]})
    jobs = plan.jobs()
    assert len(jobs) == 2 * 3 * 2
    assert jobs[0].parameters == {"tags": 7, "hours": 0.25, "shape": 0.4}
    assert jobs[-1].varied == {"seed": 3, "nodes": 300, "shape": 0.5}


def test_a_file_needs_no_more_than_an_experiment_and_one_number_is_a_list_of_one(written):
    assert read(written('experiment = "grid"')) == Plan("grid")
    assert read(written('experiment = "grid"\nnodes = 20\nseed = 0')) == Plan("grid", [20], [0])


@given(
    st.lists(st.integers(2, 1000), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(0.1, 9.0), min_size=1, max_size=3, unique=True),
)
def test_there_is_a_run_for_each_combination(written, nodes, seeds, shapes):
    jobs = read(written(f'experiment = "churn"\nnodes = {nodes}\nseed = {seeds}\n[vary]\nshape = {shapes}')).jobs()
    assert [(job.nodes, job.seed, job.parameters["shape"]) for job in jobs] == [
        (count, seed, shape) for count in nodes for seed in seeds for shape in shapes
    ]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "names no experiment"),
        ("nodes = 5", "names no experiment"),
        ("experiment = 5", "names no experiment"),
        ('experiment = "nothing"', "no experiment 'nothing'"),
        ('experiment = "grid"\ncolour = 1', "unknown key 'colour'"),
        ('experiment = "grid"\nnodes = "many"', "nodes is a whole number"),
        ('experiment = "grid"\nnodes = 1.5', "nodes is a whole number"),
        ('experiment = "grid"\nnodes = true', "nodes is a whole number"),
        ('experiment = "grid"\nnodes = []', "nodes is a whole number"),
        ('experiment = "grid"\nnodes = -3', "nodes is a whole number"),
        ('experiment = "grid"\nseed = [1, "2"]', "seed is a whole number"),
        ('experiment = "grid"\nseed = 9223372036854775808', "seed is a whole number"),
        ('experiment = "grid"\nparameters = 5', r"\[parameters\] is a table of values"),
        ('experiment = "grid"\nvary = [1]', r"\[vary\] is a table of lists"),
        ('experiment = "grid"\n[vary]\ntags = 5', r"\[vary\] is a table of lists"),
        ("experiment = ", "no TOML"),
        ("\x00", "no TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_or_the_name(written, text, cause):
    with pytest.raises(BadExperiment, match=cause) as caught:
        read(written(text))
    assert "study.toml" in str(caught.value) or "nothing" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('experiment = "grid"\nnodes = 1', "2 to 100,000 nodes"),
        ('experiment = "grid"\nnodes = [10, 1]', "2 to 100,000 nodes"),
        ('experiment = "hops"\nhours = 1', "no parameter 'hours'"),
        ('experiment = "grid"\n[parameters]\ncolour = 1', "no parameter 'colour'"),
        ('experiment = "grid"\n[vary]\ncolour = [1]', "no parameter 'colour'"),
        ('experiment = "grid"\n[vary]\ntags = [1, -1]', "tags is a whole number"),
        ('experiment = "grid"\n[vary]\ntags = []', "no run at all"),
        ('experiment = "grid"\n[parameters]\nhours = inf', "hours is a number"),
        ('experiment = "grid"\n[parameters.tags]\na = 1', "tags is a whole number"),
        ('experiment = "grid"\n[parameters]\nlatency = "fast"', "'fast' is no latency"),
        ('experiment = "grid"\n[vary]\nlatency = ["regions", "fitted:none.csv"]', "none.csv holds no round-trip times"),
        ('experiment = "grid"\n[parameters]\nnat_cone = 0.7\nnat_symmetric = 0.7', "shares of the same hosts"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(written, text, cause):
    plan = read(written(text))
    with pytest.raises(BadExperiment, match=cause):
        plan.jobs()


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("none.toml", "folder.toml", "binary.toml"):
        with pytest.raises(BadExperiment, match=r"cannot be read"):
            read(str(tmp_path / name))


def test_one_value_is_set_and_several_are_varied():
    plan = Plan("churn")
    plan.set("tags=5")
    plan.set(" shape = 0.4 , 0.5,")
    assert (plan.parameters, plan.vary) == ({"tags": "5"}, {"shape": ["0.4", "0.5"]})
    assert [job.varied for job in plan.jobs()] == [{"seed": 1, "shape": 0.4}, {"seed": 1, "shape": 0.5}]


def test_several_values_of_a_parameter_that_is_a_list_are_that_list():
    plan = Plan("churn")
    plan.set("sessions=84,300")
    assert plan.vary == {}
    (job,) = plan.jobs()
    assert job.parameters == {"sessions": (84.0, 300.0)}


def test_what_is_set_last_counts():
    plan = Plan("churn")
    for text in ("tags=5", "tags=6,7", "tags=8"):
        plan.set(text)
    assert (plan.parameters, plan.vary) == ({"tags": "8"}, {})
    plan.set("tags=6,7")
    assert (plan.parameters, plan.vary) == ({}, {"tags": ["6", "7"]})


def test_a_network_is_planned_in_a_file_and_by_settings(written, tmp_path):
    (tmp_path / "rtt.csv").write_text("10\n40\n")
    network = f'latency = "fitted:{tmp_path}/rtt.csv"\nloss = 0.01\nnat_symmetric = 0.2'
    plan = read(written(f'experiment = "grid"\n[parameters]\n{network}\n[vary]\nnat_cone = [0, 0.3]'))
    plan.set("uplink=5e4")
    jobs = plan.jobs()
    (tmp_path / "rtt.csv").unlink()
    latency = "lognormal:0.00952381:0.693147:0.1"
    assert [job.parameters for job in jobs] == [
        {"latency": latency, "loss": 0.01, "nat_symmetric": 0.2, "uplink": 5e4, "nat_cone": share}
        for share in (0.0, 0.3)
    ]
    plan.set("latency=regions, constant:0.05,0.04")
    assert [job.varied["latency"] for job in plan.jobs()[:3]] == ["regions", "constant:0.05", "lognormal:0.04"]


@pytest.mark.parametrize("text", ["", "tags", "tags=", "=5", "tags=,", " = "])
def test_a_setting_that_sets_nothing_is_refused(text):
    with pytest.raises(BadExperiment, match="sets nothing"):
        Plan("churn").set(text)


@given(st.text())
def test_any_setting_is_taken_or_refused(text):
    plan = Plan("churn")
    try:
        plan.set(text)
        assert plan.jobs()
    except BadExperiment:
        pass
