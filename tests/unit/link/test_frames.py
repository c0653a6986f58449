"""Frames and records: round trips, bounds, and what an attacker on the wire can do to records."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import wire
from p2pgrid.crypto import SEAL_OVERHEAD, seal
from p2pgrid.errors import BadSeal, LimitReached, Malformed, Oversized, RemoteError
from p2pgrid.link.channel import MAX_VALUE
from p2pgrid.link.frames import (
    CLOSE,
    LAST,
    MAX_DEADLINE_MS,
    MAX_FRAME,
    MAX_ID,
    MAX_MESSAGE,
    MAX_VERB,
    MORE,
    RECORD,
    Answer,
    Call,
    Cancel,
    Failure,
    Frame,
    Opener,
    Sealer,
    decode,
    encode,
    is_verb,
)

KEY = bytes(range(32))
ids = st.integers(1, MAX_ID)
verbs = st.from_regex(r"[a-z][a-z0-9_.-]{0,63}", fullmatch=True)
errors = st.fixed_dictionaries(
    {"code": st.text(max_size=16), "cause": st.text(max_size=50), "fix": st.text(max_size=50)}
)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Call, ids, st.integers(1, MAX_DEADLINE_MS), verbs, st.binary(max_size=200)),
    st.builds(Answer, ids, st.binary(max_size=200)),
    st.builds(Failure, ids, errors),
    st.builds(Cancel, ids),
)


@given(frames)
def test_frames_survive_the_wire(frame: Frame) -> None:
    assert decode(encode(frame), limit=MAX_FRAME) == frame


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_an_error_of_the_peer(data: bytes) -> None:
    with contextlib.suppress(RemoteError):
        decode(data, limit=MAX_FRAME)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_message_is_a_frame_or_an_error_of_the_peer(message: object) -> None:
    try:
        frame = decode(wire.pack(message), limit=MAX_FRAME)
    except RemoteError:
        pass
    else:
        assert decode(encode(frame), limit=MAX_FRAME) == frame


@pytest.mark.parametrize(
    "message",
    [
        [],
        [1],
        [5, 1],
        [1, 0, 1, "a", b""],
        [1, True, 1, "a", b""],
        [1, MAX_ID + 1, 1, "a", b""],
        [1, 1, 0, "a", b""],
        [1, 1, MAX_DEADLINE_MS + 1, "a", b""],
        [1, 1, True, "a", b""],
        [1, 1, 1, "", b""],
        [1, 1, 1, "a" * (MAX_VERB + 1), b""],
        [1, 1, 1, "no spaces", b""],
        [1, 1, 1, "Upper", b""],
        [1, 1, 1, "a\n", b""],
        [1, 1, 1, "a", "text"],
        [1, 1, 1, "a", b"", 0],
        [2, 1, None],
        [2, -1, b""],
        [3, 1, []],
        [3, 1, {"code": 1}],
        [4, 1.0],
        {"1": 1},
        "call",
        None,
    ],
)
def test_what_is_no_frame_is_malformed(message: object) -> None:
    with pytest.raises(Malformed):
        decode(wire.pack(message), limit=MAX_FRAME)


def test_texts_of_a_failure_are_cut_to_their_limits() -> None:
    raw = wire.pack([3, 1, {"code": "c" * 99, "cause": "x" * 9999, "fix": "y" * 9999, "more": "z"}])
    frame = decode(raw, limit=MAX_FRAME)
    assert isinstance(frame, Failure)
    assert {name: len(text) for name, text in frame.error.items()} == {"code": 16, "cause": 2000, "fix": 500}


def test_frames_over_their_limit_are_refused_unread() -> None:
    with pytest.raises(Oversized):
        decode(encode(Answer(1, bytes(1000))), limit=1000)


def test_the_largest_call_fits_a_frame() -> None:
    longest = "v" * MAX_VERB
    assert len(encode(Call(MAX_ID, MAX_DEADLINE_MS, longest, bytes(MAX_VALUE)))) <= MAX_FRAME


def test_verbs() -> None:
    assert is_verb("auth.login")
    assert is_verb("a-b_c.9")
    assert not any(map(is_verb, ("", ".a", "9a", "a b", "a" * 65, "ä")))


# ---------------------------------------------------------------- records


@given(st.lists(st.tuples(st.sampled_from([MORE, LAST, CLOSE]), st.binary(max_size=100)), max_size=20))
def test_records_survive_in_order(records: list[tuple[int, bytes]]) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    for flag, payload in records:
        found, opened = opener.open(sealer.seal(flag, payload))
        assert (found, bytes(opened)) == (flag, payload)


def test_the_largest_record_is_the_largest_message() -> None:
    assert len(Sealer(KEY).seal(LAST, bytes(RECORD))) == MAX_MESSAGE


@given(position=st.integers(0, 10 + SEAL_OVERHEAD), bit=st.integers(0, 7))
def test_altered_record_does_not_open(position: int, bit: int) -> None:
    record = bytearray(Sealer(KEY).seal(LAST, b"0123456789"))
    record[position] ^= 1 << bit
    with pytest.raises(BadSeal):
        Opener(KEY).open(bytes(record))


def test_replayed_record_does_not_open() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    record = sealer.seal(LAST, b"once")
    opener.open(record)
    with pytest.raises(BadSeal):
        opener.open(record)


def test_reordered_records_do_not_open() -> None:
    sealer = Sealer(KEY)
    _, second = sealer.seal(LAST, b"1"), sealer.seal(LAST, b"2")
    with pytest.raises(BadSeal):
        Opener(KEY).open(second)


def test_truncated_record_does_not_open() -> None:
    record = Sealer(KEY).seal(LAST, b"whole")
    for cut in range(len(record)):
        with pytest.raises(BadSeal):
            Opener(KEY).open(record[:cut])


def test_oversized_record_is_not_even_opened() -> None:
    with pytest.raises(Oversized):
        Opener(KEY).open(bytes(MAX_MESSAGE + 1))


@pytest.mark.parametrize("plain", [b"", b"\x03", b"\xffx"])
def test_records_without_a_known_flag_are_malformed(plain: bytes) -> None:
    with pytest.raises(Malformed):
        Opener(KEY).open(seal(KEY, bytes(12), plain))


def test_nonces_are_never_used_twice() -> None:
    """The numbers end before they repeat; equal content never looks equal."""
    sealer = Sealer(KEY, limit=3)
    assert len({sealer.seal(LAST, b"same") for _ in range(3)}) == 3
    assert sealer.room == 0
    with pytest.raises(LimitReached):
        sealer.seal(LAST, b"same")


def test_a_reader_stops_at_the_limit_too() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY, limit=1)
    opener.open(sealer.seal(LAST))
    with pytest.raises(LimitReached):
        opener.open(sealer.seal(LAST))
