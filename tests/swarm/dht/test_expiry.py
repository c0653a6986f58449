"""A listing leaves within a hundredth of its life after its end, and what is held outlives a restart."""

from __future__ import annotations

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht.contacts import share_of
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, Verified, sign_listing

TAG = normalise_tag("lasting")


def listing(swarm, identity: Identity, ttl: int, *, seq: int = 1, dataset: bytes = bytes(16)) -> Verified[Listing]:
    now = int(swarm.wall())
    address = (Address("10.0.0.1", 1),)
    return sign_listing(identity, Listing(identity.public, "n", address, TAG, dataset, "", seq, now, ttl))


@pytest.mark.parametrize("ttl", [60, 61, 3600])
def test_a_listing_leaves_within_a_hundredth_of_its_life(swarm, ttl):
    holder, publisher = swarm.make(), Identity(b"p" * 32)
    swarm.run(swarm.random.uniform(1.0, 40.0))
    made = listing(swarm, publisher, ttl)
    holder.store.put(made, share_of(("9.9.9.9", 9)), swarm.wall())
    swarm.run(made.expires - swarm.wall() - 0.001 * ttl)
    assert len(holder.store) == 1
    assert holder.store.total(TAG) == (1 if ttl > 60 else 0)
    swarm.run(0.011 * ttl)
    assert len(holder.store) == holder.store.total(TAG) == holder.store.bytes == 0
    assert holder.store.tags() == []


@pytest.mark.parametrize("ttl", [61, 3600])
def test_an_expired_listing_is_in_no_answer_and_in_no_total(swarm, ttl):
    nodes = swarm.grow(4)
    publisher = Identity(b"p" * 32)
    for node in nodes:
        node.store.put(listing(swarm, publisher, ttl), share_of(("9.9.9.9", 9)), swarm.wall())
    assert len(swarm.search(nodes[0], "lasting")) == 1
    swarm.run(ttl - 30.0)
    assert len(swarm.search(nodes[1], "lasting")) == 1
    swarm.run(30.0 + 0.01 * ttl)
    assert swarm.search(nodes[0], "lasting") == []
    assert {node.store.total(TAG) for node in nodes} == {0}


def test_what_a_restarted_holder_still_held_is_found_with_it_alone(swarm):
    holder, publisher = swarm.make(), Identity(b"p" * 32)
    group = share_of(("9.9.9.9", 9))
    for number, ttl in enumerate((100, 1000, 2000)):
        holder.store.put(listing(swarm, publisher, ttl, dataset=bytes([number]) * 16), group, swarm.wall())
    rows = holder.store.dump()
    swarm.kill(holder)
    swarm.run(200.0)
    again, seeker = swarm.make(identity=holder.identity), swarm.make()
    assert again.store.load(rows, swarm.wall()) == 2
    assert swarm.join(seeker, again)
    for asker in (seeker, again):
        assert {found.record.dataset for found in swarm.search(asker, "lasting")} == {b"\x01" * 16, b"\x02" * 16}
    swarm.run(800.0)
    assert {found.record.dataset for found in swarm.search(seeker, "lasting")} == {b"\x02" * 16}
