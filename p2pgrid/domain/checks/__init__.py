"""Rules applied to a result, in a confined run of its own, beside the result and the assets.

This package imports nothing of the project but ``wire``, which that run has, and looks at a stranger's result: it
answers, or fails, and a failure lets nothing out.  Nothing of the node imports it.
"""

from __future__ import annotations

from typing import Any

from p2pgrid import wire
from p2pgrid.domain.checks.amounts import count_values, labels_of, row_count
from p2pgrid.domain.checks.counts import minimum_cell_count
from p2pgrid.domain.checks.rows import rows_of_asset
from p2pgrid.domain.checks.tables import tables_in


def judge(result: bytes, rules: list[dict[str, Any]], **assets: Any) -> list[list[str]]:
    """(kind of rule, why) for each rule that the packed ``result`` does not keep to."""
    value = wire.unpack_value(result, arrow=False)
    found = [(rule["kind"], CHECKS[rule["kind"]](value, rule, list(assets.values()))) for rule in rules]
    return [[kind, why] for kind, why in found if why]


def minimum_rows(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """At most one released value for each ``least`` rows."""
    rows, values = min((row_count(asset) for asset in assets), default=0), count_values(value, labels_of(assets))
    if values * rule["least"] <= rows:
        return ""
    return f"{values} values of an asset of {rows} rows; {rule['least']} rows must stand behind each"


def maximum_size(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """At most so many values; the bytes are counted where the result is packed."""
    values, most = count_values(value, labels_of(assets)), rule["values"]
    return "" if most is None or values <= most else f"{values} values; at most {most} may come out"


def no_asset_rows(value: Any, rule: dict[str, Any], assets: list[Any]) -> str:
    """No row of an asset stands in the result."""
    tables = list(tables_in(value))
    for asset in assets:
        why = rows_of_asset(value, tables, asset)
        if why:
            return why
    return ""


CHECKS = {
    "MinimumRows": minimum_rows,
    "MinimumCellCount": minimum_cell_count,
    "MaximumResultSize": maximum_size,
    "NoAssetRows": no_asset_rows,
}
