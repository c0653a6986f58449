"""The published bytes of the link protocol: a change here is a new version of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2pgrid import wire
from p2pgrid.crypto import Identity, Random
from p2pgrid.link.frames import Answer, Call, Cancel, Failure, Frame, Opener, Sealer, decode, encode
from p2pgrid.link.handshake import VERSION, respond, start

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "link.json").read_text())
FRAMES: dict[str, Frame] = {
    "call": Call(1, 30_000, "auth.login", wire.pack_value({"email": "a@b.org", "n": 3})),
    "answer": Answer(1, wire.pack_value([1, "two", b"\x03"])),
    "failure": Failure(2, {"code": "P2P-0400", "cause": "No.", "fix": "None."}),
    "cancel": Cancel(3),
}


def side(name: str) -> tuple[Identity, Random]:
    raw: dict[str, Any] = {key: bytes.fromhex(text) for key, text in VECTORS[name].items()}
    chances = iter([raw["ephemeral_secret"], raw["random"]])
    identity = Identity(raw["seed"])
    assert identity.public == raw["public"]
    return identity, lambda size: next(chances)


def test_the_handshake_says_the_published_bytes() -> None:
    assert VECTORS["version"] == VERSION
    hello, awaiting = start(*side("initiator"))
    assert hello.hex() == VECTORS["hello"]
    welcome, proving = respond(*side("responder"), hello)
    assert welcome.hex() == VECTORS["welcome"]
    proof, ours = awaiting.receive(welcome)
    assert proof.hex() == VECTORS["proof"]
    theirs = proving.receive(proof)
    keys = VECTORS["initiator_frame_key"], VECTORS["responder_frame_key"]
    assert (ours.send_key.hex(), ours.receive_key.hex()) == (theirs.receive_key.hex(), theirs.send_key.hex()) == keys


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_frames_are_the_published_bytes(name: str) -> None:
    assert encode(FRAMES[name]).hex() == VECTORS["frames"][name]
    assert decode(bytes.fromhex(VECTORS["frames"][name]), limit=1000) == FRAMES[name]


def test_records_are_the_published_bytes() -> None:
    key = bytes.fromhex(VECTORS["initiator_frame_key"])
    sealer, opener = Sealer(key), Opener(key)
    for record in VECTORS["records"]:
        payload = bytes.fromhex(record["payload"])
        assert sealer.seal(record["flag"], payload).hex() == record["sealed"]
        assert opener.open(bytes.fromhex(record["sealed"])) == (record["flag"], payload)
