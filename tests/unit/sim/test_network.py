"""Packets between hosts: what arrives, when, how often, and from whom it seems to come."""

from __future__ import annotations

import math

import pytest

from p2pgrid.dht.limits import MAX_DATAGRAM
from p2pgrid.errors import InvalidInput
from p2pgrid.sim.latency import Constant
from p2pgrid.sim.nat import MAPPING_LIFE
from p2pgrid.sim.network import QUEUE, UDP_AND_IP, Conditions, Host, Network
from p2pgrid.sim.world import World

MANY = 4_000
LATENCY = 0.02


class Heard(list):
    """What a host was handed: when, what, and whom it seems to be from."""

    def __init__(self, network: Network, host: Host) -> None:
        super().__init__()
        host.program = lambda data, source: self.append((network.world.now, data, source))

    @property
    def packets(self) -> list[bytes]:
        return [data for _, data, _ in self]

    @property
    def sources(self) -> list[tuple[str, int]]:
        return [source for _, _, source in self]


def network(**conditions) -> Network:
    return Network(World(1), Conditions(Constant(LATENCY), **conditions))


def open_hosts(made: Network, count: int) -> list[Host]:
    return [made.add((f"20.0.{number}.7", 4000)) for number in range(count)]


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


def flood(made: Network) -> list[bytes]:
    """What arrives of many packets sent a millisecond apart."""
    one, other = open_hosts(made, 2)
    heard = Heard(made, other)
    for number, data in enumerate(numbered(MANY)):
        made.world.at(0.001 * number, made.send, one, data, other.endpoint)
    made.world.run(0.001 * MANY + 10.0)
    return heard.packets


def test_a_packet_arrives_once_after_its_latency_and_is_counted_on_both_sides():
    made = network()
    one, other = open_hosts(made, 2)
    heard = Heard(made, other)
    made.send(one, b"hello", other.endpoint)
    made.world.run(1.0)
    assert heard == [(LATENCY, b"hello", one.endpoint)]
    size = len(b"hello") + UDP_AND_IP
    assert (one.sent, one.out, one.heard, one.into) == (1, size, 0, 0)
    assert (other.sent, other.out, other.heard, other.into) == (0, 0, 1, size)
    assert (made.sent, made.out) == (1, size)


def test_packets_on_a_quiet_network_arrive_once_and_in_order():
    assert flood(network()) == numbered(MANY)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_such_a_share_of_packets_gets_lost(share):
    arrived = flood(network(loss=share))
    assert len(set(arrived)) == len(arrived)
    assert abs(1 - len(arrived) / MANY - share) <= 5 * math.sqrt(share * (1 - share) / MANY)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_such_a_share_of_packets_arrives_twice(share):
    arrived = flood(network(duplicate=share))
    assert set(arrived) == set(numbered(MANY))
    assert abs(len(arrived) / MANY - 1 - share) <= 5 * math.sqrt(share * (1 - share) / MANY)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_such_a_share_of_packets_is_overtaken_by_later_ones_and_none_is_lost(share):
    arrived = flood(network(reorder=share, reorder_by=0.05))
    assert sorted(arrived) == numbered(MANY)
    latest = b""
    overtaken = 0
    for data in arrived:
        overtaken += data < latest
        latest = max(latest, data)
    assert abs(overtaken / MANY - share) <= 5 * math.sqrt(share * (1 - share) / MANY) + 50 / MANY


def test_an_uplink_sends_no_faster_than_its_rate_and_drops_what_its_queue_does_not_hold():
    made = network(uplink=10_000)
    one, other = open_hosts(made, 2)
    heard = Heard(made, other)
    for data in numbered(100):
        made.send(one, data.ljust(100 - UDP_AND_IP), other.endpoint)  # 10 ms each
    made.world.run(10.0)
    fit = round(QUEUE / 0.01)
    assert len(heard) in (fit, fit + 1)
    assert [data[:4] for data in heard.packets] == numbered(len(heard)), "the last ones are dropped"
    assert [when for when, _, _ in heard] == pytest.approx([LATENCY + 0.01 * (n + 1) for n in range(len(heard))])
    assert made.out == 100 * len(heard), "what is dropped before the wire is no traffic"
    made.send(one, b"later", other.endpoint)
    made.world.run(1.0)
    assert heard.packets[-1] == b"later", "the queue is empty again"


def test_a_busy_uplink_is_one_hosts_own():
    made = network(uplink=10_000)
    one, other, third = open_hosts(made, 3)
    heard = Heard(made, third)
    for _ in range(15):
        made.send(one, bytes(100 - UDP_AND_IP), third.endpoint)
    made.send(other, b"prompt", third.endpoint)
    made.world.run(1.0)
    assert heard.packets.index(b"prompt") == 0


