"""A client's end of a link, against a channel written here: honest, failing and lying."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, wire
from p2pgrid.client.door import AHEAD, CHUNK, VERB_TIMEOUT, Door
from p2pgrid.crypto import Identity
from p2pgrid.errors import Malformed, Oversized, P2PError, StorageError, TooLarge

WHO = Identity(bytes(32))


class Store:
    """A channel to a domain that keeps what is put and serves what it was given."""

    def __init__(self, blob: bytes = b"", *, fail_at: int | None = None) -> None:
        self.blob, self.fail_at = blob, fail_at
        self.kept: dict[str, dict[int, bytes]] = {}
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        self.busy = self.busiest = 0
        self.closed = False

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float = 0.0) -> Any:
        self.calls.append((verb, args, timeout))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(0)
            return self.answer(verb, args)
        finally:
            self.busy -= 1

    def answer(self, verb: str, args: dict[str, Any]) -> Any:
        if verb != "blob.put":
            start, most = args["offset"], args["limit"]
            return {"data": self.blob[start : start + most], "total": len(self.blob)}
        if self.fail_at is not None and args["offset"] >= self.fail_at:
            raise StorageError("The disk is full.")
        self.kept.setdefault(args["upload"], {})[args["offset"]] = args["data"]
        return {"size": args["offset"] + len(args["data"])}

    async def close(self) -> None:
        self.closed = True


class Liar(Store):
    """A channel whose other side answers with whatever the test says."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)

    def answer(self, verb: str, args: dict[str, Any]) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_verb_goes_through_with_its_deadline() -> None:
    store = Store(b"x")
    door = Door(store, WHO)
    await door.call("asset.read", offset=0, limit=1)
    await door.call("asset.read", offset=0, limit=1, timeout=5.0)
    assert [timeout for _, _, timeout in store.calls] == [VERB_TIMEOUT, 5.0]
    await door.close()
    assert store.closed


@pytest.mark.parametrize(
    "value",
    [np.arange(1_000_000), b"", b"x" * CHUNK, b"x" * (CHUNK + 1), "text", {"a": 1}, np.zeros((0, 3))],
    ids=["array", "nothing", "one chunk", "one byte more", "text", "json", "no rows"],
)
async def test_a_value_is_staged_in_chunks_and_named(value: Any) -> None:
    store, sent = Store(), list[int]()
    answer = await Door(store, WHO).send(value, sent.append)
    chunks = store.kept.get(answer["upload"], {})
    whole = b"".join(chunks[offset] for offset in sorted(chunks))
    assert whole == assets.dump(value).tobytes()
    assert answer["meta"] == assets.dump(value).meta.to_wire()
    assert all(len(chunk) <= CHUNK for chunk in chunks.values())
    assert sum(sent) == len(whole)
    assert store.busiest <= AHEAD


async def test_two_uploads_do_not_share_a_name() -> None:
    door = Door(Store(), WHO)
    assert (await door.send(b"a"))["upload"] != (await door.send(b"a"))["upload"]


@pytest.mark.parametrize("fail_at", [0, 3 * CHUNK, 9 * CHUNK])
async def test_a_failing_upload_ends_with_its_error_and_leaves_no_task(fail_at: int) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    store = Store(fail_at=fail_at)
    with pytest.raises(StorageError):
        await Door(store, WHO).send(bytes(10 * CHUNK))
    assert store.busy == 0
    assert len(asyncio.all_tasks()) == 1
    assert complaints == []


async def test_a_cancelled_upload_leaves_no_task() -> None:
    class Stuck(Store):
        async def call(self, verb: str, args: dict[str, Any], *, timeout: float = 0.0) -> Any:
            self.calls.append((verb, args, timeout))
            if len(self.calls) == AHEAD:
                full.set()
            await asyncio.Event().wait()

    full = asyncio.Event()
    task = asyncio.create_task(Door(Stuck(), WHO).send(bytes(10 * CHUNK)))
    await asyncio.wait_for(full.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    "value", [np.arange(300_000.0), b"", "text", [1, {"a": None}]], ids=["array", "none", "text", "json"]
)
async def test_an_asset_is_read_in_chunks_and_checked(value: Any) -> None:
    dumped = assets.dump(value)
    door = Door(Store(dumped.tobytes()), WHO)
    np.testing.assert_equal(await door.read_asset("id", "mock", dumped.meta.to_wire()), value)


async def test_an_asset_with_other_bytes_than_described_is_refused() -> None:
    dumped = assets.dump(np.arange(4))
    raw = bytearray(dumped.tobytes())
    raw[-1] ^= 1
    with pytest.raises(Malformed, match="not those"):
        await Door(Store(bytes(raw)), WHO).read_asset("id", "mock", dumped.meta.to_wire())


@pytest.mark.parametrize(
    "meta",
    [{}, {"kind": "numpy"}, {"kind": "pickle", "size": 4}, {"kind": None, "size": 4}, {"kind": "numpy", "size": "4"}],
)
async def test_a_description_that_makes_no_sense_is_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        await Door(Store(b"data"), WHO).read_asset("id", "mock", meta)


async def test_a_result_is_read_in_chunks() -> None:
    value = {"weights": np.arange(500_000.0), "ok": True}
    back = await Door(Store(wire.pack_value(value)), WHO).read_result("execution")
    np.testing.assert_array_equal(back["weights"], value["weights"])


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [[]],
        [{}],
        [{"data": "text", "total": 4}],
        [{"data": b"x"}],
        [{"data": b"x", "total": "1"}],
        [{"data": b"x", "total": True}],
        [{"data": b"x", "total": 0}],
        [{"data": b"xx", "total": 1}],
        [{"data": b"", "total": 1}],
        [{"data": b"x", "total": -1}],
        [{"data": b"x", "total": 2}, {"data": b"", "total": 2}],
        [{"data": b"x", "total": 2}, None],
        [{"data": b"x", "total": wire.MAX_VALUE_BYTES + 1}],
        [{"data": b"x", "total": 2}, {"data": b"x", "total": 10**18}],
    ],
    ids=str,
)
async def test_a_domain_that_answers_nonsense_is_refused(answers: list[Any]) -> None:
    with pytest.raises((Malformed, Oversized)):
        await Door(Liar(*answers), WHO).read_result("execution")


async def test_a_domain_that_never_stops_sending_is_stopped_at_the_described_size() -> None:
    endless = Liar({"data": bytes(CHUNK), "total": 10**18})
    meta = assets.dump(b"abc").meta.to_wire()
    with pytest.raises(Oversized):
        await Door(endless, WHO).read_asset("id", "mock", meta)
    assert len(endless.calls) == 1


async def test_the_error_that_a_domain_answers_with_is_what_the_caller_gets() -> None:
    class Refusing(Store):
        def answer(self, verb: str, args: dict[str, Any]) -> Any:
            raise TooLarge("Too large.")

    with pytest.raises(P2PError) as caught:
        await Door(Refusing(), WHO).read_result("execution")
    assert type(caught.value) is TooLarge


async def test_rows_that_were_cut_are_asked_for_one_by_one() -> None:
    class Short(Store):
        def answer(self, verb: str, args: dict[str, Any]) -> Any:
            if verb == "request.get":
                return {"id": args["id"], "code": "all of it", "more": 1}
            return [{"id": "a", "code": "whole"}, {"id": "b", "code": "", "cut": True}]

    store = Short()
    assert await Door(store, WHO).rows("request.list", project=None) == [
        {"id": "a", "code": "whole"},
        {"id": "b", "code": "all of it"},
    ]
    assert [verb for verb, _, _ in store.calls] == ["request.list", "request.get"]
