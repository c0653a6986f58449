"""A grid that people use: what was announced is held or counted as not held, and who comes joins or is counted."""

from __future__ import annotations

import random

from p2pgrid.ids import normalise_tag
from p2pgrid.sim.churn import Weibull
from p2pgrid.sim.grid import Grid
from p2pgrid.sim.latency import LogNormal
from p2pgrid.sim.network import Conditions
from p2pgrid.sim.workload import Workload


def working(count: int, **conditions: float) -> Workload:
    grid = Grid(3, conditions=Conditions(LogNormal(), **conditions))
    grid.grow(count)
    grid.run(60.0)
    return Workload(grid)


class Once:
    """Everybody there leaves within seconds, and whoever comes stays."""

    def session(self, chance: random.Random) -> float:
        return 1e9

    def rest(self, chance: random.Random) -> float:
        return 10.0 * chance.random()


def cut_off(work: Workload) -> None:
    """From now on every node is on a side of its own."""
    work.grid.part(*([node] for node in work.grid.nodes))


def test_all_that_is_published_in_a_healthy_grid_is_held():
    work = working(12)
    work.publish(8)
    assert work.grid.unheld == 0
    assert list(work.publishers) == [normalise_tag(f"tag-{number}") for number in range(8)]
    assert all(sum(node.holds(tag) for node in work.grid.nodes) >= 4 for tag in work.publishers)


def test_what_nobody_but_its_publisher_holds_is_counted():
    work = working(6)
    work.publish(2)
    cut_off(work)
    work.publish(5)
    assert work.grid.unheld == 5
    work.grid.part()
    work.grid.run(30.0)  # until they have heard each other again
    work.publish(1)
    assert work.grid.unheld == 5


def test_what_nobody_is_left_to_publish_is_counted():
    work = working(3)
    for node in work.grid.nodes:
        node.crash()
    work.publish(4)
    assert work.grid.unheld == 4


def test_listings_that_were_late_are_not_counted_twice():
    work = working(6)
    cut_off(work)
    work.publish(5, every=0.0)
    work.grid.run(600.0)
    assert work.grid.unheld == 5


def test_who_comes_for_one_that_left_and_is_answered_by_nobody_is_counted():
    work = working(10)
    work.publish(3)
    work.churn(Weibull(1.0, 120.0))
    work.grid.run(120.0)
    assert work.births > 5
    assert (work.grid.unjoined, work.grid.unheld) == (0, 0)
    quiet = working(10)
    quiet.publish(3)
    quiet.grid.network.conditions = Conditions(LogNormal(), loss=1.0)
    quiet.churn(Weibull(1.0, 120.0))
    quiet.grid.run(120.0)
    assert 0 < quiet.grid.unjoined <= quiet.births


def test_who_comes_and_is_not_answered_tries_another_door():
    work = working(10)
    work.grid.network.conditions = Conditions(LogNormal(), loss=1.0)
    work.churn(Once())
    work.grid.run(60.0)
    assert (work.births, work.grid.unjoined) == (10, 10)
    cut = [len(node.engine.table) for node in work.grid.nodes]
    work.grid.network.conditions = Conditions(LogNormal())
    work.grid.run(60.0)
    assert work.grid.unjoined == 0, "whoever is answered later is in"
    assert min(len(node.engine.table) for node in work.grid.nodes) > max(cut) == 0


def test_a_churning_grid_behind_translators_goes_on_when_its_doors_have_left():
    work = working(8, nat_cone=1.0)
    doors = [node for node in work.grid.nodes if node.host.nat is None]
    assert len(doors) == 1
    work.churn(Weibull(1.0, 60.0))
    work.grid.run(600.0)
    assert work.births == work.deaths > 20
    assert len(work.grid.living()) == 8
    assert doors[0] not in work.grid.nodes
    known = sum(len(node.engine.table) > 0 for node in work.grid.living())
    assert known > 4, "newcomers join through those that are open"
