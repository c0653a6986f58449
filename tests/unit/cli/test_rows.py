"""Rows of a search fit the terminal: an id is whole or absent, a URL is never cut, a pipe gets everything."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.cli.rows import layout
from p2pgrid.client.show import clean

ID = "64bc22efeb547aba39ca081d5098bb4f95cd2da9"
LONG = ("a dataset with a long title indeed", "#one #two #three #four #five #six", "a-node-with-a-long-name")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://192.0.2.255:65535/", "http://data.example.org:8080"])
def test_a_row_fits_80_columns_without_the_id(url: str) -> None:
    row = layout(80).row(*LONG, url, ID)

    assert len(row) <= 80
    assert row.endswith(url)
    assert ID[:8] not in row


def test_other_cells_give_way_to_a_long_url() -> None:
    row = layout(80).row(*LONG, "http://a-rather-long-host.example.org:8080", ID)

    assert len(row) == 80
    assert row.endswith("  http://a-rather-long-host.example.org:8080")


def test_a_wide_terminal_shows_the_whole_id() -> None:
    shown = [width for width in range(60, 200) if layout(width).shows_id]

    assert shown == list(range(122, 200))
    for width in shown:
        row = layout(width).row(*LONG, "http://127.0.0.1:8080", ID)
        assert len(row) <= width
        assert row.endswith(ID)


def test_a_pipe_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    row = layout().row(*LONG, "http://127.0.0.1:8080", ID)

    assert all(text in row for text in (*LONG, "http://127.0.0.1:8080", ID))


@given(st.text(), st.text(), st.text(), st.text(), st.integers(1, 300))
def test_a_strangers_text_stays_text(dataset: str, tags: str, node: str, url: str, width: int) -> None:
    row = layout(width).row(dataset, tags, node, url, ID)
    assert clean(row) == row


def test_wide_characters_are_counted_as_two() -> None:
    narrow, wide = layout(80).row("a" * 40, "#t", "n", "u", ID), layout(80).row("\u6570" * 40, "#t", "n", "u", ID)

    assert narrow.index("#t") == 20
    assert wide.index("#t") == 20 - 8
