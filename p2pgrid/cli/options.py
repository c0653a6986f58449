"""Options that several commands share, each written once."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgrid.errors import BadTag, WrongUse

SEVERAL: Final = re.compile(r"\s+(?=#)|,")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", envvar="P2PGRID_HOME", show_envvar=True, help="Base folder of your nodes.", metavar="DIR"),
]


def own_names(incomplete: str) -> list[str]:
    """Names of the nodes in the home folder, for the shell's completion."""
    from p2pgrid.home import homes

    return [home.name for home in homes() if home.name.startswith(incomplete)]


NAME_HELP: Final = "One of your own nodes; not needed when there is one."
Node = Annotated[str | None, typer.Option("--node", "-n", help=NAME_HELP, metavar="NAME", autocompletion=own_names)]
OwnName = Annotated[str, typer.Argument(help="The node's name.", metavar="NAME", autocompletion=own_names)]
On = Annotated[
    str | None,
    typer.Option("--on", help="A node: own name, URL, host:port or node id.", metavar="NODE", autocompletion=own_names),
]
Email = Annotated[
    str | None,
    typer.Option("--email", "-e", help="Log in as this account: by $P2PGRID_KEY_FILE, or $P2PGRID_PASSWORD, or asked."),
]
Bootstrap = Annotated[
    list[str] | None,
    typer.Option("--bootstrap", "-b", help="A node of the grid to go in through; repeatable.", metavar="HOST:PORT"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
RequestId = Annotated[str, typer.Argument(help="The request's id, or the beginning of it.", metavar="REQUEST")]


def timeout(what: str = "Seconds to wait at most.") -> Any:
    """A ``--timeout`` option; use as ``Annotated[float, timeout()]``."""
    return typer.Option("--timeout", "-t", min=0.1, max=86_400, help=what, metavar="SECONDS")


def be_sure(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask a person before something is gone for good.

    Raises ``WrongUse`` where nobody can answer, since a script must say so itself, and ``Abort`` for a no.
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise WrongUse("This cannot be undone, and there is nobody to ask.", fix="Add --yes to the command.")
    typer.confirm(question, abort=True, err=True)


ALL: Final = "all"
"""The name that no node may have: it means every node."""


def each_by_itself(tags: Sequence[str]) -> Sequence[str]:
    """The tags as they are.  Raises ``BadTag`` where one text is several tags in one pair of quotes."""
    for text in tags:
        parts = [part.strip() for part in SEVERAL.split(text.strip()) if part.strip()]
        if len(parts) > 1:
            quoted = " ".join(f"'{part}'" for part in parts[:4])
            raise BadTag(f"{text[:80]!r} is one text, and looks like several tags.", fix=f"Quote each tag: {quoted}")
    return tags


def with_scheme(url: str | None) -> str | None:
    """A gateway's URL; ``http://`` may be left out."""
    return f"http://{url}" if url and "://" not in url else url


def examples(*lines: str) -> str:
    """An epilog with one example a line; the mark keeps the help from filling lines."""
    return "\n".join(["\b", "Examples:", *(f"  $ {line}" for line in lines)])


Rules = Annotated[
    list[str] | None,
    typer.Option("--rule", help="A rule on what comes out, such as MinimumRows=10; repeatable.", metavar="RULE"),
]
