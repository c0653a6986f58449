"""The driver: plays the node for one way and one user, runs the attacks one after another, and judges each."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from escape_suite import bare, judges, reading, showing
from escape_suite.attacks import ATTACKS
from escape_suite.confined import HONEST, Confined, spec
from escape_suite.model import Attack, Evidence
from escape_suite.prelude import submitted
from escape_suite.scene import Scene
from escape_suite.watch import Sampler, descendants, descriptors, kill, settled
from p2pgrid.domain.runner import Limits, RunReport
from p2pgrid.domain.runner.spec import SIDES

ADOPT, DIE_WITH_PARENT = 36, 1  # prctl(2): PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG
SETTLE: Final = 2.0
LIVELY: Final = ("process", "state", "resources", "node", "results")
"""Families after which an honest run is tried."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one attack.

    ``fault``: the suite's own, in which case nothing is known.  ``absent``: the kernel is built without the call.
    ``cost``: what it took of the node itself, and no run may.
    """

    attack: str
    succeeded: bool = False
    fault: str = ""
    seconds: float = 0.0
    evidence: str = ""
    absent: bool = False
    cost: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All verdicts of one way and user.

    ``unavailable``: why this machine has no such tier.  ``fault``: what kept the driver from beginning.
    """

    way: str
    user: str
    tier: str = ""
    unavailable: str = ""
    fault: str = ""
    verdicts: tuple[Verdict, ...] = ()


