"""Grids of real engines in virtual time: growing, dying, coming back, partitions, and faults that are seen."""

from __future__ import annotations

import dataclasses

import pytest

from p2pgrid.dht.engine import Engine
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import ID_BITS
from p2pgrid.errors import BrokenInvariant, InvalidInput
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Verified
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.latency import Constant, LogNormal, Regions
from p2pgrid.sim.nat import KINDS, MAPPING_LIFE
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.node import Node

TAG = normalise_tag("digits")


def dataset(number: int) -> bytes:
    return number.to_bytes(16, "big")


def datasets(listings) -> list[bytes]:
    return sorted(listing.record.dataset for listing in listings)


def join(grid: Grid, node: Node, *through: Node) -> bool:
    joined: list[bool] = []
    node.join([door.address for door in through], joined.append)
    assert grid.run(60.0, lambda: bool(joined))
    return joined[0]


def settled(count: int, seed: int = 1, **more) -> Grid:
    grid = Grid(seed, **more)
    grid.grow(count)
    grid.run(60.0)
    return grid


def test_everybody_joins_as_a_grid_grows():
    grid = Grid(1)
    shares: list[float] = []
    nodes = grid.grow(25, told=shares.append)
    assert grid.nodes == nodes == grid.living()
    assert shares == [(number + 1) / 25 for number in range(25)]
    assert all(len(node.engine.table) for node in nodes)
    grid.run(60.0)
    assert sum(len(node.engine.table) for node in nodes) >= 0.9 * 25 * 24
    assert grid.grow(0) == []
    more = grid.grow(5)
    assert grid.nodes == nodes + more
    assert all(len(node.engine.table) for node in more)


def grids(grid: Grid) -> list[int]:
    """How many nodes each part of it has that knows nobody of the others."""
    known = {node: {peer.id for peer in node.engine.table.peers()} for node in grid.nodes}
    left, sizes = set(grid.nodes), []
    while left:
        part = [left.pop()]
        for node in part:
            met = {other for other in left if other.identity.id in known[node] or node.identity.id in known[other]}
            left -= met
            part += met
        sizes.append(len(part))
    return sorted(sizes)


@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
def test_a_grid_that_grows_where_packets_get_lost_is_one(loss, seed):
    grid = Grid(seed, conditions=Conditions(LogNormal(), loss=loss))
    grid.grow(30)
    assert grid.unjoined == 0
    assert grids(grid) == [30]


def test_a_grid_says_how_many_did_not_join():
    grid = Grid(1)
    first, *_ = grid.grow(10)
    assert grid.unjoined == 0
    grid.part([first, *grid.nodes])
    began = grid.world.now
    grid.grow(4)  # on no side: nobody of the others hears them
    assert grid.unjoined == 4
    assert grid.world.now - began >= 60.0
    grid.part()
    grid.grow(3)
    assert grid.unjoined == 4


def test_who_dies_while_it_tries_to_join_has_not_joined():
    grid = Grid(1)
    grid.grow(3)
    grid.part(list(grid.nodes))
    grid.world.after(1.0, lambda: grid.nodes[-1].crash())
    (late,) = grid.grow(1)
    assert not late.up
    assert grid.unjoined == 1


def test_an_announcement_after_which_nobody_holds_the_listing_is_counted():
    grid = settled(6)
    assert grid.announce(grid.nodes[0], TAG, dataset(1)) > 0
    assert grid.unheld == 0
    grid.part(grid.nodes[:1], grid.nodes[1:])
    assert grid.announce(grid.nodes[0], normalise_tag("other"), dataset(1)) == 0
    assert grid.unheld == 1


def test_nodes_have_address_groups_and_identities_of_their_own():
    grid = Grid(1)
    nodes = [grid.add() for _ in range(600)]
    assert len({node.address[0].rsplit(".", 1)[0] for node in nodes}) == 600
    assert len({node.identity.id for node in nodes}) == 600


