"""A unified diff of two sources, in bounded time whatever they are."""

from __future__ import annotations

import difflib
from typing import Final

MAX_LINES: Final = 400
"""Changed lines, of both sides together, that are matched one by one; ``difflib`` needs cubic time at worst."""
CONTEXT: Final = 3
MAX_DIFF: Final = 256 << 10


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """The diff in the form of ``diff -u``; empty when nothing changed.

    Beyond ``MAX_LINES`` changed lines all of the old ones are shown as removed and all of the new ones as added.
    """
    before, after = old.splitlines(), new.splitlines()
    if before == after:
        return ""
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    removed, added = before[start : len(before) - end], after[start : len(after) - end]
    if len(removed) + len(added) <= MAX_LINES:
        # Only the part that differs is matched, with what stands around it.
        low, tail = max(0, start - CONTEXT), min(end, CONTEXT)
        lines = list(
            difflib.unified_diff(
                before[low : len(before) - end + tail],
                after[low : len(after) - end + tail],
                old_name,
                new_name,
                lineterm="",
                n=CONTEXT,
            )
        )
        if low:
            lines = [_moved(line, low) if line.startswith("@@") else line for line in lines]
    else:
        head = f"@@ -{start + 1},{len(removed)} +{start + 1},{len(added)} @@"
        lines = [f"--- {old_name}", f"+++ {new_name}", head]
        lines += [f"-{line}" for line in removed] + [f"+{line}" for line in added]
    return "\n".join(lines)[:MAX_DIFF]


def _same(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _moved(head: str, lines: int) -> str:
    """``@@ -1,4 +1,5 @@`` with its line numbers further down."""
    parts = head.split(" ")
    for place in (1, 2):
        sign, numbers = parts[place][0], parts[place][1:].split(",")
        parts[place] = sign + ",".join([str(int(numbers[0]) + lines), *numbers[1:]])
    return " ".join(parts)
