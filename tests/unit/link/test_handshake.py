"""The handshake, step by step, and each attack on it that must fail."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.crypto import Ephemeral, Identity, Random, derive, seal
from p2pgrid.errors import BadSeal, BadSignature, Malformed, RemoteError, UnknownVersion, WrongIdentity
from p2pgrid.link import handshake
from p2pgrid.link.handshake import (
    CREDENTIAL_BYTES,
    HELLO_BYTES,
    PROOF_BYTES,
    VERSION,
    WELCOME_BYTES,
    AwaitProof,
    AwaitWelcome,
    Secured,
    respond,
    start,
)

ALICE, BOB, EVE = (Identity(bytes([n]) * 32) for n in (1, 2, 3))


def chance(seed: str) -> Random:
    """Bytes that look random and are the same each time."""
    numbers = count()
    return lambda size: hashlib.blake2b(f"{seed}-{next(numbers)}".encode(), digest_size=size).digest()


def shaken(initiator: Identity = ALICE, responder: Identity = BOB) -> tuple[Secured, Secured]:
    hello, awaiting = start(initiator, chance("i"))
    welcome, proving = respond(responder, chance("r"), hello)
    proof, ours = awaiting.receive(welcome)
    return ours, proving.receive(proof)


def steps() -> tuple[bytes, AwaitWelcome, bytes, AwaitProof, bytes]:
    hello, awaiting = start(ALICE, chance("i"))
    welcome, proving = respond(BOB, chance("r"), hello)
    proof, _ = awaiting.receive(welcome)
    return hello, awaiting, welcome, proving, proof


def flipped(message: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(message)
    changed[position] ^= 1 << bit
    return bytes(changed)


def test_both_ends_prove_themselves_and_agree_on_keys() -> None:
    ours, theirs = shaken()
    assert (ours.peer, theirs.peer) == (BOB.public, ALICE.public)
    assert ours.peer_id == BOB.id
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.send_key != ours.receive_key


def test_messages_have_fixed_sizes() -> None:
    hello, _, welcome, _, proof = steps()
    assert [len(hello), len(welcome), len(proof)] == [HELLO_BYTES, WELCOME_BYTES, PROOF_BYTES] == [49, 193, 144]


def test_each_handshake_has_new_keys() -> None:
    hello, awaiting = start(ALICE, chance("i"))
    keys = set()
    for seed in ("r1", "r2"):
        welcome, _ = respond(BOB, chance(seed), hello)
        keys.add(awaiting.receive(welcome)[1].send_key)
    assert len(keys) == 2


def test_no_secret_shows_in_a_repr() -> None:
    hello, awaiting = start(ALICE, chance("i"))
    welcome, proving = respond(BOB, chance("r"), hello)
    _, secured = awaiting.receive(welcome)
    shown = repr(secured) + repr(awaiting) + repr(proving)
    assert repr(secured.send_key) not in shown
    assert repr(secured.receive_key) not in shown
    assert repr(proving.shared) not in shown


def test_no_identity_travels_in_the_clear() -> None:
    hello, _, welcome, _, proof = steps()
    for identity in (ALICE, BOB):
        for secret in (identity.public, identity.id, identity.x25519_public):
            assert secret not in hello + welcome + proof


def test_a_pinned_node_id_is_kept() -> None:
    hello, awaiting = start(ALICE, chance("i"), expect=BOB.id)
    welcome, _ = respond(BOB, chance("r"), hello)
    assert awaiting.receive(welcome)[1].peer == BOB.public


def test_another_node_than_the_pinned_one_is_refused() -> None:
    hello, awaiting = start(ALICE, chance("i"), expect=BOB.id)
    welcome, _ = respond(EVE, chance("r"), hello)
    with pytest.raises(WrongIdentity, match=EVE.id.hex()[:8]):
        awaiting.receive(welcome)


# ---------------------------------------------------------------- altered bytes


@given(position=st.integers(0, HELLO_BYTES - 1), bit=st.integers(0, 7))
def test_altered_hello_is_noticed_by_its_sender(position: int, bit: int) -> None:
    hello, awaiting = start(ALICE, chance("i"))
    with pytest.raises(RemoteError):
        awaiting.receive(respond(BOB, chance("r"), flipped(hello, position, bit))[0])


@given(position=st.integers(0, WELCOME_BYTES - 1), bit=st.integers(0, 7))
def test_altered_welcome_is_refused(position: int, bit: int) -> None:
    _, awaiting, welcome, _, _ = steps()
    with pytest.raises(RemoteError):
        awaiting.receive(flipped(welcome, position, bit))


@given(position=st.integers(0, PROOF_BYTES - 1), bit=st.integers(0, 7))
def test_altered_proof_is_refused(position: int, bit: int) -> None:
    *_, proving, proof = steps()
    with pytest.raises(BadSeal):
        proving.receive(flipped(proof, position, bit))


def test_no_byte_of_a_handshake_may_change() -> None:
    """Each position of each message, once."""
    hello, awaiting, welcome, proving, proof = steps()

    def to_bob_and_back(message: bytes) -> object:
        return awaiting.receive(respond(BOB, chance("r"), message)[0])

    for step, message in ((to_bob_and_back, hello), (awaiting.receive, welcome), (proving.receive, proof)):
        for position in range(len(message)):
            with pytest.raises(RemoteError):
                step(flipped(message, position, position % 8))


@given(st.binary(max_size=2 * WELCOME_BYTES))
def test_any_bytes_are_an_error_of_the_peer(data: bytes) -> None:
    _, awaiting, _, proving, _ = steps()
    for step in (awaiting.receive, proving.receive):
        with pytest.raises(RemoteError):
            step(data)
    try:
        respond(BOB, chance("r"), data)
    except RemoteError:
        pass
    else:
        assert len(data) == HELLO_BYTES
        assert data[0] == VERSION


@pytest.mark.parametrize("cut", [1, 16, 100])
def test_cut_or_longer_messages_are_refused(cut: int) -> None:
    hello, awaiting, welcome, proving, proof = steps()
    for step, message in (
        (lambda m: respond(BOB, chance("r"), m), hello),
        (awaiting.receive, welcome),
        (proving.receive, proof),
    ):
        for wrong in (message[:-cut], message + bytes(cut), b""):
            with pytest.raises(RemoteError):
                step(wrong)


def test_a_key_of_low_order_is_refused() -> None:
    for weak in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(Malformed):
            respond(BOB, chance("r"), bytes([VERSION]) + weak + bytes(16))


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize("version", [0, 2, 255])
def test_unknown_version_is_named(version: int) -> None:
    hello, awaiting, welcome, _, _ = steps()
    with pytest.raises(UnknownVersion, match=str(version)):
        respond(BOB, chance("r"), bytes([version]) + hello[1:] + b"of another length")
    with pytest.raises(UnknownVersion):
        awaiting.receive(bytes([version]) + welcome[1:])


def test_downgrade_of_the_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A man in the middle who lowers the offered version has changed what both sides sign."""
    with monkeypatch.context() as newer:
        newer.setattr(handshake, "VERSION", 2)
        hello, awaiting = start(ALICE, chance("i"))
    lowered = bytes([1]) + hello[1:]
    welcome, _ = respond(BOB, chance("r"), lowered)
    with pytest.raises(BadSeal):
        awaiting.receive(welcome)


