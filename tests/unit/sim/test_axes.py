"""Ticks of logarithmic axes: where something was measured, as plain numbers, and not on top of one another."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from p2pgrid.sim.axes import log_x


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([300, 20, 20], ["20", "300"]),
        ([20, 30], ["20", "30"]),
        ([84.0, 300.0, 1_000.0, 3_600.0, 10_000.0], ["84", "300", "1,000", "3,600", "10,000"]),
        ([10, 100, 1_000, 10_000, 25_000, 26_000], ["10", "100", "1,000", "10,000", "25,000"]),
        ([1_000_000, 1.5], ["1.5", "1,000,000"]),
        ([7], ["7"]),
        ([], []),
    ],
)
def test_ticks_are_where_something_was_measured_and_have_room(values, shown):
    axes = Figure().subplots()
    axes.plot(values, values, "o-")
    log_x(axes, values)
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == shown
    assert len(axes.get_xticks(minor=True)) == 0
    assert axes.get_xscale() == "log"
