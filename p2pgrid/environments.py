"""Environments: sets of packages that submitted code may ask for by name, each a virtual environment in a node's home.

Only the owner makes them: what is installed runs with the owner's rights while it is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pgrid.errors import Conflict, InvalidInput, NotFound, StorageError
from p2pgrid.home import write_atomically

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NEEDED: Final = ("msgpack>=1.0.8,<2", "numpy>=1.26,<3")
"""What a run itself imports; pandas, where tables are wanted, is the owner's to name."""
MARK: Final = "packages.json"
"""Written last: a folder without it was not finished."""
MAX_TOLD: Final = 2000


@dataclass(frozen=True, slots=True)
class Environment:
    """A name, the packages that its owner asked for, and its interpreter."""

    name: str
    packages: tuple[str, ...]
    python: Path


class Environments(Mapping[str, str]):
    """Name -> interpreter, as the folder has them now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        return str(self.get_one(name).python)

    def __iter__(self) -> Iterator[str]:
        return (found.name for found in self.all())

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> list[Environment]:
        """Those that are finished, by name."""
        names = sorted(place.parent.name for place in self._folder.glob(f"*/{MARK}"))
        return [self.get_one(name) for name in names if NAME.fullmatch(name)]

    def get_one(self, name: str) -> Environment:
        """The environment of a name.  Raises ``KeyError``, as mappings do."""
        try:
            if not NAME.fullmatch(name):
                raise FileNotFoundError
            packages = json.loads((self._folder / name / MARK).read_text(encoding="utf-8"))
            return Environment(name, tuple(map(str, packages)), _python(self._folder / name))
        except (OSError, ValueError, TypeError) as error:
            raise KeyError(name) from error

    def add(self, name: str, packages: Sequence[str]) -> Environment:
        """Make an environment with ``packages``, as pip takes them; blocks until they are installed.

        Raises ``InvalidInput`` for a name or package that is none, ``Conflict`` when there is one of the name,
        ``StorageError`` with pip's last words when something cannot be installed; nothing is left then.
        """
        if not NAME.fullmatch(name):
            fix = "Use small letters, digits and dashes."
            raise InvalidInput(f"{name[:80]!r} is no name of an environment.", fix=fix)
        if wrong := [item for item in packages if not item.strip() or item.startswith("-")]:
            raise InvalidInput(f"{wrong[0]!r} is no package.", fix="Name packages as pip takes them: 'scipy>=1.14'.")
        if name in self:
            raise Conflict(f"There is an environment {name!r} already.", fix="Remove it first, or choose another name.")
        place = self._folder / name
        try:
            shutil.rmtree(place, ignore_errors=True)  # one that was not finished
            venv.create(place, with_pip=True, symlinks=sys.platform != "win32")
            _install(_python(place), [*NEEDED, *packages])
            write_atomically(place / MARK, json.dumps(list(packages)).encode())
        except (OSError, subprocess.CalledProcessError, StorageError) as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"The environment {name!r} cannot be made: {error}.") from error
        return self.get_one(name)

    def remove(self, name: str) -> None:
        """Delete an environment.  Raises ``NotFound``."""
        if name not in self:
            raise NotFound(f"There is no environment {name[:80]!r} here.")
        shutil.rmtree(self._folder / name)


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _install(python: Path, packages: list[str]) -> None:
    command = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the owner's own words
    if done.returncode:
        fix = "Check the names and the network."
        raise StorageError(f"pip could not install {' '.join(packages)}: {last_words(done.stderr)}", fix=fix)


def last_words(log: str) -> str:
    """What pip says went wrong, in one line: its errors, without all that came before them."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return " ".join(errors[-2:] or lines[-1:])[-MAX_TOLD:] or "it did not say why."
