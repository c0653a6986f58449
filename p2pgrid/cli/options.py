"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", envvar="P2PGRID_HOME", show_envvar=True, help="Base folder of your nodes.", metavar="DIR"),
]


def _own_names(incomplete: str) -> list[str]:
    """Names of the nodes in the home folder, for the shell's completion."""
    from p2pgrid.home import homes

    return [home.name for home in homes() if home.name.startswith(incomplete)]


NAME_HELP: Final = "One of your own nodes; not needed when there is one."
Node = Annotated[str | None, typer.Option("--node", "-n", help=NAME_HELP, metavar="NAME", autocompletion=_own_names)]
OwnName = Annotated[str, typer.Argument(help="The node's name.", metavar="NAME", autocompletion=_own_names)]
On = Annotated[
    str | None,
    typer.Option(
        "--on", help="A node: own name, URL, host:port or node id.", metavar="NODE", autocompletion=_own_names
    ),
]
Email = Annotated[
    str | None,
    typer.Option("--email", "-e", help="Log in as this account; the password is asked for, or $P2PGRID_PASSWORD."),
]
Bootstrap = Annotated[
    list[str] | None,
    typer.Option("--bootstrap", "-b", help="A node of the grid to go in through; repeatable.", metavar="HOST:PORT"),
]
RequestId = Annotated[str, typer.Argument(help="The request's id, or the beginning of it.", metavar="REQUEST")]


def timeout(what: str = "Seconds to wait at most.") -> Any:
    """A ``--timeout`` option; use as ``Annotated[float, timeout()]``."""
    return typer.Option("--timeout", "-t", min=0.1, max=86_400, help=what, metavar="SECONDS")


def examples(*lines: str) -> str:
    """An epilog with one example a line; the mark keeps the help from filling lines."""
    return "\n".join(["\b", "Examples:", *(f"  $ {line}" for line in lines)])
