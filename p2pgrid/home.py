"""A node's home folder: its key, its owner's key, its lock, its run state, and where everything else lives.

<base>/NAME/  node.key owner.key (0600)  config.toml  domain.sqlite  assets/  peers  holdings  port  log  run.json  lock
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from p2pgrid.crypto import KEY_BYTES, Identity
from p2pgrid.errors import BadConfig, BadHome, HomeInUse, UnknownNode
from p2pgrid.ids import NAME_MAX, NAME_PATTERN

BASE_VARIABLE: Final = "P2PGRID_HOME"
HOLDINGS_BYTES: Final = 17 << 20
"""Bytes of a file of holdings that are read; one that goes on after them is damaged."""
LOCK_TRIES: Final = 5
LOCK_PAUSE: Final = 0.02
"""Seconds between tries at the lock."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What a running node tells the programs of its own machine."""

    pid: int
    kind: str
    name: str
    id: str
    url: str
    dht: str
    started: float


def base_folder(given: str | Path | None = None) -> Path:
    """The folder of all nodes: ``given``, else ``$P2PGRID_HOME``, else the platform's place for user data."""
    if given or os.environ.get(BASE_VARIABLE):
        return Path(given or os.environ[BASE_VARIABLE]).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("p2pgrid", appauthor=False))


def is_name(text: str) -> bool:
    """Whether a node may bear this name, which is its folder's name too."""
    return len(text) <= NAME_MAX and bool(re.fullmatch(NAME_PATTERN, text))


