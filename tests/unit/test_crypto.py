"""Keys, signatures, seals and password hashes."""

from __future__ import annotations

import random
import secrets
import sys
import traceback

import nacl.exceptions
import nacl.pwhash
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from p2pgrid import crypto
from p2pgrid.crypto import Ephemeral, Identity
from p2pgrid.errors import BadSeal, BadSignature, Malformed
from p2pgrid.ids import node_id

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(32))
KEY, NONCE = bytes(range(32)), bytes(12)

LOW_ORDER_ED25519 = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
LOW_ORDER_X25519 = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def test_an_identity_follows_from_its_seed() -> None:
    assert Identity(ALICE.seed).public == ALICE.public
    assert ALICE.id == node_id(ALICE.public)
    assert Identity.generate(random.Random(1).randbytes).public == Identity.generate(random.Random(1).randbytes).public
    assert Identity.generate(secrets.token_bytes).public != Identity.generate(secrets.token_bytes).public


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_a_wrong_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(bytes(size))


def test_the_signature_is_ed25519_over_the_framed_context() -> None:
    """RFC 8032 through libsodium: any Ed25519 verifies it over the documented bytes."""
    from nacl.signing import VerifyKey

    signature = ALICE.sign(b"listing", b"body")
    assert VerifyKey(ALICE.public).verify(b"p2pgrid:\x07listingbody", signature)


@given(st.binary(max_size=200), st.binary(max_size=30))
def test_what_was_signed_verifies(message: bytes, context: bytes) -> None:
    crypto.verify(ALICE.public, context, message, ALICE.sign(context, message))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_altered_bit_of_message_signature_key_or_context_is_refused(message: bytes, data: st.DataObject) -> None:
    parts = [bytearray(ALICE.public), bytearray(b"ctx"), bytearray(message), bytearray(ALICE.sign(b"ctx", message))]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadSignature):
        crypto.verify(*map(bytes, parts))


def test_a_signature_is_worthless_for_another_purpose() -> None:
    signature = ALICE.sign(b"listing", b"body")
    for context, message in [(b"node-record", b"body"), (b"list", b"ingbody"), (b"", b"listingbody")]:
        with pytest.raises(BadSignature):
            crypto.verify(ALICE.public, context, message, signature)


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_signatures_and_keys_of_a_wrong_length_are_refused(size: int) -> None:
    with pytest.raises(BadSignature):
        crypto.verify(ALICE.public, b"c", b"m", bytes(size))
    with pytest.raises(BadSignature):
        crypto.verify(bytes(size), b"c", b"m", ALICE.sign(b"c", b"m"))


@pytest.mark.parametrize("point", LOW_ORDER_ED25519, ids=lambda point: point.hex()[:8])
def test_a_key_of_low_order_signs_nothing(point: bytes) -> None:
    """With such a key, R = key and S = 0 verifies almost any message under lax rules."""
    for forged in (point + bytes(32), bytes(64), b"\x01" + bytes(63)):
        with pytest.raises(BadSignature):
            crypto.verify(point, b"c", b"m", forged)


def test_a_signature_cannot_be_altered_into_another_valid_one() -> None:
    """S + L is refused (RFC 8032, 5.1.7): otherwise a record would have many signatures."""
    signature = ALICE.sign(b"c", b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(BadSignature):
        crypto.verify(ALICE.public, b"c", b"m", signature[:32] + scalar.to_bytes(32, "little"))


def test_both_sides_agree_on_one_secret() -> None:
    ours, theirs = Ephemeral.generate(secrets.token_bytes), Ephemeral.generate(secrets.token_bytes)
    assert ours.agree(theirs.public) == theirs.agree(ours.public)
    assert ALICE.agree(BOB.x25519_public) == BOB.agree(ALICE.x25519_public)
    assert crypto.x25519_of(ALICE.public) == ALICE.x25519_public


@pytest.mark.parametrize("point", LOW_ORDER_X25519, ids=lambda point: point.hex()[:8])
def test_a_weak_key_agrees_on_nothing(point: bytes) -> None:
    with pytest.raises(Malformed):
        ALICE.agree(point)
    with pytest.raises(Malformed):
        Ephemeral.generate(secrets.token_bytes).agree(point)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), *LOW_ORDER_ED25519])