def test_hosts_on_different_sides_do_not_hear_each_other():
    made = network()
    a, b, c = open_hosts(made, 3)
    a.side = b.side = 1
    heard = {host: Heard(made, host) for host in (a, b, c)}
    for sender in (a, b, c):
        for host in (a, b, c):
            made.send(sender, b"hello", host.endpoint)
    made.world.run(1.0)
    assert sorted(heard[a].sources) == sorted(heard[b].sources) == [a.endpoint, b.endpoint]
    assert heard[c].sources == [c.endpoint]


def test_a_host_that_is_down_hears_nothing_not_even_what_was_under_way():
    made = network()
    one, other = open_hosts(made, 2)
    heard = Heard(made, other)
    made.send(one, b"under way", other.endpoint)
    other.up = False
    made.send(one, b"to the dead", other.endpoint)
    made.world.run(1.0)
    other.up = True
    made.send(one, b"to the living", other.endpoint)
    made.world.run(1.0)
    assert heard.packets == [b"to the living"]


@pytest.mark.parametrize("kind", ["open", "cone"])
def test_a_removed_host_hears_nothing_and_its_address_is_free_for_another(kind):
    made = network()
    one, other = made.add(("20.0.0.7", 4000)), made.add(("20.0.1.7", 4000), nat=kind)
    public = Heard(made, one)
    made.send(other, b"hello", one.endpoint)
    made.world.run(1.0)
    (at,) = public.sources
    heard = Heard(made, other)
    made.send(one, b"under way", at)
    made.remove(other)
    assert made.at(at) is None
    after = made.add(("20.0.1.7", 4000), nat=kind)
    assert after.number not in (one.number, other.number)
    again = Heard(made, after)
    made.world.run(1.0)
    assert not heard
    assert not again
    made.send(after, b"hello", one.endpoint)
    made.world.run(1.0)
    assert public.packets == [b"hello", b"hello"]


def test_two_hosts_at_one_address_are_refused():
    made = network()
    made.add(("20.0.0.7", 4000))
    made.add(("20.0.1.7", 4000), nat="cone")
    made.add(("20.0.0.7", 4001))
    for endpoint, nat in (
        (("20.0.0.7", 4000), "open"),
        (("20.0.0.7", 4000), "cone"),
        (("20.0.1.7", 5000), "open"),
        (("20.0.1.7", 5000), "symmetric"),
    ):
        with pytest.raises(InvalidInput, match="Two hosts"):
            made.add(endpoint, nat=nat)
    assert made.made == 3


def test_an_unknown_kind_of_nat_is_refused():
    with pytest.raises(InvalidInput, match="open, cone, symmetric"):
        network().add(("20.0.0.7", 4000), nat="full")


def test_packets_to_nobody_are_sent_and_lost():
    made = network()
    (one,) = open_hosts(made, 1)
    made.send(one, b"hello", ("99.0.0.1", 1))
    made.world.run(1.0)
    assert made.sent == one.sent == 1


def test_an_open_host_hears_everybody():
    made = network()
    one, other = open_hosts(made, 2)
    heard = Heard(made, one)
    made.send(other, b"unsolicited", one.endpoint)
    made.world.run(1.0)
    assert heard.sources == [other.endpoint]


def test_behind_a_cone_everybody_sees_one_address_and_only_those_sent_to_may_answer():
    made = network()
    home = made.add(("30.0.0.1", 4000), nat="cone")
    friends, stranger = open_hosts(made, 2), made.add(("20.9.9.9", 4000))
    at_home, seen = Heard(made, home), [Heard(made, friend) for friend in friends]
    for friend in friends:
        made.send(home, b"hello", friend.endpoint)
    made.world.run(1.0)
    (public,) = {source for heard in seen for source in heard.sources}
    assert public[0] == "30.0.0.1"
    assert public != home.endpoint
    for sender in (*friends, stranger):
        made.send(sender, b"answer", public)
    made.world.run(1.0)
    assert sorted(at_home.sources) == [friend.endpoint for friend in friends]


def test_behind_a_symmetric_one_each_peer_sees_another_port_that_serves_it_alone():
    made = network()
    home = made.add(("30.0.0.1", 4000), nat="symmetric")
    one, other = open_hosts(made, 2)
    at_home, at_one, at_other = (Heard(made, host) for host in (home, one, other))
    for host in (one, other):
        made.send(home, b"hello", host.endpoint)
    made.world.run(1.0)
    (for_one,), (for_other,) = at_one.sources, at_other.sources
    assert for_one != for_other
    made.send(one, b"as told by another", for_other)
    made.send(other, b"as told by another", for_one)
    made.send(one, b"answer", for_one)
    made.world.run(1.0)
    assert at_home.packets == [b"answer"]