class Home:
    """The folder of one node.  Nothing is made before it is needed."""

    def __init__(self, name: str, base: str | Path | None = None) -> None:
        if not is_name(name):
            raise BadConfig(f"{name[:80]!r} is no name for a node.", fix="Use letters, digits, spaces and . _ @ -")
        self.name = name
        self.path = base_folder(base) / name

    def __repr__(self) -> str:
        return f"<Home {self.path}>"

    @property
    def exists(self) -> bool:
        """Whether a node was ever made here."""
        return (self.path / "node.key").exists()

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.path / "config.toml"

    @property
    def assets(self) -> Path:
        """The folder of asset bytes."""
        return self.path / "assets"

    @property
    def environments(self) -> Path:
        """Sets of packages for submitted code."""
        return self.path / "environments"

    @property
    def log(self) -> Path:
        """The log file of a detached node."""
        return self.path / "log"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the node's own SQLite file."""
        return f"sqlite:///{self.path / 'domain.sqlite'}"

    def make(self) -> None:
        """Make the folder, readable by its owner only.  Raises ``BadHome``."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
        except OSError as error:
            raise BadHome(f"The home folder {self.path} cannot be made: {error.strerror}.") from error

    def wipe(self) -> None:
        """Forget everything the node had, but not while a live node owns it.  Raises ``HomeInUse``."""
        if not self.path.exists():
            return
        with self.lock():
            for entry in self.path.iterdir():
                if entry.name == "lock":
                    continue  # removing a held lock would let a second node take another one
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

    def discard(self) -> None:
        """Take away the home of a node that never came up; a live node's stays."""
        try:
            self.wipe()
            (self.path / "lock").unlink(missing_ok=True)
            self.path.rmdir()
        except (HomeInUse, OSError):
            return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the home as its one live node; the system frees it when the process dies.  Raises ``HomeInUse``."""
        self.make()
        with open(self.path / "lock", "a", encoding="ascii") as file:
            if not _locked(file):
                raise HomeInUse(f"A live node owns the home folder {self.path}.")
            self.clear_run()  # what a killed node left behind must not pass for ours
            yield

    @property
    def in_use(self) -> bool:
        """Whether a live node owns the home."""
        try:
            with open(self.path / "lock", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def identity(self) -> Identity:
        """The node's key pair, made when there is none.  Raises ``BadHome`` for a key file that cannot be used."""
        return self._key("node.key")

    def owner(self) -> Identity:
        """The data owner's key pair on the node's own machine: having it is the login."""
        return self._key("owner.key")

    def _key(self, file_name: str) -> Identity:
        path = self.path / file_name
        if not path.exists():
            if file_name == "node.key" and (self.path / "domain.sqlite").exists():
                raise BadHome(
                    f"The key file {path} is gone, and a domain that belongs to it is still here.",
                    fix="Restore the key from a backup. Without it: keep what you need, then launch with --reset.",
                )
            self.make()
            make_key(path)
        return read_key(path, lost="Restore it from a backup; a lost key is a new node.")

    def save_run(self, state: RunState) -> None:
        """Tell the programs of this machine how to reach the node."""
        write_atomically(self.path / "run.json", json.dumps(asdict(state)).encode())

    def clear_run(self) -> None:
        """Say that the node is down."""
        (self.path / "run.json").unlink(missing_ok=True)

    def running(self) -> RunState | None:
        """How to reach the node, if it is up; what a killed node left behind does not count."""
        try:
            raw: dict[str, Any] = json.loads((self.path / "run.json").read_bytes())
            state = RunState(**raw)
        except (OSError, ValueError, TypeError):
            return None
        return state if self.in_use else None

    def last_port(self) -> int:
        """The port of the last run; 0 when there was none."""
        try:
            port = int((self.path / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0
        return port if 0 < port < 65_536 else 0

    def keep_port(self, port: int) -> None:
        """Remember the port for the next run, so that others find the node where it was."""
        if port != self.last_port():
            write_atomically(self.path / "port", str(port).encode())

    def save_peers(self, snapshot: list[bytes]) -> None:
        """Keep the routing table's contacts for the next start."""
        import msgpack

        write_atomically(self.path / "peers", msgpack.packb(snapshot, use_bin_type=True))

    def load_peers(self) -> list[bytes]:
        """The contacts of the last run; none when the file is missing or damaged."""
        from p2pgrid import wire
        from p2pgrid.errors import RemoteError

        try:
            raw = wire.unpack((self.path / "peers").read_bytes(), limit=4 << 20, items=65_536)
        except (OSError, RemoteError):
            return []
        return [item for item in raw if isinstance(item, bytes)] if isinstance(raw, list) else []

    def save_holdings(self, document: bytes) -> None:
        """Keep what the node holds for others for the next start."""
        write_atomically(self.path / "holdings", document)

    def load_holdings(self) -> bytes:
        """What the node held in the last run, unchecked; nothing when the file is missing."""
        try:
            with open(self.path / "holdings", "rb") as file:
                return file.read(HOLDINGS_BYTES)
        except OSError:
            return b""


def homes(base: str | Path | None = None) -> list[Home]:
    """Every node that lives in the base folder, by name."""
    folder = base_folder(base)
    if not folder.is_dir():
        return []
    return [Home(entry.name, base) for entry in sorted(folder.iterdir()) if is_name(entry.name) and _is_home(entry)]


def own_home(name: str | None, base: str | Path | None = None) -> Home:
    """The home that a command acts on: the named one, or the only one.  Raises ``UnknownNode``."""
    if name is not None:
        home = Home(name, base)
        if not home.exists:
            raise UnknownNode(f"No node named {name!r} lives in {base_folder(base)}.")
        return home
    candidates = [home for home in homes(base) if home.exists]  # a gateway has a home too, and no key
    if len(candidates) == 1:
        return candidates[0]
    live = [home for home in candidates if home.running()]
    if len(live) == 1:
        return live[0]
    if not candidates:
        raise UnknownNode(f"No node lives in {base_folder(base)}.", fix="Start one with: p2pgrid launch NAME")
    names = ", ".join(home.name for home in candidates[:10])
    raise UnknownNode(f"Several nodes live in {base_folder(base)}: {names}.", fix="Choose one with --node NAME.")


def _is_home(entry: Path) -> bool:
    return (entry / "node.key").exists() or (entry / "run.json").exists()


def _locked(file: TextIO) -> bool:
    """Whether the lock is ours now.  A look at ``in_use`` holds it for an instant, so a refusal is tried again."""
    for pause in (*[LOCK_PAUSE] * LOCK_TRIES, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(pause)
        else:
            return True
    return False


def make_key(path: Path) -> None:
    """Write a new key pair's seed into a file, unless there is one.  Raises ``BadHome``."""
    write_atomically(path, secrets.token_bytes(KEY_BYTES).hex().encode(), replace=False)


def read_key(path: Path, *, lost: str) -> Identity:
    """The key pair of a file that ``make_key`` wrote.  Raises ``BadHome`` when it is none, or others may read it.

    ``lost``: what to do about a file that is not there or damaged.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # to read a pipe would take for ever
            raise BadHome(f"The key file {path} is no plain file.", fix=lost)
        if mode & 0o077:
            raise BadHome(f"The key file {path} can be read by others.", fix=f"Run: chmod 600 {shlex.quote(str(path))}")
        return Identity(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no key"
        raise BadHome(f"The key file {path} cannot be used: {why}.", fix=lost) from error


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file whole: readable by its owner only, on disk before it bears its name.  Raises ``BadHome``.

    Without ``replace``, a file that another process wrote first stays as it is.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                with suppress(FileExistsError):
                    os.link(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        raise BadHome(f"{path} cannot be written: {error.strerror}.") from error
