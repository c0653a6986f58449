"""Who is at the other end, proven both ways before a byte of a call travels.

A SIGMA-I handshake (Krawczyk, "SIGMA: the SIGn-and-MAc approach to authenticated Diffie-Hellman", CRYPTO 2003)
in three messages::

    hello    I -> R   version, ephemeral X25519 key, 16 random bytes
    welcome  R -> I   version, ephemeral X25519 key, 16 random bytes, sealed {key, signature, mac}
    proof    I -> R   sealed {key, signature, mac}

Each signature covers the hash of everything before it (so nobody can change the version or splice two handshakes)
and a mac over the signer's key under a secret of this exchange (so nobody can pass off a signature as made for
somebody else's).  Both keys travel sealed.  The ephemeral keys end with the handshake: a node key that is stolen
later opens nothing recorded before.

Each step is a value that knows only its next step, so steps cannot be taken out of order.  No I/O, no clock.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from p2pgrid.crypto import (
    KEY_BYTES,
    SEAL_OVERHEAD,
    SIGNATURE_BYTES,
    Ephemeral,
    Identity,
    Random,
    derive,
    seal,
    unseal,
    verify,
)
from p2pgrid.errors import BadSignature, Malformed, UnknownVersion, WrongIdentity
from p2pgrid.ids import NodeId, node_id, short

VERSION: Final = 1
RANDOM_BYTES: Final = 16
MAC_BYTES: Final = 32
HELLO_BYTES: Final = 1 + KEY_BYTES + RANDOM_BYTES
CREDENTIAL_BYTES: Final = KEY_BYTES + SIGNATURE_BYTES + MAC_BYTES
PROOF_BYTES: Final = CREDENTIAL_BYTES + SEAL_OVERHEAD
WELCOME_BYTES: Final = HELLO_BYTES + PROOF_BYTES

_ONCE: Final = bytes(12)
"""The nonce of keys that seal one message each."""


@dataclass(frozen=True, slots=True)
class Secured:
    """What a finished handshake leaves: the other's proven Ed25519 key and one frame key for each direction."""

    peer: bytes
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)

    @property
    def peer_id(self) -> NodeId:
        """The id that belongs to the proven key."""
        return node_id(self.peer)


@dataclass(frozen=True, slots=True)
class _Step:
    """Keys for one side's sealed credentials, bound to a transcript."""

    seal_key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    transcript: bytes
    role: bytes

    @classmethod
    def of(cls, role: bytes, shared: bytes, *messages: bytes) -> _Step:
        transcript = derive(b"link-transcript-" + role, *messages)
        return cls(
            derive(b"link-seal-" + role, shared, transcript),
            derive(b"link-mac-" + role, shared, transcript),
            transcript,
            role,
        )

    def credentials(self, identity: Identity, other: bytes) -> bytes:
        """Our key, signature and mac, sealed.  ``other`` is the other side's key where it is known, else empty."""
        mac = self._mac(identity.public, other)
        signature = identity.sign(b"link-" + self.role, self.transcript + mac)
        return seal(self.seal_key, _ONCE, identity.public + signature + mac, self.transcript)

    def open(self, sealed: bytes, other: bytes) -> bytes:
        """The proven key inside ``sealed``.  Raises ``BadSeal`` or ``BadSignature``."""
        plain = unseal(self.seal_key, _ONCE, sealed, self.transcript)
        key, rest = plain[:KEY_BYTES], plain[KEY_BYTES:]
        signature, mac = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
        if not hmac.compare_digest(mac, self._mac(key, other)):
            raise BadSignature("A key was shown that does not belong to this handshake.")
        verify(key, b"link-" + self.role, self.transcript + mac, signature)
        return key

    def _mac(self, key: bytes, other: bytes) -> bytes:
        return derive(b"link-mac", self.mac_key, key, other, size=MAC_BYTES)


