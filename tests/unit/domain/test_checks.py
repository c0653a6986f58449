"""Each rule on a result, over results that keep to it and results that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from p2pgrid import assets, wire
from p2pgrid.domain import checks
from p2pgrid.domain.policies.rules import KINDS, MaximumResultSize, MinimumCellCount, MinimumRows, NoAssetRows, Rule
from p2pgrid.domain.service.floors import check_columns
from p2pgrid.errors import InvalidInput

PEOPLE = pd.DataFrame(
    {
        "name": [f"person {number}" for number in range(60)],
        "region": ["north"] * 30 + ["south"] * 28 + ["west"] * 2,
        "age": [20 + number % 40 for number in range(60)],
        "income": [1000.25 + 17.5 * number for number in range(60)],
    }
)
COUNTS = PEOPLE.groupby("region").size().reset_index(name="count")
BIG = COUNTS[COUNTS["count"] > 5]


def broken(value: Any, rule: Rule, *assets: Any) -> str:
    held = {f"asset_{place}": asset for place, asset in enumerate(assets or (PEOPLE,))}
    found = checks.judge(wire.pack_value(value, arrow=False), [rule.to_wire()], **held)
    assert all(kind == rule.kind for kind, _ in found)
    return found[0][1] if found else ""


def test_each_rule_has_its_check() -> None:
    assert set(checks.CHECKS) == set(KINDS)


@pytest.mark.parametrize("value", [42.5, {"age": 31.0}, [1.0] * 6, np.zeros(6), PEOPLE[["age", "income"]].mean()])
def test_few_values_of_many_rows_come_out(value: Any) -> None:
    assert broken(value, MinimumRows(10)) == ""


@pytest.mark.parametrize(
    "value",
    [
        [1.0] * 7,
        np.zeros((7, 1)),
        {f"row {number}": number for number in range(4)},
        PEOPLE,
        PEOPLE["income"],
        "a text of more than six times eight bytes, which could say anything at all",
        10**200,
        b"x" * 57,
    ],
    ids=["list", "array", "keys", "table", "column", "text", "huge int", "bytes"],
)
def test_carrying_rows_out_as_many_values(value: Any) -> None:
    assert "values of an asset of 60 rows" in broken(value, MinimumRows(10))


def test_the_smallest_asset_counts() -> None:
    assert broken(1.0, MinimumRows(10), PEOPLE, np.zeros(9)) != ""
    assert broken(1.0, MinimumRows(10), PEOPLE, np.zeros(10)) == ""


def test_a_result_has_a_largest_number_of_values() -> None:
    assert broken([1, 2, 3], MaximumResultSize(values=3)) == ""
    assert "4 values" in broken([1, 2, 3, 4], MaximumResultSize(values=3))


@pytest.mark.parametrize(
    "value",
    [
        BIG,
        7,
        {"north": 30, "west": 0},
        PEOPLE["region"].value_counts()[["north", "south"]],
        np.array([[10, 0], [30, 5]]),
        {"mean": 3.5, "count": 60},
        [{"region": "north", "count": 30, "mean": 2.5}],
        pd.DataFrame({"mean": [1.5], "count": [9]}),
    ],
)
def test_counts_of_enough_come_out(value: Any) -> None:
    assert broken(value, MinimumCellCount(5)) == ""


@pytest.mark.parametrize(
    "value",
    [COUNTS, 3, {"west": 2}, np.array([30, 4]), {"mean": 3.5, "count": 4}, PEOPLE["region"].value_counts()],
)
def test_a_count_of_few_is_kept_back(value: Any) -> None:
    assert "counts are under 5" in broken(value, MinimumCellCount(5))


@pytest.mark.parametrize("value", [3.5, "north", {"mean": 3.5}, [1, -1], PEOPLE, [], None, True])
def test_what_has_no_counts_is_kept_back(value: Any) -> None:
    assert broken(value, MinimumCellCount(5)) != ""


def test_claiming_a_count_that_the_asset_does_not_have() -> None:
    rule, honest = MinimumCellCount(5, by=("region",)), BIG.assign(mean=[40.0, 41.0])
    assert broken(honest, rule) == ""
    assert broken(honest.set_index("region"), rule) == ""
    assert "not the asset's own" in broken(honest.assign(count=[30, 29]), rule)
    assert "not the asset's own" in broken(honest.assign(region=["north", "nowhere"]), rule)
    assert "under 5" in broken(COUNTS, rule)
    assert "twice" in broken(pd.concat([honest, honest]), rule)
    for odd in (42, {"count": 30}, honest.drop(columns="count"), PEOPLE):
        assert broken(odd, rule) != ""
    assert "no asset" in broken(honest, rule, np.zeros(60))


@pytest.mark.parametrize("kind", ["pandas", "numbered", "polars", "arrow", "records", "lists"])
def test_groups_are_counted_again_in_a_table_of_any_kind(kind: str) -> None:
    made: dict[str, Callable[[], Any]] = {
        "pandas": lambda: PEOPLE,
        "numbered": lambda: PEOPLE[["age", "region"]].set_axis([0, 1], axis=1),
        "polars": lambda: pl.DataFrame({name: PEOPLE[name].tolist() for name in PEOPLE}),
        "arrow": lambda: pa.table({name: PEOPLE[name].tolist() for name in PEOPLE}),
        "records": lambda: PEOPLE.to_dict("records"),
        "lists": lambda: PEOPLE.to_dict("list"),
    }
    asset, by = made[kind](), "1" if kind == "numbered" else "region"
    rule, honest = MinimumCellCount(5, by=(by,)), BIG.rename(columns={"region": by})
    assert broken(honest, rule, asset) == ""
    assert "not the asset's own" in broken(honest.assign(count=[30, 29]), rule, asset)
    assert "under 5" in broken(COUNTS.rename(columns={"region": by}), rule, asset)
    dumped = assets.dump(asset).meta
    if kind not in ("records", "lists"):
        check_columns([rule], [dumped])
        with pytest.raises(InvalidInput):
            check_columns([MinimumCellCount(5, by=(by, "nothing"))], [dumped])


def test_a_column_that_a_table_has_twice_is_no_column_to_count_by() -> None:
    twice = pd.concat([PEOPLE[["region"]], PEOPLE[["region"]]], axis=1)
    assert "twice" in broken(BIG, MinimumCellCount(5, by=("region",)), twice)
    assert "twice" in broken(BIG, MinimumCellCount(5, by=("region",)), PEOPLE, twice)


def test_large_groups_of_another_asset_do_not_stand_for_small_ones() -> None:
    rule, other = MinimumCellCount(5, by=("region",)), pd.DataFrame({"region": ["north"] * 9 + ["west"] * 9})
    theirs = other.groupby("region").size().reset_index(name="count")
    assert broken(theirs, rule, other) == ""
    for assets_given in ((other, PEOPLE), (PEOPLE, other)):
        assert "under 5" in broken(theirs, rule, *assets_given)
        assert broken(theirs.head(1), rule, *assets_given) == ""
        assert "not the asset's own" in broken(theirs.assign(count=8).head(1), rule, *assets_given)


HIDDEN = [
    PEOPLE,
    PEOPLE.head(1),
    PEOPLE[["name", "income"]].tail(2),
    PEOPLE[["income", "age"]].sample(3, random_state=1),
    PEOPLE[["age", "income"]].iloc[5],
    PEOPLE.to_dict("records")[3],
    {"found": [PEOPLE.to_dict("records")[3]]},
    PEOPLE.head(2).to_dict("list"),
    PEOPLE.to_numpy().tolist()[7],
    {"a": {"b": [tuple(PEOPLE.to_numpy().tolist()[7])]}},
    PEOPLE.set_index("name").head(1),
    PEOPLE.head(3).astype({"income": "float32"}),
]


@pytest.mark.parametrize("value", HIDDEN)
def test_returning_a_row_of_the_asset(value: Any) -> None:
    assert "row of an asset" in broken(value, NoAssetRows())


@pytest.mark.parametrize(
    "value",
    [42.5, PEOPLE["age"].mean(), {"age": 39.5}, PEOPLE.groupby("region")["income"].mean(), COUNTS, "a text", None, [],
     PEOPLE[["age", "income"]].describe().loc[["mean", "std"]], np.zeros((3, 4)), pd.DataFrame(),
     pd.DataFrame({"age": [None], "name": [None]})],
)  # fmt: skip
def test_what_is_no_row_comes_out(value: Any) -> None:
    assert broken(value, NoAssetRows()) == ""


def test_rows_of_every_kind_of_asset() -> None:
    images = np.arange(6 * 2 * 3).reshape(6, 2, 3) + 100.5
    for value in (images, images[2], [images[2].tolist()], images[2].ravel(), {"x": images[0:1]}):
        assert "row of an asset" in broken(value, NoAssetRows(), images)
    assert broken(images.mean(axis=0), NoAssetRows(), images) == ""
    column = np.array([3.25, 4.5, 11.75])
    for value in (column, [4.5, 3.25], {"x": column[:2]}, pd.Series(column), pd.DataFrame({"v": column[1:]})):
        assert "values of an asset" in broken(value, NoAssetRows(), column)
    assert broken(float(column.max()), NoAssetRows(), column) == ""
    assert broken([6.5, 3.25], NoAssetRows(), column) == ""
    records = PEOPLE.to_dict("records")
    assert "row of an asset" in broken(records[4], NoAssetRows(), records)
    assert "line of an asset" in broken({"x": ["the first line of it"]}, NoAssetRows(), "a\nthe first line of it\n")
    assert broken("few words", NoAssetRows(), "a\nthe first line of it\n") == ""
    assert broken(1, NoAssetRows(), b"bytes") != ""


def test_gaps_and_odd_cells_are_compared_without_a_fault() -> None:
    odd = pd.DataFrame(
        {"a": pd.array([1, None, 3], dtype="Int64"), "b": pd.to_datetime(["2026-01-01", None, "2026-01-03"])}
    )
    assert "row of an asset" in broken(odd.tail(1), NoAssetRows(), odd)
    assert broken(pd.DataFrame({"a": [7], "b": [None]}), NoAssetRows(), odd) == ""


NAMES = list(PEOPLE["name"])
HOLLOW = [
    pd.MultiIndex.from_frame(PEOPLE),
    pd.Index(NAMES),
    pd.Series(pd.Categorical([None], categories=NAMES)),
    pd.DataFrame({"age": pd.Categorical([None], categories=NAMES)}),
    pd.DataFrame({"x": [1]}, index=pd.CategoricalIndex([NAMES[0]], categories=NAMES)),
    [np.empty((0, int(age))) for age in PEOPLE["age"]],
    [np.empty(0, dtype=f"U{age}") for age in PEOPLE["age"]],
    [[] for _ in NAMES],
    [{} for _ in NAMES],
    [[[]] if age % 2 else [{}] for age in PEOPLE["age"]],
    [{"income": {}} if age % 2 else {"age": {}} for age in PEOPLE["age"]],
    [pd.Series([], index=pd.RangeIndex(age, age), dtype=float) for age in range(5)],
    [pd.DataFrame(index=pd.RangeIndex(age)) for age in range(5)],
    pd.DataFrame(columns=["age", "income", "name", "age", "region", "income", "age"]),
    pd.DataFrame([[1] * 5], columns=["age", "income", "age", "age", "age"]),
    pd.DataFrame({"age": [1.0] * 4}, index=[0, -0.0, 1.0, 2.0]),
    [np.zeros(1, dtype=f"M8[{age}s]") for age in range(2, 6)],
]


@pytest.mark.parametrize("value", HOLLOW)
def test_hiding_rows_in_names_and_shapes_that_hold_no_values(value: Any) -> None:
    assert "values of an asset of 60 rows" in broken(value, MinimumRows(10))
    assert "at most 6 may come out" in broken(value, MaximumResultSize(values=6))


def test_an_index_of_rows_or_of_lines_stands_in_the_result() -> None:
    rows: list[Any] = [pd.MultiIndex.from_frame(PEOPLE.tail(2)), [pd.MultiIndex.from_frame(PEOPLE[["age", "income"]])]]
    for value in rows:
        assert "row of an asset" in broken(value, NoAssetRows())
    line = "the first line of it"
    unused = pd.Series(pd.Categorical([None], categories=[line]))
    hidden: list[Any] = [pd.Index([line]), pd.DataFrame(columns=[line]), unused,
              pd.Series([1], name=line), pd.MultiIndex.from_arrays([[1], [line]])]  # fmt: skip
    for value in hidden:
        assert "line of an asset" in broken(value, NoAssetRows(), f"a\n{line}\n")


def test_a_result_of_an_unknown_type_is_not_counted_as_nothing() -> None:
    for value in (object(), [{1, 2}], {"x": range(3)}):
        with pytest.raises(TypeError):
            checks.count_values(value, set())


def test_turning_a_table_over_or_into_pairs_hides_no_row() -> None:
    two = PEOPLE[["name", "income"]]
    turned = [PEOPLE.T, [list(PEOPLE[name]) for name in PEOPLE], PEOPLE.head(2).set_index("name").T,
              PEOPLE.set_index("name").T.to_dict("list")]  # fmt: skip
    for value in turned:
        assert "row of an asset" in broken(value, NoAssetRows())
    images = np.arange(12.0).reshape(4, 3) + 100.5
    for value in (images.T, list(images.T)):
        assert "row of an asset" in broken(value, NoAssetRows(), images)
    for value in (dict(two.to_numpy().tolist()), two.set_index("name")["income"]):
        assert "row of an asset" in broken(value, NoAssetRows(), two)


def test_an_asset_that_has_no_rows_lets_nothing_out() -> None:
    for asset in (b"bytes", object(), Path("x"), {1}):
        assert "no rows to compare with" in broken(1, NoAssetRows(), asset)


def test_rows_of_tables_of_other_libraries_and_of_json() -> None:
    import polars
    import pyarrow

    held = PEOPLE.to_dict("list")
    for asset in (polars.DataFrame(held), pyarrow.table(held), held):
        for value in (PEOPLE.head(1), PEOPLE[["income", "age"]].iloc[5], PEOPLE.to_dict("records")[3]):
            assert "row of an asset" in broken(value, NoAssetRows(), asset)
        assert broken(PEOPLE["age"].mean(), NoAssetRows(), asset) == ""
    assert "row of an asset" in broken({"a": 1, "b": 2.5}, NoAssetRows(), {"a": 1, "b": 2.5, "c": [1]})
