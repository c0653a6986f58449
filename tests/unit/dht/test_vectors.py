"""Golden vectors: fixed keys, chance and time give the bytes of ``tests/vectors/dht.json``, whatever changes inside.

A change here is a change of the protocol: another version must be able to read what this one writes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages as m
from p2pgrid.dht.channel import Card, Channel
from p2pgrid.dht.contacts import Contact, Endpoint, Peer
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.placement import shuffled
from p2pgrid.dht.ranges import by_range, range_of, spread
from p2pgrid.ids import normalise_tag, tag_key

VECTORS = Path(__file__).parents[2] / "vectors" / "dht.json"
WALL = 1_800_000_000.0
ALICE, BOB = Identity(b"\x01" * 32), Identity(b"\x02" * 32)
HERE: tuple[Endpoint, Endpoint] = (("192.0.2.1", 4001), ("2001:db8::2", 4002))


class Chance:
    """Bytes that anybody can make again: BLAKE2b of a name and a counter."""

    def __init__(self, name: bytes) -> None:
        self.name, self.count = name, 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return hashlib.blake2b(self.name + self.count.to_bytes(4, "big"), digest_size=size).digest()


@dataclass
class Number:
    """An id without a key."""

    long_id: int


class Quiet:
    """A listener that answers every request with one message."""

    def __init__(self, identity: Identity, endpoint: Endpoint) -> None:
        limits = Limits()
        card = Card("bob" if identity is BOB else "alice", 8080, True)
        self.endpoint = endpoint
        chance = Chance(identity.public[:4])
        self.channel = Channel(identity, limits, card, self, chance, lambda: WALL, 0.0)

    def meet(self, key, endpoint, now):
        return Peer(key, *endpoint, None, now)

    def guest(self, peer):
        return False

    def met(self, session, accept, now):
        self.session = session

    def said(self, session, body, now):
        self.heard = body

    def asked(self, arrival, now):
        self.channel.accept(arrival, m.encode(m.Nodes(7, ())), now)

    def welcomed(self, contact, now):
        self.contact = contact

    def lost(self, session, now):
        pass

    def out(self) -> bytes:
        [(data, _)] = self.channel.outbox
        self.channel.outbox = []
        return data


def made() -> dict[str, dict[str, str]]:
    """All vectors, made by the code."""
    return {"messages": made_messages(), "datagrams": made_datagrams(), "values": made_values()}


def made_messages() -> dict[str, str]:
    contact = Contact(BOB.public, *HERE[0]).packed
    pair = (b"body", b"\x05" * 64)
    tag = normalise_tag("#MNIST")
    every = (
        m.About(1, "alice"),
        m.Ping(2, True),
        m.FindNode(3, bytes(range(20))),
        m.FindListings(4, tag, 99, 3, 16, 0b1011),
        m.AddListing(5, pair),
        m.SampleTags(6, 8),
        m.Pong(7, m.ONLINE, 12, "bob", pair),
        m.Nodes(8, (contact, Contact(ALICE.public, *HERE[1]).packed)),
        m.Page(9, 40, 3, (pair,), (contact,)),
        m.Stored(10, m.REFUSED_OLD),
        m.Tags(11, 2, (tag, normalise_tag("digits"))),
    )
    named = {type(message).__name__: m.encode(message).hex() for message in every}
    return named | {"FindNode in ranges": m.encode(m.FindNode(12, bytes(range(20)), 0b11)).hex()}


def made_datagrams() -> dict[str, str]:
    """Hello, welcome, init, accept, ticketed, data, unknown: one conversation."""
    alice, bob = Quiet(ALICE, HERE[0]), Quiet(BOB, HERE[1])
    log: dict[str, str] = {}

    def step(name: str, sender: Quiet, receiver: Quiet) -> None:
        data = sender.out()
        log[name] = data.hex()
        receiver.channel.receive(data, sender.endpoint, 0.0)

    alice.channel.greet(bob.endpoint)
    step("hello", alice, bob)
    step("welcome", bob, alice)
    alice.channel.send(alice.contact, m.encode(m.FindNode(7, bytes(20))), 400, 0.0, 0.0)
    step("init", alice, bob)
    step("accept", bob, alice)
    alice.channel.reply(alice.session, m.encode(m.About(8, "alice")), 0.0)
    step("ticketed", alice, bob)
    bob.channel.reply(bob.session, m.encode(m.Ping(9, False)), 0.0)
    step("data", bob, alice)
    return log


def made_values() -> dict[str, str]:
    alice = int.from_bytes(ALICE.id, "big")
    rows = [row for _, row in by_range(0, [Number(number << 150) for number in range(1, 21)])]
    return {
        "alice_id": ALICE.id.hex(),
        "bob_packed_v4": Contact(BOB.public, *HERE[0]).packed.hex(),
        "bob_packed_v6": Contact(BOB.public, *HERE[1]).packed.hex(),
        "tag_key_mnist": tag_key(normalise_tag("#MNIST")).hex(),
        "range_of_alice_around_mnist": str(range_of(int.from_bytes(tag_key(normalise_tag("#MNIST")), "big"), alice)),
        "spread_of_1_to_20_around_0_turn_3": " ".join(str(one.long_id >> 150) for one in spread(rows, 9, 3)),
        "shuffled_10_of_order_7": " ".join(map(str, shuffled(10, 7, 0))),
    }


def test_the_code_makes_the_published_bytes():
    assert made() == json.loads(VECTORS.read_text())


def test_the_published_messages_are_read():
    for name, encoded in json.loads(VECTORS.read_text())["messages"].items():
        assert type(m.decode(bytes.fromhex(encoded))).__name__ == name.split()[0]
