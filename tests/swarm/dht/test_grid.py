"""Whole grids in virtual time: join, announce, search, deaths, restarts, quiet."""

from __future__ import annotations

import pytest

from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.limits import Limits
from p2pgrid.ids import normalise_tag, tag_key


def dataset(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_three_nodes_know_one_another(swarm):
    nodes = swarm.grow(3)
    for node in nodes:
        assert {p.id for p in node.table.peers()} == {n.identity.id for n in nodes if n is not node}


def test_lookups_find_the_true_nearest(swarm):
    nodes = swarm.grow(80)
    right = total = 0
    for _ in range(40):
        target = swarm.random.randbytes(20)
        asker = swarm.random.choice(nodes)
        found = {contact.id for contact in swarm.find(asker, target)} | {asker.identity.id}
        true = swarm.nearest(target, 16)
        right += sum(i in found for i in true)
        total += len(true)
    assert right / total >= 0.98, f"recall {right / total:.3f}"


def test_every_announced_dataset_is_found_from_everywhere(swarm):
    nodes = swarm.grow(80)
    for number in range(30):
        holder = swarm.random.choice(nodes)
        assert swarm.announce(holder, f"tag-{number}", dataset(number)) >= 8, "half of the nearest"
    swarm.run(5.0)
    for number in range(30):
        held = [e for e in nodes if e.store.total(normalise_tag(f"tag-{number}"))]
        assert len(held) >= 16
        found = swarm.search(swarm.random.choice(nodes), f"tag-{number}")
        assert [v.record.dataset for v in found] == [dataset(number)]


def test_a_client_searches_without_entering_any_table(swarm):
    nodes = swarm.grow(20)
    swarm.announce(nodes[3], "digits", dataset(1))
    client = swarm.make(server=False)
    assert swarm.join(client, nodes[0])
    assert len(swarm.search(client, "digits")) == 1
    swarm.run(600.0)
    assert all(node.table.get(client.identity.id) is None for node in nodes)


def test_all_listings_of_a_tag_are_paged_through(swarm):
    nodes = swarm.grow(30)
    for number in range(90):
        swarm.announce(nodes[number % 30], "busy", dataset(number))
    found = swarm.search(nodes[0], "busy")
    assert {v.record.dataset for v in found} == {dataset(n) for n in range(90)}
    assert len(swarm.search(nodes[1], "busy", limit=10)) == 10


@pytest.mark.parametrize("swarm", [1, 2], indirect=True)
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_half_of_the_nodes_killed_at_once(swarm, share):
    nodes = swarm.grow(80)
    for number in range(20):
        swarm.announce(nodes[number], f"tag-{number}", dataset(number))
    dead = swarm.random.sample(nodes[20:], int(share * 80))
    for node in dead:
        swarm.kill(node)
    living = [node for node in nodes if node not in dead]
    found = sum(bool(swarm.search(swarm.random.choice(living), f"tag-{n}")) for n in range(20))
    assert found == 20


def test_a_node_outlives_its_bootstrap_and_restarts_from_its_snapshot(swarm):
    nodes = swarm.grow(20)
    saved = nodes[7].snapshot()
    identity = nodes[7].identity
    swarm.kill(nodes[0])
    swarm.kill(nodes[7])
    again = swarm.make(identity=identity)
    done: list[bool] = []
    again.upkeep.join([nodes[0].address], [Contact.unpack(p) for p in saved], lambda ok, at: done.append(ok), swarm.now)
    swarm.flush(again)
    assert swarm.run(10.0, lambda: bool(done))
    assert done == [True]
    assert len(again.table) >= 4
    swarm.run(60.0)
    assert len(again.table) >= 15


def test_a_restarted_peer_is_recovered_at_once(swarm):
    a, b, _ = swarm.grow(3)
    address, identity = b.address, b.identity
    swarm.announce(a, "x", dataset(1))
    swarm.kill(b)
    swarm.place(address, identity=identity)  # all its sessions are lost
    began = swarm.now
    answers: list[object] = []
    peer = a.table.get(identity.id)
    a.ping(peer, False, lambda pong, rtt: answers.append(pong), swarm.now)
    swarm.flush(a)
    swarm.run(5.0, lambda: bool(answers))
    assert answers[0] is not None
    assert swarm.now - began < 0.3, "it took more than a hint and a handshake"


def test_a_lonely_node_joins_when_its_bootstrap_comes_up(swarm):
    first = swarm.make()
    address, identity = first.address, first.identity
    swarm.kill(first)
    lonely = swarm.make()
    assert not swarm.join(lonely, first)
    swarm.run(30.0)
    swarm.place(address, identity=identity)
    assert swarm.run(120.0, lambda: len(lonely.table) == 1)


def test_listings_are_republished_and_survive_new_neighbours(swarm):
    nodes = swarm.grow(30)
    swarm.announce(nodes[0], "lasting", dataset(1))
    key = tag_key(normalise_tag("lasting"))
    holders = swarm.nearest(key, 16)
    for node in nodes[1:]:
        if node.identity.id in holders:
            swarm.kill(node)
    for _ in range(10):
        swarm.join(swarm.make(), nodes[0])
    swarm.run(3700.0)
    held = [e for e in swarm.engines.values() if e.store.total(normalise_tag("lasting"))]
    assert len(held) >= 16
    found = swarm.search(list(swarm.engines.values())[-1], "lasting")
    assert {listing.record.dataset for listing in found} == {dataset(1)}


def test_what_a_lonely_node_announced_is_placed_when_the_grid_grows(swarm):
    first = swarm.make()
    assert swarm.announce(first, "early", dataset(1)) == 0
    nodes = [first]
    for _ in range(40):
        nodes.append(swarm.make())
        assert swarm.join(nodes[-1], swarm.random.choice(nodes[:-1]))
    swarm.run(180.0)
    held = [e for e in swarm.engines.values() if e.store.total(normalise_tag("early"))]
    assert len(held) >= 16
    assert all(len(swarm.search(node, "early")) == 1 for node in nodes[1::5])


def test_listings_follow_a_grid_that_grows_fast(swarm):
    small = swarm.grow(30)
    for number in range(10):
        swarm.announce(small[number], f"old-{number}", dataset(number))
    crowd = [swarm.make() for _ in range(120)]
    joined = []
    for node in crowd:
        door = swarm.random.choice(small)
        node.upkeep.join([door.address], [], lambda ok, at: joined.append(ok), swarm.now)
        swarm.flush(node)
    assert swarm.run(30.0, lambda: len(joined) == len(crowd))
    swarm.run(120.0)
    rounds = [one.rounds for node in small for one in node.publisher.announcements.all()]
    assert min(rounds) > 1, "most of those whom a search asks came later, and would hold nothing"
    assert max(rounds) <= 4, "not at every newcomer"
    lost = sum(not swarm.search(swarm.random.choice(crowd), f"old-{number % 10}") for number in range(60))
    assert lost == 0


def test_a_silent_publisher_is_forgotten_after_its_ttl(swarm):
    nodes = swarm.grow(20)
    swarm.announce(nodes[5], "gone", dataset(1))
    swarm.kill(nodes[5])
    swarm.run(nodes[0].limits.listing_ttl * 1.01)
    assert swarm.search(nodes[0], "gone") == []
    assert all(len(e.store) == 0 for e in swarm.engines.values())


def test_a_withdrawn_listing_is_found_no_more(swarm):
    nodes = swarm.grow(20)
    swarm.announce(nodes[2], "brief", dataset(1))
    assert nodes[2].publisher.withdraw(normalise_tag("brief"), dataset(1), swarm.now)
    swarm.flush(nodes[2])
    swarm.run(2.0)
    assert swarm.search(nodes[9], "brief") == []
    assert swarm.search(nodes[2], "brief") == []


def test_a_listing_withdrawn_while_it_is_placed_is_taken_back(swarm):
    nodes = swarm.grow(20)
    done: list[int] = []
    tag = normalise_tag("hasty")
    nodes[2].publisher.announce(tag, dataset(1), "", lambda held, at: done.append(held), swarm.now)
    swarm.flush(nodes[2])
    assert nodes[2].publisher.withdraw(tag, dataset(1), swarm.now)
    swarm.flush(nodes[2])
    assert swarm.run(20.0, lambda: bool(done))
    swarm.flush(nodes[2])
    swarm.run(2.0)
    assert swarm.search(nodes[9], "hasty") == []


def test_packets_lost_and_late_lose_nothing(swarm):
    swarm.latency = (0.02, 0.2)
    nodes = swarm.grow(30)
    swarm.loss = 0.1
    assert swarm.announce(nodes[1], "lossy", dataset(1)) >= 8
    swarm.run(10.0)
    assert sum(e.store.total(normalise_tag("lossy")) for e in nodes) >= 13
    assert all(len(swarm.search(nodes[n], "lossy")) == 1 for n in range(5, 15))


def test_both_sides_begin_at_once(swarm):
    a, b = swarm.make(), swarm.make()
    answers: list[object] = []
    for one, other in ((a, b), (b, a)):
        contact = Contact(other.identity.public, *other.address)
        one.ping(contact, False, lambda pong, rtt: answers.append(pong), swarm.now)
        swarm.flush(one)
    swarm.run(1.0)
    assert len(answers) == 2
    assert None not in answers
    for one, other in ((a, b), (b, a)):
        assert one.table.get(other.identity.id) is not None
    swarm.run(300.0)
    assert a.counters["bad-seal"] == b.counters["bad-seal"] == 0


def test_states_follow_health(swarm):
    a, b, c = swarm.grow(3)
    swarm.kill(b)
    assert swarm.run(3 * a.limits.probe_age, lambda: a.table.get(b.identity.id).fails > 0)
    assert a.table.get(c.identity.id).fails == 0


def test_an_idle_grid_is_calm(swarm):
    nodes = swarm.grow(60)
    for number in range(60):
        swarm.announce(nodes[number], f"tag-{number % 20}", dataset(number))
    swarm.run(120.0)
    before, sent = swarm.sent, sum(swarm.bytes_to.values())
    swarm.run(600.0)
    packets = (swarm.sent - before) / len(nodes) / 10
    size = (sum(swarm.bytes_to.values()) - sent) / len(nodes) / 10
    assert packets <= 40, f"{packets:.0f} packets a minute and node"
    assert size <= 4000, f"{size:.0f} bytes a minute and node"


def test_our_own_network_down_empties_no_table(swarm):
    nodes = swarm.grow(20)
    known = len(nodes[4].table)
    swarm.watch = lambda data, source, target: nodes[4].address not in (source, target)
    swarm.run(1800.0)
    assert len(nodes[4].table) == known
    swarm.watch = None
    swarm.run(120.0)
    assert sum(not p.fails for p in nodes[4].table.peers()) >= known // 2


def test_the_observed_address_is_learned_from_peers(swarm):
    nodes = swarm.grow(5)
    wild = swarm.place(("30.1.2.3", 4444), nat="cone")
    assert wild.address[0] != "30.1.2.3", "it knows its own side of the translator only"
    swarm.join(wild, nodes[0])
    assert wild.address[0] == "30.1.2.3"
    assert wild.profile.record().record.addresses[0].ip == "30.1.2.3"


def test_limits_of_calls_end_requests_instead_of_growing(swarm):
    few = swarm.make(limits=Limits(calls=2, waiting=1))
    other = swarm.make()
    answers: list[object] = []
    contact = Contact(other.identity.public, *other.address)
    for _ in range(5):
        few.ping(contact, False, lambda pong, rtt: answers.append(pong), swarm.now)
    swarm.flush(few)
    swarm.run(1.0)
    assert sum(pong is not None for pong in answers) == 3
    assert len(answers) == 5


def test_the_same_seed_gives_the_same_bytes(swarm):
    logs = []
    for _ in range(2):
        one = type(swarm)(5)
        packets: list[bytes] = []
        one.watch = lambda data, source, target, packets=packets: packets.append(data) or True
        nodes = one.grow(8)
        one.announce(nodes[0], "again", dataset(1))
        logs.append(packets)
    assert logs[0] == logs[1]


def test_a_node_whose_clock_was_ahead_is_found_again_once_it_is_right(swarm):
    nodes = swarm.grow(8)
    ahead = [300.0]
    wild = swarm.make(name="wild", wall=lambda: swarm.wall() + ahead[0])
    assert swarm.join(wild, nodes[0])
    wild.profile.record()
    assert swarm.announce(wild, "early", dataset(1)) == 0
    ahead[0] = 0.0
    swarm.run(15.0)
    assert [v.record.dataset for v in swarm.search(nodes[3], "early")] == [dataset(1)]
    assert nodes[3].check_record(tuple(wild.profile.record().to_wire())).record.key == wild.identity.public


def test_many_listings_are_placed_anew_in_time_and_without_a_burst(swarm):
    limits = Limits(listing_ttl=240, publisher_listings=1000)
    nodes = [swarm.make(limits=limits) for _ in range(4)]
    for node in nodes[1:]:
        assert swarm.join(node, nodes[0])
    swarm.run(60.0)
    many = 300
    for number in range(many):
        nodes[0].publisher.announce(normalise_tag(f"t{number}"), dataset(number), "", lambda held, at: None, swarm.now)
        swarm.flush(nodes[0])
        swarm.run(0.1)
    begun: list[float] = []
    swarm.watch = lambda data, source, target: begun.append(swarm.now) or True
    nodes[0].profile.describe(name="another")  # all are due at once
    swarm.run(2.5 * limits.listing_ttl)
    for node in nodes[1:]:
        held = [entry.listing.record for shelf in node.store._shelves.values() for entry in shelf.row]
        assert len(held) == many
        assert {record.name for record in held} == {"another"}
    windows = [sum(at <= when < at + 5.0 for when in begun) for at in begun[:: len(begun) // 50]]
    assert max(windows) < 3 * sum(windows) / len(windows), windows


def test_each_of_many_listings_has_its_turn_though_all_are_scarce(swarm):
    limits = Limits(publisher_listings=5)
    nodes = [swarm.make(limits=limits) for _ in range(3)]
    for node in nodes[1:]:
        assert swarm.join(node, nodes[0])
    for number in range(60):
        swarm.announce(nodes[0], f"t{number}", dataset(number))
    swarm.run(2.5 * limits.listing_ttl)
    oldest = min(one.listing.record.issued for one in nodes[0].publisher.announcements.all())
    assert swarm.wall() - oldest <= limits.listing_ttl / 2
