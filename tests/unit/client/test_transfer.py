"""Transfers: pieces stay in order, no task is left, and what may be large lies on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from p2pgrid import assets
from p2pgrid.client.transfer import SMALL, Digest, in_order, room_for


async def test_answers_come_in_the_order_of_their_questions_with_a_few_under_way() -> None:
    busy = busiest = 0

    async def work(number: int) -> int:
        nonlocal busy, busiest
        busy += 1
        busiest = max(busiest, busy)
        await asyncio.sleep(0.001 * (5 - number))
        busy -= 1
        return number

    async def works() -> AsyncIterator[Coroutine[Any, Any, int]]:
        for number in range(5):
            yield work(number)

    async with aclosing(in_order(works(), 3)) as answers:
        assert [answer async for answer in answers] == [0, 1, 2, 3, 4]
    assert busiest == 3


async def test_the_first_failure_ends_the_others() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0 if number == 0 else 60)
        raise ValueError(number)

    async def works() -> AsyncIterator[Coroutine[Any, Any, int]]:
        for number in range(5):
            yield work(number)

    async with aclosing(in_order(works(), 3)) as answers:
        with pytest.raises(ValueError, match="0"):
            await anext(answers)
    assert len(asyncio.all_tasks()) == 1


async def test_a_digest_is_the_same_as_of_the_whole() -> None:
    digest = Digest()
    for piece in (b"abc", memoryview(b"def"), b""):
        await digest.take(piece)
    assert await digest.hexdigest() == assets.dump(b"abcdef").meta.digest


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1])
def test_room_is_as_large_as_asked_and_can_be_filled(size: int, on_disk: bool) -> None:
    room = room_for(size, on_disk=on_disk)
    assert len(room) == size
    room[:] = b"x" * size
    assert bytes(room) == b"x" * size
