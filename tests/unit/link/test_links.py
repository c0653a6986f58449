"""Whole links over the in-memory twin: calls, errors, deadlines, closing, and an attacker on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from p2pgrid.crypto import Identity
from p2pgrid.errors import (
    BadSeal,
    BadSignature,
    BadValue,
    InternalError,
    InvalidInput,
    LinkClosed,
    NotFound,
    Oversized,
    TooLarge,
    Unreachable,
    WrongIdentity,
)
from p2pgrid.link.channel import MAX_IN_FLIGHT, MAX_VALUE, STRANGER
from p2pgrid.link.frames import STRANGER_VALUES
from p2pgrid.link.links import Link, accept_link, open_link
from p2pgrid.link.session import LinkPeer, Session
from p2pgrid.link.transport import MemoryStream, memory_pair

CLIENT, SERVER, OTHER = (Identity(bytes([n]) * 32) for n in (11, 12, 13))
PATIENCE = 10.0


class Served:
    """A small application: every verb that the tests call."""

    def __init__(self) -> None:
        self.peers: list[LinkPeer] = []
        self.running = self.most = 0
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()

    async def dispatch(self, peer: LinkPeer, verb: str, args: dict[str, Any]) -> Any:
        self.peers.append(peer)
        match verb:
            case "echo":
                return args
            case "trust":
                peer.trust()
            case "distrust":
                peer.distrust()
            case "count":
                peer.state["count"] = peer.state.get("count", 0) + 1
                return peer.state["count"]
            case "wait":
                return await self.wait()
            case "bytes":
                return bytes(args["size"])
            case "secret":
                raise ValueError("the password is hunter2")
            case "unsendable":
                return object()
            case _:
                raise NotFound(f"There is no verb {verb}.", fix="Look it up.")
        return None

    async def wait(self) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return "waited"


class Wire:
    """A stream with an attacker on it: ``change`` sees each message sent from the wrapped end."""

    def __init__(self, inner: MemoryStream, change: Callable[[int, bytes], list[bytes]]) -> None:
        self._inner, self._change, self.sent = inner, change, 0

    async def send(self, message: bytes) -> None:
        self.sent += 1
        for passed in self._change(self.sent, message):
            await self._inner.send(passed)

    async def receive(self) -> bytes:
        return await self._inner.receive()

    async def close(self) -> None:
        await self._inner.close()


@asynccontextmanager
async def linked(
    served: Served,
    *,
    change: Callable[[int, bytes], list[bytes]] = lambda _, message: [message],
    **serving: Any,
) -> AsyncIterator[tuple[Link, Session]]:
    """A running link; ``change`` sits on what the client sends."""
    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, served.dispatch, remote="198.51.100.7", **serving))
    link = await open_link(Wire(ours, change), CLIENT, expect=SERVER.id, timeout=PATIENCE)
    session = await accepting
    running = asyncio.create_task(session.run())
    try:
        yield link, session
    finally:
        await link.close()
        await asyncio.wait_for(running, PATIENCE)


async def within(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, PATIENCE)


async def test_a_call_and_its_answer() -> None:
    served = Served()
    async with linked(served) as (link, _):
        assert link.peer == SERVER.public
        assert link.peer_id == SERVER.id
        assert await link.call("echo", {"a": [1, None, b"x", "ü"]}) == {"a": [1, None, b"x", "ü"]}
        assert await link.call("echo") == {}
        answer = await link.call("echo", {"array": np.arange(6).reshape(2, 3)})
        assert np.array_equal(answer["array"], [[0, 1, 2], [3, 4, 5]])
    assert link.closed
    peer = served.peers[0]
    assert (peer.key, peer.id, peer.remote) == (CLIENT.public, CLIENT.id, "198.51.100.7")


async def test_state_belongs_to_one_link() -> None:
    served = Served()
    async with linked(served) as (one, _), linked(served) as (two, _):
        assert [await one.call("count"), await one.call("count"), await two.call("count")] == [1, 2, 1]


async def test_the_peers_error_is_raised_here() -> None:
    async with linked(Served()) as (link, _):
        with pytest.raises(NotFound, match=r"There is no verb nope\.") as caught:
            await link.call("nope")
        assert caught.value.fix == "Look it up."


async def test_a_fault_of_the_application_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with linked(Served()) as (link, _):
        with caplog.at_level(logging.ERROR), pytest.raises(InternalError) as caught:
            await link.call("secret")
        assert "hunter2" not in str(caught.value)
        assert "hunter2" in caplog.text
        with pytest.raises(BadValue):
            await link.call("unsendable")
        assert await link.call("echo") == {}


async def test_args_are_a_map_of_names() -> None:
    async with linked(Served()) as (link, _):
        for wrong in ([], "text", {1: 2}):
            with pytest.raises(InvalidInput):
                await link.call("echo", wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            await link.call("No Verb")
        with pytest.raises(BadValue):
            await link.call("echo", {"a": object()})


async def test_calls_run_at_once_and_further_ones_wait() -> None:
    served = Served()
    async with linked(served) as (link, _):
        await link.call("trust")
        calls = [asyncio.create_task(link.call("wait")) for _ in range(2 * MAX_IN_FLIGHT)]
        await within(served.started.wait())
        served.release.set()
        assert await within(asyncio.gather(*calls)) == ["waited"] * len(calls)
    assert 1 < served.most <= 8


async def test_a_stranger_is_served_few_calls_at_once() -> None:
    served = Served()
    async with linked(served) as (link, session):
        calls = [asyncio.create_task(link.call("wait")) for _ in range(5)]
        await within(served.started.wait())
        await asyncio.sleep(0)
        served.release.set()
        await within(asyncio.gather(*calls))
        await within(session.quiet())
    assert served.most <= STRANGER.serving


async def test_a_stranger_may_not_send_much_until_it_is_trusted() -> None:
    big = {"data": bytes(200_000)}
    async with linked(Served()) as (link, _):
        await link.call("trust")
        assert await link.call("echo", big) == big
        await link.call("distrust")
        with pytest.raises(LinkClosed, match="P2P-0102"):
            await link.call("echo", big)


async def test_frames_up_to_the_limit_pass_and_no_further() -> None:
    async with linked(Served()) as (link, _):
        assert len(await link.call("bytes", {"size": MAX_VALUE - 5})) == MAX_VALUE - 5
        with pytest.raises(TooLarge):
            await link.call("bytes", {"size": MAX_VALUE})
        with pytest.raises(TooLarge):
            await link.call("echo", {"data": bytes(MAX_VALUE)})
        assert await link.call("echo") == {}


async def test_arguments_of_millions_of_empty_lists_are_refused() -> None:
    """Built, four millions of them take seconds and half a gigabyte, during which a node does nothing else."""
    async with linked(Served()) as (link, _):
        with pytest.raises(Oversized):
            await link.call("echo", {"junk": [[]] * STRANGER_VALUES})
        assert await link.call("echo", {"n": [1] * 4_000}) == {"n": [1] * 4_000}
        await link.call("trust")
        assert await link.call("echo", {"n": [1] * 60_000}) == {"n": [1] * 60_000}
        with pytest.raises(Oversized):
            await within(link.call("echo", {"junk": [[]] * 100_000}))
        assert await link.call("echo") == {}


async def test_calls_begin_in_their_order_though_large_ones_are_unpacked_elsewhere() -> None:
    begun: list[int] = []

    class Ordered(Served):
        async def dispatch(self, peer: LinkPeer, verb: str, args: dict[str, Any]) -> Any:
            if verb == "note":
                begun.append(args["n"])
                return None
            return await super().dispatch(peer, verb, args)

    async with linked(Ordered()) as (link, _):
        await link.call("trust")
        calls = [link.call("note", {"n": n, "data": bytes(1 << 20 if n % 3 == 0 else 0)}) for n in range(30)]
        await within(asyncio.gather(*calls))
    assert begun == list(range(30))


async def test_all_strangers_together_are_served_few_calls_at_once() -> None:
    """Many links of strangers do not add up: their calls share one gate, and trusted peers pass beside it."""
    served, gate = Served(), asyncio.Semaphore(1)
    async with linked(served, gate=gate) as (one, _), linked(served, gate=gate) as (two, _):
        calls = [asyncio.create_task(link.call("wait")) for link in (one, two)]
        await within(served.started.wait())
        with pytest.raises(Unreachable):
            await two.call("echo", timeout=0.1)
        assert served.running == 1
        served.release.set()
        await within(asyncio.gather(*calls))
        await two.call("trust")
        async with gate:
            assert await two.call("echo") == {}


async def test_an_end_that_only_calls_refuses_to_be_called() -> None:
    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
    link = await open_link(ours, CLIENT)
    session = await accepting
    running = asyncio.create_task(session.run())
    with pytest.raises(NotFound):
        await session.call("echo", {}, timeout=PATIENCE)
    await link.close()
    await within(running)


# ---------------------------------------------------------------- deadlines and ends


async def test_a_call_that_is_not_answered_is_unreachable_and_stops_at_the_peer() -> None:
    served = Served()
    async with linked(served) as (link, _):
        with pytest.raises(Unreachable, match="wait was not answered within"):
            await link.call("wait", timeout=0.05)
        await within(served.cancelled.wait())
        assert await link.call("echo") == {}


async def test_a_call_that_finds_no_free_place_is_unreachable() -> None:
    served = Served()
    async with linked(served) as (link, _):
        calls = [asyncio.create_task(link.call("wait")) for _ in range(MAX_IN_FLIGHT)]
        await within(served.started.wait())
        with pytest.raises(Unreachable, match="free place"):
            await link.call("echo", timeout=0.05)
        served.release.set()
        await within(asyncio.gather(*calls))


async def test_a_cancelled_call_is_cancelled_at_the_peer() -> None:
    served = Served()
    async with linked(served) as (link, _):
        call = asyncio.create_task(link.call("wait"))
        await within(served.started.wait())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await within(served.cancelled.wait())
        assert await link.call("echo") == {}


async def test_many_cancelled_calls_leave_the_link_usable() -> None:
    """Calls cancelled before their first step at the peer give their share back too."""
    served = Served()
    async with linked(served) as (link, _):
        for _ in range(50):
            call = asyncio.create_task(link.call("wait"))
            await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        assert await link.call("echo", timeout=PATIENCE) == {}


async def test_closing_fails_the_calls_that_wait_on_either_end() -> None:
    for end in ("link", "session"):
        served = Served()
        async with linked(served) as (link, session):
            call = asyncio.create_task(link.call("wait"))
            await within(served.started.wait())
            if end == "link":
                await link.close()
            else:
                session.stop()
            with pytest.raises(LinkClosed):
                await within(call)
            await within(served.cancelled.wait())
            with pytest.raises(LinkClosed):
                await link.call("echo")


async def test_close_may_be_called_again_and_at_once() -> None:
    async with linked(Served()) as (link, _):
        await asyncio.gather(link.close(), link.close())
        await link.close()


async def test_a_stranger_that_does_nothing_is_sent_away() -> None:
    async with linked(Served(), idle=0.05) as (link, session):
        await within(link.ended())
        with pytest.raises(LinkClosed):
            await link.call("echo")
        assert session.closed


async def test_a_stranger_that_is_being_served_and_a_trusted_peer_may_stay() -> None:
    served = Served()
    async with linked(served, idle=0.05) as (link, _):
        call = asyncio.create_task(link.call("wait"))
        await asyncio.sleep(0.2)
        served.release.set()
        assert await within(call) == "waited"
        await link.call("trust")
        await asyncio.sleep(0.2)
        assert await link.call("echo") == {}


# ---------------------------------------------------------------- handshakes that fail


async def test_another_node_answers() -> None:
    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
    with pytest.raises(WrongIdentity):
        await open_link(ours, CLIENT, expect=OTHER.id)
    with pytest.raises(LinkClosed):
        await within(accepting)


async def test_a_silent_end_costs_a_handshake_its_deadline() -> None:
    ours, theirs = memory_pair()
    with pytest.raises(Unreachable):
        await open_link(ours, CLIENT, timeout=0.05)
    assert len(await theirs.receive()) == 49
    with pytest.raises(LinkClosed):
        await theirs.receive()  # the stream is closed behind the hello
    _, other = memory_pair()
    with pytest.raises(Unreachable):
        await accept_link(other, SERVER, Served().dispatch, timeout=0.05)


async def test_half_a_handshake_is_given_up() -> None:
    """Slow loris: a hello, and then nothing."""
    ours, theirs = memory_pair()
    from p2pgrid.link import handshake

    await ours.send(handshake.start(CLIENT, lambda size: bytes(range(1, size + 1)))[0])
    with pytest.raises(Unreachable):
        await accept_link(theirs, SERVER, Served().dispatch, timeout=0.05)


@pytest.mark.parametrize("position", [1, 40, 100])
async def test_altered_proof_ends_the_handshake(position: int) -> None:
    def change(number: int, message: bytes) -> list[bytes]:
        return (
            [message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]]
            if number == 2
            else [message]
        )

    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
    link = await open_link(Wire(ours, change), CLIENT)
    with pytest.raises((BadSeal, BadSignature)):
        await within(accepting)
    await theirs.close()
    await link.close()


# ---------------------------------------------------------------- an attacker on a running link

HANDSHAKE_MESSAGES = 2
"""What the calling end sends before its first record."""


def on_first_record(attack: Callable[[bytes], list[bytes]]) -> Callable[[int, bytes], list[bytes]]:
    return lambda number, message: attack(message) if number == HANDSHAKE_MESSAGES + 1 else [message]


@pytest.mark.parametrize(
    "attack",
    [
        lambda record: [record[:-1] + bytes([record[-1] ^ 1])],
        lambda record: [record[:-1]],
        lambda record: [bytes(len(record))],
        lambda record: [b""],
        lambda record: [record, record],
        lambda record: [],
    ],
    ids=["altered", "truncated", "forged", "empty", "replayed", "dropped"],
)
async def test_a_tampered_wire_ends_the_link(attack: Callable[[bytes], list[bytes]]) -> None:
    async with linked(Served(), change=on_first_record(attack)) as (link, session):
        with pytest.raises(LinkClosed, match="P2P-0104"):
            await asyncio.gather(link.call("echo", {"n": 1}), link.call("wait"))
    assert isinstance(session.ended_by, BadSeal)


async def test_reordered_records_end_the_link() -> None:
    held: list[bytes] = []

    def swap(number: int, message: bytes) -> list[bytes]:
        if number == HANDSHAKE_MESSAGES + 1:
            held.append(message)
            return []
        return [message, *held] if number == HANDSHAKE_MESSAGES + 2 else [message]

    async with linked(Served(), change=swap) as (link, session):
        with pytest.raises(LinkClosed):
            await asyncio.gather(link.call("echo"), link.call("echo"))
    assert isinstance(session.ended_by, BadSeal)


async def test_reflected_records_end_the_link() -> None:
    """The attacker sends the client's own records back to it."""
    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
    link = await open_link(ours, CLIENT)
    await accepting
    call = asyncio.create_task(link.call("echo"))
    await theirs.send(await theirs.receive())
    with pytest.raises(LinkClosed, match="altered, repeated or left out"):
        await within(call)
    await link.close()


async def test_truncation_is_told_from_a_goodbye() -> None:
    """A cut wire fails the calls with another cause than a good-bye does."""
    causes = []
    for cut in (True, False):
        ours, theirs = memory_pair()
        accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
        link = await open_link(ours, CLIENT)
        session = await accepting
        running = asyncio.create_task(session.run())
        call = asyncio.create_task(link.call("wait"))
        await asyncio.sleep(0)
        if cut:
            await theirs.close()
        else:
            session.stop()
        with pytest.raises(LinkClosed) as caught:
            await within(call)
        causes.append(caught.value.cause)
        await link.close()
        await within(running)
    assert causes == ["The stream has ended.", "The peer closed the link."]


async def test_garbage_after_the_handshake_is_counted_and_ends_the_link() -> None:
    ours, theirs = memory_pair()
    accepting = asyncio.create_task(accept_link(theirs, SERVER, Served().dispatch))
    link = await open_link(ours, CLIENT)
    session = await accepting
    running = asyncio.create_task(session.run())
    await ours.send(bytes(100_000))
    await within(running)
    assert isinstance(session.ended_by, Oversized)
    await link.close()
