"""Two ends of a channel without a network: each datagram is handed over by the test."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht.channel import Card, Channel
from p2pgrid.dht.contacts import Contact, Endpoint, Peer
from p2pgrid.dht.limits import Limits

EPOCH = 1_800_000_000.0


class End:
    """A channel, its listener, and a log of what it was told."""

    def __init__(self, number: int, limits: Limits, clock: Callable[[], float], *, server: bool = True) -> None:
        source = random.Random(number)
        self.identity = Identity(bytes([number]) * 32)
        self.endpoint: Endpoint = (f"10.0.{number}.1", 4000 + number)
        self.contact = Contact(self.identity.public, *self.endpoint)
        self.clock = clock
        self.log: list[tuple[str, object]] = []
        self.answer = b"answer"
        self.peers: dict[bytes, Peer] = {}
        card = Card(f"node-{number}", 8000 + number, server)
        wall = lambda: EPOCH + clock()  # noqa: E731
        self.channel = Channel(self.identity, limits, card, self, source.randbytes, wall, clock())

    def meet(self, key: bytes, endpoint: Endpoint, now: float) -> Peer:
        return self.peers.setdefault(key, Peer(key, *endpoint, None, now))

    def guest(self, peer):
        return False

    def met(self, session, accept, now):
        self.log.append(("met", accept))

    def said(self, session, body, now):
        self.log.append(("said", body))

    def asked(self, arrival, now):
        self.log.append(("asked", arrival.init.request))
        self.channel.accept(arrival, self.answer[: self.channel.room(arrival)], now)

    def welcomed(self, contact, now):
        self.log.append(("welcomed", contact))

    def lost(self, session, now):
        self.log.append(("lost", session))

    def send(self, other: End, body: bytes, size: int = 0) -> bytes:
        """The datagram for a message."""
        self.channel.send(other.contact, body, size, 0.0, self.clock())
        return self.out()

    def out(self) -> bytes:
        """The one datagram that was left to send."""
        [(datagram, _)] = self.channel.outbox
        self.channel.outbox = []
        return datagram

    def take(self, datagram: bytes, source: Endpoint) -> list[bytes]:
        """Receive; what is sent in answer."""
        self.channel.receive(datagram, source, self.clock())
        sent = [data for data, _ in self.channel.outbox]
        self.channel.outbox = []
        return sent

    def told(self, kind: str) -> list[object]:
        return [value for name, value in self.log if name == kind]


class Pair:
    """Alice begins, Bob answers, Mallory is neither."""

    def __init__(self, **limits: float) -> None:
        self.now = 0.0
        self.limits = Limits(**limits)
        clock = lambda: self.now  # noqa: E731
        self.alice, self.bob, self.mallory = (End(number, self.limits, clock) for number in (1, 2, 3))

    def handshake(self) -> None:
        """A session that both keep."""
        alice, bob = self.alice, self.bob
        [accept] = bob.take(alice.send(bob, b"first"), alice.endpoint)
        alice.take(accept, bob.endpoint)
        bob.take(alice.send(bob, b"second"), alice.endpoint)
        session = bob.channel.sessions.to(alice.identity.public)
        bob.channel.reply(session, b"third", self.now)
        alice.take(bob.out(), bob.endpoint)


@pytest.fixture
def pair() -> Pair:
    """Two strangers."""
    return Pair()


@pytest.fixture
def make_pair() -> type[Pair]:
    """For other limits."""
    return Pair
