"""Bytes that no honest node sends: truncated, random, deep, huge, at every layer; 10^6 of them."""

from __future__ import annotations

import contextlib
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid import records, wire
from p2pgrid.crypto import Identity
from p2pgrid.dht import messages, packets
from p2pgrid.dht.contacts import Contact
from p2pgrid.errors import LocalError, Oversized, RemoteError

DATAGRAMS = 250_000
BODIES = 600_000
SPOKEN = 100_000
RECORDS = 50_000
LONGEST = 1150
"""Bytes of a message that fit a datagram with a ticket."""
MOST_SECONDS = 1e-3
"""Processor time of one frame, on average: a thousand a second on one core at the very least."""
MOST_GROWTH = 512 * 1024
"""Bytes that a node may grow by, whatever number of frames came."""


@pytest.fixture
def talk(arena, monkeypatch):
    """A grid of 12 that joined, announced, searched and sampled; its datagrams and its messages."""
    datagrams, bodies, decode = [], set(), messages.decode

    def keep(data, source, target):
        datagrams.append((data, source, target))
        return True

    monkeypatch.setattr(messages, "decode", lambda body: bodies.add(body) or decode(body))
    arena.swarm.watch = keep
    arena.honest = arena.swarm.grow(12)
    for number, node in enumerate(arena.honest):
        arena.swarm.announce(node, "prey", number.to_bytes(16, "big"), "title")
        arena.swarm.search(node, "prey")
    arena.tell(arena.honest[1], arena.honest[2], messages.SampleTags(0, 32))
    arena.tell(arena.honest[1], arena.honest[2], messages.Ping(0, True))
    arena.swarm.watch = None
    monkeypatch.setattr(messages, "decode", decode)
    by_kind = {}
    for body in sorted(bodies):
        by_kind.setdefault(wire.unpack(body, limit=1280, items=64)[0], []).append(body)
    return datagrams, [body for kind in by_kind.values() for body in kind[:20]]