def test_a_key_of_low_order_or_a_wrong_length_has_no_x25519_key(key: bytes) -> None:
    with pytest.raises(Malformed):
        crypto.x25519_of(key)


@given(st.integers(0, 18), st.booleans())
def test_a_key_that_is_not_in_its_one_form_has_no_x25519_key(above: int, sign: bool) -> None:
    """Of two forms of one point, y and y + p, only the lower is anybody's key (RFC 8032, 5.1.3)."""
    y = 2**255 - 19 + above
    with pytest.raises(Malformed):
        crypto.x25519_of((y | sign << 255).to_bytes(32, "little"))


@given(st.binary(min_size=32, max_size=32))
def test_the_x25519_key_is_the_one_that_libsodium_computes(seed: bytes) -> None:
    public = Identity(seed).public
    assert crypto.x25519_of(public) == bindings.crypto_sign_ed25519_pk_to_curve25519(public)


@given(st.binary(min_size=32, max_size=32))
def test_any_bytes_are_no_key_or_agree_as_libsodium_says(key: bytes) -> None:
    """What is no point of the curve may still have an X25519 key, on the twist; nobody holds its secret."""
    try:
        ours = crypto.x25519_of(key)
    except Malformed:
        ours = b""
    try:
        theirs = bindings.crypto_sign_ed25519_pk_to_curve25519(key)
    except nacl.exceptions.RuntimeError:
        return
    assert ours == theirs


@pytest.mark.parametrize("y", range(2, 40))
def test_a_small_key_beside_the_curve_agrees_on_nothing_or_on_what_nobody_knows(y: int) -> None:
    secret = ALICE.agree(crypto.x25519_of(y.to_bytes(32, "little")))
    assert secret != bytes(32)


@pytest.mark.parametrize("key", [b"", b"\x09" * 31, b"\x09" * 33])
def test_a_key_of_a_wrong_length_agrees_on_nothing(key: bytes) -> None:
    """A short one would have libsodium read beyond it."""
    with pytest.raises(Malformed):
        ALICE.agree(key)


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_was_sealed_opens(plain: bytes, aad: bytes) -> None:
    sealed = crypto.seal(KEY, NONCE, plain, aad)
    assert len(sealed) == len(plain) + crypto.SEAL_OVERHEAD
    assert crypto.unseal(KEY, NONCE, sealed, aad) == plain


@given(st.binary(max_size=1300), st.binary(max_size=50), st.binary(min_size=12, max_size=12))
def test_a_seal_is_the_one_that_the_wrapper_of_libsodium_makes(plain: bytes, aad: bytes, nonce: bytes) -> None:
    """``crypto`` calls the library below that wrapper; should PyNaCl ever change there, this tells."""
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, aad, nonce, KEY)
    assert crypto.seal(KEY, nonce, plain, aad) == sealed
    assert crypto.unseal(KEY, nonce, sealed, aad) == plain


