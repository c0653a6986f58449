"""Every attack by each way and user: driver processes, two at a time, and what they found."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from escape_suite.attacks import ATTACKS
from escape_suite.drive import Outcome, read_outcome
from escape_suite.model import USERS, WAYS
from escape_suite.people import SUITE, Person, not_applicable, person

AT_ONCE: Final = 2
SECONDS: Final = 540.0
KEPT_ENVIRONMENT: Final = ("LANG", "LC_ALL", "TERM")


class Matrix:
    """Starts all drivers; each outcome is waited for where it is asked for."""

    def __init__(self, names: Iterable[str] = (), ways: Iterable[str] = WAYS, users: Iterable[str] = USERS) -> None:
        self._names = list(names) or list(ATTACKS)
        place = "/opt" if os.access("/opt", os.W_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="p2pgrid-escapes-", dir=place))
        self._folder.chmod(0o755)
        (self._folder / "lock").touch()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._drivers: list[subprocess.Popen[bytes]] = []
        self._people: dict[str, Person | str] = {user: self._person(user) for user in users}
        self._found: dict[tuple[str, str], Future[Outcome]] = {
            (way, user): self._pool.submit(self._drive, way, user) for user in users for way in ways
        }

    def outcome(self, way: str, user: str) -> Outcome:
        """What one driver found."""
        return self._found[way, user].result()

    def outcomes(self) -> list[Outcome]:
        """All of them."""
        return [future.result() for future in self._found.values()]

    def close(self) -> None:
        """End what is still running, and take the folder away."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._drivers:
            process.terminate()
        self._pool.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _person(self, user: str) -> Person | str:
        if why := not_applicable(user):
            return why
        try:
            return person(user, self._folder)
        except LookupError as error:
            return str(error)

    def _drive(self, way: str, user: str) -> Outcome:
        who = self._people[user]
        if isinstance(who, str):
            return Outcome(way, user, unavailable=who)
        folder = self._folder / f"{way}-{user}"
        folder.mkdir()
        suite = folder / "suite"
        shutil.copytree(SUITE / "escape_suite", suite / "escape_suite")
        out = folder / "outcome.jsonl"
        scene = folder / "scene"
        scene.mkdir()
        if who.uid is not None:
            os.chown(scene, who.uid, who.uid)
            os.chown(folder, who.uid, who.uid)
        (scene / "people").mkdir()
        (scene / "lock").symlink_to(self._folder / "lock")
        if who.uid is not None:
            os.chown(scene / "people", who.uid, who.uid)
        script = f"import sys; sys.path.insert(0, {str(suite)!r}); sys.argv = sys.argv[1:]; import runpy; " \
                 "runpy.run_module('escape_suite.drive', run_name='__main__')"  # fmt: skip
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        process = subprocess.Popen(
            [who.python, "-B", "-c", script, "drive", way, user, str(scene), str(out), *self._names],
            env={**environment, "HOME": str(scene / "people"), "PATH": os.defpath, "P2PGRID_HOME": str(scene / "home")},
            cwd=scene / "people",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **who.as_options(),
        )
        self._drivers.append(process)
        try:
            log = process.communicate(timeout=SECONDS)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            process.terminate()
            log = f"the driver took more than {SECONDS:g} s"
        return read_outcome(out, way, user, log)