def mutate(chance, good):
    """One of the good, with bytes changed, cut out, put in, repeated, cut off; or nothing but chance."""
    body = bytearray(chance.choice(good))
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at, how = chance.randrange(len(body) + 1), chance.randrange(8)
        if how < 3 and at < len(body):
            body[at] = chance.randrange(256)
        elif how == 3:
            del body[at : at + chance.randrange(1, 9)]
        elif how == 4:
            body[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif how == 5:
            body[at:] = b""
        elif how == 6:
            body[at:at] = chance.choice(good)[: chance.randrange(64)]
        else:
            body[at:at] = bytes([chance.choice((0x91, 0xDC, 0xDD, 0xC6, 0xDB, 0xDF, 0xCF, 0xC1))]) * chance.randrange(
                40
            )
    return bytes(body) if len(body) else b"\0"


def state(engine):
    """How much a node keeps, by name."""
    return {
        "table": len(engine.table),
        "sessions": engine.sessions(),
        "store": len(engine.store),
        "calls": len(engine.calls),
        "operations": len(engine._operations),
    }


class Measured:
    """Processor time and growth of memory of what is done inside."""

    def __init__(self, frames):
        self.frames = frames

    def __enter__(self):
        tracemalloc.start()
        self.memory, self.began = tracemalloc.get_traced_memory()[0], time.process_time()
        return self

    def __exit__(self, *exc):
        spent = (time.process_time() - self.began) / self.frames
        grown = tracemalloc.get_traced_memory()[0] - self.memory
        tracemalloc.stop()
        print(f"measured: {self.frames} frames, {spent * 1e6:.0f} us each (traced), {grown / 1024:.0f} KiB kept")
        if exc[0] is None:
            assert spent < MOST_SECONDS
            assert grown < MOST_GROWTH


@pytest.mark.slow
def test_random_and_mutated_datagrams_of_every_kind(arena, talk):
    datagrams, _ = talk
    target, chance, now = arena.honest[0], arena.swarm.random, arena.swarm.now
    kinds = {}
    for data, source, to in datagrams:
        here = kinds.setdefault(data[0], [])
        here.insert(0 if to == target.address else len(here), (data, source))
    assert {packets.HELLO, packets.WELCOME, packets.INIT, packets.ACCEPT, packets.DATA} <= set(kinds)
    before = state(target)
    target.counters.clear()

    def throw(count):
        for number in range(count):
            kind = chance.choice(list(kinds))
            good = kinds[kind]
            data = mutate(chance, [one for one, _ in good[:50]])
            if number % 8 == 0:
                data = bytes([kind]) + chance.randbytes(chance.randrange(1400))
            source = chance.choice(good)[1] if number % 2 else (f"66.{number % 200}.1.1", 1000 + number % 5000)
            target.receive(data, source, now)
            target.poll(now)

    throw(2000)  # what is bounded may fill up first
    with Measured(DATAGRAMS // 10):
        throw(DATAGRAMS // 10)
    throw(DATAGRAMS - DATAGRAMS // 10 - 2000)
    assert state(target) == before
    assert target.counters["internal-error"] == 0
    assert sum(target.counters.values()) >= 2 * DATAGRAMS, "each is counted as received, and by why it was dropped"
    assert len(arena.swarm.search(arena.honest[1], "prey")) == 12


@pytest.mark.slow
def test_random_and_mutated_messages_through_the_decoder(arena, talk):
    _, bodies = talk
    chance = arena.swarm.random
    read = 0

    def throw(count):
        nonlocal read
        for number in range(count):
            body = mutate(chance, bodies) if number % 8 else chance.randbytes(chance.randrange(1280))
            try:
                messages.decode(body)
            except RemoteError:
                continue
            read += 1

    with Measured(BODIES // 10):
        throw(BODIES // 10)
    throw(BODIES - BODIES // 10)
    assert 0.01 * BODIES < read < 0.9 * BODIES, "what is tried is neither all nonsense nor all sense"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=9),
        max_leaves=60,
    )
)
def test_any_structure_is_a_message_or_a_remote_error(value):
    for body in ([value], [2, 1, value], [19, 1, 1, 0, value, value], value):
        try:
            packed = wire.pack(body)
        except LocalError:
            continue  # the packer is ours: what it refuses is never sent
        with contextlib.suppress(RemoteError):
            assert messages.decode(packed).call < messages.MAX_CALL


def test_deep_and_huge_frames_are_refused_before_they_are_built():
    bombs = [
        b"\x93\x02\x01" + b"\x91" * 1_000_000,
        b"\x93\x02\x01\xdd\xff\xff\xff\xff",
        b"\x93\x02\x01\xdf\xff\xff\xff\xff",
        b"\x93\x02\x01\xc6\xff\xff\xff\xff",
        b"\x93\x02\x01\xdc\xff\xff" + b"\x90" * 1200,
        b"\xdd\x00\x0f\x42\x40" + b"\x01" * 1_000_000,
        b"\x81" * 1270,
        b"\x93\x02\x01" + b"\x91" * 1200,
    ]
    tracemalloc.start()
    for bomb in bombs:
        with pytest.raises(RemoteError):
            messages.decode(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 * 1024


def test_a_reply_with_10_000_peers(arena):
    honest = arena.swarm.grow(8)
    asker, liar = honest[0], honest[1]
    peers = tuple(contact.packed for contact in arena.phantoms(10_000))
    with pytest.raises(Oversized):
        messages.decode(messages.encode(messages.Nodes(1, peers)))
    heard = []

    def flood(request, room):
        """As one datagram beyond any bound, then as 417 answers of as many as one may hold."""
        if not isinstance(request, messages.FindNode) or heard:
            return None
        heard.append(request.call)
        session = liar._channel.sessions.to(asker.identity.public)
        whole = messages.encode(messages.Nodes(request.call, peers))
        asker.receive(session.seal(whole), liar.address, arena.swarm.now)
        for at in range(24, len(peers), 24):
            part = messages.encode(messages.Nodes(request.call, peers[at : at + 24]))
            asker.receive(session.seal(part), liar.address, arena.swarm.now)
        arena.swarm.flush(asker)
        return messages.encode(messages.Nodes(request.call, peers[:16]))

    arena.lie(liar, flood)
    before, sent = state(asker), arena.swarm.sent
    found = {contact.id for contact in arena.swarm.find(asker, bytes(20))}
    assert heard
    assert {node.identity.id for node in honest if node is not asker} <= found
    assert asker.counters["oversized"] == 1
    assert asker.counters["unasked"] >= 400, "only the first answer to a request is one"
    assert state(asker) == before
    assert arena.swarm.sent - sent < 24 * 3 + 40 * 2, (
        "each of the 24 that one answer holds is tried three times at most"
    )


@pytest.mark.slow
def test_nonsense_spoken_by_an_authenticated_peer(arena, talk):
    _, bodies = talk
    target, peers, chance, swarm = arena.honest[0], arena.honest[1:], arena.swarm.random, arena.swarm
    others = {node.identity.id for node in peers}
    target.counters.clear()

    def throw(count):
        for number in range(count):
            session = peers[number % len(peers)]._channel.sessions.to(target.identity.public)
            body = mutate(chance, bodies) if number % 8 else chance.randbytes(chance.randrange(1, LONGEST))
            if session is not None:
                target.receive(session.seal(body[:LONGEST]), peers[number % len(peers)].address, swarm.now)
                swarm.flush(target)
            if number % 100 == 0:
                swarm.run(1.0)  # each of the eleven stays within what one peer may ask for
        swarm.run(10.0)

    throw(2000)
    before = state(target)
    with Measured(SPOKEN // 10):
        throw(SPOKEN // 10)
    throw(SPOKEN - SPOKEN // 10 - 2000)
    after = state(target)
    assert after["table"] == before["table"] == len(peers)
    assert after["store"] <= before["store"]
    assert max(after["calls"], after["operations"]) <= 8
    assert after["sessions"] <= 3 * len(peers)
    assert target.counters["internal-error"] == 0
    assert target.counters["malformed"] > SPOKEN // 10
    assert {peer.id for peer in target.table.peers()} == others
    assert all(peer.name.isprintable() for peer in target.table.peers())
    assert len(swarm.search(peers[0], "prey")) == 12


@pytest.mark.slow
def test_altered_and_absurd_records(arena):
    chance = arena.swarm.random
    mallory = Identity(b"m" * 32)
    wall = arena.swarm.wall()
    good = arena.listing(mallory, title="t")
    fields = ("k", "n", "a", "g", "d", "l", "s", "i", "t")
    absurd = (None, True, -1, 2**64 - 1, 1.5, "", "x" * 500, b"", b"x" * 33, [], [[]], [["1.2.3.4", 1, 1]] * 9, {})
    accepted = 0
    for number in range(RECORDS):
        if number % 4 == 0:  # the attacker signs nonsense of their own
            made = wire.unpack(good.raw, limit=640, items=64)
            made[chance.choice(fields)] = chance.choice(absurd)
            raw = wire.pack(made)
            pair = (raw, mallory.sign(records.LISTING_CONTEXT, raw))
        else:
            pair = (mutate(chance, [good.raw]), good.signature)
        try:
            verified = records.verify_listing(pair, now=wall)
        except RemoteError:
            continue
        accepted += 1
        assert number % 4 == 0 or pair[0] == good.raw, "an altered record was accepted"
        record = verified.record
        assert len(verified.raw) <= records.MAX_RECORD
        assert record.key == mallory.public
        assert len(record.title) <= records.MAX_TITLE
        assert len(record.addresses) <= records.MAX_ADDRESSES
    assert accepted < RECORDS // 8


def test_contacts_that_are_none():
    for packed in (bytes(38), bytes(50), b"\xff" * 38, b"k" * 32 + b"\0\1" + bytes([224, 0, 0, 1])):
        with pytest.raises(RemoteError):
            Contact.unpack(packed)
