"""One peer that asks 100 times as much as any other, of a node whose processor answers so many packets a second."""

from __future__ import annotations

from collections import deque

import pytest

from p2pgrid.dht import messages
from p2pgrid.dht.contacts import Contact
from p2pgrid.dht.messages import FindNode

DROPPED_EARLY = 0.15
"""What a packet that is dropped before it is opened costs, as a part of one that is answered: 2.4 of 17 us of the
engine's processor time, the answer included (5,000 packets of each kind, Python 3.11)."""
UNITS = 5000.0
"""Packets that the modelled machine answers in a second: with its system's share, about what a real one does."""
INBOX = 512
"""Packets that wait in its socket; more are lost."""
SECONDS = 3
HONEST, RATE = 20, 100.0
"""Honest peers use two fifths of the machine, the flood alone would take two of it."""
TIMES = 100
LEAST_THROUGHPUT = 0.90


class Machine:
    """A node on a slow processor: packets wait in a bounded inbox and are worked off one by one."""

    def __init__(self, swarm, engine):
        self.swarm, self.engine = swarm, engine
        self.inbox = deque()
        self.busy = False
        self.lost = 0

    def watch(self, data, source, target):
        """Stands between the network and the node."""
        if target != self.engine.address:
            return True
        self.swarm.at(self.swarm.now + 0.01, lambda: self.arrive(data, source))
        return False

    def arrive(self, data, source):
        if len(self.inbox) >= INBOX:
            self.lost += 1
            return
        self.inbox.append((data, source))
        if not self.busy:
            self.work()

    def work(self):
        self.busy = bool(self.inbox)
        if self.busy:
            data, source = self.inbox.popleft()
            early = self.engine.counters["flooded"]
            self.engine.receive(data, source, self.swarm.now)
            self.swarm.flush(self.engine)
            cost = DROPPED_EARLY if self.engine.counters["flooded"] > early else 1.0
            self.swarm.at(self.swarm.now + cost / UNITS, self.work)


def throughput(arena, times):
    """Requests of the honest that were answered in time, while one peer sends ``times`` as many as each of them."""
    swarm, victim = arena.swarm, arena.honest[0]
    mallory, askers = arena.honest[1], arena.honest[2 : 2 + HONEST]
    for node in (mallory, *askers):
        assert arena.tell(node, victim, FindNode(0, bytes(20))) is not None
    machine, answered = Machine(swarm, victim), []
    swarm.watch = machine.watch

    def ask(node):
        asked = arena.tell_class(node)
        node.ask(Contact(victim.identity.public, *victim.address), FindNode(0, bytes(20)), asked, swarm.now)
        swarm.flush(node)
        answered.append(asked)

    def shoot():
        session = mallory._channel.sessions.to(victim.identity.public)
        swarm.send(session.seal(messages.encode(FindNode(1, bytes(20)))), mallory.address, victim.address)

    for node in askers:
        start = swarm.now + swarm.random.random() / RATE
        for number in range(int(SECONDS * RATE)):
            swarm.at(start + number / RATE, lambda node=node: ask(node))
    for number in range(int(SECONDS * RATE * times)):
        swarm.at(swarm.now + number / RATE / times, shoot)
    swarm.run(SECONDS + 10.0)
    assert len(answered) == HONEST * SECONDS * RATE
    done = sum(asked.answer is not None for asked in answered)
    arena.note(times=times, answered=done, of=len(answered), lost=machine.lost, drops=str(dict(victim.counters)))
    return done


@pytest.mark.slow
def test_one_peer_sends_100_times_as_much_as_the_others(grids):
    calm, flooded = throughput(grids(1), 0), throughput(grids(1), TIMES)
    assert calm == HONEST * SECONDS * RATE
    assert flooded >= LEAST_THROUGHPUT * calm
