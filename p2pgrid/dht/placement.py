"""Where listings of a tag live, and in which order a holder hands them out.

A listing lives with the ``k`` nodes nearest to its tag's key, where whoever looks for a rare tag finds it in a hop or
two, and with some nodes of every distance range around it, ``range_places`` or half as many in a far one, so that
neither a bought neighbourhood hides it nor 10,000 listings of one tag all press on the same sixteen nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from math import gcd
from typing import Final

from p2pgrid.dht.contacts import Contact, share_of
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.ranges import FAR, by_range

WITHDRAWN_TTL: Final = 60
"""A listing whose ttl is at most this takes an older one back: never handed out, remembered as long as the older one
would have lived, so that replaying the older one does nothing."""


def places(
    target: int,
    sure: Iterable[Contact],
    rumoured: Iterable[Contact],
    held: Container[bytes],
    known: Container[bytes],
    depth: float,
    limits: Limits,
    chance: Callable[[], int],
) -> tuple[list[Contact], list[Contact]]:
    """Whom to place a listing with: those near its tag's key, and those farther out; each in the order to be asked.

    ``sure``: those around ``target`` that were heard, or told by several; ``rumoured``: those that one network alone
    told of, perhaps inventions, who are asked when there are not ``k`` others.  ``held``: ids of those that hold it
    already, who are asked again before others; ``known``: of those in our own table, with whom no handshake is needed,
    and who come next; ``depth``: log2 of the number of nodes.  The near ones come with as many more as there are, for
    those that refuse or are gone.
    """
    everybody = sorted(sure, key=lambda contact: contact.long_id ^ target)
    rest_of_all = sorted(rumoured, key=lambda contact: contact.long_id ^ target)
    near = (everybody + rest_of_all)[: limits.k]
    far: list[Contact] = []
    taken = {contact.id for contact in near}
    for r, row in by_range(target, everybody):
        wanted = limits.range_places if r >= depth - FAR else limits.range_places // 2
        inside = sum(contact.id in taken for contact in row)
        groups = {share_of(contact.endpoint) for contact in row if contact.id in taken}
        rest = [contact for contact in row if contact.id not in taken]
        # By chance among equals: nobody can choose ids so that they are chosen.
        rest.sort(key=lambda contact: (contact.id not in held, contact.id not in known, chance()))
        for contact in rest:
            if inside >= wanted:
                break
            group = share_of(contact.endpoint)
            if group not in groups:
                groups.add(group)
                far.append(contact)
                inside += 1
    spare = [contact for contact in (everybody + rest_of_all)[limits.k :] if contact not in far]
    return near + spare[: limits.k], far


def shuffled(total: int, order: int, cursor: int) -> Iterator[int]:
    """Positions ``0..total-1``, each once, in one of many orders, from the ``cursor``-th on.

    A stride that shares no factor with ``total``: constant cost and no state for any page of any size.
    """
    if total <= 0:
        return
    stride = order % total or 1
    while gcd(stride, total) != 1:
        stride += 1
    start = order // total % total
    for step in range(cursor, total):
        yield (start + step * stride) % total
