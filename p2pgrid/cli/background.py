"""Starting a node in the background: a session of its own, its log in its home, its first word over a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pgrid.errors import BadHome, LaunchFailed, NotInTime, from_wire

if TYPE_CHECKING:
    from p2pgrid.cli.launch import Plan

MAX_LOG: Final = 16 << 20
"""Bytes of a log that is begun anew at the next launch; the one before is kept beside it."""
SWITCHES: Final = (
    ("dev_mode", "dev"),
    ("allow_private", "allow-private"),
    ("allow_unsandboxed", "allow-unsandboxed"),
)
"""Settings that are on or off, and their options."""
LAST_WORDS: Final = 5
END_TIMEOUT: Final = 5.0


def start(plan: Plan, base: Path | None, password: str | None, timeout: float) -> dict[str, Any]:
    """Launch in the background; what the healthy node says of itself.

    Raises the error that it failed with, ``NotInTime`` when it says nothing within ``timeout`` seconds.
    """
    if plan.reset:
        plan.home.wipe()
    plan.home.make()
    read_end, write_end = os.pipe()
    try:
        child = _spawn(plan, base, password, write_end)
    finally:
        os.close(write_end)
    try:
        news = _first_word(read_end, timeout)
    except BaseException:
        _end(child)
        raise
    finally:
        os.close(read_end)
    if news is None:
        _end(child)
        raise LaunchFailed(
            f"{plan.home.name} ended without a word. Its log ends: {_last_words(plan.home.log)}",
            fix=f"Read its log: {plan.home.log}",
        )
    if "ready" not in news:
        _end(child)
        raise from_wire(news.get("error"))
    child.returncode = 0  # it lives on without us; nobody is to wait for it
    return {**news["ready"], "log": str(plan.home.log)}


def _spawn(plan: Plan, base: Path | None, password: str | None, descriptor: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-P", "-m", "p2pgrid", *_words(plan, base, password), "--report-fd", str(descriptor)]
    with _open_log(plan.home.log) as log:
        child = subprocess.Popen(  # noqa: S603 - our own program, with words that were parsed above
            words,
            stdin=subprocess.DEVNULL if password is None else subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(descriptor,),
        )
    if password is not None and child.stdin is not None:
        with contextlib.suppress(BrokenPipeError), child.stdin as way:  # if it ended already, its report says why
            way.write(password.encode() + b"\n")
    return child


def _words(plan: Plan, base: Path | None, password: str | None) -> list[str]:
    """The command line of the child: the same wishes, without any secret."""
    given = dict(plan.given)
    words = ["launch", plan.home.name, plan.kind.value, "--home", str(plan.home.path.parent)]
    for address in given.pop("bootstrap", ()):
        words += ["--bootstrap", address]
    for key, flag in SWITCHES:
        if key in given:
            words.append(f"--{flag}" if given.pop(key) else f"--no-{flag}")
    if given.pop("log_json", False):
        words.append("--log-json")
    for key, value in given.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    return [*words, "--owner-password-file", "-"] if password is not None else words


def _open_log(path: Path) -> Any:
    try:
        if path.exists() and path.stat().st_size > MAX_LOG:
            path.replace(path.with_name("log.1"))
        return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))
    except OSError as error:
        raise BadHome(f"The log {path} cannot be written: {error.strerror}.") from error


def _first_word(read_end: int, timeout: float) -> dict[str, Any] | None:
    """What the child reports; ``None`` when it ended before it could.  Raises ``NotInTime``."""
    deadline, heard = time.monotonic() + timeout, b""
    while not heard.endswith(b"\n"):
        readable, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise NotInTime(f"It was not healthy within {timeout:g} s.", fix="Try again with a longer --timeout.")
        part = os.read(read_end, 65_536)
        if not part:
            return None
        heard += part
    news: dict[str, Any] = json.loads(heard)
    return news


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process that we started, gracefully at first."""
    try:
        child.wait(timeout=1.0)
        return
    except subprocess.TimeoutExpired:
        child.terminate()
    try:
        child.wait(timeout=END_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return " | ".join(lines[-LAST_WORDS:])[-600:] or "(empty)"
