"""Words for people and documents for programs never mix, and a stranger's text stays text."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import sys

import pytest
import typer

from p2pgrid.cli.output import Out, count_text, short_time, size_text
from p2pgrid.errors import NothingFound

HOSTILE = "evil\x1b]0;title\x07 \u202e[red]name[/red]\r\nnext"


def test_json_mode_prints_the_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out(as_json=True)
    out.line("a line")
    out.note("a note")
    out.table(("a",), [("b",)])
    out.code("def f(): pass")
    out.document({"n": 1, "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "raw": b"\x00\xff"})

    shown, err = capsys.readouterr()
    assert json.loads(shown) == {"n": 1, "at": "2026-01-02T00:00:00+00:00", "raw": "00ff"}
    assert err == ""


def test_without_json_there_is_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    Out(as_json=False).document({"n": 1})

    assert capsys.readouterr().out == ""


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out(as_json=False, silent=True)
    out.line("a line")
    out.note("a note")
    out.table(("a",), [("b",)])
    with pytest.raises(typer.Exit):
        out.fail(NothingFound("x"), {})

    assert capsys.readouterr() == ("", "")


def test_a_failure_beside_a_result_is_in_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end:
        Out(as_json=True).fail(NothingFound("Nothing.", fix="Go on."), {"results": []})

    assert end.value.exit_code == 3
    document = json.loads(capsys.readouterr().out)
    assert document == {"results": [], "error": {"code": "P2P-0903", "cause": "Nothing.", "fix": "Go on."}}


def test_a_hostile_name_reaches_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out(as_json=False)
    out.line(HOSTILE)
    out.note(HOSTILE)
    out.table(("name",), [(HOSTILE,)], HOSTILE)
    out.pairs({HOSTILE: HOSTILE})
    out.code(HOSTILE)
    Out(as_json=True).document({"name": HOSTILE})

    shown = "".join(capsys.readouterr())
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert "[red]name[/red]" in shown


def test_a_table_in_a_pipe_never_folds_an_id(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["a1" * 20, "b2" * 20, "c3" * 20, "http://" + "x" * 100]
    Out(as_json=False).table(("a", "b", "c", "d", "words"), [(*ids, "some words " * 20)])

    shown = capsys.readouterr().out
    assert all(an_id in shown for an_id in ids)


@pytest.mark.parametrize(("encoding", "good", "bad"), [("utf-8", "✅", "❌"), ("ascii", "ok", "FAILED")])
def test_verdicts_are_signs_that_the_terminal_has(
    encoding: str, good: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    out = Out(as_json=False)

    assert (out.mark(True), out.mark(False)) == (good, bad)


def test_tables_in_ascii_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    Out(as_json=False).table(("name",), [("Bób",)])
    stream.flush()

    assert b"+" in raw.getvalue()
    assert b"B\\xf3b" in raw.getvalue()


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (14_500, "14.5 kB"), (2e9, "2.0 GB")])
def test_sizes(count: float, text: str) -> None:
    assert size_text(count) == text


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def at_a_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Let standard output be a terminal of 80 columns; in the test itself, for its capture begins after fixtures."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    made = Screen()
    monkeypatch.setattr(sys, "stdout", made)
    return made


def test_times_are_short_at_a_terminal_and_whole_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_screen(monkeypatch)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    assert short_time(now.isoformat()) == now.astimezone().strftime("%m-%d %H:%M")
    assert short_time("1999-06-07T12:00:00+00:00").startswith("1999-06-0")
    for odd in ("", "soon\x1b[31m", "0001-01-01T00:00:00+23:59"):
        assert short_time(odd) == odd
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert short_time(now.isoformat()) == now.isoformat()


def test_a_narrow_terminal_folds_no_id_and_no_time_and_shows_no_empty_column(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = at_a_screen(monkeypatch)
    row = ("abcdef01", "mean_of_everything", "PENDING", "sheldon.cooper@caltech.edu", "", "11-21 21:32", "ok in 0.10 s")
    columns = ("id", "function", "status", "by", "purpose", "at", "on the mock")
    Out(as_json=False).table(columns, [row], "Requests (1)", whole=("id", "status", "at"))

    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 5
    assert all(cell in screen.getvalue() for cell in ("abcdef01", "PENDING", "11-21 21:32"))
    assert "purpose" not in screen.getvalue()


def test_a_table_that_fits_the_terminal_is_framed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = at_a_screen(monkeypatch)
    Out(as_json=False).table(("a", "b"), [("1", "")])

    assert screen.getvalue().startswith("\u256d")
    assert "b" not in screen.getvalue()


@pytest.mark.parametrize(("number", "text"), [(0, "0 peers"), (1, "1 peer"), (2, "2 peers"), ("x", "x peers")])
def test_counts(number: object, text: str) -> None:
    assert count_text(number, "peer") == text