class Driver:
    """One way, one user, one scene."""

    def __init__(self, way: str, folder: Path) -> None:
        libc = ctypes.CDLL(None)
        libc.prctl(ADOPT, 1, 0, 0, 0)
        libc.prctl(DIE_WITH_PARENT, signal.SIGTERM, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.way = way
        self.scene = Scene(folder)
        self.confined: Confined | None = None
        self.honest: RunReport | None = None
        self.baseline = 0

    def begin(self) -> tuple[str, str]:
        """(the tier that honest runs have, why there is none)."""
        if self.way == "bare":
            return "bare", ""
        self.confined = Confined(self.way, [self.scene.home])
        self.honest = self.confined.run(spec("def f(x): return 42", Limits(), self.scene.files["input"]))
        if not self.honest.ok:
            return "", f"{self.honest.failure}: {self.honest.error}"
        helped = self.confined.run(spec(submitted("def f(): return AT['mark']", self._places()), Limits()))
        if helped.result is None or self.scene.mark.encode() not in helped.result:
            raise RuntimeError(f"what stands above each attack does not run: {helped.error}")
        self._warm()
        time.sleep(0.5)
        self.baseline = len(descendants(self._apart))
        return self.honest.tier, ""

    def _warm(self) -> None:
        """Begin both zygotes: none that begins later is taken for a process that was left, or hides one."""
        if self.confined is not None:
            for side in SIDES:
                self.confined.run(spec(HONEST, Limits(), side=side))

    @property
    def _apart(self) -> set[int]:
        return {self.scene.victim.pid}

    def try_out(self, attack: Attack) -> Verdict:
        """Run one attack and judge it."""
        started = time.monotonic()
        try:
            with self._alone(attack):
                seen = self._see(attack)
        except Exception:
            self._put_back()
            return Verdict(attack.name, fault=traceback.format_exc(limit=8), seconds=time.monotonic() - started)
        absent = {code for _, code in judges.CALL.findall(seen.result)} == {"ENOSYS"}
        cost = judges.costs_the_node(seen) if self.confined is not None else ""
        return Verdict(attack.name, attack.judge(seen), "", time.monotonic() - started, _short(seen), absent, cost)

    @contextlib.contextmanager
    def _alone(self, attack: Attack) -> Iterator[None]:
        """One driver at a time measures shared memory: the kernel tells it of the whole machine only."""
        with (self.scene.folder / "lock").open() as lock:
            if attack.name.startswith("memory-"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _see(self, attack: Attack) -> Evidence:
        scene = self.scene
        scene.renew()
        scene.arrivals()
        open_before = descriptors()
        with Sampler(self._apart) as peaks:
            began = time.monotonic()
            seen = self._bare(attack) if self.way == "bare" else self._confined(attack)
            wall = time.monotonic() - began
        left = settled(self.baseline, self._apart, SETTLE if self.way != "bare" else 0.05)
        seen = replace(
            seen,
            secrets=scene.secrets_in(seen.result + seen.output + seen.error),
            arrived=scene.arrivals(),
            changed=scene.changes(),
            signals=scene.signals,
            victim=scene.victim_fate(),
            left=left,
            memory=peaks.memory,
            shared=peaks.shared,
            tasks=peaks.tasks,
            opened=0 if left else max(0, descriptors() - open_before),  # what is left has ends that the node holds
            grown=peaks.own,
            spent=max(0.0, seen.spent - peaks.looking),
            raised=peaks.raised,
            wall=wall,
        )
        if left or self.way == "bare":
            self._put_back()
        if self.confined is not None and attack.family in LIVELY and not self.confined.is_well():
            seen = replace(seen, after=False)
            self._put_back()
        return self._read_by_people(attack, seen)

    def _read_by_people(self, attack: Attack, seen: Evidence) -> Evidence:
        if attack.family != "reviewers":
            return seen
        shown, page = (showing.bare if self.way == "bare" else showing.ours)(attack.fields, seen.output, seen.error)
        return replace(seen, shown=shown, page=page)

    def _put_back(self) -> None:
        """End what an attack left, and begin anew."""
        if self.confined is not None:
            self.confined.renew()
        kill(descendants(self._apart))
        bare.end(self.scene)
        self._warm()

    def _places(self) -> dict[str, Any]:
        return self.scene.places(self.way, [one.pid for one in descendants(self._apart)])

    def _bare(self, attack: Attack) -> Evidence:
        places = self._places()
        first = self._bare_once(attack, attack.source, places)
        if not attack.then:
            return first
        seen = self._bare_once(attack, attack.then, places)
        return self._compared(attack, first, seen, lambda: self._bare_once(attack, attack.then, places))

    def _bare_once(self, attack: Attack, source: str, places: dict[str, Any]) -> Evidence:
        inputs = attack.inputs and (source is attack.source)
        found = bare.run(submitted(source, places), self.scene, inputs=inputs, to_the_end=attack.family == "resources")
        text, harm = reading.read(found.answer, ours=False) if found.answer else ("", "")
        return Evidence(
            result=text,
            output=found.output.decode("utf-8", "surrogateescape"),
            error=found.error,
            result_bytes=len(found.answer),
            harm=harm if attack.family == "results" else "",
            beside=found.launcher == 0,
            wall=found.wall,
        )

    def _confined(self, attack: Attack) -> Evidence:
        places = self._places()
        first = self._confined_once(attack, attack.source, places)
        if not attack.then:
            return first
        sides = [self._confined_once(attack, attack.then, places, side) for side in SIDES]
        seen = next((one for one in sides if judges.carried(one)), sides[0])
        return self._compared(attack, first, seen, lambda: self._confined_once(attack, attack.then, places))

    def _compared(self, attack: Attack, first: Evidence, seen: Evidence, again: Any) -> Evidence:
        """The second run, with what only two runs show: times, and the same random numbers."""
        if seen.result.startswith("drawn:") and again().result == seen.result:
            seen = replace(seen, result="carried-over")
        return replace(seen, notes={"one": first.wall, "zero": seen.wall})

    def _confined_once(self, attack: Attack, source: str, places: dict[str, Any], side: str = "mock") -> Evidence:
        assert self.confined is not None
        inputs = self.scene.files["input"] if attack.inputs and source is attack.source else None
        wanted = spec(submitted(source, places), attack.limits, inputs, side)
        began, beside = time.monotonic(), True
        if attack.beside:
            report, beside = self.confined.run_beside(wanted)
        else:
            report = self.confined.run(wanted)
        wall = time.monotonic() - began
        text, harm = reading.read(report.result, ours=True) if report.result is not None else ("", "")
        return Evidence(
            result=text,
            output=report.output,
            error=report.error,
            failure=report.failure,
            result_bytes=len(report.result or b""),
            beside=beside,
            harm=harm,
            forged=self._forged(report),
            stalled=self.confined.stalled,
            spent=self.confined.spent,
            wall=wall,
        )

    def _forged(self, report: RunReport) -> str:
        """What of a report cannot be the node's own word."""
        assert self.honest is not None
        wrong = []
        if report.tier != self.honest.tier:
            wrong.append("tier")
        if report.confinement != self.honest.confinement:
            wrong.append("confinement")
        if report.failure == "unavailable" or not report.started:
            wrong.append("began")
        if report.wall_seconds < 0 or report.cpu_seconds < 0 or report.max_rss < 0:
            wrong.append("use")
        if report.ok != (report.result is not None) or report.result_shape == "forged":
            wrong.append("result")
        return ", ".join(wrong)

    def end(self) -> None:
        """Leave nothing."""
        if self.confined is not None:
            self.confined.close()
        kill(descendants(self._apart))
        self.scene.close()


def _short(seen: Evidence) -> str:
    """Evidence as text, for a person who wonders."""
    fields = {key: value for key, value in asdict(seen).items() if value not in ("", (), 0, frozenset(), {}, False)}
    return repr({key: value if not isinstance(value, str) else value[:400] for key, value in fields.items()})


def drive(way: str, user: str, folder: Path, out: Path, names: Iterable[str]) -> None:
    """Run attacks and write one line of JSON each, so that nothing is lost if one of them ends the driver."""
    driver = Driver(way, folder)
    try:
        tier, unavailable = driver.begin()
        with out.open("w") as file:
            print(
                json.dumps({"way": way, "user": user, "tier": tier, "unavailable": unavailable}), file=file, flush=True
            )
            for name in () if unavailable else names:
                print(json.dumps({"begins": name}), file=file, flush=True)
                print(json.dumps(asdict(driver.try_out(ATTACKS[name]))), file=file, flush=True)
    finally:
        driver.end()


def read_outcome(out: Path, way: str, user: str, log: str) -> Outcome:
    """What a driver wrote.  An attack in whose midst it ended counts as one that succeeded."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if not lines:
        return Outcome(way, user, fault=f"the driver did not start: {log[-2000:]}")
    verdicts = {line["attack"]: Verdict(**line) for line in lines if "attack" in line}
    for line in lines:
        if "begins" in line and line["begins"] not in verdicts:
            verdicts[line["begins"]] = Verdict(line["begins"], True, "", 0.0, f"the driver ended: {log[-2000:]}")
    return Outcome(way, user, lines[0]["tier"], lines[0]["unavailable"], verdicts=tuple(verdicts.values()))


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:] or list(ATTACKS))
