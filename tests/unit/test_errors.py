"""The error tree: unique codes, cause and fix in each message, and strangers' errors made harmless."""

from __future__ import annotations

import inspect
import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import errors
from p2pgrid.errors import LocalError, P2PError, RemoteError, all_errors, from_wire

ROOT = Path(__file__).parents[2]
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, P2PError)]


def test_no_two_errors_share_a_code() -> None:
    counts = Counter(kind.code for kind in CLASSES)
    assert [code for code, count in counts.items() if count > 1] == []
    assert all_errors() == {kind.code: kind for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_tells_code_fix_exit_code_and_meaning(kind: type[P2PError]) -> None:
    assert kind.code[:4] == "P2P-"
    assert kind.code[4:].isdecimal()
    assert len(kind.code) == 8
    assert kind.__doc__
    assert len(kind.default_fix) > 10
    assert kind.exit_code in (1, 2, 3, 4)
    shown = str(kind("It broke."))
    assert shown.startswith("It broke. Fix: ")
    assert shown.endswith(f"[{kind.code}]")


def test_each_error_is_ours_or_theirs_and_never_both() -> None:
    for kind in set(CLASSES) - {P2PError}:
        assert issubclass(kind, LocalError) != issubclass(kind, RemoteError)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_wire(kind: type[P2PError]) -> None:
    back = from_wire(kind("It broke.", fix="Mend it.").to_wire())
    assert type(back) is kind
    assert (back.cause, back.fix, back.code) == ("It broke.", "Mend it.", kind.code)


def test_an_unknown_code_becomes_a_plain_remote_error() -> None:
    assert type(from_wire({"code": "P2P-9999", "cause": "?"})) is RemoteError


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["code", "cause", "fix"]) | st.text(), inner),
    )
)
def test_anything_a_peer_answers_becomes_an_error_that_can_be_shown(raw: object) -> None:
    error = from_wire(raw)
    assert isinstance(error, P2PError)
    assert all(char.isprintable() or char == "\n" for char in str(error))


def test_a_peers_cause_cannot_steer_a_terminal() -> None:
    shown = str(from_wire({"code": "P2P-0400", "cause": "\x1b[2Jgone\u202egpj.exe", "fix": "\x07"}))
    assert "\\x1b[2Jgone\\u202egpj.exe" in shown
    assert "\\x07" in shown


def test_a_peers_cause_is_cut_short() -> None:
    assert len(str(from_wire({"cause": "x" * 1_000_000, "fix": "y" * 1_000_000}))) < 3_000


def test_the_error_index_is_up_to_date() -> None:
    """Write it again with: python scripts/error_index.py"""
    script = runpy.run_path(str(ROOT / "scripts" / "error_index.py"))
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == script["page"](), "run: python scripts/error_index.py"
    for kind in CLASSES:
        assert f"| {kind.code} |" in page
        assert f"`{kind.__name__}`" in page
    assert page.count("| P2P-") == len(CLASSES)