def test_a_node_may_be_given_an_address_an_identity_and_limits():
    grid = Grid(1, limits=Limits(k=7))
    identity = grid.new_identity()
    node = grid.add(identity=identity, endpoint=("60.0.0.1", 9), limits=Limits(k=3))
    assert (node.identity, node.address, node.engine.limits.k) == (identity, ("60.0.0.1", 9), 3)
    assert grid.add().engine.limits.k == 7
    with pytest.raises(InvalidInput, match="Two hosts"):
        grid.add(endpoint=("60.0.0.1", 9))


def test_what_has_not_ended_in_its_time_is_counted_and_gives_what_it_found():
    grid = settled(12)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    grid.run(5.0)
    assert datasets(grid.search(grid.nodes[7], TAG)) == [dataset(1)]
    grid.find(grid.nodes[7], bytes(20))
    assert grid.unfinished == 0
    grid.network.conditions = Conditions(Constant(1.0))
    early = grid.search(next(node for node in grid.nodes if node.holds(TAG)), TAG, patience=0.5)
    assert datasets(early) == [dataset(1)], "its own"
    assert grid.unfinished == 1
    lookup = grid.find(grid.nodes[3], bytes(20), patience=0.5)
    assert grid.unfinished == 2
    assert lookup.asked > 0
    grid.run(60.0)
    assert len(early) == 1, "what came later is not in it"


def test_what_one_announces_others_find():
    grid = settled(20)
    for number in range(3):
        assert grid.announce(grid.nodes[number], TAG, dataset(number), "a title") >= 8
    grid.run(5.0)
    for node in grid.nodes[5::5]:
        found = grid.search(node, TAG)
        assert datasets(found) == [dataset(number) for number in range(3)]
        assert {listing.record.title for listing in found} == {"a title"}
    assert sum(node.holds(TAG) > 0 for node in grid.nodes) >= 8
    assert grid.search(grid.nodes[0], normalise_tag("nothing")) == []


def test_with_real_keys_all_goes_as_with_modelled_ones():
    digests = []
    for real in (True, False):
        grid = settled(8, real_keys=real)
        grid.announce(grid.nodes[0], TAG, dataset(1))
        assert datasets(grid.search(grid.nodes[5], TAG)) == [dataset(1)]
        digests.append(grid.world.digest())
    assert digests[0] != digests[1], "the bytes differ"


def test_a_lookup_finds_those_that_looking_at_all_finds():
    grid = settled(30)
    grid.remove(grid.nodes[3])
    grid.nodes[4].crash()
    client = grid.add(server=False)
    assert join(grid, client, grid.nodes[0])
    grid.run(300.0)
    right = total = 0
    for _ in range(10):
        point = grid.world.random.randbytes(20)
        living = [node.identity.id for node in grid.nodes if node.up and node is not client]
        target = int.from_bytes(point, "big")
        true = sorted(living, key=lambda one: int.from_bytes(one, "big") ^ target)[:8]
        assert grid.nearest(point, 8) == true
        lookup = grid.find(client, point)
        found = {contact.id for contact in lookup.nearest()}
        right += sum(one in found for one in true)
        total += len(true)
        assert 1 <= lookup.hops(lookup.nearest()[0].id) <= 3
    assert right / total >= 0.98


def test_a_node_that_crashed_says_nothing_and_is_not_counted_among_the_living():
    grid = settled(10)
    node = grid.nodes[4]
    node.crash()
    node.crash()
    sent = node.host.sent
    assert node not in grid.living()
    grid.run(300.0)
    assert node.host.sent == sent


def test_a_node_restarts_with_its_key_and_finds_its_way_back_without_a_door():
    grid = settled(15)
    node = grid.nodes[6]
    identity, address, old = node.identity, node.address, node.engine
    grid.announce(grid.nodes[0], TAG, dataset(1))
    grid.run(5.0)
    held = node.holds(TAG)
    assert held == 1
    node.crash()
    grid.run(10.0)
    node.restart()
    assert node.up
    assert node.engine is not old
    assert (node.identity, node.address) == (identity, address)
    assert node.holds(TAG) == held, "what it held was on its disk"
    assert len(node.engine.table) == 0
    assert join(grid, node)
    grid.run(60.0)
    assert len(node.engine.table) >= 12
    assert datasets(grid.search(node, TAG)) == [dataset(1)]


