"""Drawing tables: framed where they fit, plain columns where a terminal is too narrow for frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PROSE_WIDTH: Final = 72
"""Columns of a cell of words where no terminal limits it."""
FRAME: Final = 3
"""Columns that a frame takes for each column of the table, and one more."""


def draw(terminal: Console, columns: Sequence[str], cells: list[list[str]], title: str, whole: Sequence[str]) -> str:
    """The table as text.  Every text must be clean already."""
    from rich.text import Text

    shown = [number for number in range(len(columns)) if not terminal.is_terminal or _is_filled(cells, number)]
    names = [columns[number] for number in shown]
    rows = [[row[number] for number in shown] for row in cells]
    table = _empty(framed=not terminal.is_terminal or _width(names, rows) <= terminal.width, title=title)
    for number, name in enumerate(names):
        prose = any(" " in row[number] for row in rows) and not terminal.is_terminal
        keep = terminal.is_terminal and name in whole
        table.add_column(Text(name), overflow="fold", no_wrap=keep, max_width=PROSE_WIDTH if prose else None)
    for row in rows:
        table.add_row(*map(Text, row))
    with terminal.capture() as drawn:
        terminal.print(table)
    return drawn.get()


def _empty(*, framed: bool, title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title) if title else None
    if framed:
        return Table(title=heading, title_justify="left", box=box.ROUNDED)
    return Table(title=heading, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)


def _is_filled(cells: list[list[str]], number: int) -> bool:
    return not cells or any(row[number] for row in cells)


def _width(names: Sequence[str], rows: list[list[str]]) -> int:
    """Terminal columns of the framed table when nothing is folded."""
    from rich.cells import cell_len

    widest = [
        max(cell_len(line) for text in texts for line in text.split("\n")) for texts in zip(names, *rows, strict=True)
    ]
    return sum(widest) + FRAME * len(names) + 1
