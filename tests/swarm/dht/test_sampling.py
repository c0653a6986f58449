"""A sample of the grid's tags over real engines in virtual time."""

from __future__ import annotations

from typing import Any

from p2pgrid.dht import messages
from p2pgrid.dht.engine import Engine
from p2pgrid.dht.messages import Tags
from p2pgrid.dht.sampling import MOST_DRAWS, MOST_EACH, MOST_PEERS, Sample, best


def draw(swarm: Any, engine: Engine) -> Sample:
    done: list[float] = []
    sample = engine.sample_tags(done.append, swarm.now)
    swarm.flush(engine)
    assert swarm.run(20.0, lambda: bool(done)), "a sample did not end"
    assert sample.over
    return sample


def dataset(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_every_tag_of_a_small_grid_is_sampled(swarm: Any) -> None:
    nodes = swarm.grow(5)
    tags = {f"tag-{number}" for number in range(60)}
    for number, tag in enumerate(sorted(tags)):
        swarm.announce(nodes[number % 5], tag, dataset(number))
    assert set(draw(swarm, nodes[0]).named) == tags


def test_a_client_samples_a_large_grid(swarm: Any) -> None:
    nodes = swarm.grow(80)
    tags = {f"tag-{number}" for number in range(40)}
    for number, tag in enumerate(sorted(tags)):
        swarm.announce(nodes[number], tag, dataset(number))
    client = swarm.make(server=False)
    assert swarm.join(client, nodes[0])
    before = swarm.sent
    found = best(draw(swarm, client).named, "", 100)
    assert len(found) >= 38
    assert sum(one.seen >= 2 for one in found) >= 30
    assert swarm.sent - before <= 12 * MOST_DRAWS


def test_a_sample_ends_where_nobody_answers(swarm: Any) -> None:
    alone = swarm.make()
    assert draw(swarm, alone).named == {}
    nodes = swarm.grow(4)
    for node in nodes[1:]:
        swarm.kill(node)
    assert draw(swarm, nodes[0]).named == {}


def test_a_peer_with_endless_tags_is_not_asked_forever(swarm: Any) -> None:
    nodes = swarm.grow(6)
    swarm.announce(nodes[1], "honest", dataset(1))
    liar, told = nodes[3], [0]

    def lie(request: Any, room: int) -> bytes:
        told[0] += 1
        invented = tuple(f"lie-{told[0]}-{number}" for number in range(32))
        return messages.encode(Tags(request.call, 2**31 - 1, invented))

    class Liar(type(liar._desk)):  # type: ignore[misc]
        __slots__ = ()
        _tags = staticmethod(lie)

    liar._desk.__class__ = Liar
    sample = draw(swarm, nodes[0])
    assert told[0] <= MOST_EACH // 32
    assert len(sample.named) <= MOST_EACH + 1
    assert best(sample.named, "", 10)[0].tag == "honest"


def test_one_address_group_is_asked_through_few_peers(swarm: Any) -> None:
    nodes = swarm.grow(10)
    for number in range(30):
        swarm.join(swarm.place((f"203.0.113.{number + 1}", 4000)), nodes[0])
    swarm.run(60.0)
    sample = draw(swarm, nodes[0])
    groups = [source.group for source in sample._sources.values()]
    assert len(groups) <= MOST_PEERS
    assert max(groups.count(group) for group in groups) <= 2
