"""Plain-text and static HTML pictures of objects.

Whatever a stranger wrote (names, code, reasons) passes ``clean`` first: no control character reaches a terminal, and
HTML is escaped.
"""

from __future__ import annotations

import datetime as dt
import html
import io
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Final, Generic, TypeVar, overload

from p2pgrid.errors import NotFound

T = TypeVar("T", bound="Shown")

SHOWN_ROWS: Final = 100
"""Rows that a list shows of itself."""
_STYLE = "border-collapse:collapse;font-family:sans-serif;font-size:13px;margin:4px 0"
_CELL = "text-align:left;padding:3px 10px;border-bottom:1px solid #ccc;vertical-align:top"
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def clean(value: Any, *, lines: bool = False) -> str:
    """Text that is safe to show: control and invisible characters as escapes; newlines kept when ``lines``."""
    if isinstance(value, dt.datetime):
        value = value.strftime("%Y-%m-%d %H:%M:%S")
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _shows(char, lines) else _escape(char) for char in text)


def _shows(char: str, lines: bool) -> bool:
    return (lines and char in "\n\t") or unicodedata.category(char) not in _UNSHOWN


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> str:
    """A table for a terminal, as wide as it is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(clean(title)) if title else None, title_justify="left", box=box.ROUNDED)
    for column in columns:
        table.add_column(Text(clean(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    out = io.StringIO()
    width = max(80, shutil.get_terminal_size((120, 24)).columns)
    # In a notebook rich would show the table itself, and leave nothing to return.
    Console(file=out, width=width, color_system=None, force_jupyter=False, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def table_html(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> str:
    """The same table as static HTML, without scripts or anything from a network."""
    head = "".join(f'<th style="{_CELL}">{html.escape(clean(column))}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_cell_html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    caption = f'<caption style="text-align:left;font-weight:bold">{html.escape(clean(title))}</caption>'
    return f'<table style="{_STYLE}">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Code(str):
    """Python source: highlighted where it is shown as HTML.  ``Diff`` is the same for a diff."""

    __slots__ = ()
    language = "python"


class Diff(Code):
    """A unified diff."""

    __slots__ = ()
    language = "diff"


def code_html(source: str, language: str = "python") -> str:
    """Source as static HTML: colours are in the tags, nothing is loaded, nothing runs."""
    from rich.console import Console
    from rich.syntax import Syntax

    text = Syntax("", language, theme="friendly", background_color="default").highlight(clean(source, lines=True))
    console = Console(file=io.StringIO(), record=True, force_jupyter=False, force_terminal=False)
    console.print(text, soft_wrap=True)
    return console.export_html(inline_styles=True, code_format='<pre style="margin:0">{code}</pre>')


def _cell_html(cell: Any) -> str:
    if isinstance(cell, ShownList):
        return cell._repr_html_()
    if isinstance(cell, Code):
        return code_html(cell, cell.language)
    text = html.escape(clean(cell, lines=True))
    return f'<pre style="margin:0">{text}</pre>' if "\n" in text else text


class Shown:
    """An object with named fields: as text the way the Grid's documents print one, as HTML a two-column table."""

    def fields(self) -> Mapping[str, Any]:
        """What to show, in order."""
        raise TypeError("an object that is shown says which fields it has")

    def __repr__(self) -> str:
        lines = [f"class {type(self).__name__}:"]
        for name, value in self.fields().items():
            shown = f"\n{value!r}" if isinstance(value, ShownList) else value
            text = clean(shown, lines=True).replace("\n", "\n    ")
            lines.append(f"  {clean(name)}: {_kind(value)} = {text}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return table_html(("field", "value"), self.fields().items(), type(self).__name__)


def _kind(value: Any) -> str:
    return (
        type(value).__name__
        if not isinstance(value, str) and isinstance(value, (int, float, bool, list, tuple, dict))
        else "str"
    )


class Row(Shown, Mapping[str, Any]):
    """A thing that is no more than its fields."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def fields(self) -> Mapping[str, Any]:
        """All of them."""
        return self._fields


class NoSuchItem(NotFound, KeyError):
    """``NotFound`` for ``things["name"]``, where Python expects a ``KeyError``."""


class NoSuchName(NotFound, AttributeError):
    """``NotFound`` for ``things.name``, where Python expects an ``AttributeError``, as ``hasattr`` does."""


class ShownList(Sequence[T], Generic[T]):
    """Objects in order, shown as one table; an object is found by position, name or id."""

    columns: ClassVar[tuple[str, ...]] = ("id", "name")
    heading: ClassVar[str] = "Objects"

    def __init__(self, items: Iterable[T]) -> None:
        self._items = list(items)

    @overload
    def __getitem__(self, key: int | str) -> T: ...

    @overload
    def __getitem__(self, key: slice) -> ShownList[T]: ...

    def __getitem__(self, key: int | str | slice) -> T | ShownList[T]:
        if isinstance(key, slice):
            return type(self)(self._items[key])
        if isinstance(key, int):
            return self._items[key]
        for item in self._items:
            if key in (getattr(item, "name", None), getattr(item, "id", None)):
                return item
        raise NoSuchItem(f"Nothing here is named {key!r}; there is: {', '.join(self._names()) or 'nothing'}.")

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def _names(self) -> list[str]:
        return [clean(getattr(item, "name", "")) for item in self._items[:20]]

    def rows(self) -> Iterator[list[Any]]:
        """One row an object, in the order of ``columns``."""
        for item in self._items:
            fields = item.fields()
            yield [fields.get(column, "") for column in self.columns]

    def get_by_id(self, an_id: str) -> T:
        """The object with this id.  Raises ``NoSuchItem``."""
        for item in self._items:
            if getattr(item, "id", None) == an_id:
                return item
        raise NoSuchItem(f"Nothing here has the id {an_id!r}.")

    def __repr__(self) -> str:
        return table_text(self.columns, islice(self.rows(), SHOWN_ROWS), self._title())

    def _repr_html_(self) -> str:
        return table_html(self.columns, islice(self.rows(), SHOWN_ROWS), self._title())

    def _title(self) -> str:
        title = f"{self.heading} ({len(self)})"
        return title if len(self) <= SHOWN_ROWS else f"{title}: the first {SHOWN_ROWS}; see others by [{SHOWN_ROWS}:]"
