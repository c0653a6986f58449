"""Address translators: how they map, whom they let in, and what they forget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.sim.nat import FIRST_PORT, MAPPING_LIFE, PORTS, Nat

IP = "30.0.0.1"
ONE, OTHER = ("20.0.0.1", 4000), ("20.0.0.2", 4000)
TARGETS = st.tuples(st.sampled_from(["20.0.0.1", "20.0.0.2", "20.0.0.3"]), st.integers(4000, 4003))


@given(st.lists(TARGETS, min_size=1, max_size=30))
def test_a_cone_has_one_public_port_for_all_targets(targets):
    nat = Nat("cone", IP)
    assert len({nat.out(target, 0.0) for target in targets}) == 1


@given(st.lists(TARGETS, min_size=1, max_size=30))
def test_a_symmetric_one_has_a_port_for_each_target(targets):
    nat = Nat("symmetric", IP)
    ports: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for target in targets:
        ports.setdefault(target, set()).add(nat.out(target, 0.0))
    assert all(len(seen) == 1 for seen in ports.values())
    assert len(set().union(*ports.values())) == len(ports)


@given(
    st.sampled_from(["cone", "symmetric"]),
    st.lists(st.tuples(TARGETS, st.floats(0, 2 * MAPPING_LIFE)), max_size=15),
    TARGETS,
)
def test_only_whoever_was_sent_to_lately_gets_in(kind, sent, stranger):
    nat = Nat(kind, IP)
    now = 0.0
    last: dict[tuple[str, int], float] = {}
    ports = set()
    for target, wait in sent:
        now += wait
        ip, port = nat.out(target, now)
        assert ip == IP
        assert FIRST_PORT <= port < FIRST_PORT + PORTS
        ports.add(port)
        last[target] = now
    let_in = any(nat.lets_in(port, stranger, now) for port in ports)
    assert let_in == (stranger in last and now - last[stranger] <= MAPPING_LIFE)


def test_what_one_peer_sees_of_a_symmetric_one_is_of_no_use_to_another():
    nat = Nat("symmetric", IP)
    (_, first), (_, second) = nat.out(ONE, 0.0), nat.out(OTHER, 0.0)
    assert nat.lets_in(first, ONE, 1.0)
    assert nat.lets_in(second, OTHER, 1.0)
    assert not nat.lets_in(first, OTHER, 1.0)
    assert not nat.lets_in(second, ONE, 1.0)


def test_a_mapping_that_is_not_used_is_forgotten_and_one_in_use_is_not():
    for kind in ("cone", "symmetric"):
        nat = Nat(kind, IP)
        at = nat.out(ONE, 0.0)
        assert nat.out(ONE, MAPPING_LIFE) == at
        assert nat.lets_in(at[1], ONE, 2 * MAPPING_LIFE)
        assert not nat.lets_in(at[1], ONE, 2 * MAPPING_LIFE + 0.1)
        assert nat.out(ONE, 2 * MAPPING_LIFE + 0.1) != at


def test_packets_to_anybody_keep_a_cones_port_and_not_who_may_answer():
    nat = Nat("cone", IP)
    at = nat.out(ONE, 0.0)
    for minute in range(1, 6):
        assert nat.out(OTHER, 60.0 * minute) == at
    assert not nat.lets_in(at[1], ONE, 300.0)
    assert nat.lets_in(at[1], OTHER, 300.0)


def test_a_port_is_used_again_only_when_its_mapping_is_forgotten(monkeypatch):
    monkeypatch.setattr("p2pgrid.sim.nat.PORTS", 50)
    nat = Nat("symmetric", IP)
    for number in range(10):
        now = number * (MAPPING_LIFE + 1.0)
        living = {nat.out(("20.0.0.9", port), now)[1] for port in range(40)}
        assert len(living) == 40
        assert len(nat._by_port) == len(nat._by_target) == 40