# ---------------------------------------------------------------- attacks


def test_identity_misbinding_by_a_relay_fails() -> None:
    """Eve passes Bob's messages on and puts her own name in: neither end takes it.

    She can pass ephemeral keys on, but has no secret of the exchange to make her mac with.
    """
    _, awaiting, welcome, proving, _ = steps()
    forged_seal = bytes(PROOF_BYTES)
    for guess in (bytes(32), BOB.public, EVE.seed):
        step = handshake._Step.of(b"initiator", guess, awaiting.hello, welcome)
        forged_seal = step.credentials(EVE, BOB.public)
        with pytest.raises(BadSeal):
            proving.receive(forged_seal)


def test_identity_misbinding_with_a_stolen_seal_key_still_fails() -> None:
    """Even who can seal (but not mac) cannot claim an exchange of somebody else: why sign *and* mac."""
    _, awaiting, welcome, proving, _ = steps()
    step = handshake._Step.of(b"initiator", proving.shared, awaiting.hello, welcome)
    blind = dataclasses.replace(step, mac_key=bytes(32))
    with pytest.raises(BadSignature):
        proving.receive(blind.credentials(EVE, BOB.public))


def test_a_signature_meant_for_another_responder_is_refused() -> None:
    """What Alice signs towards Eve is worthless towards Bob."""
    _, awaiting, welcome, proving, _ = steps()
    step = handshake._Step.of(b"initiator", proving.shared, awaiting.hello, welcome)
    with pytest.raises(BadSignature):
        proving.receive(step.credentials(ALICE, EVE.public))


