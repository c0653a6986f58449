"""Results: tables, pictures, files that load again, and what a notebook shows."""

from __future__ import annotations

import csv
import errno
import json
import sys
from typing import Any

import pytest
from matplotlib.figure import Figure
from pyarrow import parquet

from p2pgrid.errors import InvalidInput, MissingExtra
from p2pgrid.sim.result import Result, columns_of, legend_of_both


def draw(result: Result, axes: Any) -> None:
    axes.plot([row["x"] for row in result.rows], label="rows")
    other = axes.twinx()
    other.plot([1, 2], label="others")
    legend_of_both(axes, other)


def draw_bars(result: Result, axes: Any) -> None:
    axes.bar(range(len(result.rows)), [row["x"] for row in result.rows])


def result(**more: Any) -> Result:
    values: dict[str, Any] = {
        "rows": [{"x": 1, "share": 0.5, "name": "a"}, {"x": 2, "share": None, "holds": True}],
        "tables": {"searches": [{"seconds": 0.25, "right": True}], "none": []},
        "pictures": {"line": draw, "bars": draw_bars},
    }
    return Result("test", "A test", 12, 7, {"k": (8, 20)}, **{**values, **more})


@pytest.mark.parametrize(
    ("verdicts", "holds"),
    [
        ([], None),
        ([None, None], None),
        ([True], True),
        ([True, None, True], True),
        ([True, False], False),
        ([None, False], False),
    ],
)
def test_a_result_holds_when_every_point_with_a_reference_does(verdicts, holds):
    rows = [{} if verdict is None else {"holds": verdict} for verdict in verdicts]
    assert result(rows=rows).holds is holds
    assert result(rows=[{"holds": verdict} for verdict in verdicts]).holds is holds


def test_what_must_be_known_beside_the_figures_is_told(tmp_path):
    made = result(unjoined=3, unheld=1_200, unfinished=2)
    assert made.notes == [
        "3 joins were answered by nobody: those nodes were not in the grid then.",
        "1,200 announcements ended with a listing that nobody held.",
        "2 searches or lookups did not end in the time they had.",
    ]
    assert all(note in made._repr_html_() for note in made.notes)
    made.save(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["unjoined"], summary["unheld"]) == (3, 1200)
    assert result().notes == []
    assert "<p>" not in result()._repr_html_()


def test_frames_have_the_rows_of_the_experiment_and_of_each_table():
    made = result()
    assert list(made.frame().columns) == ["x", "share", "name", "holds"]
    assert made.frame().x.tolist() == [1, 2]
    assert made.frame("searches").to_dict("records") == made.tables["searches"]
    with pytest.raises(InvalidInput, match="searches"):
        made.frame("nodes")


def test_pictures_are_figures_the_first_unless_named():
    made = result()
    assert isinstance(made.plot(), Figure)
    assert made.plot().axes[0].lines
    assert len(made.plot("bars").axes[0].patches) == 2
    with pytest.raises(InvalidInput, match="line, bars"):
        made.plot("circle")
    with pytest.raises(InvalidInput, match="none"):
        result(pictures={}).plot()


def test_a_legend_of_two_scales_names_both():
    (legend,) = result().plot("line").legends
    assert [text.get_text() for text in legend.get_texts()] == ["rows", "others"]


def test_what_is_saved_loads_again(tmp_path):
    made = result(events=5, digest="00ff")
    written = made.save(tmp_path / "new" / "folder")
    names = {"summary.json", "rows.csv", "rows.parquet", "searches.csv", "searches.parquet"}
    assert {path.name for path in written} == names | {
        f"{p}.{kind}" for p in ("line", "bars") for kind in ("png", "svg")
    }
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(written)
    by_name = {path.name: path for path in written}
    summary = json.loads(by_name["summary.json"].read_text())
    assert summary == {**made.document(), "parameters": {"k": [8, 20]}}
    assert summary["digest"] == "00ff"
    with by_name["rows.csv"].open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"x": "1", "share": "0.5", "name": "a", "holds": ""},
            {"x": "2", "share": "", "name": "", "holds": "True"},
        ]
    rows = [{**dict.fromkeys(columns_of(made.rows)), **row} for row in made.rows]
    assert parquet.read_table(by_name["rows.parquet"]).to_pylist() == rows
    assert parquet.read_table(by_name["searches.parquet"]).to_pylist() == made.tables["searches"]
    for name in ("line", "bars"):
        assert by_name[f"{name}.png"].read_bytes().startswith(b"\x89PNG")
        assert b"</svg>" in by_name[f"{name}.svg"].read_bytes()


def test_pictures_of_the_same_result_are_the_same_bytes(tmp_path):
    one, other = result().save(tmp_path / "a"), result().save(tmp_path / "b")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_an_interrupted_run_without_rows_is_saved_without_pictures(tmp_path):
    written = result(rows=[], tables={}, complete=False).save(tmp_path)
    assert [path.name for path in written] == ["summary.json"]
    assert json.loads(written[0].read_text())["complete"] is False


def test_what_needs_a_missing_package_is_left_out_and_the_rest_is_written(tmp_path, monkeypatch):
    for package in ("matplotlib", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    assert {path.name for path in result().save(tmp_path)} == {"summary.json", "rows.csv", "searches.csv"}


def test_frames_and_pictures_say_which_package_is_missing(monkeypatch):
    for package in ("matplotlib", "pandas"):
        monkeypatch.setitem(sys.modules, package, None)
    for ask in (result().plot, result().frame):
        with pytest.raises(MissingExtra, match=r"p2pgrid\[sim\]"):
            ask()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("here first")
    for folder in (file, file / "below"):
        with pytest.raises(InvalidInput, match="cannot be written"):
            result().save(folder)
    (tmp_path / "taken" / "rows.csv").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="cannot be written"):
        result().save(tmp_path / "taken")


def test_a_file_that_cannot_be_written_whole_leaves_the_one_before(tmp_path):
    result().save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        result(parameters={"k": object()}).save(tmp_path)  # no JSON
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_notebook_shows_is_escaped():
    evil = "<script>alert('&')</script>"
    shown = result(rows=[{evil: evil, "x": 0.123456}, {"x": None}])
    shown.title = shown.experiment = evil
    html = shown._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;") == 4
    assert "<td>0.1235</td>" in html
    assert "None" not in html


def test_the_columns_of_rows_are_in_the_order_in_which_they_come_up():
    assert columns_of([{"b": 1, "a": 2}, {"c": 3, "a": 4}]) == ["b", "a", "c"]
    assert columns_of([]) == []


def test_a_result_is_one_line_for_whoever_prints_it():
    shown = repr(Result("grid", "A grid", 10, 7, {}, [{"a": 1}] * 30, {"searches": [{"b": 2}] * 900}, digest="0abc"))
    assert shown == "<Result 'A grid': 10 nodes, seed 7, digest 0abc; rows: 30, searches: 900>"


def test_a_table_that_parquet_cannot_hold_costs_no_other(tmp_path):
    result = Result("grid", "A grid", 10, 7, {}, [{"a": 2**70}], {"searches": [{"b": 2}]})
    written = {path.name for path in result.save(tmp_path)}
    assert written == {"summary.json", "rows.csv", "searches.csv", "searches.parquet"}


def test_a_picture_that_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    def full(figure, path, **options):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    result = Result("grid", "A grid", 10, 7, {}, [{"a": 1}], pictures={"one": lambda result, axes: axes.plot([1, 2])})
    with pytest.raises(InvalidInput, match="No space left") as caught:
        result.save(tmp_path)
    assert "Free some space" in caught.value.fix
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "rows.csv", "rows.parquet"}
