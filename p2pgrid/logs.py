"""Log lines: one a person can read, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

FAULTS: Final = 5
"""Faults of the event loop that are written in ``FAULTS_WINDOW`` seconds."""
FAULTS_WINDOW: Final = 60.0
_OWN: Final = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime"])
"""What every record has; the rest was given with ``extra=`` and belongs in the JSON."""


class PlainLines(logging.Formatter):
    """``2026-11-21 19:52:29 INFO   node  message``; an exception adds its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
        self.converter = time.localtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line; what a stranger wrote can neither end it nor steer a terminal."""
        return _visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback, a line a frame."""
        return "\n".join(_visible(line) for line in super().formatException(ei).split("\n"))


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, and what was given with ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _OWN})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


class LoopFaults:
    """Handler for ``loop.set_exception_handler``: ``FAULTS`` a minute are written, the others counted.

    asyncio reports each connection that it cannot accept while descriptors are short, hundreds in a second.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._since = clock()
        self._seen = 0

    def __call__(self, _loop: object, context: dict[str, Any]) -> None:
        """Write it, or count it."""
        if self._clock() - self._since >= FAULTS_WINDOW:
            if self._seen > FAULTS:
                self._log.error("%d more faults of the event loop were not written", self._seen - FAULTS)
            self._since, self._seen = self._clock(), 0
        self._seen += 1
        if self._seen > FAULTS:
            return
        error = context.get("exception")
        if isinstance(error, OSError):
            self._log.error("%s: %s", context["message"], error)
        else:
            self._log.error("%s", context["message"], exc_info=error)


def set_up(*, as_json: bool = False, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send p2pgrid's log lines to ``stream`` (standard error when not given)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    for name in ("p2pgrid", "gateway"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _visible(line: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
