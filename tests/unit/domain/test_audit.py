"""The chain shows every change of it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import crypto
from p2pgrid.domain.audit import (
    GAP,
    Check,
    Entry,
    Findings,
    Head,
    SealedEntry,
    beginning,
    read_noted,
    seal,
    verify_chain,
)
from p2pgrid.domain.audit_lines import Origin, from_line, to_line, verify_lines
from p2pgrid.errors import InvalidInput, Malformed, RemoteError

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


def checked(entries: list[SealedEntry], *heads: tuple[int, bytes]) -> Findings:
    check = Check(NODE.public, heads)
    for entry in entries:
        check.add(entry)
    return check.end()


@given(st.integers(1, 10), st.integers(0, 9))
def test_entries_cut_off_at_the_end_are_named_by_the_head(length: int, kept: int) -> None:
    entries = chain(length)
    head = Head.sign(NODE, entries[-1], 1.0)
    found = checked(entries[:kept], (head.count, head.hash))
    assert (found.flaw.seq if found.flaw else None) == (kept + 1 if kept < length else None)
    assert found.entries == min(kept, length)


def test_a_log_that_grew_since_its_head_was_written_is_intact() -> None:
    entries = chain(5)
    assert checked(entries, (3, entries[2].hash), (0, beginning(NODE.public))).intact


def test_a_log_sealed_anew_with_the_nodes_own_key_is_found_by_a_noted_entry() -> None:
    entries, anew = chain(5), []
    for number in range(5):
        last = anew[-1] if anew else None
        anew.append(seal(NODE, last, time=float(number), actor="x", action="code.run", subject="s", details={}))
    assert checked(anew).intact
    found = checked(anew, (3, entries[2].hash))
    assert found.flaw is not None
    assert (found.flaw.seq, found.entries) == (3, 3)
    assert checked(entries, (3, entries[2].hash), (3, anew[2].hash)).flaw is not None


def test_a_gap_that_the_node_found_at_its_start_stays_known() -> None:
    entries = chain(2)
    entries.append(
        seal(
            NODE,
            entries[-1],
            time=2.0,
            actor="node",
            action=GAP,
            subject="audit",
            details={"why": "9 entries are gone"},
        )
    )
    found = checked(entries)
    assert not found.intact
    assert found.flaw is None
    assert [(gap.seq, gap.why) for gap in found.gaps] == [(3, "9 entries are gone")]


def test_a_head_is_signed_and_comes_back_from_its_plain_form() -> None:
    head = Head.sign(NODE, chain(3)[-1], 1.5)
    assert Head.from_wire(json.loads(json.dumps(head.to_wire()))) == head
    assert head.is_from(NODE.public)
    assert not head.is_from(OTHER.public)
    assert not replace(head, count=2).is_from(NODE.public)


@pytest.mark.parametrize("raw", [None, [], {}, {"count": -1}, {"count": True, "hash": "", "time": 0, "signature": ""}])
def test_what_is_no_head_is_refused(raw: Any) -> None:
    with pytest.raises(RemoteError):
        Head.from_wire(raw)


def test_a_noted_entry_is_its_number_and_hash() -> None:
    assert read_noted(f"57:{'ab' * 32}") == (57, b"\xab" * 32)
    for text in ("", "57", "57:ab", f"0:{'ab' * 32}", f"x:{'ab' * 32}"):
        with pytest.raises(InvalidInput):
            read_noted(text)


def exported(entries: list[SealedEntry]) -> tuple[Origin, list[str]]:
    origin = Origin("Bob", NODE.public, Head.sign(NODE, entries[-1] if entries else None, 9.0))
    return Origin.from_line(origin.to_line()), [to_line(entry) for entry in entries]


def test_an_exported_log_is_checked_without_the_node() -> None:
    origin, lines = exported(chain(6))
    assert verify_lines(origin, lines).intact
    assert from_line(lines[2]) == chain(6)[2]
    assert json.loads(lines[2])["details"] == {"number": 2, "ok": True}


@given(st.integers(0, 5), st.sampled_from(["drop", "repeat", "swap", "garbage", "cut"]))
def test_an_exported_log_that_was_changed_names_the_line(index: int, change: str) -> None:
    origin, lines = exported(chain(7))
    if change == "drop":
        del lines[index]
    elif change == "repeat":
        lines.insert(index, lines[index])
    elif change == "swap":
        lines[index], lines[index + 1] = lines[index + 1], lines[index]
    elif change == "garbage":
        lines[index] = "{"
    else:
        del lines[index:]
    flaw = verify_lines(origin, lines).flaw
    assert flaw is not None
    assert flaw.seq == index + 1


@pytest.mark.parametrize(("field", "value"), [("actor", "bob@x"), ("time", "2020-01-01"), ("seq", 9), ("more", 1)])
def test_a_readable_part_that_was_never_sealed_is_named(field: str, value: Any) -> None:
    origin, lines = exported(chain(4))
    lines[1] = json.dumps({**json.loads(lines[1]), field: value})
    found = verify_lines(origin, lines)
    assert found.flaw is not None
    assert found.flaw.seq == 2
    assert "readable" in found.flaw.why


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_file_is_an_exported_log_or_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Origin.from_line(text)
    with pytest.raises(RemoteError):
        from_line(text)


def test_an_exported_head_that_the_key_did_not_sign_is_refused() -> None:
    entries = chain(3)
    forged = Origin("Bob", NODE.public, replace(Head.sign(NODE, entries[-1], 1.0), count=2, hash=entries[1].hash))
    with pytest.raises(Malformed, match="signed"):
        Origin.from_line(forged.to_line())


def test_a_long_log_is_checked_without_holding_it() -> None:
    def endless(count: int) -> Iterator[SealedEntry]:
        last = None
        for number in range(count):
            details = {"text": "x" * 1000}
            last = seal(NODE, last, time=float(number), actor="a", action="b", subject="c", details=details)
            yield last

    tracemalloc.start()
    try:
        assert verify_chain(endless(3000), NODE.public) is None
        assert tracemalloc.get_traced_memory()[1] < 500_000  # the entries together are 3.5 MB
    finally:
        tracemalloc.stop()
