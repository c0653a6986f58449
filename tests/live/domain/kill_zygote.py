"""A process that forks domains to be killed: it imports everything once, then obeys one JSON line after another.

A line is {"folder", "do", "at"?, "after"?}.  A fork of this process does it, and is killed with SIGKILL at its
``at``-th point (before each SQL statement, commit, write, fsync and rename, and after each commit), at the ``END`` of
its deed, or ``after`` seconds from the moment when it is ready.  The answer tells how it ended, what it had
acknowledged to its caller, and what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import event
from sqlalchemy import select as sql
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from p2pgrid import assets, crypto, wire
from p2pgrid.domain import sessions
from p2pgrid.domain.review import statement
from p2pgrid.domain.runner import Runner
from p2pgrid.domain.service import Caller, DomainService
from p2pgrid.domain.service.logins import SESSION
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.tables import AccountRow, ExecutionRow, RequestRow

JANE = "jane@caltech.edu"
CODE = "def compute_sum(data):\n    return data.sum()\n"
PRIVATE, MOCK = np.arange(200_000), np.ones(3)
FRESH = np.arange(300_000) * 2
END = -1
"""The point behind the last acknowledgement of a deed, whatever the number of points before it."""


class Tripwire:
    """Counts the points that the process passes, and kills it at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.passed, self.armed = at, 0, False

    def point(self, *_: Any, **__: Any) -> None:
        if not self.armed:
            return
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self) -> None:
        self.point()
        if self.at == END:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **more: Any) -> Any:
            self.point()
            return work(*args, **more)

        return watched

    def lay(self) -> None:
        event.listen(Engine, "before_cursor_execute", self.point)
        event.listen(Engine, "commit", self.point)
        event.listen(Session, "after_commit", self.point)
        os.replace, os.fsync, os.pwrite = map(self.before, (os.replace, os.fsync, os.pwrite))


class Life:
    """A domain in a folder, and the people who use it."""

    def __init__(self, folder: Path, tripwire: Tripwire, say: Callable[[dict[str, Any]], None]) -> None:
        self.folder, self.tripwire, self.say = folder, tripwire, say
        self.identity = crypto.Identity((folder / "key").read_bytes())
        self.runner = Runner(hide=[folder])
        self.service = DomainService(Storage.in_folder(folder), self.runner, identity=self.identity, name="kill")
        self.owner = Caller(key=self.identity.public, remote="127.0.0.1")
        self.jane = Caller(key=self.identity.public, remote="127.0.0.1")

    async def __aenter__(self) -> Life:
        await self.service.open()
        await self.service.ensure_owner(verify_key=self.identity.public)
        await self.service.call(self.owner, "auth.key", {})
        with self.service._domain.storage.read() as session:
            row = session.scalars(sql(AccountRow).where(AccountRow.email == JANE)).first()
            if row is not None:
                key, now = self.jane.key, time.time()
                self.jane.state[SESSION] = sessions.Session(
                    "1" * 32, row.id, row.epoch, key, "", "auth.login", now, now
                )
        self.tripwire.armed = True
        self.say({"ready": True})
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.service.close()
        await self.runner.close()

    async def do(self, who: Caller, verb: str, **args: Any) -> Any:
        return await self.service.call(who, verb, args)

    def ack(self, what: str, value: Any = True) -> None:
        self.say({"ack": what, "value": value})

    async def publish(self, name: str, data: Any, *, mock: bool = True) -> Any:
        sides: list[Any] = []
        for value in (data, MOCK) if mock else (data,):
            dumped, upload = assets.dump(value), secrets.token_hex(16)
            offset = 0
            for chunk in dumped.chunks(1 << 20):
                await self.do(self.owner, "blob.put", upload=upload, offset=offset, data=bytes(chunk))
                offset += len(chunk)
            sides.append({"upload": upload, "meta": dumped.meta.to_wire()})
        asset = {"name": "numbers", "data": sides[0], "mock": sides[1] if mock else None}
        return await self.do(self.owner, "dataset.create", name=name, tags=["kill"], assets=[asset])

    async def request(self) -> Any:
        return (await self.do(self.owner, "request.list"))[0]

    async def call_code(self) -> Any:
        request = await self.request()
        inputs = {name: {"asset": an_id} for name, an_id in request["inputs"].items()}
        return await self.do(self.jane, "code.call", id=request["code_id"], inputs=inputs)

    async def facts(self) -> dict[str, Any]:
        """What a domain shows after it was opened again."""
        datasets = await self.do(self.owner, "dataset.list")
        whole = []
        for dataset in datasets:
            asset = dataset["assets"][0]
            for side in ("data", "mock") if asset["mock"] else ("data",):
                meta = asset["meta"] if side == "data" else asset["mock"]
                got = b""
                while len(got) < meta["size"]:
                    args = {"id": asset["id"], "side": side, "offset": len(got)}
                    got += (await self.do(self.owner, "asset.read", **args))["data"]
                whole.append(hashlib.sha256(got).hexdigest() == meta["digest"])
        entries = await self.do(self.owner, "audit.list", limit=1000)
        with self.service._domain.storage.read() as session:
            row = session.scalars(sql(RequestRow)).first()
            executions = session.scalars(sql(ExecutionRow)).all()
            request = {"status": row.status, "spent": row.spent, "deposit": row.deposit} if row else None
            if row:
                request["counted"] = (row.policy_state or {}).get("public", "")
            released = [held.id for held in executions if held.serial is not None]
        flaw = await self.service.verify_audit()
        folder = self.folder / "assets"
        return {
            "datasets": [dataset["name"] for dataset in datasets],
            "whole": whole,
            "files": len([path for path in folder.iterdir() if path.is_file()]) - 1,
            "staged": len(list((folder / "staging").iterdir())),
            "request": request,
            "executions": len(executions),
            "released": released,
            "audit": [entry["action"] for entry in entries[::-1]],
            "flaw": flaw and f"{flaw.seq}: {flaw.why}",
        }


