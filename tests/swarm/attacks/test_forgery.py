"""Listings for somebody else's key; altered, expired, rolled back and replayed records, packets and handshakes."""

from __future__ import annotations

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages, packets
from p2pgrid.dht.messages import AddListing, FindListings, Page
from p2pgrid.ids import normalise_tag

TAG = normalise_tag("prey")


def test_listing_for_another_s_key(arena):
    mallory, holder = arena.swarm.make(), arena.swarm.make()
    alice = Identity(b"a" * 32)
    stolen = arena.pair(arena.listing(alice))
    assert arena.tell(mallory, holder, AddListing(0, stolen)).verdict == messages.REFUSED_RECORD
    assert holder.counters["wrong-identity"] == 1
    assert len(holder.store) == 0


@pytest.mark.parametrize("fault", ["altered", "signature", "expired", "future", "rolled back"])
def test_listing_altered_expired_from_the_future_or_rolled_back(arena, fault):
    mallory, holder = arena.swarm.make(), arena.swarm.make()
    now = int(arena.swarm.wall())
    pair = arena.pair(arena.listing(mallory.identity))
    verdict = messages.REFUSED_RECORD
    if fault == "altered":
        pair = (pair[0].replace(b"prey", b"pray"), pair[1])
    elif fault == "signature":
        pair = (pair[0], bytes(64))
    elif fault == "expired":
        pair = arena.pair(arena.listing(mallory.identity, issued=now - 4000))
    elif fault == "future":
        pair = arena.pair(arena.listing(mallory.identity, issued=now + 3600))
    else:
        newer = arena.pair(arena.listing(mallory.identity, seq=9))
        assert arena.tell(mallory, holder, AddListing(0, newer)).verdict == messages.STORED
        verdict = messages.REFUSED_OLD
    assert arena.tell(mallory, holder, AddListing(0, pair)).verdict == verdict
    held = [verified.record.seq for verified in holder.store.all(TAG, arena.swarm.wall())]
    assert held == ([9] if fault == "rolled back" else [])


def test_searchers_take_no_forged_listing(arena):
    nodes = arena.swarm.grow(12)
    arena.swarm.announce(nodes[0], "prey", bytes(16))
    alice = nodes[0].identity
    good = arena.listing(alice, dataset=b"g" * 16)
    now = int(arena.swarm.wall())
    forged = (
        (good.raw.replace(b"g" * 16, b"f" * 16), good.signature),
        arena.pair(arena.listing(alice, dataset=b"e" * 16, issued=now - 4000)),
        arena.pair(arena.listing(alice, "other", dataset=b"o" * 16)),
        (good.raw, bytes(64)),
    )

    def answer(request, room):
        if isinstance(request, FindListings):
            return messages.encode(Page(request.call, 4, 0, forged, ()))
        return None

    for node in nodes[1:8]:
        arena.lie(node, answer)
    found = arena.swarm.search(nodes[11], "prey")
    assert [verified.record.dataset for verified in found] == [bytes(16)]
    assert nodes[11].counters["bad-signature"] > 0


def test_a_listing_taken_back_is_not_brought_back_by_replaying_it(arena):
    nodes = arena.swarm.grow(20)
    kept = []
    arena.swarm.watch = lambda data, source, target: kept.append((data, source, target)) or True
    arena.swarm.announce(nodes[2], "prey", bytes(16))
    arena.swarm.run(10.0)
    old = arena.pair(nodes[2].publisher.announcements.all()[0].listing)
    assert nodes[2].publisher.withdraw(TAG, bytes(16), arena.swarm.now)
    arena.swarm.flush(nodes[2])
    arena.swarm.run(10.0)
    arena.swarm.watch = None
    for data, source, target in kept:
        arena.swarm.send(data, source, target)
    for node in nodes[3:]:
        assert arena.tell(nodes[1], node, AddListing(0, old)).verdict == messages.REFUSED_RECORD
    arena.swarm.run(10.0)
    assert arena.swarm.search(nodes[9], "prey") == []


def test_everything_that_was_ever_sent_is_sent_again(arena):
    """Datagrams of a join, an announcement and a search, replayed from their own addresses: at once and much later."""
    kept = []
    arena.swarm.watch = lambda data, source, target: kept.append((data, source, target)) or True
    nodes = arena.swarm.grow(12)
    arena.swarm.announce(nodes[1], "prey", bytes(16))
    assert len(arena.swarm.search(nodes[2], "prey")) == 1
    arena.swarm.watch = None
    assert {packets.INIT, packets.ACCEPT, packets.DATA, packets.TICKETED} <= {data[0] for data, _, _ in kept}
    sealed = sum(data[0] in (packets.INIT, packets.DATA, packets.TICKETED) for data, _, _ in kept)
    for wait in (1.0, 300.0, 4000.0):
        arena.swarm.run(wait)
        before, dropped = [snapshot(node) for node in nodes], drops(nodes)
        for data, source, target in kept:
            node = arena.swarm.engines[target]
            heard = node.heard_any
            node.receive(data, source, arena.swarm.now)
            assert node.heard_any == heard, f"a replayed packet of kind {data[0]:#x} was taken for a word of its sender"
        assert [snapshot(node) for node in nodes] == before
        assert drops(nodes) - dropped >= sealed, "each is refused as a replay, or because its time is over"


def drops(nodes):
    """Datagrams dropped, for whatever reason."""
    return sum(sum(node.counters.values()) - node.counters["received"] - node.counters["sent"] for node in nodes)


def snapshot(node):
    """What a node believes."""
    store = sorted(entry.listing.raw for shelf in node.store._shelves.values() for entry in shelf.row)
    return sorted((peer.id, peer.endpoint) for peer in node.table.peers()), node.sessions(), store
