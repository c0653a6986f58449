#!/usr/bin/env python3
"""Write docs/errors.md, the index of every error, from the classes in p2pgrid/errors.py.

python scripts/error_index.py
"""

from __future__ import annotations

from pathlib import Path

from p2pgrid.errors import LocalError, P2PError, RemoteError, all_errors

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"

HEAD = """\
# Errors

Every error says its cause, a fix and a code; a code never changes its meaning. `--json` prints the three as
`{"code", "cause", "fix"}`. This page is written by `python scripts/error_index.py`; edit `p2pgrid/errors.py` instead.

The exit code is what a command ends with: 1 failed, 2 wrong use, 3 nothing found, 4 not reachable in time
(0 is success).
"""

OURS = """
## Yours or ours: something here must change
An argument, a file, a setting, a role, or the program itself. These surface, at the prompt or as an exception.
"""

THEIRS = """
## A peer's: what it sent was dropped
No honest, current peer sends these. They are counted and never stop a node; one surfaces only where it ends a call
that somebody here waits for.
"""


def page() -> str:
    """The text of the index."""
    known = sorted(all_errors().values(), key=lambda kind: kind.code)
    ours = [kind for kind in known if issubclass(kind, LocalError) or kind is P2PError]
    theirs = [kind for kind in known if issubclass(kind, RemoteError)]
    return HEAD + OURS + table(ours) + THEIRS + table(theirs)


def table(kinds: list[type[P2PError]]) -> str:
    """One row an error."""
    rows = [
        f"| {kind.code} | `{kind.__name__}` | {meaning(kind)} | {cell(kind.default_fix)} | {kind.exit_code} |\n"
        for kind in kinds
    ]
    return "\n| code | name | cause | fix | exit |\n|---|---|---|---|---|\n" + "".join(rows)


def meaning(kind: type[P2PError]) -> str:
    """The first sentence of what the class promises."""
    return cell((kind.__doc__ or "").strip().split("\n\n")[0])


def cell(text: str) -> str:
    """Text that fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
