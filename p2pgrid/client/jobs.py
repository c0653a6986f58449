"""Jobs: long runs that go on while their author does something else."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from p2pgrid.client.bridge import Bridge, bridged, bridged_property
from p2pgrid.client.door import Door, Holder
from p2pgrid.client.show import Shown, ShownList, clean
from p2pgrid.errors import Malformed, NotInTime, from_wire

ENDED: Final = frozenset({"finished", "failed", "cancelled", "interrupted"})
TURN: Final = 20
"""Seconds that one call waits at the node for a change."""


class Job(Shown):
    """A run that was queued: ``status``, ``wait()``, ``logs()``, ``cancel()``, ``retry()``, ``result()``."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client = client
        self._read(raw)

    def _read(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.id = str(raw["id"])
        self.function = self.name = str(raw["function"])

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @bridged_property
    async def status(self) -> str:
        """Where it stands now: queued, running, finished, failed, cancelled or interrupted."""
        self._read(await self._client.door.call("job.get", id=self.id))
        return str(self._raw["status"])

    @bridged
    async def wait(self, timeout: float | None = None) -> Job:
        """Wait until it has ended, however that is.  Raises ``NotInTime`` after ``timeout`` seconds."""
        await self._wait(timeout)
        return self

    @bridged
    async def result(self, timeout: float | None = None) -> Any:
        """Wait for its end, and fetch the value that was released; None for a run on the mock.

        Raises what a call would: ``RunFailed``, ``PolicyRefused`` ..., ``JobCancelled``, ``JobInterrupted``, or
        ``NotInTime``.
        """
        await self._wait(timeout)
        if self._raw.get("error"):
            raise from_wire(self._raw["error"])
        execution = self._raw.get("execution")
        return await self._client.door.read_result(str(execution)) if execution else None

    @bridged
    async def logs(self) -> str:
        """What it has printed so far: of a run on private data for owners, of one on the mock for its author too."""
        parts = [text async for text in follow(self._client.door, self.id, wait=False)]
        return clean("".join(parts), lines=True)

    @bridged
    async def cancel(self) -> Job:
        """End it.  Raises ``Conflict`` when it has ended already."""
        self._read(await self._client.door.call("job.cancel", id=self.id))
        return self

    @bridged
    async def retry(self) -> Job:
        """Queue it again after it failed, was cancelled or interrupted."""
        self._read(await self._client.door.call("job.retry", id=self.id))
        return self

    async def _wait(self, timeout: float | None) -> None:
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while self._raw["status"] not in ENDED:
            left = deadline - time.monotonic()
            if left <= 0:
                fix = "Wait longer: job.result(timeout=SECONDS), in a shell --timeout SECONDS."
                raise NotInTime(f"The job {self.function} has not ended after {timeout:g} s.", fix=fix)
            seconds = int(min(TURN, math.ceil(left)))
            if left < 1:  # the node counts in whole seconds
                seconds = 0
                await asyncio.sleep(left)
            self._read(await self._client.door.call("job.wait", id=self.id, seconds=seconds))

    def fields(self) -> Mapping[str, Any]:
        """As it was when it was last asked for."""
        raw = self._raw
        error = raw.get("error") or {}
        return {
            "id": self.id,
            "function": self.function,
            "on": raw.get("on"),
            "status": raw["status"],
            "ahead": raw.get("ahead") if raw["status"] == "queued" else "",
            "seconds": raw.get("seconds"),
            "tries": raw.get("tries"),
            "requested_by": raw.get("requested_by"),
            "queued_at": raw.get("queued_at"),
            "request": raw.get("request"),
            "error": error.get("cause", ""),
        }


class Jobs(ShownList[Job]):
    """Jobs, oldest first."""

    columns = ("id", "function", "on", "status", "seconds", "requested_by", "queued_at", "error")
    heading = "Jobs"


async def follow(door: Door, job: str, *, wait: bool = True) -> AsyncIterator[str]:
    """What a job prints, piece by piece; ``wait``: until it has ended."""
    offset, first = 0, True
    while True:
        seconds = TURN if wait and not first else 0
        answer = await door.call("job.logs", id=job, offset=offset, seconds=seconds)
        try:
            text, following, ended = str(answer["text"]), int(answer["next"]), bool(answer["ended"])
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("The node answered with something that is no log.") from error
        if text:
            yield text
        if ended or (not text and not wait) or (text and following <= offset):
            return
        offset, first = following, False
