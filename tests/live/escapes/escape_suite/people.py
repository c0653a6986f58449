"""Who drives: root, or for root also an ordinary user who owns nothing, with a program that such a user can read."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from escape_suite.model import USERS

SUITE: Final = Path(__file__).resolve().parents[1]
FIRST_UID, LAST_UID = 61184, 65519
"""The range that systemd gives to users of a moment (systemd.exec(5), DynamicUser=)."""
_CHECK: Final = "import sys, p2pgrid, numpy, pandas, pyarrow; print(sys.version_info[:2])"
_LOCAL: Final = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the machine, and the interpreter with p2pgrid that it can run."""

    name: str
    python: str
    uid: int | None = None

    def as_options(self) -> dict[str, Any]:
        """For ``subprocess``."""
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}


def not_applicable(user: str) -> str:
    """Why ``user`` cannot drive here, or nothing."""
    assert user in USERS
    return "only root can run attacks as root" if user == "root" and os.geteuid() != 0 else ""


def person(user: str, folder: Path) -> Person:
    """Whoever drives for ``user``; ``folder`` takes what it needs.  Raises ``LookupError`` without an interpreter."""
    if user == "root" or os.geteuid() != 0:
        return Person(user, sys.executable)
    uid = _spare_uid()
    mine = Person(user, sys.executable, uid)
    if _works(mine):
        return mine
    return _with_a_readable_program(uid, folder)


def _spare_uid() -> int:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    start = FIRST_UID + os.getpid() % (LAST_UID - FIRST_UID)
    return next(uid for uid in (*range(start, LAST_UID), *range(FIRST_UID, start)) if uid not in taken)


def _works(who: Person) -> bool:
    """Whether the program is there for this user, all of it: the same interpreter finds the same library."""
    here = subprocess.run([sys.executable, "-I", "-c", "import sys; print(sys.base_prefix)"], capture_output=True)
    check = f"{_CHECK}; print(sys.base_prefix)"
    with suppress(OSError):
        there = subprocess.run([who.python, "-I", "-c", check], capture_output=True, cwd="/", **who.as_options())
        words = there.stdout.decode().splitlines()
        same = who.python != sys.executable or words[-1:] == here.stdout.decode().splitlines()
        return there.returncode == 0 and words[0] == str(sys.version_info[:2]) and same
    return False


def _with_a_readable_program(uid: int, folder: Path) -> Person:
    """An environment made by hand around an interpreter of the system: pyvenv.cfg, a link, and the packages."""
    import numpy

    import p2pgrid

    place = folder / "program"
    packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (place / "bin").mkdir(parents=True)
    packages.mkdir(parents=True)
    _copy(Path(numpy.__file__).parents[1], packages)
    _copy(Path(p2pgrid.__file__).parent, packages / "p2pgrid")
    for file in packages.glob("*.pth"):
        file.unlink()
    for python in _LOCAL:
        link = place / "bin" / "python"
        link.unlink(missing_ok=True)
        link.symlink_to(python)
        (place / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(python))}\n")
        found = Person("user", str(link), uid)
        if python != sys.executable and os.path.exists(python) and _works(found):
            return found
    raise LookupError("no interpreter of this version that an ordinary user can run")


def _copy(source: Path, target: Path) -> None:
    """By hard links where the disk allows; nobody but root can write to what is linked."""
    skipped = shutil.ignore_patterns("mypy*", "ruff*", "_pytest", "hypothesis*", "PIL", "matplotlib*", "tests")
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True, symlinks=True, ignore=skipped)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