def test_a_clean_restart_knows_nobody_and_holds_nothing():
    grid = settled(10)
    node = grid.nodes[6]
    grid.announce(grid.nodes[0], TAG, dataset(1))
    grid.run(5.0)
    node.crash()
    node.restart(clean=True)
    assert node.holds(TAG) == 0
    assert not join(grid, node)
    grid.nodes[7].crash()
    grid.nodes[7].restart(clean=True)
    assert join(grid, grid.nodes[7], grid.nodes[0])
    grid.run(60.0)
    assert len(grid.nodes[7].engine.table) >= 7


def test_a_restart_of_what_runs_changes_nothing():
    grid = settled(3)
    engine = grid.nodes[0].engine
    grid.nodes[0].restart()
    assert grid.nodes[0].engine is engine


def test_a_removed_node_is_forgotten_and_its_peers_go_on():
    grid = settled(15)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    gone = grid.nodes[5]
    grid.remove(gone)
    assert gone not in grid.nodes
    assert grid.network.at(gone.address) is None
    assert gone.identity.id not in grid.nearest(gone.identity.id, 15)
    grid.run(600.0)
    assert all(
        gone.identity.id not in {peer.id for peer in n.engine.table.peers() if not peer.fails} for n in grid.nodes
    )
    assert datasets(grid.search(grid.nodes[9], TAG)) == [dataset(1)]


@pytest.mark.parametrize("kind", ["cone", "symmetric"])
def test_a_client_behind_a_nat_searches_and_enters_no_table(kind):
    grid = settled(15)
    grid.announce(grid.nodes[3], TAG, dataset(1))
    grid.run(5.0)
    client = grid.add(server=False, nat=kind)
    inside = client.address
    assert join(grid, client, grid.nodes[0])
    assert datasets(grid.search(client, TAG)) == [dataset(1)]
    grid.run(400.0)
    assert datasets(grid.search(client, TAG)) == [dataset(1)], "though its mappings were forgotten meanwhile"
    assert all(node.engine.table.get(client.identity.id) is None for node in grid.nodes)
    assert client.identity.id not in grid.nearest(client.identity.id, 20)
    if kind == "cone":
        assert client.address != inside, "its peers told it where they see it"


def kinds(grid: Grid) -> list[str]:
    """What each node's host stands behind."""
    return [node.host.nat.kind if node.host.nat else "open" for node in grid.nodes]


@pytest.mark.parametrize("shares", [{"nat_cone": 0.3, "nat_symmetric": 0.3}, {"nat_cone": 0.8}, {"nat_symmetric": 0.8}])
def test_a_grid_with_hosts_behind_nats_finds_what_any_of_them_announces(shares):
    """They serve others as real nodes do, who cannot know that nobody reaches them."""
    grid = settled(40, conditions=Conditions(Regions(), **shares))
    hidden = [node for node in grid.nodes if node.host.nat is not None]
    assert len(hidden) >= 15
    assert all(node.server for node in grid.nodes)
    assert all(len(node.engine.table) for node in grid.nodes), "everybody knows somebody"
    grid.run(2 * MAPPING_LIFE)
    for number in range(10):
        publisher, searcher = grid.world.random.sample(hidden, 2)
        tag = normalise_tag(f"tag-{number}")
        assert grid.announce(publisher, tag, dataset(number)) >= 4
        grid.run(5.0)
        assert datasets(grid.search(searcher, tag)) == [dataset(number)]
        assert datasets(grid.search(grid.door(), tag)) == [dataset(number)]


def test_hosts_stand_behind_nats_as_the_conditions_say_unless_told():
    grid = Grid(1, conditions=Conditions(nat_cone=0.5, nat_symmetric=0.25))
    for _ in range(400):
        grid.add()
    found = kinds(grid)
    assert [found.count(kind) / 400 for kind in KINDS] == pytest.approx([0.25, 0.5, 0.25], abs=0.06)
    for kind in KINDS:
        grid.add(nat=kind)
    assert kinds(grid)[-3:] == list(KINDS)
    again = Grid(1, conditions=Conditions(nat_cone=0.5, nat_symmetric=0.25))
    for _ in range(400):
        again.add()
    assert kinds(again) == found, "by the seed"


