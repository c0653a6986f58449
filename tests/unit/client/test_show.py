"""Pictures of objects: nothing that a stranger wrote steers a terminal or a page."""

from __future__ import annotations

import datetime as dt
import html.parser
from collections.abc import Mapping
from typing import Any

import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.client.show import Shown, ShownList, clean, code_html, table_html, table_text
from p2pgrid.errors import NotFound

HOSTILE = [
    "\x1b[2J\x1b[1;31mred",
    "\x9b31m",
    "\x00\x07\x08\r",
    "\u202eexe.gpj",
    "\u2066isolated\u2069",
    "zero\u200bwidth\ufeff",
    "line\nbreak\u2028and\u2029more",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg/onload=alert(1)>",
    "&lt;script&gt;",
    "[bold red]markup[/]",
    "[link=http://evil]x[/link]",
    "\ud800",
    "\U000e0041",
]


class Thing(Shown):
    def __init__(self, name: str, **more: Any) -> None:
        self.name, self.id, self._more = name, f"id-{name}", more

    def fields(self) -> Mapping[str, Any]:
        return {"name": self.name, **self._more}


class Things(ShownList[Thing]):
    columns = ("name", "size")
    heading = "Things"


class Page(html.parser.HTMLParser):
    """The tags, attributes and text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def shows_only_itself(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@given(st.text(st.characters()))
def test_what_is_cleaned_can_be_shown(text: str) -> None:
    assert clean(text).isprintable() or any(ord(char) > 127 for char in clean(text))
    assert "\x1b" not in clean(text)
    assert clean(clean(text)) == clean(text)
    clean(text).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (5, "5"),
        ("plain", "plain"),
        ("日本 é", "日本 é"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b", "\\x1b"),
        ("\u202e", "\\u202e"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02 03:04:05"),
    ],
)
def test_clean(value: Any, text: str) -> None:
    assert clean(value) == text


def test_lines_are_kept_where_they_are_wanted() -> None:
    assert clean("def f():\n\treturn 1\x1b", lines=True) == "def f():\n\treturn 1\\x1b"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_table_for_a_terminal(text: str) -> None:
    shown = table_text(("a", text), [[text, 1], [text * 3, None]], title=text)
    assert shows_only_itself(shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_an_object(text: str) -> None:
    thing = Thing(text, **{text: text, "list": [text], "lines": f"{text}\n{text}"})
    assert shows_only_itself(repr(thing).replace("\t", ""))
    assert shows_only_itself(repr(Things([thing])))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_page_stays_text(text: str) -> None:
    for picture in (
        table_html((text,), [[text]], title=text),
        Thing(text, **{text: text})._repr_html_(),
        Things([Thing(text, size=text)])._repr_html_(),
    ):
        page = Page(picture)
        assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "pre"}
        assert page.attributes == {"style"}
        assert clean(text) in page.text or clean(text, lines=True) in page.text
        assert "<script" not in picture
        assert "http" not in picture.replace(clean(text), "")


def test_a_table_shows_every_row_and_column() -> None:
    shown = table_text(("name", "size"), [["Alice", 1], ["Bob", None]], title="Nodes")
    for word in ("Nodes", "name", "size", "Alice", "1", "Bob"):
        assert word in shown
    assert len(shown.splitlines()) == 7


def test_a_long_cell_is_folded_not_cut() -> None:
    shown = table_text(("a",), [["x" * 500]])
    assert shown.count("x") == 500


def test_a_notebook_gets_the_text_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """There rich would show the table by itself and leave an empty repr."""
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    assert "Alice" in table_text(("name",), [["Alice"]])


def test_an_object_is_shown_as_the_documents_print_one() -> None:
    thing = Thing("alice", size=3, lines="a\nb", none=None)
    assert repr(thing) == "class Thing:\n  name: str = alice\n  size: int = 3\n  lines: str = a\n    b\n  none: str = "


def test_things_are_found_by_position_name_and_id() -> None:
    things = Things([Thing("a", size=1), Thing("b"), Thing("c")])
    assert things[0].name == things["a"].name == things["id-a"].name == things.get_by_id("id-a").name == "a"
    assert things[-1].name == "c"
    assert [thing.name for thing in things[1:]] == ["b", "c"]
    assert isinstance(things[1:], Things)
    assert len(things) == 3
    assert list(things.rows()) == [["a", 1], ["b", ""], ["c", ""]]


def test_what_is_not_there_is_named_with_what_is() -> None:
    things = Things([Thing("a"), Thing("\x1b[2J")])
    with pytest.raises(KeyError, match="Nothing here is named 'x'; there is: a,"):
        things["x"]
    with pytest.raises(KeyError, match="there is: nothing"):
        Things([])["x"]
    with pytest.raises(IndexError):
        things[2]
    with pytest.raises(KeyError, match="no-such-id"):
        things.get_by_id("no-such-id")
    with pytest.raises(KeyError, match="Fix: ") as caught:
        things["x"]
    assert "\x1b" not in str(caught.value)
    assert isinstance(caught.value, NotFound)


def test_an_empty_list_is_a_table_without_rows() -> None:
    assert "Things (0)" in repr(Things([]))
    assert "Things (0)" in Things([])._repr_html_()


def test_code_in_a_notebook_is_coloured_and_runs_nothing() -> None:
    page = code_html("def f(x):\n    return '<script>alert(1)</script>\x1b[2J' & x\n")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "color:" in page
    assert code_html("-a\n+<b>", "diff").count("<b>") == 0
