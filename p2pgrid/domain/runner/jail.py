"""What of this machine a run may see, and the command that shows it no more.

The folders come from a clean interpreter and from this package's own place, never from the node's ``sys.path``: that
names the folder a node was started in, where its key may lie.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2pgrid.domain.runner import processes
from p2pgrid.domain.runner.order import START
from p2pgrid.errors import InvalidInput, LocalError

PACKAGE: Final = str(Path(__file__).resolve().parents[2])
SYSTEM: Final = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/nix/store")
"""Libraries, which hold nobody's secrets; those that exist."""
ASK: Final = (
    "import json, os, sys, sysconfig as s; "
    "library = os.path.join(s.get_config_var('LIBDIR') or '', s.get_config_var('LDLIBRARY') or ''); "
    "installed = [p for p in sys.path if os.path.basename(p) in ('site-packages', 'dist-packages')]; "
    "print(json.dumps({'modules': [s.get_path('stdlib'), s.get_path('platstdlib'), *installed], "
    "'python': os.path.realpath(sys.executable), 'library': os.path.realpath(library)}))"
)
"""Of its folders of modules those of Python and of installed packages; not a checkout's, or what else is there."""
ASK_SECONDS: Final = 30.0

FIRST_SPARE_USER, SPARE_USERS = 61184, 4336
"""The range that systemd's DynamicUser= takes for users that own nothing."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python program, and the files and folders that a run in it may read.  ``modules``: its folders of modules.

    Of a virtual environment the program is the one that it was made with; its modules are named to it.
    ``made`` tells it from another one at the same place, or from itself with other packages.
    """

    python: str
    modules: tuple[str, ...]
    readable: tuple[str, ...]
    made: tuple[tuple[int, int], ...] = ()

    def is_as_it_was(self) -> bool:
        """Whether neither the program nor any folder of modules was made anew or changed."""
        return self.made == _made(self.python, self.modules)

    def command(self, socket: int) -> list[str]:
        """The zygote's own command line."""
        dynamic = [os.path.join(place, "lib-dynload") for place in self.modules[:2]]
        path = [*self.modules, *(place for place in dynamic if os.path.isdir(place)), os.path.dirname(PACKAGE)]
        return [self.python, "-I", "-S", "-B", "-c", START, str(socket), *dict.fromkeys(path)]


async def interpreter(python: str, hide: Iterable[str]) -> Interpreter:
    """What is known of ``python`` when it is asked.

    Raises ``LocalError`` when it does not answer, ``InvalidInput`` when a folder of ``hide`` would be seen.
    """
    try:
        process = await processes.start(
            *(python, "-I", "-c", ASK), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={}
        )
        try:
            async with asyncio.timeout(ASK_SECONDS):
                said, _ = await process.communicate()
        finally:
            await processes.end(process)
        found = _known(json.loads(said))
    except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise LocalError(f"The run's process cannot be started: {python} is no Python that answers.") from error
    refuse_seen(hide, found.readable)
    return found


def _known(told: dict[str, Any]) -> Interpreter:
    modules = tuple(place for place in dict.fromkeys(told["modules"]) if os.path.isdir(place))
    program = str(told["python"])
    files = [place for place in (program, told["library"]) if os.path.isfile(place)]
    besides = [*files, *(place for place in SYSTEM if os.path.exists(place))]
    return Interpreter(program, modules, tuple(dict.fromkeys((*modules, PACKAGE, *besides))), _made(program, modules))


def _made(program: str, modules: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Inode and time of the last change of each place; zeros for one that is gone."""
    made = []
    for place in (program, *modules):
        try:
            found = os.stat(place)
            made.append((found.st_ino, found.st_mtime_ns))
        except OSError:
            made.append((0, 0))
    return tuple(made)


def refuse_seen(hide: Iterable[str], readable: Iterable[str]) -> None:
    """Raise ``InvalidInput`` when a folder of ``hide`` lies in one that runs can read."""
    for place in hide:
        for folder in readable:
            if _holds(folder, place):
                fix = "Keep the node's home and the program in separate folders."
                raise InvalidInput(f"{place} cannot be hidden from runs: they read {folder}.", fix=fix)


def _holds(folder: str, place: str) -> bool:
    top = os.path.realpath(folder)
    return os.path.commonpath([top, os.path.realpath(place)]) == top


def bubblewrap() -> str | None:
    """The path of bwrap, if it is installed."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")


def in_namespaces(bwrap: str, readable: Iterable[str], command: list[str], *, root: bool) -> list[str]:
    """``command`` within namespaces of its own, where nothing exists but ``readable``, and nothing can be written.

    A node that is ``root`` makes no user namespace, in which a run would still be root's process: the zygote becomes
    a user that owns nothing, for which it needs two capabilities for a moment.
    """
    if root:
        apart = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        apart += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    else:
        apart = ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    apart += ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "run"]
    names = [part for name, value in environment().items() for part in ("--setenv", name, value)]
    places = sorted(dict.fromkeys(readable))
    above = sorted({str(folder) for place in places for folder in Path(place).parents} - {"/"})
    # Folders on the way are made for others too: the zygote of a root node is one of them.
    binds = [part for folder in above for part in ("--perms", "0755", "--dir", folder)]
    for place in places:
        link = os.path.islink(place)
        binds += ["--symlink", os.readlink(place), place] if link else ["--ro-bind", place, place]
    shut = ["--proc", "/proc", "--dir", "/nowhere", "--remount-ro", "/", "--chdir", "/nowhere"]
    return [bwrap, *apart, *names, *binds, *shut, "--", *command]


def environment() -> dict[str, str]:
    """All that a run has of an environment.  One thread for numerical libraries; memory that can be accounted for."""
    one_thread = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "HOME": "/nowhere",
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "JOBLIB_MULTIPROCESSING": "0",
        **dict.fromkeys(one_thread, "1"),
    }


def spare_user() -> int:
    """For root: the number of a user that owns nothing; another one for each node.  0 for who is not root."""
    return FIRST_SPARE_USER + os.getpid() % SPARE_USERS if sys.platform != "win32" and os.geteuid() == 0 else 0
