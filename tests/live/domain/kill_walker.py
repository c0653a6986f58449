"""Lives to be killed: like ``kill_zygote``, but each fork opens a store, tells what it found, and uses it at random.

A line is {"folder", "seed", "runs", "after", "early"}.  The fork is killed ``after`` seconds from the moment when it
is ready, or from its very start when ``early``.  The answer holds what it said: facts, and what was tried and done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from kill_zygote import CODE, JANE, PRIVATE, Life, Tripwire, watched
from sqlalchemy import select as sql

from p2pgrid import wire
from p2pgrid.domain.review import statement
from p2pgrid.domain.storage.tables import ExecutionRow, JobRow, RequestRow
from p2pgrid.errors import P2PError

WALKERS = 3
"""How many use the domain at once."""


class Walk:
    """Random deeds on one domain; each is told before it begins and after it was answered."""

    def __init__(self, life: Life, seed: int, *, runs: bool) -> None:
        self.life, self.chance, self.runs = life, random.Random(seed), runs

    async def go(self) -> None:
        deeds = [self.publish, self.ask, self.deposit, self.deposit, self.call, self.call, self.job, self.deny]
        deeds += [self.delete] if self.chance.random() < 0.5 else []
        deeds += [self.approve, self.approve, self.call, self.job] if self.runs else []
        while True:
            with contextlib.suppress(P2PError):  # such as a verdict on what another walker decided just now
                await self.chance.choice(deeds)()

    def say(self, what: str, **more: Any) -> None:
        self.life.say({"walk": what, **more})

    async def publish(self) -> None:
        name = f"set {self.chance.getrandbits(40):x}"
        self.say("publishing", name=name)
        await self.life.publish(name, np.arange(self.chance.randrange(10, 200_000)))
        self.say("published", name=name)

    async def delete(self) -> None:
        held = [item["name"] for item in await self.life.do(self.life.owner, "dataset.list")]
        name = self.chance.choice([name for name in held if name.startswith("set")] or ["none"])
        an_id = next(
            (item["id"] for item in await self.life.do(self.life.owner, "dataset.list") if item["name"] == name), None
        )
        if an_id is not None:
            self.say("deleting", name=name)
            await self.life.do(self.life.owner, "dataset.delete", id=an_id)
            self.say("deleted", name=name)

    async def ask(self) -> None:
        asset = (await self.life.request())["inputs"]["data"]
        answer = await ask(self.life, asset)
        self.say("asked", request=answer["id"])

    async def deposit(self) -> None:
        request = await self.some("PENDING", "DENIED")
        value = self.chance.getrandbits(30)
        self.say("deciding", request=request["id"])
        await self.life.do(self.life.owner, "request.deposit", id=request["id"], result=wire.pack_value(value))
        self.say("decided", request=request["id"], status="APPROVED")

    async def approve(self) -> None:
        request = await self.some("PENDING", "DENIED")
        self.say("deciding", request=request["id"])
        await self.life.do(self.life.owner, "request.approve", id=request["id"])
        self.say("decided", request=request["id"], status="APPROVED")

    async def deny(self) -> None:
        request = await self.some("PENDING", "APPROVED")
        self.say("deciding", request=request["id"])
        await self.life.do(self.life.owner, "request.deny", id=request["id"], reason="by chance")
        self.say("decided", request=request["id"], status="DENIED")

    async def call(self) -> None:
        request = await self.some("APPROVED", "DENIED")
        inputs = {"data": {"asset": request["inputs"]["data"]}}
        answer = await self.life.do(self.life.jane, "code.call", id=request["code_id"], inputs=inputs)
        piece = await self.life.do(self.life.jane, "result.read", execution=answer["execution"])
        value = int(wire.unpack_value(piece["data"]))
        self.say("released", request=request["id"], execution=answer["execution"], value=value)

    async def job(self) -> None:
        request = await self.some("APPROVED")
        inputs = {"data": {"asset": request["inputs"]["data"]}}
        answer = await self.life.do(self.life.jane, "job.start", id=request["code_id"], inputs=inputs)
        self.say("queued", job=answer["id"])
        answer = await self.life.do(self.life.jane, "job.wait", id=answer["id"], seconds=1)
        if answer["status"] == "finished":
            self.say("finished", job=answer["id"], execution=answer["execution"])

    async def some(self, *statuses: str) -> Any:
        """A request in one of these states; an approved one that would run only where code is run."""
        held = await self.life.do(self.life.owner, "request.list")
        with self.life.service._domain.storage.read() as session:
            rows = {row.id: row for row in session.scalars(sql(RequestRow))}
        fits = [item for item in held if item["status"] in statuses and (self.runs or not rows[item["id"]].runnable)]
        if not fits:
            await asyncio.sleep(0.001)
            raise P2PError("none fits")
        return self.chance.choice(fits)


async def ask(life: Life, asset: str) -> Any:
    """A request of Jane's on an asset that has no mock, or else it runs there."""
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
    return await life.do(life.jane, "request.create", **fields, key=life.identity.public, signature=signature)


async def found(life: Life) -> dict[str, Any]:
    """What the store holds, and whether it fits together."""
    storage = life.service._domain.storage
    facts = await life.facts()
    del facts["request"]
    with storage.read() as session:
        facts["integrity"] = session.connection().exec_driver_sql("PRAGMA integrity_check").scalar()
        requests = {row.id: row for row in session.scalars(sql(RequestRow))}
        facts["requests"] = {
            row.id: {"status": row.status, "spent": row.spent, "deposit": row.deposit} for row in requests.values()
        }
        facts["released"] = [
            [row.request, row.id, int(wire.unpack_value(bytes(row.result)))]
            for row in session.scalars(sql(ExecutionRow).where(ExecutionRow.serial.is_not(None)))
        ]
        facts["waiting"] = sorted(session.scalars(sql(ExecutionRow.id).where(ExecutionRow.serial.is_(None))))
        facts["jobs"] = {row.id: [row.state, row.execution] for row in session.scalars(sql(JobRow))}
    entries, before = [], 2**40
    while page := await life.do(life.owner, "audit.list", limit=1000, before=before):
        entries += [[entry["action"], entry["subject"], entry["details"].get("execution")] for entry in page]
        before = page[-1]["seq"]
    facts["audit"] = entries[::-1]
    return facts


async def live(order: dict[str, Any], out: int) -> None:
    def say(fact: dict[str, Any]) -> None:
        os.write(out, json.dumps(fact).encode() + b"\n")

    life = Life(Path(order["folder"]), Tripwire(None), say if order["do"] == "walk" else lambda fact: None)
    domain = life.service._domain
    domain.limits = replace(domain.limits, jobs_kept=1 << 20)  # every job that was told of must be found
    domain.queue._at_once = 0 if order["do"] == "look" else 2  # whoever only looks starts no job
    async with life:
        if order["do"] == "prepare":
            await life.do(life.owner, "account.register", name="Jane", email=JANE, password="abc123")
            await life.do(life.jane, "auth.login", email=JANE, password="abc123")
            await ask(life, (await life.publish("first", PRIVATE, mock=order["runs"]))["assets"][0]["id"])
        elif order["do"] == "look":
            say({"facts": await found(life)})
        else:
            walks = [Walk(life, order["seed"] + number, runs=order["runs"]) for number in range(WALKERS)]
            await asyncio.gather(*(walk.go() for walk in walks))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(watched(lambda out, order=order: asyncio.run(live(order, out)), order)), flush=True)