def test_the_first_node_of_a_grid_can_be_reached_whatever_the_others_stand_behind():
    grid = Grid(1, conditions=Conditions(nat_cone=1.0))
    grid.grow(6)
    assert kinds(grid) == ["open"] + ["cone"] * 5
    assert all(len(node.engine.table) for node in grid.nodes)


def test_nodes_grow_through_doors_that_can_be_reached():
    grid = Grid(1)
    hidden = [grid.add(server=False), grid.add(nat="cone")]
    nodes = grid.grow(6)
    assert all(len(node.engine.table) for node in nodes)
    assert all(len(node.engine.table) == 0 for node in hidden)


def test_acquainted_nodes_know_as_many_of_each_distance_range_as_there_are_up_to_k():
    grid = Grid(2, limits=Limits(k=4))
    for _ in range(40):
        grid.add()
    grid.acquaint()
    for node in grid.nodes:
        own = int.from_bytes(node.identity.id, "big")
        there: dict[int, int] = {}
        for other in grid.nodes:
            if other is not node:
                shared = ID_BITS - (own ^ int.from_bytes(other.identity.id, "big")).bit_length()
                there[shared] = there.get(shared, 0) + 1
        known = {shared: len(row) for shared, row in node.engine.table.ranges(own)}
        assert known == {shared: min(4, count) for shared, count in there.items()}
    assert grid.network.sent == 0, "nobody said a word"
    target = grid.world.random.randbytes(20)
    found = [contact.id for contact in grid.find(grid.nodes[0], target).nearest()]
    assert found[0] in grid.nearest(target, 2)


def test_a_cut_network_is_two_grids_and_whole_again_when_it_heals():
    grid = settled(20, limits=Limits(k=20))
    one, other = grid.nodes[:10], grid.nodes[10:]
    grid.part(one, other)
    grid.announce(one[0], TAG, dataset(1))
    grid.announce(other[0], TAG, dataset(2))
    grid.run(5.0)
    assert datasets(grid.search(one[5], TAG)) == [dataset(1)]
    assert datasets(grid.search(other[5], TAG)) == [dataset(2)]
    grid.part()
    grid.run(600.0)
    for node in (one[5], other[5]):
        assert datasets(grid.search(node, TAG)) == [dataset(1), dataset(2)]


def test_who_is_on_no_side_of_a_cut_hears_nobody_of_the_sides():
    grid = settled(6)
    lonely = grid.nodes[5]
    grid.part(grid.nodes[:5])
    answers: list[object] = []
    lonely.find(grid.nodes[0].identity.id, answers.append)
    grid.run(60.0)
    assert answers == [[]]


def test_hosts_live_in_regions_by_chance_when_the_latency_knows_some():
    latency = Regions()
    grid = Grid(1, conditions=Conditions(latency))
    grid.grow(40)
    assert {node.host.region for node in grid.nodes} == set(latency.names)


def test_a_grid_stands_a_network_that_loses_doubles_and_reorders():
    grid = settled(15, conditions=Conditions(LogNormal(), loss=0.1, duplicate=0.1, reorder=0.2), check_every=1)
    assert grid.announce(grid.nodes[1], TAG, dataset(1)) >= 8
    grid.run(10.0)
    assert all(datasets(grid.search(node, TAG)) == [dataset(1)] for node in grid.nodes[5:10])


def test_nothing_leaks_in_a_healthy_grid():
    grid = settled(10)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    grid.nodes[3].search(TAG, 10, lambda listing: None, lambda: None)
    grid.nodes[4].find(bytes(20), lambda near: None)
    assert grid.nodes[4].engine.operations()
    began = grid.world.now
    grid.check_leaks(90.0)
    assert grid.world.now == began + 90.0


