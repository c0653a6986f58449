"""How commands end: whose fault, which exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer

from p2pgrid.cli.ending import as_p2p_error, ended, tell
from p2pgrid.errors import BadTag, InternalError, NotAllowed, NotFound, NotLoggedIn, P2PError, Unreachable, all_errors


def _raise(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 3),
        (Unreachable("x"), 4),
        (BadTag("x"), 2),
        (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (SystemExit(7), 7),
        (BrokenPipeError(), 141),
        (ExceptionGroup("many", [ValueError("x"), ExceptionGroup("more", [NotFound("y")])]), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_fault_has_its_exit_code(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pgrid.cli.ending.quiet_stdout", lambda: None)  # pytest still needs its standard output

    assert ended(lambda: _raise(error), as_json=False) == code


def test_every_error_of_the_tree_has_an_exit_code_that_the_help_names() -> None:
    assert {kind.exit_code for kind in all_errors().values()} <= {1, 2, 3, 4}


def test_a_fault_of_ours_says_how_to_see_more_and_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(lambda: _raise(ZeroDivisionError("by zero")), as_json=False) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error[P2P-0004]: Something unforeseen happened: ZeroDivisionError: by zero")
    assert "P2PGRID_DEBUG=1" in err
    assert "Traceback" not in err


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_DEBUG", "1")

    ended(lambda: _raise(ZeroDivisionError("by zero")), as_json=False)

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    ended(lambda: _raise(KeyboardInterrupt()), as_json=False)

    assert capsys.readouterr() == ("", "")


def test_an_error_as_json_is_the_whole_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    ended(lambda: _raise(NotFound("No such thing.", fix="Look elsewhere.")), as_json=True)

    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "P2P-0400", "cause": "No such thing.", "fix": "Look elsewhere."}}
    assert err == ""


def test_a_strangers_error_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell(P2PError("gone \x1b[2J\u202e", fix="do \x07 this"), as_json=False)
    tell(P2PError("gone \x1b[2J\u202e", fix="do \x07 this"), as_json=True)

    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()


def test_a_login_that_is_missing_is_told_in_the_words_of_the_command_line() -> None:
    assert "--email" in as_p2p_error(NotLoggedIn("x")).fix


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NotLoggedIn("request.create needs an account."), "This needs an account."),
        (
            NotAllowed("blob.put needs the role data owner; yours is guest."),
            "This needs the role data owner; yours is guest.",
        ),
        (NotAllowed("A guest cannot."), "A guest cannot."),
    ],
)
def test_names_of_calls_are_not_shown(error: P2PError, cause: str) -> None:
    told = as_p2p_error(error)
    assert (type(told), told.cause) == (type(error), cause)


def test_what_is_not_known_becomes_an_internal_error() -> None:
    assert isinstance(as_p2p_error(RuntimeError("x")), InternalError)


def test_a_reader_that_went_away_leaves_no_noise() -> None:
    import subprocess

    program = (
        "import sys; from p2pgrid.cli.ending import ended; sys.exit(ended(lambda: print('x' * 9999999), as_json=False))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [["--list"], ["--list", "--json"]])
def test_output_that_goes_to_a_full_disk_is_told_on_standard_error(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "p2pgrid", "simulate", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error[P2P-0002]: What is printed cannot be written: no space is left there.",
        "fix: Free some space, or send it elsewhere.",
    ]
