"""Attacks on whole nodes in virtual time, each named after what is tried."""

from __future__ import annotations

import dataclasses

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages, packets
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import AddListing, FindNode, Nodes, Page
from p2pgrid.dht.operations import Operation
from p2pgrid.errors import TooLarge
from p2pgrid.ids import Tag, normalise_tag
from p2pgrid.records import Address, Listing, sign_listing

TAG = normalise_tag("prey")


class Tell(Operation):
    """Sends one request and keeps the answer."""

    def __init__(self, engine):
        super().__init__(engine)
        self.answer = None
        self.ended = False

    def answered(self, call, answer, now):
        self.answer, self.ended = answer, True

    def failed(self, call, now):
        self.ended = True


def tell(swarm, engine, other, request):
    asked = Tell(engine)
    engine.ask(Contact(other.identity.public, *other.address), request, asked, swarm.now)
    swarm.flush(engine)
    assert swarm.run(10.0, lambda: asked.ended)
    return asked.answer


def listing(swarm, identity, **changes):
    made = Listing(
        key=identity.public,
        name="n",
        addresses=(Address("10.0.0.1", 1),),
        tag=TAG,
        dataset=bytes(16),
        title="",
        seq=1,
        issued=int(swarm.wall()),
        ttl=600,
    )
    return sign_listing(identity, dataclasses.replace(made, **changes))


def pair_of(verified):
    return (verified.raw, verified.signature)


def test_listing_for_another_s_key(swarm):
    mallory, holder = swarm.make(), swarm.make()
    alice = Identity(b"a" * 32)
    stolen = pair_of(listing(swarm, alice))
    assert tell(swarm, mallory, holder, AddListing(0, stolen)).verdict == messages.REFUSED_RECORD
    assert holder.counters["wrong-identity"] == 1
    assert len(holder.store) == 0


@pytest.mark.parametrize("fault", ["altered", "signature", "expired", "future", "rolled back"])
def test_listing_altered_expired_from_the_future_or_rolled_back(swarm, fault):
    mallory, holder = swarm.make(), swarm.make()
    now = int(swarm.wall())
    pair = pair_of(listing(swarm, mallory.identity))
    verdict = messages.REFUSED_RECORD
    if fault == "altered":
        pair = (pair[0].replace(b"prey", b"pray"), pair[1])
    elif fault == "signature":
        pair = (pair[0], bytes(64))
    elif fault == "expired":
        pair = pair_of(listing(swarm, mallory.identity, issued=now - 700))
    elif fault == "future":
        pair = pair_of(listing(swarm, mallory.identity, issued=now + 3600))
    else:
        assert (
            tell(swarm, mallory, holder, AddListing(0, pair_of(listing(swarm, mallory.identity, seq=9)))).verdict == 0
        )
        verdict = messages.REFUSED_OLD
    assert tell(swarm, mallory, holder, AddListing(0, pair)).verdict == verdict
    assert [v.record.seq for v in holder.store.all(TAG, swarm.wall())] == ([9] if fault == "rolled back" else [])


def lie(engine, answer):
    """Make a real node answer find_node and find_listings with something of ours."""
    honest = engine._desk.answer

    class Liar:
        state = 0

        def answer(self, request, asker, room, proven):
            return answer(request) or honest(request, asker, room, proven)

    engine._desk = Liar()


def test_searchers_take_no_forged_listing(swarm):
    nodes = swarm.grow(12)
    swarm.announce(nodes[0], "prey", bytes(16))
    alice = nodes[0].identity
    good = listing(swarm, alice, dataset=b"g" * 16)
    now = int(swarm.wall())
    forged = (
        (good.raw.replace(b"g" * 16, b"f" * 16), good.signature),
        pair_of(listing(swarm, alice, dataset=b"e" * 16, issued=now - 900)),
        pair_of(listing(swarm, alice, dataset=b"o" * 16, tag=normalise_tag("other"))),
        (good.raw, bytes(64)),
    )
    for node in nodes[1:8]:
        lie(
            node,
            lambda r: messages.encode(Page(r.call, 4, 0, forged, ())) if isinstance(r, messages.FindListings) else b"",
        )
    found = swarm.search(nodes[11], "prey")
    assert [v.record.dataset for v in found] == [bytes(16)]
    assert nodes[11].counters["bad-signature"] > 0


def test_false_totals_and_endless_pages_end(swarm):
    nodes = swarm.grow(12)
    swarm.announce(nodes[0], "prey", bytes(16))
    bait = pair_of(listing(swarm, nodes[1].identity))
    for node in nodes[1:6]:
        lie(
            node,
            lambda r: (
                messages.encode(Page(r.call, 2**30, r.cursor + 1, (bait,), ()))
                if isinstance(r, messages.FindListings)
                else b""
            ),
        )
    before = swarm.sent
    found = swarm.search(nodes[11], "prey")
    assert any(v.record.dataset == bytes(16) and v.record.key == nodes[0].identity.public for v in found)
    assert swarm.sent - before < 10_000