@given(st.integers(crypto.LARGE - 20, crypto.LARGE + 70_000), st.binary(max_size=50))
def test_both_libraries_make_the_same_seal_of_large_pieces(size: int, aad: bytes) -> None:
    plain = (KEY * (size // len(KEY) + 1))[:size]
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, aad, NONCE, KEY)
    assert crypto.seal(KEY, NONCE, plain, aad) == sealed
    assert crypto.unseal(KEY, NONCE, sealed, aad) == plain


@pytest.mark.parametrize("place", [0, 4000, crypto.LARGE - 1, crypto.LARGE, -1])
def test_an_altered_large_packet_is_refused(place: int) -> None:
    sealed = bytearray(crypto.seal(KEY, NONCE, bytes(crypto.LARGE)))
    sealed[place] ^= 1
    with pytest.raises(BadSeal):
        crypto.unseal(KEY, NONCE, bytes(sealed))


def test_without_openssl_libsodium_seals_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = crypto.seal(KEY, NONCE, bytes(crypto.LARGE))
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    crypto._openssl.cache_clear()
    try:
        assert crypto._openssl() is None
        assert crypto.seal(KEY, NONCE, bytes(crypto.LARGE)) == sealed
        assert crypto.unseal(KEY, NONCE, sealed) == bytes(crypto.LARGE)
    finally:
        crypto._openssl.cache_clear()


@pytest.mark.parametrize(("key", "nonce"), [(bytes(31), NONCE), (bytes(33), NONCE), (KEY, bytes(11)), (KEY, bytes(13))])
def test_nothing_is_sealed_with_a_key_or_nonce_of_a_wrong_length(key: bytes, nonce: bytes) -> None:
    """The library would read beyond a short one."""
    with pytest.raises(ValueError, match="32 bytes"):
        crypto.seal(key, nonce, b"plain")


@given(st.binary(max_size=60), st.data())
def test_any_altered_bit_of_a_sealed_packet_its_nonce_key_or_aad_is_refused(plain: bytes, data: st.DataObject) -> None:
    parts = [bytearray(KEY), bytearray(NONCE), bytearray(crypto.seal(KEY, NONCE, plain, b"aad")), bytearray(b"aad")]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadSeal):
        crypto.unseal(*map(bytes, parts))


@pytest.mark.parametrize(("key", "nonce"), [(bytes(31), NONCE), (bytes(33), NONCE), (KEY, bytes(11)), (KEY, b"")])
def test_a_seal_with_a_key_or_nonce_of_a_wrong_length_does_not_open(key: bytes, nonce: bytes) -> None:
    with pytest.raises(BadSeal):
        crypto.unseal(key, nonce, crypto.seal(KEY, NONCE, b"plain"))


@given(st.binary(max_size=100))
def test_any_bytes_open_to_nothing(data: bytes) -> None:
    with pytest.raises(BadSeal):
        crypto.unseal(KEY, NONCE, data)


def test_derived_keys_differ_by_context_parts_and_their_borders() -> None:
    keys = [
        crypto.derive(b"a", b"xy"),
        crypto.derive(b"b", b"xy"),
        crypto.derive(b"a", b"x", b"y"),
        crypto.derive(b"a", b"xy", b""),
        crypto.derive(b"a"),
        crypto.derive(b"a", b"xy", size=64)[:32],
    ]
    assert len(set(keys)) == len(keys)
    assert len(crypto.derive(b"a", b"x", size=64)) == 64


def test_passwords() -> None:
    hashed = crypto.hash_password("correct horse")
    assert hashed.startswith("$argon2id$")
    assert hashed != crypto.hash_password("correct horse")
    assert crypto.check_password(hashed, "correct horse")
    assert not crypto.check_password(hashed, "battery staple")
    assert not crypto.check_password(hashed, "")


@pytest.mark.parametrize("hashed", ["", "no hash", "$argon2id$", "$argon2id$v=19$m=65536,t=2,p=1$AAAA$AAAA", "é"])
def test_a_damaged_password_hash_fits_no_password(hashed: str) -> None:
    assert not crypto.check_password(hashed, "x")


def test_a_hash_made_elsewhere_is_understood() -> None:
    elsewhere = nacl.pwhash.argon2id.str(b"pass", opslimit=1, memlimit=8192).decode()
    assert crypto.check_password(elsewhere, "pass")


def test_no_secret_shows_in_a_repr_or_an_error() -> None:
    seed = secrets.token_bytes(32)
    identity, ephemeral = Identity(seed), Ephemeral(seed)
    shown = [repr(identity), str(identity), repr(ephemeral), str(ephemeral), f"{[identity]}"]
    for attempt in (
        lambda: identity.agree(bytes(32)),
        lambda: ephemeral.agree(b"short"),
        lambda: crypto.unseal(seed, NONCE, bytes(40)),
        lambda: Identity(seed + b"!"),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is does not matter here
            attempt()
        shown.append("".join(traceback.format_exception(caught.value)))
    for text in shown:
        assert seed.hex() not in text
        assert repr(seed) not in text
        assert repr(seed)[2:20] not in text
