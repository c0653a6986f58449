"""The in-memory twin keeps the seam's promises."""

from __future__ import annotations

import asyncio

import pytest

from p2pgrid.errors import LinkClosed
from p2pgrid.link.transport import QUEUED_MESSAGES, memory_pair


async def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"1")
    await ours.send(b"2")
    await theirs.send(b"3")
    assert [await theirs.receive(), await theirs.receive(), await ours.receive()] == [b"1", b"2", b"3"]


async def test_a_sender_waits_for_its_reader() -> None:
    ours, theirs = memory_pair()
    for _ in range(QUEUED_MESSAGES):
        await ours.send(b"x")
    waiting = asyncio.create_task(ours.send(b"last"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await theirs.receive()
    await asyncio.wait_for(waiting, 5)


async def test_what_was_sent_before_the_end_is_read() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"last words")
    await ours.close()
    await ours.close()
    assert await theirs.receive() == b"last words"
    for lost in (theirs.receive(), ours.receive(), ours.send(b"x"), theirs.send(b"x")):
        with pytest.raises(LinkClosed):
            await lost


async def test_the_end_wakes_who_waits() -> None:
    ours, theirs = memory_pair()
    reader = asyncio.create_task(theirs.receive())
    await asyncio.sleep(0)
    await ours.close()
    with pytest.raises(LinkClosed):
        await asyncio.wait_for(reader, 5)