def test_reply_with_victims_addresses_sends_the_victim_a_bounded_few_packets(swarm):
    nodes = swarm.grow(10)
    victim = ("99.9.9.9", 53)
    source = swarm.random
    for node in nodes[1:]:
        lie(
            node,
            lambda r: (
                messages.encode(Nodes(r.call, tuple(Contact(source.randbytes(32), *victim).packed for _ in range(16))))
                if isinstance(r, FindNode)
                else b""
            ),
        )
    before = swarm.bytes_to.get(victim, 0)
    swarm.find(nodes[0], source.randbytes(20))
    assert swarm.bytes_to.get(victim, 0) - before < 64 * 3 * 1000


def test_spoofed_sources_enter_no_table_and_draw_no_more_than_they_send(swarm):
    nodes = swarm.grow(5)
    mallory = swarm.make()
    known = [len(n.table) for n in nodes]
    victim = ("99.9.9.9", 53)
    spent = 0
    for _ in range(200):
        other = Identity(swarm.random.randbytes(32))
        mallory = type(mallory)(other, address=victim, now=swarm.now, wall=swarm.wall, random=swarm.random.randbytes)
        asked = Tell(mallory)
        target = nodes[0]
        mallory.ask(Contact(target.identity.public, *target.address), FindNode(0, bytes(20)), asked, swarm.now)
        for data, _ in mallory.poll(swarm.now).datagrams:
            spent += len(data)
            swarm.send(data, victim, target.address)
    swarm.run(5.0)
    assert 0 < swarm.bytes_to[victim] <= spent
    assert [len(n.table) for n in nodes] == known


def test_flood_of_garbage_is_dropped_counted_and_forgotten(swarm):
    nodes = swarm.grow(5)
    target = nodes[0]
    sessions, operations = target.sessions(), len(target._operations)
    before = sum(target.counters.values())
    for number in range(3000):
        size = swarm.random.randrange(0, 1281)
        kind = bytes([swarm.random.choice([*range(packets.HELLO, packets.RETRY + 1), swarm.random.randrange(256)])])
        source = (f"66.{number % 200}.1.1", 1000 + number % 5000)
        target.receive((kind + swarm.random.randbytes(size))[:1280], source, swarm.now)
        swarm.flush(target)
    assert target.sessions() == sessions
    assert len(target._operations) == operations
    assert sum(target.counters.values()) - before >= 3000
    assert {"malformed", "bad-seal"} <= set(target.counters)
    assert len(swarm.search(nodes[1], "nothing")) == 0


def test_one_way_pings_from_500_strangers_keep_buckets_bounded(swarm):
    nodes = swarm.grow(10)
    old = {p.id for p in nodes[0].table.peers()}
    for _ in range(500):
        stranger = swarm.make()
        tell(swarm, stranger, nodes[0], messages.Ping(0, False))
    swarm.run(2.0)
    now = {p.id for p in nodes[0].table.peers()}
    assert old <= now, "a live peer that was known for long made room for a newcomer"
    assert len(now) <= 16 * 8


def test_storage_spam_by_one_key_leaves_room_for_others(swarm):
    limits = Limits(publisher_listings=8, total_listings=64)
    holder = swarm.make(limits=limits)
    mallory, honest = swarm.make(), swarm.make()
    verdicts = []
    for number in range(40):
        made = listing(swarm, mallory.identity, dataset=number.to_bytes(16, "big"), tag=normalise_tag(f"t{number}"))
        verdicts.append(tell(swarm, mallory, holder, AddListing(0, pair_of(made))).verdict)
    assert verdicts.count(messages.STORED) == 8
    assert set(verdicts[8:]) == {messages.REFUSED_LIMIT}
    made = pair_of(listing(swarm, honest.identity))
    assert tell(swarm, honest, holder, AddListing(0, made)).verdict == messages.STORED


def test_well_sealed_nonsense_from_an_authenticated_peer(swarm):
    nodes = swarm.grow(4)
    mallory, target = nodes[3], nodes[0]
    session = mallory._channel.sessions.to(target.identity.public)
    table, store = len(target.table), len(target.store)
    source = swarm.random
    pair = pair_of(listing(swarm, mallory.identity))
    good = [
        messages.encode(message)
        for message in (
            messages.Ping(1, True),
            messages.FindNode(2, bytes(20)),
            messages.FindListings(3, TAG, 2**32 - 1, 2**31 - 1, 32, 0),
            messages.AddListing(4, (pair[0], bytes(64))),
            messages.SampleTags(5, 32),
            messages.Pong(6, 9, 2**60, "n", pair),
            Nodes(7, (bytes(38), b"\xff" * 50)),
            Page(8, 5, 5, (pair,), (bytes(38),)),
            messages.Stored(9, 77),
            messages.Tags(10, 3, (TAG,)),
            messages.About(11, "\x1b[31m"),
        )
    ]
    for number in range(4000):
        body = bytearray(source.choice(good))
        for _ in range(source.randrange(4)):
            body[source.randrange(len(body))] = source.randrange(256)
        if number % 5 == 0:
            body = bytearray(source.randbytes(source.randrange(200)))
        target.receive(session.seal(bytes(body)), mallory.address, swarm.now)
        swarm.flush(target)
    assert len(target.table) == table
    assert len(target.store) == store
    assert target.counters["malformed"] > 500
    assert all(peer.name.isprintable() for peer in target.table.peers())
    assert swarm.search(nodes[1], "nothing") == []