def test_somebody_elses_key_without_its_signature_is_refused() -> None:
    """Eve knows the exchange's secrets (it is her own) and shows Alice's key."""
    hello, awaiting = start(EVE, chance("e"))
    welcome, proving = respond(BOB, chance("r"), hello)
    shared = awaiting.ephemeral.agree(welcome[1:33])
    step = handshake._Step.of(b"initiator", shared, hello, welcome)
    mac = derive(b"link-mac", step.mac_key, ALICE.public, BOB.public)
    signature = EVE.sign(b"link-initiator", step.transcript + mac)
    plain = ALICE.public + signature + mac
    assert len(plain) == CREDENTIAL_BYTES
    with pytest.raises(BadSignature):
        proving.receive(seal(step.seal_key, bytes(12), plain, step.transcript))


def test_reflection_of_the_hello_fails() -> None:
    hello, awaiting = start(ALICE, chance("i"))
    for echo in (hello, hello + bytes(PROOF_BYTES)):
        with pytest.raises(RemoteError):
            awaiting.receive(echo)


def test_reflection_of_the_credentials_fails() -> None:
    """The sealed part of a welcome is no proof, though both have one shape: their roles differ."""
    _, _, welcome, proving, _ = steps()
    with pytest.raises(BadSeal):
        proving.receive(welcome[HELLO_BYTES:])


def test_a_node_led_back_to_itself_notices() -> None:
    """Eve passes Alice's hello to Alice's own serving end."""
    hello, awaiting = start(ALICE, chance("i"))
    welcome, _ = respond(ALICE, chance("r"), hello)
    with pytest.raises(WrongIdentity, match="itself"):
        awaiting.receive(welcome)


def test_a_node_may_link_to_itself_when_it_says_so() -> None:
    hello, awaiting = start(ALICE, chance("i"), expect=ALICE.id)
    welcome, proving = respond(ALICE, chance("r"), hello)
    proof, _ = awaiting.receive(welcome)
    assert proving.receive(proof).peer == ALICE.public


def test_replayed_hello_gains_nothing() -> None:
    """Bob answers a recorded hello anew; the recorded proof does not fit, and Eve cannot make another."""
    hello, _, _, _, proof = steps()
    _, proving = respond(BOB, chance("another"), hello)
    with pytest.raises(BadSeal):
        proving.receive(proof)


def test_replayed_proof_is_refused_in_another_handshake() -> None:
    *_, proof = steps()
    hello, _ = start(EVE, chance("e"))
    _, proving = respond(BOB, chance("r2"), hello)
    with pytest.raises(BadSeal):
        proving.receive(proof)


def test_replayed_welcome_is_refused() -> None:
    _, _, welcome, _, _ = steps()
    _, awaiting = start(ALICE, chance("later"))
    with pytest.raises(BadSeal):
        awaiting.receive(welcome)


def test_a_stolen_node_key_opens_nothing_recorded() -> None:
    """Forward secrecy: no identity key takes part in any shared secret."""
    hello, _, welcome, proving, _ = steps()
    their_keys = (hello[1:33], welcome[1:33])
    agreed = {identity.agree(key) for identity in (ALICE, BOB) for key in their_keys}
    agreed |= {ALICE.agree(BOB.x25519_public)}
    assert proving.shared not in agreed


def test_a_stolen_node_key_does_not_let_others_in_towards_its_owner() -> None:
    """Key compromise: Eve has Bob's key.  She can be Bob, but cannot be Alice towards Bob."""
    hello, awaiting = start(EVE, chance("e"))
    welcome, proving = respond(BOB, chance("r"), hello)
    shared = awaiting.ephemeral.agree(welcome[1:33])
    step = handshake._Step.of(b"initiator", shared, hello, welcome)
    mac = derive(b"link-mac", step.mac_key, ALICE.public, BOB.public)
    signature = Identity(BOB.seed).sign(b"link-initiator", step.transcript + mac)
    with pytest.raises(BadSignature):
        proving.receive(seal(step.seal_key, bytes(12), ALICE.public + signature + mac, step.transcript))


def test_an_ephemeral_key_put_in_the_middle_is_noticed() -> None:
    """Eve replaces both ephemeral keys by her own: she shares a secret with each, and signs as neither."""
    hello, awaiting = start(ALICE, chance("i"))
    middle = Ephemeral.generate(chance("m"))
    towards_bob = hello[:1] + middle.public + hello[33:]
    welcome, _ = respond(BOB, chance("r"), towards_bob)
    head = welcome[:1] + middle.public + welcome[33:HELLO_BYTES]
    with pytest.raises(BadSeal):
        awaiting.receive(head + welcome[HELLO_BYTES:])
    own = handshake._Step.of(b"responder", middle.agree(hello[1:33]), hello, head)
    peer = awaiting.receive(head + own.credentials(EVE, b""))[1].peer
    assert peer == EVE.public  # she can be herself only: who expects Bob refuses her
