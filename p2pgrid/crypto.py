"""Keys, signatures, sealing and password hashes, by libsodium through PyNaCl; by OpenSSL large pieces, if it is there.

No key ever shows in a repr.  Every signature and every derived key names the context it is for, so that bytes
made for one purpose are worthless for another.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final

import nacl.exceptions
from nacl import bindings as sodium
from nacl._sodium import ffi, lib

from p2pgrid.errors import BadSeal, BadSignature, Malformed
from p2pgrid.ids import NodeId, node_id

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEAL_OVERHEAD: Final = 16
NONCE_BYTES: Final = 12
LARGE: Final = 8 << 10
"""Bytes from which on OpenSSL seals, if the extra ``speed`` is installed: it takes half of libsodium's time."""

_BYTES: Final = ffi.typeof("unsigned char[]")
_FIELD: Final = 2**255 - 19
_WEAK: Final = frozenset(
    bytes.fromhex(u)
    for u in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    )
)
"""X25519 keys of the points of small order (RFC 7748, section 7; the points y = 1 and y >= p are refused apart)."""

Random = Callable[[int], bytes]
"""A source of n unpredictable bytes; simulations hand in a seeded one."""


class Identity:
    """An Ed25519 key pair, and the X25519 pair that belongs to it."""

    __slots__ = ("_secret", "_x25519_secret", "id", "public", "x25519_public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ValueError("an identity is made from a seed of 32 bytes")
        self.public, self._secret = sodium.crypto_sign_seed_keypair(seed)
        self.id: NodeId = node_id(self.public)
        self._x25519_secret = sodium.crypto_sign_ed25519_sk_to_curve25519(self._secret)
        self.x25519_public: bytes = sodium.crypto_sign_ed25519_pk_to_curve25519(self.public)

    @classmethod
    def generate(cls, random: Random) -> Identity:
        """A new key pair from 32 bytes of ``random``."""
        return cls(random(KEY_BYTES))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes that a key file holds."""
        return bytes(self._secret[:KEY_BYTES])

    def sign(self, context: bytes, message: bytes) -> bytes:
        """64 bytes of signature over ``message``, good for ``context`` only."""
        return bytes(sodium.crypto_sign(_framed(context, message), self._secret)[:SIGNATURE_BYTES])

    def agree(self, their_x25519: bytes) -> bytes:
        """The X25519 secret shared with the holder of ``their_x25519``.  Raises ``Malformed`` on a weak key."""
        return agree(self._x25519_secret, their_x25519)

    def agree_with(self, public: bytes) -> bytes:
        """The secret shared with the holder of an Ed25519 key.  Raises ``Malformed`` for a key that can be nobody's."""
        return self.agree(x25519_of(public))

    def ephemeral(self, random: Random) -> Ephemeral:
        """A new key pair for one conversation."""
        return Ephemeral.generate(random)

    def __repr__(self) -> str:
        return f"<Identity {self.id.hex()}>"


class Ephemeral:
    """An X25519 key pair for one conversation."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.public: bytes = sodium.crypto_scalarmult_base(secret)

    @classmethod
    def generate(cls, random: Random) -> Ephemeral:
        """A new pair from 32 bytes of ``random``."""
        return cls(random(KEY_BYTES))

    def agree(self, their_x25519: bytes) -> bytes:
        """The secret shared with the holder of ``their_x25519``.  Raises ``Malformed`` on a weak key."""
        return agree(self._secret, their_x25519)

    def __repr__(self) -> str:
        return "<Ephemeral>"


def agree(secret: bytes, their_x25519: bytes) -> bytes:
    """X25519 (RFC 7748).  Raises ``Malformed`` for keys of low order or a wrong length."""
    if len(their_x25519) != KEY_BYTES:  # the binding does not look, and libsodium would read beyond a short one
        raise Malformed("A key agreement got a key of a wrong length.")
    try:
        return bytes(sodium.crypto_scalarmult(secret, their_x25519))
    except (nacl.exceptions.CryptoError, TypeError, ValueError) as error:
        raise Malformed("A key agreement got a key that is none.") from error


@lru_cache(maxsize=4096)
def x25519_of(ed25519_public: bytes) -> bytes:
    """The X25519 public key that belongs to an Ed25519 one.  Raises ``Malformed`` when it can be nobody's.

    ``u = (1 + y) / (1 - y)`` (RFC 7748, section 4.1).  The same bytes as libsodium's conversion in a third of its time,
    most of which is a proof that the point lies in the main subgroup; an agreement does not need it.  X25519 clears
    the cofactor of 8 and refuses a result of zero, so a component of small order adds nothing, and a point of small
    order, also of the curve's twist, agrees on nothing.  A ``y`` that is no point of the curve lies on that twist,
    which is as strong (section 7, and Bernstein 2006, "Curve25519", section 3): nobody knows a secret for it, so
    nobody ever agrees on anything under such a key.  Everything here is public, so its time may depend on it.
    """
    if len(ed25519_public) != KEY_BYTES:
        raise Malformed("A public key has a wrong length.")
    y = int.from_bytes(ed25519_public, "little") & ~(1 << 255)  # the highest bit is the sign of x
    if y >= _FIELD or y == 1:
        raise Malformed("A public key is no point of the curve, or the point at infinity.")
    u = ((1 + y) * pow(1 - y, -1, _FIELD) % _FIELD).to_bytes(KEY_BYTES, "little")
    if u in _WEAK:
        raise Malformed("A public key is a point of small order.")
    return u


def verify(public: bytes, context: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature made by ``Identity.sign``.  Raises ``BadSignature``."""
    if len(signature) != SIGNATURE_BYTES or len(public) != KEY_BYTES:
        raise BadSignature("A signature or its key has a wrong length.")
    try:
        sodium.crypto_sign_open(signature + _framed(context, message), public)
    except (nacl.exceptions.CryptoError, ValueError) as error:
        raise BadSignature("A signature does not fit its key and content.") from error


def derive(context: bytes, *secrets: bytes, size: int = KEY_BYTES) -> bytes:
    """A key of ``size`` (1 to 64) bytes from secrets: BLAKE2b keyed with ``context``, each part length-framed."""
    state = _derivation(context, size).copy()
    state.update(b"".join([part for secret in secrets for part in (len(secret).to_bytes(4, "big"), secret)]))
    return state.digest()


@lru_cache(maxsize=64)
def _derivation(context: bytes, size: int) -> hashlib.blake2b:
    return hashlib.blake2b(key=hashlib.blake2b(context, digest_size=32).digest(), digest_size=size)


def seal(key: bytes, nonce: bytes, plain: bytes, aad: bytes = b"") -> bytes:
    """ChaCha20-Poly1305 (RFC 8439): 32-byte key, 12-byte nonce never used twice with it; 16 bytes longer.

    Like ``unseal`` it calls libsodium itself: PyNaCl's wrapper around these two takes four times as long as they do
    (4.6 us and 1.2 us for a small packet), which would be a quarter of the cost of an RPC.  The lengths that the
    wrapper checks are checked here.
    """
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a seal needs a key of 32 bytes and a nonce of 12")
    if len(plain) >= LARGE and (openssl := _openssl()) is not None:
        return openssl.seal(key, nonce, plain, aad)
    size = len(plain) + SEAL_OVERHEAD
    sealed = ffi.new(_BYTES, size)
    lib.crypto_aead_chacha20poly1305_ietf_encrypt(
        sealed, ffi.NULL, plain, len(plain), aad, len(aad), ffi.NULL, nonce, key
    )
    made: bytes = ffi.buffer(sealed)[:]
    return made


def unseal(key: bytes, nonce: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    """Open what ``seal`` made.  Raises ``BadSeal``."""
    size = len(sealed) - SEAL_OVERHEAD
    if size < 0 or len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise BadSeal("A sealed packet, its key or its nonce has a wrong length.")
    if size >= LARGE and (openssl := _openssl()) is not None:
        return openssl.unseal(key, nonce, sealed, aad)
    plain = ffi.new(_BYTES, size)
    if lib.crypto_aead_chacha20poly1305_ietf_decrypt(
        plain, ffi.NULL, ffi.NULL, sealed, len(sealed), aad, len(aad), nonce, key
    ):
        raise BadSeal("A sealed packet does not open.")
    opened: bytes = ffi.buffer(plain)[:]
    return opened


class _OpenSSL:
    """The same cipher by OpenSSL."""

    def __init__(self) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._cipher, self._invalid = ChaCha20Poly1305, InvalidTag
        ChaCha20Poly1305(bytes(KEY_BYTES))  # it may be built or set up without it

    def seal(self, key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
        """See ``seal``."""
        return self._cipher(key).encrypt(nonce, plain, aad)

    def unseal(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """See ``unseal``."""
        try:
            return self._cipher(key).decrypt(nonce, sealed, aad)
        except self._invalid:
            raise BadSeal("A sealed packet does not open.") from None


@cache
def _openssl() -> _OpenSSL | None:
    """None when the extra ``speed`` is not installed, or does not work here."""
    try:
        return _OpenSSL()
    except ImportError:
        return None
    except Exception:  # a library that is broken or set up otherwise: libsodium does the same
        log.warning("cryptography cannot be used", exc_info=True)
        return None


def digest(data: bytes | memoryview, *, size: int = 32) -> bytes:
    """BLAKE2b of ``data``."""
    return hashlib.blake2b(data, digest_size=size).digest()


def hash_password(password: str) -> str:
    """An argon2id hash (libsodium's interactive limits: 64 MiB, 2 passes), with salt and parameters inside."""
    from nacl import pwhash

    return pwhash.argon2id.str(
        password.encode(),
        opslimit=pwhash.argon2id.OPSLIMIT_INTERACTIVE,
        memlimit=pwhash.argon2id.MEMLIMIT_INTERACTIVE,
    ).decode("ascii")


def check_password(hashed: str, password: str) -> bool:
    """Whether ``password`` made ``hashed``; takes as long either way."""
    from nacl import pwhash

    try:
        return bool(pwhash.verify(hashed.encode("ascii"), password.encode()))
    except (nacl.exceptions.CryptoError, UnicodeEncodeError):
        return False


def _framed(context: bytes, message: bytes) -> bytes:
    return b"p2pgrid:" + len(context).to_bytes(1, "big") + context + message