def test_one_long_title_in_another_script_silences_no_announcement(swarm):
    nodes = swarm.grow(6)
    long = nodes[0]
    long.profile.describe(name="病院研究ノード" * 8)
    wide = ("糖尿病患者の血糖値と生活習慣に関する縦断研究データ" * 3)[:64]
    assert swarm.announce(long, wide, bytes(16), "東京都健康長寿医療センター" * 8) == 5
    assert swarm.announce(long, "later", bytes(16), "後") == 5
    [found] = swarm.search(nodes[3], wide)
    assert found.record.title
    assert ("東京都健康長寿医療センター" * 8).startswith(found.record.title)
    swarm.run(1.5 * long.limits.listing_ttl)
    assert len(swarm.search(nodes[3], wide)) == len(swarm.search(nodes[3], "later")) == 1


def test_one_announcement_that_cannot_be_placed_stops_no_other(swarm):
    nodes = swarm.grow(6)
    long, reports = nodes[0], []
    long.report = reports.append
    for tag in ("before", "broken", "later"):
        assert swarm.announce(long, tag, bytes(16), "t") == 5
    broken = long.publisher.announcements.all()[1]
    broken.tag = Tag("x" * 700)  # what no door lets in
    swarm.run(1.5 * long.limits.listing_ttl)
    assert swarm.search(nodes[3], "broken") == []
    assert len(swarm.search(nodes[3], "before")) == len(swarm.search(nodes[3], "later")) == 1
    assert {type(error) for error in reports} == {TooLarge}
    assert 2 <= len(reports) == long.counters["internal-error"] <= 6


def test_a_tag_flooded_by_free_keys_of_one_address_still_has_room_for_others(swarm):
    limits = Limits(tag_listings=32, tag_group_listings=32, tag_publisher_listings=8)
    nodes = [swarm.make(limits=limits) for _ in range(6)]
    for node in nodes[1:]:
        assert swarm.join(node, nodes[0])
    for number in range(6):
        bad = swarm.place(("66.6.6.6", 6000 + number), server=False)
        assert swarm.join(bad, nodes[0])
        for one in range(10):
            swarm.announce(bad, "prey", bytes([number, one]) * 8, "junk")
    assert {node.store.total(TAG) for node in nodes} == {32}
    honest = swarm.make()
    assert swarm.join(honest, nodes[0])
    assert swarm.announce(honest, "prey", b"h" * 16, "honest") == 6
    assert "honest" in {v.record.title for v in swarm.search(nodes[3], "prey")}


def stale(swarm, fresh):
    """Nodes of which one holds the newest listing and the others an older one."""
    nodes = swarm.grow(6)
    alice = nodes[0].identity
    old = listing(swarm, alice, seq=1, addresses=(Address("10.0.0.1", 1, 1111),))
    new = listing(swarm, alice, seq=2, addresses=(Address("10.0.0.2", 1, 2222),))
    for number, node in enumerate(nodes[1:]):
        node.store.put(new if number == fresh else old, b"g", swarm.wall())
    return nodes


@pytest.mark.parametrize("fresh", range(5))
def test_a_stale_listing_that_comes_first_does_not_hide_the_newer_one(swarm, fresh):
    nodes = stale(swarm, fresh)
    found: list[int] = []
    done: list[bool] = []
    asker = nodes[2]
    asker.search(TAG, 100, lambda v: found.append(v.record.seq), lambda near, at: done.append(True), swarm.now)
    swarm.flush(asker)
    assert swarm.run(20.0, lambda: bool(done))
    assert found in ([1, 2], [2])


def test_a_publisher_that_signs_ever_newer_listings_is_handed_out_a_few_times(swarm):
    nodes = swarm.grow(3)
    search = nodes[0].search(TAG, 100, lambda v: heard.append(v.record.seq), lambda near, at: None, swarm.now).search
    heard: list[int] = []
    for seq in range(1, 100):
        search.take(listing(swarm, nodes[1].identity, seq=seq))
        search.take(listing(swarm, nodes[1].identity, seq=seq - 1))
    assert heard == list(range(1, 10))
