"""A holder that comes back hands out what is still valid of what it held."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from p2pgrid.crypto import Identity
from p2pgrid.dht import DhtNode
from p2pgrid.dht.holdings import pack
from p2pgrid.ids import normalise_tag
from p2pgrid.records import Address, Listing, sign_listing

DATASET = b"d" * 16


def where(node: DhtNode) -> str:
    return f"{node.address.ip}:{node.address.udp}"


async def titles(node: DhtNode, tag: str) -> list[str]:
    return sorted([found.record.title async for found in node.search(tag)])


async def test_a_restarted_holder_hands_out_what_it_held_for_others():
    identity = Identity(b"h" * 32)
    holder = await DhtNode.start(identity=identity)
    async with await DhtNode.start(bootstrap=[where(holder)]) as publisher:
        assert await publisher.announce("kept", DATASET, title="t") == 1
        holdings = holder.holdings()
        await holder.close()
    port = holder.address.udp
    again = await DhtNode.start(port=port, identity=identity, holdings=holdings)
    async with again, await DhtNode.start(bootstrap=[where(again)]) as seeker:
        assert await titles(seeker, "kept") == ["t"]
        assert await titles(again, "kept") == ["t"]


async def test_what_expired_while_a_holder_was_away_is_dropped():
    rows = []
    for number, ttl in enumerate((100, 3600)):
        publisher = Identity(bytes([number + 1]) * 32)
        made = Listing(
            publisher.public,
            "n",
            (Address("10.0.0.1", 1),),
            normalise_tag("kept"),
            DATASET,
            f"for {ttl} s",
            1,
            int(time.time()) - 200,
            ttl,
        )
        signed = sign_listing(publisher, made)
        rows.append([signed.raw, signed.signature, bytes(3), time.time()])
    async with await DhtNode.start(holdings=pack(rows)) as holder:
        assert await titles(holder, "kept") == ["for 3600 s"]


@pytest.mark.parametrize(
    "document", [b"\xc1", b"not ours", pack([["half"], None, 7])], ids=["damaged", "foreign", "rows"]
)
async def test_a_damaged_file_of_holdings_costs_nobody_a_start(document, caplog):
    caplog.set_level(logging.INFO)
    async with await DhtNode.start(holdings=document) as node:
        assert await titles(node, "kept") == []
    told = [record for record in caplog.records if "held" in record.getMessage()]
    assert len(told) == 1


async def test_thousands_of_holdings_are_verified_a_few_at_a_time():
    rows = []
    tag = normalise_tag("kept")
    for number in range(1000):
        publisher = Identity((number + 1).to_bytes(32, "big"))
        made = Listing(publisher.public, "n", (Address("192.0.2.1", 1),), tag, DATASET, "", 1, int(time.time()), 3600)
        signed = sign_listing(publisher, made)
        rows.append([signed.raw, signed.signature, number.to_bytes(3, "big"), time.time()])
    async with await DhtNode.start(holdings=pack(rows)) as holder:
        seen = [holder._engine.store.total(tag)]
        whole = holder.holdings()  # a save in the middle loses nothing
        async with asyncio.timeout(20):
            while seen[-1] < holder._engine.limits.tag_listings:
                await asyncio.sleep(0)
                seen.append(holder._engine.store.total(tag))
        assert len(set(seen)) >= 4
        assert len(whole) > 0.9 * len(pack(rows))
