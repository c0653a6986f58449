"""Rows of search results: printed one by one, so their columns are measured before the first is known."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from dataclasses import dataclass
from typing import Final

from p2pgrid.cli.output import can_show
from p2pgrid.client.show import clean

GAP: Final = "  "
ID_WIDTH: Final = 40
URL_WIDTH: Final = 28
WISHED: Final = (24, 28, 16)
"""Columns for dataset, tags and node where there is room."""
LEAST: Final = (18, 16, 12)
"""The same at a terminal of 80."""
LEAST_CELL: Final = 4


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide dataset, tags and node are; a URL is never cut, and an id is whole or not there at all."""

    widths: tuple[int, int, int]
    cuts: bool
    shows_id: bool

    def row(self, dataset: str, tags: str, node: str, url: str, node_id: str) -> str:
        """One result in one line."""
        texts, address = [clean(text) for text in (dataset, tags, node)], clean(url)
        widths = self._beside(_width(address) - URL_WIDTH) if self.cuts else self.widths
        cells = [_fit(text, width) if self.cuts else text for text, width in zip(texts, widths, strict=True)]
        padded = [_pad(cell, width) for cell, width in zip(cells, widths, strict=True)]
        last = [_pad(address, URL_WIDTH), clean(node_id)] if self.shows_id else [address]
        return GAP.join([*padded, *last])

    def _beside(self, over: int) -> tuple[int, ...]:
        """The widths beside a URL that is longer by ``over``: the widest cells give way."""
        widths = list(self.widths)
        for _ in range(over):
            widest = max(range(len(widths)), key=widths.__getitem__)
            widths[widest] = max(LEAST_CELL, widths[widest] - 1)
        return tuple(widths)


def layout(terminal: int | None = None) -> Columns:
    """The columns for a terminal so wide (of standard output, if that is one); in a pipe nothing is cut."""
    if terminal is None:
        if not sys.stdout.isatty():
            return Columns(WISHED, cuts=False, shows_id=True)
        terminal = shutil.get_terminal_size().columns
    gaps, with_id = 3 * len(GAP), len(GAP) + ID_WIDTH
    shows_id = terminal >= sum(LEAST) + URL_WIDTH + gaps + with_id
    room = terminal - URL_WIDTH - gaps - (with_id if shows_id else 0)
    widths = [
        min(wished, max(LEAST_CELL, room * part // sum(LEAST))) for wished, part in zip(WISHED, LEAST, strict=True)
    ]
    return Columns((widths[0], widths[1], widths[2]), cuts=True, shows_id=shows_id)


def _width(text: str) -> int:
    """Columns of a terminal that a clean text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    return 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _fit(text: str, width: int) -> str:
    """The text, cut with a mark where it is too wide."""
    if _width(text) <= width:
        return text
    mark, room = ("…", width - 1) if can_show("…") else ("..", width - 2)
    kept = ""
    for char in text:
        room -= _char_width(char)
        if room < 0:
            break
        kept += char
    return kept + mark


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