@pytest.mark.parametrize("kind", ["cone", "symmetric"])
def test_who_is_silent_behind_a_nat_is_not_reached_any_more(kind):
    made = network()
    home, (one,) = made.add(("30.0.0.1", 4000), nat=kind), open_hosts(made, 1)
    at_home, at_one = Heard(made, home), Heard(made, one)
    made.send(home, b"hello", one.endpoint)
    made.world.run(MAPPING_LIFE - 1.0)
    made.send(one, b"in time", at_one.sources[0])
    made.world.run(2.0)
    made.send(one, b"late", at_one.sources[0])
    made.world.run(1.0)
    assert at_home.packets == [b"in time"]
    made.send(home, b"again", one.endpoint)
    made.world.run(1.0)
    assert at_one.sources[1] != at_one.sources[0]
    made.send(one, b"to the new port", at_one.sources[1])
    made.world.run(1.0)
    assert at_home.packets[-1] == b"to the new port"


def test_whoever_watches_sees_each_packet_and_may_drop_it():
    made = network()
    one, other = open_hosts(made, 2)
    heard = Heard(made, other)
    seen: list[tuple[bytes, object, object]] = []
    made.watch = lambda *packet: seen.append(packet) or packet[0] != b"bad"
    for data in (b"good", b"bad", b"good"):
        made.send(one, data, other.endpoint)
    made.world.run(1.0)
    assert seen == [(data, one.endpoint, other.endpoint) for data in (b"good", b"bad", b"good")]
    assert heard.packets == [b"good", b"good"]


def test_anybody_may_write_any_source_on_a_packet_and_it_comes_from_its_own_side_all_the_same():
    made = network()
    liar, victim, target = open_hosts(made, 3)
    heard = Heard(made, target)
    made.carry(b"a lie", victim.endpoint, target.endpoint, liar)
    made.world.run(1.0)
    assert heard.sources == [victim.endpoint]
    liar.side = 1
    made.carry(b"a lie", victim.endpoint, target.endpoint, liar)
    made.world.run(1.0)
    assert len(heard) == 1


def test_a_datagram_longer_than_the_protocol_allows_does_not_leave():
    made = network()
    one, other = open_hosts(made, 2)
    made.send(one, bytes(MAX_DATAGRAM), other.endpoint)
    with pytest.raises(ValueError, match="1281 bytes"):
        made.send(one, bytes(MAX_DATAGRAM + 1), other.endpoint)


def test_what_arrives_is_part_of_the_digest():
    digests = set()
    for data in (b"one", b"two", None):
        made = network()
        one, other = open_hosts(made, 2)
        Heard(made, other)
        if data is not None:
            made.send(one, data, other.endpoint)
        made.world.run(1.0)
        digests.add(made.world.digest())
    assert len(digests) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": -0.1},
        {"loss": 1.1},
        {"loss": math.nan},
        {"duplicate": 2.0},
        {"reorder": -1.0},
        {"reorder_by": -0.1},
        {"reorder_by": math.nan},
        {"uplink": 0.0},
        {"uplink": -5.0},
        {"uplink": math.nan},
        {"uplink": math.inf},
        {"uplink": "fast"},
        {"reorder_by": math.inf},
        {"loss": "often"},
        {"loss": None},
        {"latency": 0.02},
        {"latency": "constant:0.02"},
        {"latency": Constant},
    ],
)
def test_impossible_conditions_are_refused(wrong):
    with pytest.raises(InvalidInput):
        Conditions(**wrong)


def test_a_latency_in_words_is_refused_with_what_to_take_instead():
    with pytest.raises(InvalidInput, match=r"latency is such as Constant\(0.02\), not 'constant:0.02'") as caught:
        Conditions("constant:0.02")
    assert "LogNormal" in caught.value.fix


def test_conditions_that_are_none_are_refused_by_a_network():
    with pytest.raises(InvalidInput, match="conditions is such as"):
        Network(World(1), Constant())


@pytest.mark.parametrize(
    "wrong",
    [{"nat_cone": -0.1}, {"nat_cone": 1.1}, {"nat_symmetric": math.nan}, {"nat_cone": 0.6, "nat_symmetric": 0.5}],
)
def test_impossible_shares_of_hosts_are_refused(wrong):
    with pytest.raises(InvalidInput, match=r"shares? of the (same )?hosts"):
        Conditions(**wrong)


def test_hosts_stand_behind_what_their_shares_say():
    conditions = Conditions(nat_cone=0.3, nat_symmetric=0.2)
    drawn = [number / 100 for number in range(100)]
    kinds = [conditions.nat(lambda one=one: one) for one in drawn]
    assert kinds == ["cone"] * 30 + ["symmetric"] * 20 + ["open"] * 50
    assert Conditions(nat_symmetric=1.0).nat(lambda: 0.999) == "symmetric"


def test_without_shares_of_hosts_nothing_is_drawn():
    assert Conditions().nat(lambda: pytest.fail("it drew")) == "open"
