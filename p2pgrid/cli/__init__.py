"""The command line: words in, words out.  One module a command group; ``app`` puts them together."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run ``p2pgrid`` with the process's arguments, and end the process with its exit code."""
    try:
        from p2pgrid.cli.app import app
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # somebody was quicker than the imports
    app()
    raise SystemExit(0)
