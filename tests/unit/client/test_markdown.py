"""Descriptions in Markdown: shown, and nothing in them runs, is fetched, or reaches the terminal."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.client.markdown import MAX_MARKDOWN, markdown_html, markdown_text
from p2pgrid.client.show import clean

WORDS = "div p h1 h2 h3 h4 h5 h6 em strong ul ol li a code pre blockquote hr br table thead tbody tr th td"
HARMLESS = frozenset(WORDS.split())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def refuse_unsafe(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    for tag, attributes in tags.seen:
        assert tag in HARMLESS
        assert set(attributes) <= {"href", "rel", "target", "class", "title", "start", "style"}
        assert (attributes.get("href") or "https:").partition(":")[0].lower() in ("http", "https", "mailto")
        assert attributes.get("style", "text-align:left") in (
            "text-align:left",
            "text-align:right",
            "text-align:center",
        )


def test_a_description_is_rendered() -> None:
    html = markdown_html(
        "# About\n\nScans of **digits**, see [more](https://example.org/a?b=1&c=2).\n\n|a|b|\n|-|-|\n|1|2|"
    )
    assert "<h1>About</h1>" in html
    assert "<strong>digits</strong>" in html
    assert 'href="https://example.org/a?b=1&amp;c=2" rel="noopener noreferrer nofollow"' in html
    assert "<td>1</td>" in html
    refuse_unsafe(html)
    text = markdown_text("# About\n\nScans of **digits**")
    assert "About" in text
    assert "digits" in text
    assert "**" not in text
    assert markdown_html(" \n") == markdown_text("") == ""


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![pixel](https://evil.example/track.png)",
        "![a][b]\n\n[b]: https://evil.example/x.png",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](//evil.example)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        '[x](https://a "onmouseover=alert(1)")',
        "```html\n<script>alert(1)</script>\n```",
        "<iframe src=https://evil.example>",
        "<style>@import url(https://evil.example)</style>",
        '[x](https://a"onclick=alert(1))',
    ],
)
def test_a_strangers_markdown_cannot_run_or_fetch_anything(attack: str) -> None:
    html = markdown_html(attack)
    refuse_unsafe(html)
    assert "<script" not in html
    assert "<img" not in html


def test_a_strangers_markdown_cannot_reach_the_terminal() -> None:
    text = markdown_text("\x1b[2Jred \x1b]8;;http://evil.example\x07words\x1b]8;;\x07 **bold**\u202e")
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "evil.example/hidden" in markdown_text("[my bank](https://evil.example/hidden)")  # no words hide an address


@given(st.text(max_size=200))
def test_any_text_is_shown_safely(text: str) -> None:
    refuse_unsafe(markdown_html(text))
    shown = markdown_text(text)
    assert clean(shown, lines=True) == shown


def test_a_huge_description_is_shown_as_it_is() -> None:
    long = "*" * (MAX_MARKDOWN + 1)
    assert long in markdown_html(long)
    assert markdown_text(long) == long
