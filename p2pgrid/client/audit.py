"""The audit log of a domain, for its owners: reading it, checking it, and taking it away."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pgrid.client.bridge import Bridge, bridged
from p2pgrid.client.door import Door, Holder
from p2pgrid.client.show import Row, Shown, ShownList
from p2pgrid.errors import InvalidInput, Malformed

if TYPE_CHECKING:
    from p2pgrid.domain.audit import SealedEntry
    from p2pgrid.domain.audit_lines import Origin

CHECK_TIMEOUT: Final = 600.0
"""Seconds for a call that reads the whole log; a check takes about a second for 10,000 entries."""
DETAIL: Final = 80
DETAILS: Final = 20
"""Characters of one detail in a table, and details of one entry; the entry itself has all of them."""


class AuditEntry(Row):
    """Something that happened at a domain."""


class AuditLog(ShownList[AuditEntry]):
    """What happened at a domain, newest first."""

    columns = ("seq", "time", "actor", "action", "subject", "details")
    heading = "Audit log"

    def rows(self) -> Iterator[list[Any]]:
        """With the details in one line each."""
        for *cells, details in super().rows():
            yield [*cells, details_text(details if isinstance(details, Mapping) else {})]


class Findings(Row):
    """What a check of an audit log found: ``intact``, ``entries``, ``hash`` of the last, ``flaw``, ``gaps``."""

    def __bool__(self) -> bool:
        return bool(self["intact"])


class Audit(Shown):
    """``client.audit``: call it for the newest entries."""

    def __init__(self, client: Holder) -> None:
        self._client = client

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @bridged
    async def __call__(
        self,
        limit: int = 100,
        *,
        actor: str = "",
        action: str = "",
        subject: str = "",
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        before: int | None = None,
    ) -> AuditLog:
        """The newest entries, newest first; of one ``actor``, ``action`` (or its first word), ``subject``, time."""
        filters = wanted(actor, action, subject, since, until, before)
        call = self._client.door.call("audit.list", limit=limit, timeout=CHECK_TIMEOUT, **filters)
        return AuditLog([AuditEntry(raw) for raw in await call])

    @bridged
    async def verify(self, *noted: str) -> Findings:
        """Let the node check its whole log; ``noted`` are entries known from elsewhere, as ``"57:3fa0..."``."""
        return Findings(await self._client.door.call("audit.verify", noted=list(noted), timeout=CHECK_TIMEOUT))

    @bridged
    async def export(self, file: str | Path) -> Path:
        """Write the log as JSON lines, to be checked anywhere: ``p2pgrid audit verify FILE``."""
        return await export(self._client.door, Path(file))

    def fields(self) -> Mapping[str, Any]:
        """What can be done with it."""
        calls = {"entries": "client.audit(limit=100, actor=..., action=..., subject=..., since=..., until=...)"}
        return {**calls, "check": "client.audit.verify()", "copy": "client.audit.export(FILE)"}


def details_text(details: Mapping[str, Any], short: Callable[[str], str] = str) -> str:
    """What an entry tells besides who did what, in one line; a long value is cut after a whole item."""
    told = [f"{_cut(key)}={short(_cut(value))}" for key, value in islice(details.items(), DETAILS)]
    return ", ".join([*told, "…"] if len(details) > DETAILS else told)


def _cut(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{_whole([f'{key}: {_cut(item)}' for key, item in value.items()])}}}"
    if isinstance(value, (list, tuple)):
        return f"[{_whole([_cut(item) for item in value])}]"
    text = (
        value.isoformat(timespec="seconds") if isinstance(value, dt.datetime) else str("" if value is None else value)
    )
    return text if len(text) <= DETAIL else f"{text[: DETAIL - 1]}…"


def _whole(items: list[str]) -> str:
    """As many items as there is room for."""
    text = ""
    for number, item in enumerate(items):
        longer = f"{text}, {item}" if number else item
        if len(longer) > DETAIL:
            return f"{text}, …" if text else "…"
        text = longer
    return text


def wanted(
    actor: str, action: str, subject: str, since: dt.datetime | None, until: dt.datetime | None, before: int | None
) -> dict[str, Any]:
    """The filters that were given; a moment without a zone is of this machine."""
    given: dict[str, Any] = {"actor": actor, "action": action, "subject": subject, "before": before}
    for name, moment in (("since", since), ("until", until)):
        given[name] = moment.astimezone(dt.UTC) if moment is not None else None
    return {name: value for name, value in given.items() if value not in ("", None)}


async def export(door: Door, file: Path) -> Path:
    """Write the log of a domain into a new file, page by page.  Raises ``InvalidInput`` when there is a file."""
    try:
        out = file.open("x", encoding="ascii")
    except FileExistsError:
        raise InvalidInput(f"{file} is there already.", fix="Give the name of a new file.") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.") from error
    try:
        with out:
            async for line in _lines(door):
                out.write(f"{line}\n")
    except BaseException:
        await asyncio.to_thread(file.unlink, missing_ok=True)  # half a log is no log
        raise
    return file


@contextmanager
def exported(file: Path) -> Iterator[tuple[Origin, Iterator[str]]]:
    """Whose log a file holds, and its further lines, one by one.  Raises ``InvalidInput`` or ``Malformed``."""
    from p2pgrid.domain.audit_lines import MAX_LINE, Origin

    try:
        source = file.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    with source:
        try:
            origin = Origin.from_line(source.readline(MAX_LINE))
        except Malformed as error:
            fix = f"Give a file that 'p2pgrid audit export' wrote; {file} is none, or its first line was changed."
            raise Malformed(error.cause, fix=fix) from error
        yield origin, iter(lambda: source.readline(MAX_LINE), "")


async def _lines(door: Door) -> AsyncIterator[str]:
    from p2pgrid.domain.audit import Head
    from p2pgrid.domain.audit_lines import Origin, to_line

    page = await door.call("audit.export", after=0)
    try:
        origin = Origin(str(page["name"]), bytes.fromhex(page["key"]), Head.from_wire(page["head"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("The node answered with something that is no audit log.") from error
    yield origin.to_line()
    done = 0
    while done < origin.head.count:
        entries = [_sealed(raw) for raw in page["entries"]]
        if not entries:
            return  # the log has lost its end: whoever checks the file is told so by its head
        for entry in entries:
            if entry.seq <= origin.head.count:
                yield to_line(entry)
        done = entries[-1].seq
        if done < origin.head.count:
            page = await door.call("audit.export", after=done)


def _sealed(raw: Any) -> SealedEntry:
    from p2pgrid.domain.audit import SealedEntry

    try:
        return SealedEntry(int(raw["seq"]), bytes(raw["body"]), bytes(raw["hash"]), bytes(raw["signature"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("The node answered with something that is no entry of an audit log.") from error
