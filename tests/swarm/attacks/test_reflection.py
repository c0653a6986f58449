"""Making nodes shoot at somebody by false source addresses."""

from __future__ import annotations

from p2pgrid.crypto import Identity
from p2pgrid.dht import messages, packets
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.messages import FindNode

VICTIM = ("99.9.9.9", 53)


def spoofed(arena, target):
    """First packets of strangers to a node, of every kind that a stranger may send."""
    sent = []
    for request in (
        messages.Ping(0, True),
        messages.Ping(0, False),
        FindNode(0, bytes(20)),
        messages.SampleTags(0, 32),
        messages.AddListing(0, arena.pair(arena.listing(target.identity))),
    ):
        other = Identity(arena.swarm.random.randbytes(32))
        mallory = type(target)(
            other,
            address=VICTIM,
            now=arena.swarm.now,
            wall=arena.swarm.wall,
            random=arena.swarm.random.randbytes,
        )
        asked = arena.tell_class(mallory)
        mallory.ask(Contact(target.identity.public, *target.address), request, asked, arena.swarm.now)
        mallory.greet(target.address, lambda contact, at: None, arena.swarm.now)
        sent += [data for data, _ in mallory.poll(arena.swarm.now).datagrams]
    return sent


def test_spoofed_sources_draw_no_more_than_they_send_and_enter_no_table(arena):
    nodes = arena.swarm.grow(12)
    caught = []
    arena.swarm.watch = lambda data, source, target: caught.append(data) or True
    arena.swarm.announce(nodes[1], "prey", bytes(16))
    arena.swarm.search(nodes[2], "prey")
    newcomer = arena.swarm.make()
    assert arena.swarm.join(newcomer, nodes[0])
    arena.swarm.run(180.0)  # everybody has met everybody
    arena.swarm.watch = None
    tables = [{peer.id for peer in node.table.peers()} for node in nodes]
    stores = [len(node.store) for node in nodes]
    sessions = [node.sessions() for node in nodes]
    kinds = {data[0] for data in caught}
    assert {packets.HELLO, packets.INIT, packets.ACCEPT, packets.DATA, packets.TICKETED} <= kinds
    for node in nodes:
        for data in [*spoofed(arena, node), *caught]:
            out = node.poll(arena.swarm.now).datagrams
            before = sum(len(one) for one, to in out if to == VICTIM)
            assert before == 0
            node.receive(data, VICTIM, arena.swarm.now)
            out = node.poll(arena.swarm.now).datagrams
            drawn = sum(len(one) for one, to in out if to == VICTIM)
            assert drawn <= len(data), f"{len(data)} bytes of kind {data[0]:#x} drew {drawn}"
    arena.swarm.run(30.0)
    assert arena.swarm.bytes_to.get(VICTIM, 0) == 0, "something was sent again to an address that proved nothing"
    assert [{peer.id for peer in node.table.peers()} for node in nodes] == tables
    assert [len(node.store) for node in nodes] == stores
    assert [node.sessions() for node in nodes] == sessions