async def prepare(life: Life) -> None:
    """A published dataset, a data scientist, and their request."""
    await life.do(life.owner, "account.register", name="Jane", email=JANE, password="abc123")
    await life.do(life.jane, "auth.login", email=JANE, password="abc123")
    asset = (await life.publish("first", PRIVATE))["assets"][0]["id"]
    fields = {
        "project": None,
        "name": "compute_sum",
        "code": CODE,
        "inputs": {"data": asset},
        "input_policy": "ExactMatch",
        "output_policy": "SingleExecutionExactOutput",
        "reason": "",
    }
    said = {"node": life.identity.id.hex(), "account": JANE, **fields}
    signature = life.identity.sign(b"code-request", statement(**said))
    await life.do(life.jane, "request.create", **fields, key=life.identity.public, signature=signature)


async def publish(life: Life) -> None:
    await life.publish("second", FRESH)
    life.ack("published")


async def approved_run(life: Life) -> None:
    request = await life.request()
    if request["status"] != "APPROVED":
        await life.do(life.owner, "request.approve", id=request["id"])
        life.ack("approved")
    life.ack("released", (await life.call_code())["execution"])
    life.tripwire.end()


COUNTED = """class Counted(CustomOutputPolicy):
    def __init__(self):
        self.count = 0

    def is_valid(self, context):
        return self.count < 1

    def apply_to_output(self, context, outputs, update_policy=True):
        self.count += 1
        return outputs

    def public_state(self):
        return self.count
"""


async def custom_run(life: Life) -> None:
    """As ``approved_run``, with a policy that is code and has a state, after a run at the approval."""
    life.tripwire.armed = False
    request = await life.request()
    if request["output_policy"] == "SingleExecutionExactOutput":
        with life.service._domain.storage.write() as session:
            row = session.scalars(sql(RequestRow)).one()
            row.output_policy = {"kind": "CustomOutputPolicy", "name": "Counted", "code": COUNTED, "init": {}}
    life.tripwire.armed = True
    if request["status"] != "APPROVED":
        await life.do(life.owner, "request.run", id=request["id"])
        life.ack("approved")
    life.ack("released", (await life.call_code())["execution"])
    life.tripwire.end()


async def deposit(life: Life) -> None:
    request = await life.request()
    if request["status"] != "APPROVED":
        result = wire.pack_value(PRIVATE.sum())
        await life.do(life.owner, "request.deposit", id=request["id"], result=result)
        life.ack("approved")
    life.ack("released", (await life.call_code())["execution"])
    life.tripwire.end()


async def result(life: Life) -> None:
    execution = (await life.call_code())["execution"]
    life.ack("released", execution)
    piece = await life.do(life.jane, "result.read", execution=execution)
    life.ack("value", int(wire.unpack_value(piece["data"])))


async def inspect(life: Life) -> None:
    life.tripwire.armed = False


DEEDS: dict[str, Callable[[Life], Awaitable[None]]] = {
    deed.__name__: deed for deed in (prepare, publish, approved_run, custom_run, deposit, result, inspect)
}


def child(order: dict[str, Any], out: int) -> None:
    def say(fact: dict[str, Any]) -> None:
        os.write(out, json.dumps(fact).encode() + b"\n")

    async def main() -> None:
        tripwire = Tripwire(order.get("at"))
        tripwire.lay()
        async with Life(Path(order["folder"]), tripwire, say) as life:
            await DEEDS[order["do"]](life)
            tripwire.armed = False
            say({"points": tripwire.passed, "facts": await life.facts()})

    asyncio.run(main())


def obey(order: dict[str, Any]) -> dict[str, Any]:
    done = watched(lambda out: child(order, out), order)
    lines = done["said"]
    acks = {line["ack"]: line["value"] for line in lines if "ack" in line}
    last: dict[str, Any] = next((line for line in lines if "facts" in line), {})
    return {"status": done["status"], "acks": acks, "facts": last.get("facts"), "points": last.get("points")}


def watched(work: Callable[[int], None], order: dict[str, Any]) -> dict[str, Any]:
    """Fork and let it work, writing what it says to a descriptor; kill it ``after`` seconds, if that is ordered.

    They count from the moment when it says that it is ready, or from its start when it is to be killed ``early``.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        status = 1
        try:
            work(writing)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    said, deadline = b"", order.get("after")
    end = time.monotonic() + deadline if deadline is not None and order.get("early") else None
    while True:
        if end is None and deadline is not None and b'"ready"' in said:
            end = time.monotonic() + deadline
        waiting = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([reading], [], [], waiting)[0] or waiting == 0.0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline = end = None
            continue
        piece = os.read(reading, 65536)
        if not piece:
            break
        said += piece
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    whole = said[: said.rfind(b"\n") + 1]
    return {"status": status, "said": [json.loads(line) for line in whole.splitlines()]}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)
