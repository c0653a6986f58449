"""What counts as success: each judge looks at evidence only, and returns whether the attack came through."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from escape_suite.model import Evidence, Judge

REFUSED: Final = frozenset({"EPERM", "EACCES", "ENOSYS"})
CALL: Final = re.compile(r"call:([^=]+)=(\w+)")
PROOF: Final = "-1764"
"""What follows the mark where the attack made another program compute 42 * 42."""

HARMLESS_TAGS: Final = frozenset({"table", "caption", "thead", "tbody", "tr", "td", "th", "pre", "div", "span", "code"})
MEBIBYTE: Final = 1 << 20
STALL_SECONDS: Final = 1.0
"""What a node's loop may stand still for where 24 threads of a run share two cores with it."""
BUSY_SECONDS: Final = 1.0
"""Processor time that one run, of up to 6 seconds, may cost the node."""
NODE_MEBIBYTES: Final = 64
"""What a node may take while it reads an answer: its limit is 1 MiB, and 64 KiB of output."""


def told(*names: str) -> Judge:
    """The content of one of these canaries came out."""
    return lambda seen: bool(seen.secrets & set(names))


def arrived(*names: str) -> Judge:
    """One of these listeners heard something."""
    return lambda seen: bool(seen.arrived & set(names))


def changed(seen: Evidence) -> bool:
    """A file of the node, or of the machine, is new, gone or altered."""
    return bool(seen.changed)


def hurt(seen: Evidence) -> bool:
    """A process of the node is dead, stopped or altered."""
    return bool(seen.victim)


def signalled(seen: Evidence) -> bool:
    """The node got a signal."""
    return seen.signals > 0


def disturbed(seen: Evidence) -> bool:
    """An honest run, at the same time or afterwards, did not end well; or the node got a signal."""
    return not seen.beside or not seen.after or seen.signals > 0


def left(seen: Evidence) -> bool:
    """A process outlived the report of its run."""
    return seen.left > 0


def let_through(seen: Evidence) -> bool:
    """The kernel answered a call by something else than a refusal."""
    return any(code not in REFUSED for _, code in CALL.findall(seen.result))


def proved(seen: Evidence) -> bool:
    """Another program ran: it answered a sum that the source does not hold."""
    return PROOF in seen.result + seen.output


def raised(seen: Evidence) -> bool:
    """A set-uid program gave more than the run has."""
    return seen.raised


def over_memory(mebibytes: int) -> Judge:
    """The run's processes held more than this."""
    return lambda seen: seen.memory > mebibytes * MEBIBYTE


def over_shared(mebibytes: int) -> Judge:
    """More than this in files of memory."""
    return lambda seen: seen.shared > mebibytes * MEBIBYTE


def over_tasks(number: int) -> Judge:
    """More threads and processes than this."""
    return lambda seen: seen.tasks > number


def stalled(seen: Evidence) -> bool:
    """The node did nothing for others meanwhile."""
    return seen.stalled > STALL_SECONDS


def kept_busy(seen: Evidence) -> bool:
    """The node itself worked for longer than any honest run makes it."""
    return seen.spent > BUSY_SECONDS


def holds_descriptors(seen: Evidence) -> bool:
    """The node has more open than before."""
    return seen.opened > 0


def bloated(seen: Evidence) -> bool:
    """The node itself, not the run, held more."""
    return seen.grown > NODE_MEBIBYTES * MEBIBYTE


def costs_the_node(seen: Evidence) -> str:
    """What no run may cost the node itself, whatever else it tries; the empty text when it does not."""
    costs = {
        "it stood still": stalled,
        "it was kept busy": kept_busy,
        "it holds descriptors": holds_descriptors,
        "it holds memory": bloated,
    }
    return ", ".join(what for what, judge in costs.items() if judge(seen))


def over_wall(seconds: float) -> Judge:
    """It went on for longer."""
    return lambda seen: seen.wall > seconds


def over_output(size: int) -> Judge:
    """More printed or raised text than this came out."""
    return lambda seen: len(seen.output) + len(seen.error) > size


def over_result(size: int) -> Judge:
    """A larger result came out."""
    return lambda seen: seen.result_bytes > size


def counted(number: int) -> Judge:
    """The attack got more of something than this; a number can only be told if it was reached."""

    def judge(seen: Evidence) -> bool:
        found = re.fullmatch(r"count:(\d+)", seen.result.strip("'"))
        return found is not None and int(found[1]) > number

    return judge


def harmed(seen: Evidence) -> bool:
    """Whoever read the result crashed, ran the stranger's code, or got something else than a plain value."""
    return bool(seen.harm or seen.changed)


def forged(seen: Evidence) -> bool:
    """The report says what is the node's to say."""
    return bool(seen.forged)


def carried(seen: Evidence) -> bool:
    """What the run before left came out of this one."""
    return "carried-over" in seen.result


def steered(seen: Evidence) -> bool:
    """A character that steers a terminal, or turns, hides or overwrites text, reached it."""
    return any(char != "\n" and char != "\t" and not char.isprintable() for char in seen.shown)


def scripted(seen: Evidence) -> bool:
    """The page holds an element or attribute that the submitter wrote."""
    parser = _Tags()
    parser.feed(seen.page)
    return bool(parser.strange)


class _Tags(HTMLParser):
    """Collects what is not part of a plain table."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Any tag but those of a table; any attribute but a style."""
        if tag not in HARMLESS_TAGS or any(name not in ("style", "class", "title") for name, _ in attrs):
            self.strange.append(tag)
