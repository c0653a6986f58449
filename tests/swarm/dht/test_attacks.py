"""Attacks on whole nodes in virtual time, each named after what is tried."""

from __future__ import annotations

import dataclasses

import pytest

from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import Page
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


def lie(engine, answer):
    """Make a real node answer find_node and find_listings with something of ours."""
    honest = engine._desk.answer

    class Liar:
        state = 0

        def answer(self, request, asker, room, proven):
            return answer(request) or honest(request, asker, room, proven)

    engine._desk = Liar()


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
    asker.search(TAG, 100, lambda v: found.append(v.record.seq), lambda at: done.append(True), swarm.now)
    swarm.flush(asker)
    assert swarm.run(20.0, lambda: bool(done))
    assert found in ([1, 2], [2])


def test_a_publisher_that_signs_ever_newer_listings_is_handed_out_a_few_times(swarm):
    nodes = swarm.grow(3)
    search = nodes[0].search(TAG, 100, lambda v: heard.append(v.record.seq), lambda at: None, swarm.now).search
    heard: list[int] = []
    for seq in range(1, 100):
        search.take(listing(swarm, nodes[1].identity, seq=seq))
        search.take(listing(swarm, nodes[1].identity, seq=seq - 1))
    assert heard == list(range(1, 10))