def test_what_does_not_end_is_a_leak():
    grid = settled(5)
    node = grid.nodes[2]
    node.find(bytes(20), lambda near: None)
    (walk,) = node.engine.operations()
    grid.run(30.0)
    node.engine.opened(walk)  # as if it had been forgotten
    with pytest.raises(BrokenInvariant, match="still at 1 things that it began 120 s ago"):
        grid.check_leaks()


def test_a_node_that_died_meanwhile_leaks_nothing():
    grid = settled(5)
    grid.nodes[2].find(bytes(20), lambda near: None)
    grid.world.after(0.001, grid.nodes[2].crash)
    grid.check_leaks()


def test_a_run_stops_at_a_broken_invariant():
    grid = settled(6, check_every=1)
    bucket = grid.nodes[2].engine.table.buckets[0]
    for number in range(30):
        peer = next(iter(bucket.nodes.values()))
        bucket.nodes[number.to_bytes(20, "big")] = peer
    with pytest.raises(BrokenInvariant, match="more peers in a bucket than k"):
        grid.run(600.0)


def test_a_run_stops_at_a_fault_of_an_engine_and_names_it():
    grid = settled(4)
    error = RuntimeError("of ours")
    grid.world.after(1.0, grid.nodes[1].engine.fault, error)
    with pytest.raises(BrokenInvariant, match="of ours") as caught:
        grid.run(5.0)
    assert caught.value.__cause__ is error
    assert grid.faults == [error]


def forged(node: Node, **changes) -> Verified:
    """A listing as a node would hand it out, with another signature or content."""
    (found,) = node.engine.store.all(TAG, node._grid.world.wall())
    return dataclasses.replace(found, **changes)


def test_a_listing_is_verified_by_its_signature_and_its_tag():
    grid = settled(6)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    holder = next(node for node in grid.nodes if node.holds(TAG))
    good = forged(holder)
    for _ in range(2):
        grid.verified(good, TAG)
    with pytest.raises(BrokenInvariant, match="of #digits"):
        Grid(1).verified(good, normalise_tag("other"))
    for bad in (
        forged(holder, signature=bytes(64)),
        forged(holder, raw=good.raw + b"x"),
        forged(holder, record=dataclasses.replace(good.record, key=grid.nodes[5].identity.public)),
    ):
        with pytest.raises(BrokenInvariant, match="nobody signed"):
            Grid(1).verified(bad, TAG)


def test_a_listing_that_was_verified_before_is_refused_as_another_tags_or_publishers():
    grid = settled(4)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    good = forged(next(node for node in grid.nodes if node.holds(TAG)))
    grid.verified(good, TAG)
    with pytest.raises(BrokenInvariant, match="of #digits"):
        grid.verified(good, normalise_tag("other"))
    stolen = dataclasses.replace(good.record, key=grid.nodes[1].identity.public)
    with pytest.raises(BrokenInvariant, match="nobody signed"):
        grid.verified(dataclasses.replace(good, record=stolen), TAG)


def test_a_run_stops_when_an_engine_hands_out_what_nobody_signed(monkeypatch):
    grid = settled(6)
    grid.announce(grid.nodes[0], TAG, dataset(1))
    grid.run(5.0)
    bad = forged(next(node for node in grid.nodes if node.holds(TAG)), signature=bytes(64))
    client = grid.add(server=False)
    assert join(grid, client, grid.nodes[0])
    monkeypatch.setattr(Engine, "check_listing", lambda engine, pair: bad)
    with pytest.raises(BrokenInvariant, match="nobody signed"):
        grid.search(client, TAG)


def test_the_same_seed_gives_the_same_grid_and_another_seed_another():
    digests = []
    for seed in (4, 4, 5):
        grid = settled(10, seed, conditions=Conditions(LogNormal(), loss=0.05))
        grid.announce(grid.nodes[0], TAG, dataset(1))
        grid.search(grid.nodes[5], TAG)
        grid.nodes[3].crash()
        grid.run(120.0)
        digests.append(grid.world.digest())
    assert digests[0] == digests[1] != digests[2]
