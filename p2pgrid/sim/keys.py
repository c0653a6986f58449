"""Identities whose key agreements are modelled, for simulations that need no secrecy.

An X25519 agreement takes 40 us, and each handshake needs four: in a grid that churns, a fifth of a simulation's time.
Here two keys agree on a hash of both.  Everything else is real: signatures, seals, sizes, and who must know which key.
"""

from __future__ import annotations

from typing import Final

from nacl import bindings as sodium

from p2pgrid import crypto
from p2pgrid.ids import node_id

CONTEXT: Final = b"modelled agreement"


class ModelledIdentity(crypto.Identity):
    """An Ed25519 key pair that agrees without X25519.  Whoever knows both public keys knows the secret."""

    __slots__ = ()

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = sodium.crypto_sign_seed_keypair(seed)
        self.id = node_id(self.public)
        self._x25519_secret, self.x25519_public = b"", self.public

    def agree(self, their_x25519: bytes) -> bytes:
        """A hash of both keys."""
        return _agreed(self.public, their_x25519)

    def agree_with(self, public: bytes) -> bytes:
        """A hash of both keys."""
        return _agreed(self.public, public)

    def ephemeral(self, random: crypto.Random) -> crypto.Ephemeral:
        """A modelled one."""
        return ModelledEphemeral(random(crypto.KEY_BYTES))


class ModelledEphemeral(crypto.Ephemeral):
    """A key for one conversation: any 32 bytes."""

    __slots__ = ()

    def __init__(self, secret: bytes) -> None:
        self._secret = self.public = secret

    def agree(self, their_x25519: bytes) -> bytes:
        """A hash of both keys."""
        return _agreed(self.public, their_x25519)


def _agreed(one: bytes, other: bytes) -> bytes:
    return crypto.derive(CONTEXT, min(one, other), max(one, other))
