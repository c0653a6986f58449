"""Where a command's words go: tables and lines for people, or one JSON document for programs.

Results go to standard output; progress and hints go to standard error, and progress only where a person sees it.
Whatever is printed passes ``clean``: no control character of a stranger reaches the terminal.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

import typer

from p2pgrid.cli.ending import tell
from p2pgrid.client.show import clean
from p2pgrid.errors import P2PError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH: Final = 4096
"""Columns where no terminal limits them: in a file or a pipe, an id or a URL is never folded."""
SHORT_ID: Final = 8


class Out:
    """The voice of one command."""

    def __init__(self, *, as_json: bool, silent: bool = False) -> None:
        self.as_json = as_json
        self.silent = silent

    @property
    def speaks(self) -> bool:
        """Whether words for people are wanted."""
        return not (self.as_json or self.silent)

    def document(self, value: Any) -> None:
        """The one JSON document, when that is wanted; in ASCII, so that no character can play tricks."""
        if self.as_json:
            print(json.dumps(value, indent=2, default=_plain), flush=True)

    def fail(self, error: P2PError, document: Mapping[str, Any]) -> NoReturn:
        """End with an error that belongs beside a result: in the one document, or below what was printed."""
        if self.as_json:
            self.document({**document, "error": error.to_wire()})
        elif not self.silent:
            tell(error, as_json=False)
        raise typer.Exit(error.exit_code)

    def warn(self, error: P2PError) -> None:
        """What a person should know though the command goes on."""
        if self.speaks:
            tell(error, as_json=False, word="warning")

    def line(self, text: str = "", *, lines: bool = False) -> None:
        """One line of the result."""
        if self.speaks:
            print(clean(text, lines=lines), flush=True)

    def write(self, text: str) -> None:
        """A piece of the result, as it comes."""
        if self.speaks:
            print(clean(text, lines=True), end="", flush=True)

    def note(self, text: str, *, lines: bool = False) -> None:
        """A hint beside the result."""
        if self.speaks:
            print(clean(text, lines=lines), file=sys.stderr, flush=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", *, whole: Sequence[str] = ()
    ) -> None:
        """A table of the result.

        At a terminal, columns that are empty in every row are left out, and those named in ``whole`` are not folded.
        """
        if not self.speaks:
            return
        from p2pgrid.cli.tables import draw

        cells = [[clean(cell, lines=True) for cell in row] for row in rows]
        drawn = draw(console(sys.stdout), [clean(column) for column in columns], cells, clean(title), whole)
        print("\n".join(line.rstrip() for line in drawn.rstrip().splitlines()), flush=True)

    def pairs(self, fields: Mapping[str, Any], title: str = "") -> None:
        """A thing with its fields, one below the other; empty ones are left out."""
        shown = [(name.replace("_", " "), value) for name, value in fields.items() if value not in (None, "", [], {})]
        self.table((title or "field", "value"), shown)

    def code(self, source: str, language: str = "python") -> None:
        """Source, highlighted where there are colours."""
        if not (self.speaks and source):
            return
        from rich.syntax import Syntax

        text = clean(source, lines=True)
        terminal = console(sys.stdout)
        if terminal.is_terminal:
            terminal.print(Syntax(text, language, line_numbers=language == "python", background_color="default"))
        else:
            print(text, flush=True)

    @contextmanager
    def working(self, text: str) -> Iterator[Callable[[str], None]]:
        """A spinner while something takes its time, where a person looks on; what it gives changes its text."""
        if not (self.speaks and sys.stderr.isatty()):
            yield lambda text: None
            return
        from rich.text import Text

        with console(sys.stderr).status(Text(clean(text))) as status:
            yield lambda text: status.update(Text(clean(text)))

    def mark(self, good: bool) -> str:
        """A verdict, in signs that the terminal can show."""
        if can_show("✅❌"):
            return "✅" if good else "❌"
        return "ok" if good else "FAILED"


def short_id(text: str) -> str:
    """The beginning of an id on a terminal, where a line is short and commands take beginnings; all of it elsewhere."""
    return text[:SHORT_ID] if sys.stdout.isatty() else text


def short_time(text: str) -> str:
    """A moment on a terminal, in the time of this machine: ``11-21 21:32``, with the year when it is another.

    Elsewhere, and for what is no moment, the text as it is.
    """
    if not sys.stdout.isatty():
        return text
    try:
        moment = dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return text
    this_year = moment.year == dt.datetime.now(dt.UTC).astimezone().year
    return moment.strftime("%m-%d %H:%M" if this_year else "%Y-%m-%d %H:%M")


def count_text(number: Any, word: str) -> str:
    """A number of things: ``1 peer``, ``2 peers``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def console(stream: TextIO) -> Console:
    """A rich console on a stream, without a width where no terminal has one."""
    from rich.console import Console

    return Console(
        file=stream,
        width=None if stream.isatty() else PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def can_show(signs: str) -> bool:
    """Whether standard output's encoding has these signs."""
    try:
        signs.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def size_text(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _plain(value: Any) -> Any:
    """What JSON has no form for: times as text, bytes as hexadecimal."""
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if hasattr(value, "item"):
        return value.item()
    return str(value)
