"""What a stranger's code wrote, made fit to be shown to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNPRINTABLE = re.compile(r"[^ -~\n\t]")
"""Candidates only: most of them turn out to be printable letters of some language."""


def printable(text: str) -> str:
    """``text`` with everything that could move a cursor, hide or reorder text written as an escape.

    Line ends and tabs stay.  Control characters, bidirectional overrides, invisible characters and lone surrogates
    become ``\\x1b`` and the like (Unicode categories C and Z, as ``str.isprintable`` has them).
    """
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def without_folders(text: str, folders: Iterable[str]) -> str:
    """``text`` with each of ``folders`` written as ``...``: a courtesy to the owner, no barrier to hostile code.

    A folder at the top, such as ``/usr``, is the same on every machine and stays.
    """
    for folder in sorted({item.rstrip("/") for item in folders}, key=len, reverse=True):
        if folder.count("/") > 1:
            text = text.replace(folder, "...")
    return text
