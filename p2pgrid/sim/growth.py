"""Nodes that join a grid one after the other, each through one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from p2pgrid.sim.grid import Grid
    from p2pgrid.sim.node import Node

AGAIN: Final = 1.0
"""Seconds until a node that nobody answered tries again."""


class Growth:
    """Sees to it that all come to the same grid.

    Where packets get lost, a node may join through one that nobody answered yet: they would be a grid of two.  So whom
    its door did not answer tries again, until it is ``over``, through one that is inside: who joined through one that
    is inside, or was there before.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._begun: set[Node] = set()
        self._through: dict[Node, Node] = {}
        """Whom each joined through that did."""
        self.joined = 0
        self.over = False

    def join(self, node: Node, door: Node | None) -> None:
        """Join through this door; without any the node is the first."""
        if door is None:
            self.joined += 1
            return
        self._begun.add(node)
        node.join([door.address], lambda joined: self._ended(node, door, joined))

    def inside(self, node: Node) -> bool:
        """Whether it has joined, through one that is inside itself."""
        while node in self._begun:
            if node not in self._through:
                return False
            node = self._through[node]
        return True

    def _ended(self, node: Node, door: Node, joined: bool) -> None:
        if joined and _met(node, door):
            self._through[node] = door
            self.joined += 1
        else:
            self._grid.world.after(AGAIN, self._again, node)

    def _again(self, node: Node) -> None:
        if self.over or not node.up:
            return
        door = self._grid.door(self.inside)
        if door is not None:
            self.join(node, door)
        else:
            self._grid.world.after(AGAIN, self._again, node)


def _met(node: Node, door: Node) -> bool:
    """Whether one of them knows the other: a node that others joined through may have been answered by those only."""
    return any(one.engine.table.get(other.identity.id) for one, other in ((node, door), (door, node)))
