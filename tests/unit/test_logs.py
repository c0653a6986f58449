"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from p2pgrid import logs


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    kept = [
        (logger, logger.handlers[:], logger.level, logger.propagate)
        for logger in map(logging.getLogger, ("p2pgrid", "gateway"))
    ]
    yield
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines(*, as_json: bool, level: str = "INFO") -> tuple[logging.Logger, io.StringIO]:
    out = io.StringIO()
    logs.set_up(as_json=as_json, level=level, stream=out)
    return logging.getLogger("p2pgrid.node"), out


def test_a_plain_line_has_time_level_logger_and_message() -> None:
    log, out = lines(as_json=False)
    log.info("%s is up", "Alice")
    date, time, level, name, rest = out.getvalue().split(maxsplit=4)
    assert (len(date), len(time), level, name, rest) == (10, 8, "INFO", "p2pgrid.node", "Alice is up\n")


@pytest.mark.parametrize("name", ["evil\n2026-01-01 00:00:00 INFO forged", "\x1b[2J", "\u202e", "\r", "\u2028"])
def test_a_strangers_text_cannot_forge_a_line_or_steer_a_terminal(name: str) -> None:
    log, out = lines(as_json=False)
    log.warning("refused %s", name)
    assert out.getvalue().count("\n") == 1
    assert out.getvalue()[:-1].isprintable()


def test_a_plain_line_keeps_the_traceback_of_a_fault_of_ours() -> None:
    log, out = lines(as_json=False)
    try:
        raise ValueError("bad\x1b[2J\x07")
    except ValueError:
        log.exception("a task failed")
    text = out.getvalue()
    assert "Traceback (most recent call last):\n" in text
    assert "ValueError: bad\\x1b[2J\\x07\n" in text


@pytest.mark.parametrize("message", ["plain", "two\nlines", "\x1b[2J", "日本", "\udc80", '"quoted"'])
def test_a_json_line_is_one_object_on_one_line(message: str) -> None:
    log, out = lines(as_json=True)
    log.info(message, extra={"peer": b"\x00", "count": 3})
    text = out.getvalue()
    assert text.count("\n") == 1
    line = json.loads(text)
    assert line["message"] == message
    assert (line["level"], line["logger"], line["count"]) == ("INFO", "p2pgrid.node", 3)
    assert line["time"].endswith("Z")
    text.encode("utf-8")


def test_a_json_line_carries_the_exception() -> None:
    log, out = lines(as_json=True)
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("a task failed")
    assert "ValueError: bad" in json.loads(out.getvalue())["exception"]


def test_a_json_line_does_not_repeat_what_another_formatter_left_behind() -> None:
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    logs.PlainLines().format(record)
    assert set(json.loads(logs.JsonLines().format(record))) == {"time", "level", "logger", "message"}


def test_the_level_is_obeyed_and_a_second_set_up_replaces_the_first() -> None:
    log, first = lines(as_json=False)
    log, second = lines(as_json=False, level="WARNING")
    log.info("quiet")
    log.warning("loud")
    assert first.getvalue() == ""
    assert "loud" in second.getvalue()
    assert "quiet" not in second.getvalue()


def test_a_storm_of_faults_in_the_event_loop_writes_few_lines() -> None:
    """asyncio reports every connection that it cannot accept, and tries again at once."""
    log, out = lines(as_json=False)
    now = [0.0]
    handler = logs.LoopFaults(log, clock=lambda: now[0])
    full = OSError(24, "Too many open files")
    for second in range(0, 180, 1):
        now[0] = float(second)
        for _ in range(200):
            handler(None, {"message": "socket.accept() out of system resource", "exception": full})
    written = out.getvalue().splitlines()
    assert len(written) == 3 * logs.FAULTS + 2
    assert "Too many open files" in written[0]
    assert written[logs.FAULTS].endswith("11995 more faults of the event loop were not written")


def test_a_fault_of_ours_in_the_event_loop_keeps_its_traceback() -> None:
    log, out = lines(as_json=False)
    try:
        raise ValueError("mine")
    except ValueError as error:
        logs.LoopFaults(log)(None, {"message": "Exception in callback", "exception": error})
    assert "Exception in callback" in out.getvalue()
    assert "Traceback" in out.getvalue()
