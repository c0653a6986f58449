"""The chain shows every change of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import crypto
from p2pgrid.domain.audit import Entry, SealedEntry, beginning, seal, verify_chain

NODE = crypto.Identity(b"n" * 32)
OTHER = crypto.Identity(b"o" * 32)


def chain(length: int, identity: crypto.Identity = NODE) -> list[SealedEntry]:
    entries: list[SealedEntry] = []
    for number in range(length):
        last = entries[-1] if entries else None
        details = {"number": number, "ok": True}
        entries.append(
            seal(identity, last, time=float(number), actor="jane@x", action="code.run", subject="s", details=details)
        )
    return entries


def flaw_at(entries: list[SealedEntry], key: bytes = NODE.public) -> int | None:
    flaw = verify_chain(entries, key)
    return flaw.seq if flaw else None


def test_an_honest_chain_is_intact() -> None:
    assert verify_chain(chain(20), NODE.public) is None
    assert verify_chain([], NODE.public) is None


def test_an_entry_opens_to_what_was_sealed() -> None:
    first = chain(1)[0].open()
    assert first == Entry(1, 0.0, "jane@x", "code.run", "s", {"number": 0, "ok": True}, beginning(NODE.public))


@given(st.integers(0, 9), st.sampled_from(["body", "hash", "signature"]), st.integers(0, 2**16), st.integers(1, 255))
def test_a_changed_byte_names_its_entry(index: int, part: str, place: int, change: int) -> None:
    entries = chain(10)
    raw = bytearray(getattr(entries[index], part))
    raw[place % len(raw)] ^= change
    entries[index] = replace(entries[index], **{part: bytes(raw)})
    assert flaw_at(entries) == index + 1


@given(st.integers(0, 8))
def test_a_dropped_entry_is_named(index: int) -> None:
    entries = chain(10)
    del entries[index]
    assert flaw_at(entries) == index + 1


@given(st.integers(0, 9))
def test_a_repeated_entry_is_named(index: int) -> None:
    entries = chain(10)
    entries.insert(index, entries[index])
    assert flaw_at(entries) == index + 1


def test_a_renumbered_gap_is_named() -> None:
    entries = chain(10)
    del entries[4]
    moved = [*entries[:4], *(replace(entry, seq=entry.seq - 1) for entry in entries[4:])]
    assert flaw_at(moved) == 5


def test_another_nodes_chain_is_not_ours() -> None:
    assert flaw_at(chain(3, OTHER)) == 1


def test_an_entry_that_another_key_sealed_is_named() -> None:
    entries = chain(5)
    forged = seal(OTHER, entries[2], time=3.0, actor="jane@x", action="code.run", subject="s", details={})
    assert flaw_at([*entries[:3], forged, entries[4]]) == 4


def test_a_history_that_was_sealed_anew_in_the_middle_breaks_after_it() -> None:
    entries = chain(6)
    anew = seal(NODE, entries[1], time=2.0, actor="x", action="auth.login", subject="s", details={})
    assert flaw_at([*entries[:2], anew, *entries[3:]]) == 4


def test_too_much_detail_is_refused() -> None:
    with pytest.raises(ValueError, match="over"):
        seal(NODE, None, time=0.0, actor="a", action="b", subject="c", details={"text": "x" * 20_000})