@dataclass(frozen=True, slots=True)
class AwaitWelcome:
    """The initiator after its hello."""

    identity: Identity
    expect: NodeId | None
    hello: bytes
    ephemeral: Ephemeral

    def receive(self, welcome: bytes) -> tuple[bytes, Secured]:
        """The proof to send and the finished handshake.

        Raises ``UnknownVersion``, ``Malformed``, ``BadSeal``, ``BadSignature``, or ``WrongIdentity`` when the
        responder is not the node that was expected, or is ourselves without having been expected (a reflected hello).
        """
        _, ephemeral = _parse_head(welcome, WELCOME_BYTES)
        shared = self.ephemeral.agree(ephemeral)
        head, sealed = welcome[:HELLO_BYTES], welcome[HELLO_BYTES:]
        peer = _Step.of(b"responder", shared, self.hello, head).open(sealed, b"")
        self._check(peer)
        proof = _Step.of(b"initiator", shared, self.hello, welcome).credentials(self.identity, peer)
        ours, theirs = _frame_keys(shared, self.hello, welcome, proof)
        return proof, Secured(peer, send_key=ours, receive_key=theirs)

    def _check(self, peer: bytes) -> None:
        if self.expect is not None and node_id(peer) != self.expect:
            raise WrongIdentity(f"Node {short(self.expect)} was expected, {short(node_id(peer))} answered.")
        if self.expect is None and peer == self.identity.public:
            raise WrongIdentity("This node itself answered, where another was expected.")


@dataclass(frozen=True, slots=True)
class AwaitProof:
    """The responder after its welcome."""

    public: bytes
    hello: bytes
    welcome: bytes
    shared: bytes = field(repr=False)

    def receive(self, proof: bytes) -> Secured:
        """The finished handshake.  Raises ``Malformed``, ``BadSeal`` or ``BadSignature``."""
        if len(proof) != PROOF_BYTES:
            raise Malformed("A link's proof has a wrong length.")
        peer = _Step.of(b"initiator", self.shared, self.hello, self.welcome).open(proof, self.public)
        theirs, ours = _frame_keys(self.shared, self.hello, self.welcome, proof)
        return Secured(peer, send_key=ours, receive_key=theirs)


def start(identity: Identity, random: Random, expect: NodeId | None = None) -> tuple[bytes, AwaitWelcome]:
    """The hello to send, and the step that awaits its welcome."""
    ephemeral = Ephemeral.generate(random)
    hello = bytes([VERSION]) + ephemeral.public + random(RANDOM_BYTES)
    return hello, AwaitWelcome(identity, expect, hello, ephemeral)


def respond(identity: Identity, random: Random, hello: bytes) -> tuple[bytes, AwaitProof]:
    """The welcome to send, and the step that awaits the proof.  Raises ``UnknownVersion`` or ``Malformed``."""
    _, theirs = _parse_head(hello, HELLO_BYTES)
    ephemeral = Ephemeral.generate(random)
    shared = ephemeral.agree(theirs)
    head = bytes([VERSION]) + ephemeral.public + random(RANDOM_BYTES)
    welcome = head + _Step.of(b"responder", shared, hello, head).credentials(identity, b"")
    return welcome, AwaitProof(identity.public, hello, welcome, shared)


def _parse_head(message: bytes, size: int) -> tuple[int, bytes]:
    """Version and ephemeral key.  The version is looked at first: another one may have another length."""
    if message[:1] != bytes([VERSION]):
        spoken = message[0] if message else "none"
        raise UnknownVersion(f"The other side speaks version {spoken} of the link protocol, this one {VERSION}.")
    if len(message) != size:
        raise Malformed("A link's greeting has a wrong length.")
    return VERSION, message[1 : 1 + KEY_BYTES]


def _frame_keys(shared: bytes, *messages: bytes) -> tuple[bytes, bytes]:
    """The initiator's and the responder's sending key, bound to all that was said."""
    session = derive(b"link-session", shared, *messages)
    return derive(b"link-frames-initiator", session), derive(b"link-frames-responder", session)
