"""A stranger's text, made fit to be shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.runner.text import printable, without_folders


def test_terminal_escapes_lose_their_power() -> None:
    assert printable("\x1b[31mred\x07\r\x9b\x00") == "\\x1b[31mred\\x07\\r\\x9b\\x00"
    assert printable("\u202egnp.exe\u200b\ud800\U000e0041") == "\\u202egnp.exe\\u200b\\ud800\\U000e0041"


def test_ordinary_text_stays() -> None:
    assert printable("grün 数 ✓\n\tx") == "grün 数 ✓\n\tx"


@given(st.text(st.characters(codec=None)))
def test_nothing_unprintable_is_left(text: str) -> None:
    shown = printable(text)
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_folders_are_cut_out_longest_first() -> None:
    text = "/home/ann/venv/lib/x.py and /home/ann/y in /usr/lib"
    folders = ["/home/ann", "/home/ann/venv/", "/usr", "/", ""]
    assert without_folders(text, folders) == ".../lib/x.py and .../y in /usr/lib"
